"""Checks of the lock's environment: container, kernel, Python, green threads."""

from __future__ import annotations

import os
import platform
import sys

from leaderlock.diagnosis.finding import Finding
from leaderlock.kernel import keeper
from leaderlock.kernel.filesystems.mounted import Filesystem
from leaderlock.kernel.proc.surroundings import container, hides_processes

_ON_THE_HOST = {
    "kernel alone": "All processes of this machine.",
    "kernel": "All processes of this machine. Others that have these files have locks of their own.",
    "server": "All processes of all machines that have it mounted.",
    "nobody": "Nobody: there is no lock.",
    "unknown": "All processes of this machine, and perhaps those of others that have it mounted.",
}


def on_sharing(behind: Filesystem) -> Finding:
    """Whether processes outside this container, or on other machines, share the lock."""
    topic = "shared with"
    contained = container()
    if contained is None:
        return Finding(topic, "good", _ON_THE_HOST[behind.keeper if behind.shared else "kernel alone"])
    here = f"This is {contained if contained.startswith('a ') else 'a container (' + contained + ')'}"
    if behind.kind in ("overlay", "fuse.fuse-overlayfs"):
        text = f"{here}, and the path is on its own layer: host and other containers have other locks."
    elif behind.root not in (None, "/"):
        text = (
            f"{here}, and the path is mounted into it ({behind.root} of {behind.kind}): all that have "
            f"it too, host and containers, share the lock."
        )
    else:
        mount = behind.mount_point or "the file system"
        text = f"{here}; {mount} may be its own, or a volume that others share."
    return Finding(topic, "good", f"{text} leaderlock status sees the processes of this one alone.")


def on_system() -> list[Finding]:
    """The versions of kernel and Python, and whether ``/proc`` is complete."""
    versions = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    if sys.platform != "linux":
        text = f"{versions}: locks and elections work; leases and status, which need Linux, do not."
        return [Finding("system", "doubtful", text)]
    if not os.path.exists("/proc/self/mountinfo"):
        text = f"{versions}. /proc is not mounted: leases, status and anonymous locks do not work."
        return [Finding("system", "doubtful", text, "mount it: mount -t proc proc /proc")]
    if hides_processes():
        versions += ". /proc hides other users' processes (hidepid): status shows them without names"
    return [Finding("system", "good", f"{versions}.")]


def on_patching() -> list[Finding]:
    """Whether gevent or eventlet is installed, or has patched this process; no finding without them."""
    from importlib.util import find_spec  # noqa: PLC0415

    found = []
    for name in ("gevent", "eventlet"):
        if name not in sys.modules and find_spec(name) is None:
            continue
        found.append(
            f"{name} has patched this process" if _has_patched(name) else f"{name} is installed"
        )
    if not found:
        return []
    text = f"{', '.join(found)}: leaderlock waits in native threads, which no patch reaches."
    return [Finding("green threads", "good", text)]


def on_keeper() -> list[Finding]:
    """Whether a leader has a keeper here, and the reason if not; no finding without leaderlock-native.

    A keeper is made for this process, and ended. Without one, leaderlock works as well, so that nothing
    of this is doubtful.
    """
    if not keeper.is_installed():
        return []
    if keeper.is_forbidden():
        text = f"{keeper.VARIABLE}=0 turns keepers off."
    elif (why := keeper.try_to_start()) is not None:
        text = f"No keeper can be made here ({why}): the next leader waits for the last one's memory."
    else:
        keeper.stop()
        text = "A leader has one here: the next leader need not wait until its memory is freed."
    return [Finding("keeper", "good", text)]


def _has_patched(name: str) -> bool:
    if name not in sys.modules:
        return False
    if name == "gevent":
        from gevent.monkey import is_module_patched  # noqa: PLC0415

        return bool(is_module_patched("threading"))
    from eventlet.patcher import is_monkey_patched  # noqa: PLC0415

    return bool(is_monkey_patched("thread"))
