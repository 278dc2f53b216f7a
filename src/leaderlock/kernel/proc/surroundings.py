"""The environment of this process: container, PID namespace, and a ``/proc`` that hides processes."""

from __future__ import annotations

import os
import re

from leaderlock.kernel.proc.mounts import mounts

_FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""The inode number of the machine's own PID namespace (PROC_PID_INIT_INO in the kernel's proc_ns.h)."""


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
    return "a PID namespace" if in_pid_namespace() else None


def in_pid_namespace() -> bool:
    """Whether this process is in a container: processes outside have no PID here."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino != _FIRST_PID_NAMESPACE
    except OSError:  # ENOENT: no /proc, or a kernel without PID namespaces
        return False


def hides_processes() -> bool:
    """Whether ``/proc`` shows this user only its own processes (proc(5), hidepid)."""
    return hidepid() not in (None, "hidepid=0", "hidepid=off") and os.geteuid() != 0


def hidepid() -> str | None:
    """The ``hidepid=`` option of the mount of ``/proc``; of the uppermost one, if there are several."""
    option = None
    for mount in mounts():
        if mount.mount_point == "/proc" and mount.kind == "proc":
            option = next((word for word in mount.options if word.startswith("hidepid=")), None)
    return option


def setting(name: str) -> str | None:
    """The value of a setting in ``/proc/sys``, such as ``fs/protected_regular``; None if missing."""
    try:
        with open(f"/proc/sys/{name}", encoding="ascii") as file:
            return file.read().strip()
    except OSError:  # ENOENT: another system, or an old kernel
        return None
