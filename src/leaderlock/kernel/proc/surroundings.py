"""The environment of this process: container, PID namespace, and a ``/proc`` that hides processes."""

from __future__ import annotations

import os
import re

from leaderlock.kernel.proc.mounts import mounts

_FIRST_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO, the same in every Linux


def container() -> str | None:
    """The manager of this process's container (``docker``, ``podman``, ``kubernetes``…), or None.

    The managers leave marks that identify them; without a mark, the name is ``a PID namespace``.
    """
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if os.path.exists("/run/.containerenv"):
        return "podman"
    if os.path.exists("/.dockerenv"):
        return "docker"
    for file, pattern in (
        ("/run/systemd/container", r"\s*(\S+)"),  # written by systemd as the container's init
        ("/proc/1/environ", r"(?:.*\0)?container=([^\0]+)"),  # lxc, systemd-nspawn
    ):
        try:
            with open(file, encoding="utf-8", errors="replace") as opened:
                match = re.match(pattern, opened.read(), re.DOTALL)
        except OSError:  # ENOENT; EACCES for another user's environment
            continue
        if match:
            return match[1]
    try:
        inside = os.readlink("/proc/self/ns/pid") != _FIRST_PID_NAMESPACE
    except OSError:  # no /proc
        return None
    return "a PID namespace" if inside else None


def hides_processes() -> bool:
    """Whether ``/proc`` shows this user only its own processes (proc(5), hidepid)."""
    options = {option for mount in mounts() if mount.mount_point == "/proc" for option in mount.options}
    return bool(options & {"hidepid=1", "hidepid=2", "hidepid=invisible", "hidepid=noaccess"}) and (
        os.geteuid() != 0
    )


def setting(name: str) -> str | None:
    """The value of a setting in ``/proc/sys``, such as ``fs/protected_regular``; None if missing."""
    try:
        with open(f"/proc/sys/{name}", encoding="ascii") as file:
            return file.read().strip()
    except OSError:  # ENOENT: another system, or an old kernel
        return None
