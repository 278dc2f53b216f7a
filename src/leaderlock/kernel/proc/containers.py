"""The control group and the container of a process, and whether the group is frozen."""

from __future__ import annotations

import os
from functools import lru_cache

from leaderlock.kernel.proc.processes import read

_SHOWN = 12
"""Digits of a container's ID that its runtime shows; we show the same."""

_RUNTIMES = {
    "docker": "docker",
    "cri-containerd": "containerd",
    "crio": "cri-o",
    "libpod": "podman",
}
"""Names in a container's control group, by runtime: ``docker-<id>.scope`` or ``/docker/<id>``."""


def cgroup_of(pid: int) -> str | None:
    """The path of the process's control group (cgroups(7)); None if the process is gone or hidden.

    The path is that of version 2. Where that is ``/`` (a hybrid or an old system), the longest path of
    version 1 is returned.
    """
    return _deepest(read(f"/proc/{pid}/cgroup"))


@lru_cache
def _deepest(content: bytes | None) -> str | None:
    groups = _groups_in(content)
    if not groups:
        return None
    unified = groups.get("", "/")
    return unified if unified != "/" else max(groups.values(), key=len)


def container_of(cgroup: str | None, pids: list[int]) -> str | None:
    """The runtime and the beginning of the ID of the process's container: ``docker 0123456789ab``.

    Args:
        cgroup: the process's control group.
        pids: its process ID in each PID namespace (`Identity.pids`): more than one means a container,
            even where the control group names none.
    """
    if (named := _named_by(cgroup)) is not None or len(pids) < 2:
        return named
    return f"unnamed (a PID namespace, in which it is {pids[-1]})"


@lru_cache
def _named_by(cgroup: str | None) -> str | None:
    for part in reversed((cgroup or "").split("/")):
        name = part.removesuffix(".scope").removesuffix(".service")
        prefix, _, identifier = name.rpartition("-")
        if prefix in _RUNTIMES and _is_id(identifier):
            return f"{_RUNTIMES[prefix]} {identifier[:_SHOWN]}"
        if name.startswith("machine-"):
            return f"machine {name.removeprefix('machine-')}"
        if name.startswith("lxc.payload."):
            return f"lxc {name.removeprefix('lxc.payload.')}"
        if _is_id(name):
            above = (cgroup or "").split(f"/{part}")[0].split("/")
            runtime = next((_RUNTIMES[word] for word in above if word in _RUNTIMES), "container")
            return f"{runtime} {name[:_SHOWN]}"
    return None


class Freezers:
    """Checks which control groups are frozen, of either version; reads each group once."""

    def __init__(self) -> None:
        self._mounts = [line for line in _lines("/proc/self/mountinfo") if " - cgroup" in line]
        self._known: dict[bytes | None, bool] = {}
        self._groups: dict[int, bytes | None] = {}

    def is_frozen(self, pid: int) -> bool:
        """Whether the process's control group, or one above it, is frozen."""
        if pid not in self._groups:
            self._groups[pid] = read(f"/proc/{pid}/cgroup")
        groups = self._groups[pid]
        if groups not in self._known:
            self._known[groups] = _is_frozen(_groups_in(groups), self._mounts)
        return self._known[groups]


def _is_frozen(groups: dict[str, str], mounts: list[str]) -> bool:
    for line in mounts:
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            group = groups.get("")
        elif kind == "cgroup" and "freezer" in options.split(","):
            group = next((path for name, path in groups.items() if "freezer" in name.split(",")), None)
        else:
            continue
        root, mount_point = before.split(" ")[3:5]
        if group is not None and (inside := _below(group, root)) is not None:
            directory = os.path.join(mount_point, inside)
            if "frozen 1" in _lines(f"{directory}/cgroup.events"):
                return True
            if _lines(f"{directory}/freezer.state") in (["FROZEN"], ["FREEZING"]):
                return True
    return False


def _groups_in(content: bytes | None) -> dict[str, str]:
    """Control groups by controllers; the group of version 2 has none (proc_pid_cgroup(5))."""
    rows = [line.split(":", 2) for line in os.fsdecode(content or b"").split("\n") if line]
    return {controllers: path for _, controllers, path in rows}


def _below(group: str, root: str) -> str | None:
    """The group's path below the root of a mount; None if the mount does not show the group."""
    if root == "/":
        return group.lstrip("/")
    if group == root or group.startswith(f"{root}/"):
        return group[len(root) :].lstrip("/")
    return None


def _lines(path: str) -> list[str]:
    content = read(path)  # None: gone, hidden, or not a file of this version of cgroups
    return os.fsdecode(content).split("\n")[:-1] if content else []


def _is_id(text: str) -> bool:
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text)
