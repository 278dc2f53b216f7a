"""Checks whether a cleaner will delete the lock file because the file looks unused."""

from __future__ import annotations

import os
import subprocess

from leaderlock.diagnosis.finding import Finding
from leaderlock.diagnosis.tmpfiles import Cleaning, cleaning_of

_LOCKED_FILES_ARE_SPARED_SINCE = 254
"""A version of systemd; older versions of systemd-tmpfiles respect locks of directories only."""


def on_cleaners(file: str) -> Finding:
    """Whether systemd deletes files in the lock file's directory that look unused."""
    topic = "tmp cleaner"
    user = file.split("/")[3] if file.startswith("/run/user/") and file.count("/") > 3 else ""
    if user and not _lingers(user):
        text = f"systemd-logind deletes /run/user/{user} when the user's last session ends."
        return Finding(topic, "doubtful", text, "loginctl enable-linger, or choose a path in /run")
    cleaning = cleaning_of(file)
    if cleaning is None:
        return Finding(topic, "good", "No systemd-tmpfiles line deletes files there.")
    days = f"{cleaning.age / 86400:g} days" if cleaning.age >= 86400 else f"{cleaning.age:g} s"
    said = f"{cleaning.file} says {cleaning.line!r}: files unused for {days} are deleted"
    if not os.path.isdir("/run/systemd/system"):
        return Finding(topic, "good", f"{said}, but systemd does not run here.")
    version = _systemd_version()
    if version is not None and version >= _LOCKED_FILES_ARE_SPARED_SINCE:
        return Finding(topic, "good", f"{said}, but not while they are locked (systemd {version}).")
    text = f"{said}, even while they are locked: then a second process leads beside the first."
    return Finding(topic, "doubtful", text, _exclusion(file, cleaning))


def _exclusion(file: str, cleaning: Cleaning) -> str:
    line = f"'x {file}' into /etc/tmpfiles.d/leaderlock.conf"
    return f"choose a path outside {cleaning.directory}, or put {line}"


def _lingers(user: str) -> bool:
    import pwd  # noqa: PLC0415  (not on Windows)

    try:
        name = pwd.getpwuid(int(user)).pw_name
    except (KeyError, ValueError):
        return False
    return os.path.exists(f"/var/lib/systemd/linger/{name}")


def _systemd_version() -> int | None:
    try:
        run = subprocess.run(
            ["systemd-tmpfiles", "--version"], capture_output=True, text=True, timeout=5, check=False
        )
        return int(run.stdout.split()[1])
    except (OSError, subprocess.TimeoutExpired, IndexError, ValueError):  # not there, or not systemd's
        return None
