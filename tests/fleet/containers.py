"""A fleet: candidates in containers, each with a network namespace and a control group of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.fleet.network import Network, remove_leftovers
from tests.fleet.servers import Server
from tests.fleet.witness import Resource, Verdict, Work, judge
from tests.processes import PATIENCE, flocks_of, until

ROOT = Path(__file__).parent.parent.parent


def control_groups() -> Path | None:
    """Where control groups (cgroups(7), version 2) can be made; None if nowhere."""
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(place)
    return None


class Container:
    """The processes of one container; `kill`, `freeze` and `thaw` act on all of them at once.

    Attributes:
        name: of its host in the network.
        workers: those that were started and not yet seen to have ended.
    """

    def __init__(self, network: Network, name: str) -> None:
        self.name = name
        self.workers: list[subprocess.Popen[Any]] = []
        self._network = network
        network.add(name)
        self._group: Path | None = None
        if groups := control_groups():
            remove_leftovers(groups, _end_group)
            self._group = groups / network.namespace(name)
            self._group.mkdir()

    def start(self, *command: str | Path, output: Path) -> None:
        """Start a worker."""
        with open(output, "ab") as file:
            worker = self._network.start(
                self.name, command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        if self._group is not None:
            (self._group / "cgroup.procs").write_text(str(worker.pid), encoding="ascii")
        self.workers.append(worker)

    def kill(self) -> None:
        """End all processes of the container, as the end of its PID 1 does, and wait for that."""
        if self._group is not None and (self._group / "cgroup.kill").exists():
            (self._group / "cgroup.kill").write_text("1", encoding="ascii")
        else:
            for worker in self.workers:
                worker.kill()
        for worker in self.workers:
            worker.wait(PATIENCE)

    @property
    def can_freeze(self) -> bool:
        return self._group is not None

    def freeze(self) -> None:
        """Let no process of the container run, as `docker pause` does."""
        self._set_frozen(True)

    def thaw(self) -> None:
        """End a `freeze`."""
        if self.can_freeze:
            self._set_frozen(False)

    def _set_frozen(self, frozen: bool) -> None:
        assert self._group is not None
        (self._group / "cgroup.freeze").write_text(str(int(frozen)), encoding="ascii")
        events = self._group / "cgroup.events"
        until(lambda: f"frozen {int(frozen)}" in events.read_text(encoding="ascii"))

    def close(self) -> None:
        self.thaw()
        self.kill()
        if self._group is not None:
            _end_group(self._group)


def _end_group(group: Path) -> None:
    """Kill the processes of a control group, if the kernel can (5.14), and remove the group."""
    if (group / "cgroup.kill").exists():
        (group / "cgroup.kill").write_text("1", encoding="ascii")
    events = group / "cgroup.events"
    until(lambda: "populated 0" in events.read_text(encoding="ascii"))
    group.rmdir()


class Fleet:
    """Containers whose workers stand for one election, and what the witness sees of them.

    Args:
        server: the engine's server; it runs.
        network: the server's.
        lease: seconds.
        tiers: 1: each worker stands in the engine; 2: the workers of a container elect one first.
        workers: how many, in each container.
        reach: for each container, the nodes of the server that its URL names; none means all.
        variant: a name of `tests.fleet.unsafe.VARIANTS`.
    """

    _numbers = itertools.count()

    def __init__(
        self,
        server: Server,
        network: Network,
        *,
        lease: float,
        tiers: int = 1,
        workers: int = 2,
        reach: Sequence[Sequence[int]] = ((), ()),
        variant: str = "",
    ) -> None:
        self.server = server
        self.network = network
        self.lease = lease
        self.tiers = tiers
        self._workers = workers
        self._variant = variant
        self._leaving: list[subprocess.Popen[Any]] = []
        number = next(self._numbers)
        self.directory = network.directory / f"fleet{number}"
        self.directory.mkdir()
        self.reach = reach
        self._urls = [server.url_with(nodes, f"fleet{number}") for nodes in reach]
        self._resource = Resource(self.directory)
        self.containers = [Container(network, f"box{number}-{n}") for n in range(len(reach))]

    @property
    def verdict(self) -> Verdict:
        return judge(self.directory, self._resource)

    @property
    def works(self) -> list[Work]:
        """The writes to the resource until now."""
        return list(self._resource.works)

    @property
    def output(self) -> str:
        """What the workers have printed lately."""
        return "\n".join(
            line
            for path in sorted(self.directory.glob("*.output"))
            for line in path.read_text(errors="replace").splitlines()[-15:]
        )

    def start(self) -> None:
        """Start the workers that are missing; wait until all stand, and one leads."""
        for worker in self._leaving:
            worker.wait(PATIENCE)
        self._leaving.clear()
        for container, url in zip(self.containers, self._urls, strict=True):
            container.workers = [w for w in container.workers if w.poll() is None]
            for _ in range(self._workers - len(container.workers)):
                within = self._lock_of(container) if self.tiers == 2 else ""
                container.start(
                    *(sys.executable, "-m", "tests.fleet.candidate", self.directory, url),
                    *(str(self.lease), within, self._variant),
                    output=self.directory / f"{container.name}.output",
                )
        expected = {worker.pid for container in self.containers for worker in container.workers}
        until(lambda: expected <= self.verdict.ready | self._waiting(), "the candidates to wait")
        self.wait(lambda work: work.accepted and work.pid in expected)

    def _waiting(self) -> set[int]:
        """The workers that wait for the lock of their container."""
        locks = [self._lock_of(container) for container in self.containers]
        return {pid for lock in locks if lock.exists() for pid, waits in flocks_of(lock) if waits}

    def _lock_of(self, container: Container) -> Path:
        return self.directory / f"{container.name}.lock"

    def wait(self, wanted: Callable[[Work], bool], timeout: float = PATIENCE) -> Work:
        """The next write of a leader that is wanted."""
        try:
            return self._resource.wait(wanted, timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the workers said:\n{self.output}") from None

    def terminate(self, worker: subprocess.Popen[Any]) -> None:
        """Tell a worker to resign and to end."""
        worker.terminate()
        self._leaving.append(worker)

    def pause_randomly(self, most: float) -> None:
        """Wait for a random time: the next fault comes at any instant between two renewals."""
        time.sleep(random.uniform(0, most))

    def latest(self) -> Work:
        """The latest write of a leader."""
        return self.wait(lambda work: work.accepted)

    def leader(self) -> tuple[Container, subprocess.Popen[Any]]:
        """The process that leads, and its container."""
        pid = self.latest().pid
        return next((c, w) for c in self.containers for w in c.workers if w.pid == pid)

    def lead_in(self, wanted: Container) -> None:
        """Let a worker of this container lead."""
        others = [container for container in self.containers if container is not wanted]
        while self.leader()[0] is not wanted:
            for container in others:
                container.kill()
            self.start()

    def repair(self) -> None:
        """Undo every fault, and let the fleet be complete again."""
        for container in self.containers:
            container.thaw()
            for worker in container.workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGCONT)
        self.network.heal()
        self.server.repair()
        self.start()

    def close(self) -> None:
        for container in self.containers:
            container.close()
        self._resource.close()
