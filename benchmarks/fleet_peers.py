"""Lets the same faults strike leaderlock and other libraries at real servers; `make fleet-peers`.

python -m benchmarks.fleet_peers PYTHON-OF-THE-PEERS [NAME…]

With names, only these contenders are measured, and put into the results beside the others.

The independent witness of the tests says whether a leader began while an earlier one's process existed
and had not stopped its work. A stopped process counts: it goes on with its work when it is continued.
Results go into results/fleet-peers.json, and from there into docs/comparison.md.
"""

from __future__ import annotations

import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.fleet.containers import Container
from tests.fleet.network import Network, Place
from tests.fleet.servers import Etcd, Redis, Server, ZooKeeper
from tests.fleet.witness import Resource, judge
from tests.processes import until

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "fleet-peers.json"
PAGE = ROOT / "docs" / "comparison.md"
LEASE = 3.0
ROUNDS = 5
WAITING = 4
SECONDS = 5.0
AT_ONCE = 5
"""How many contenders are measured at the same time, each with a server of its own."""


class Contender(NamedTuple):
    """Who stands.

    Attributes:
        title: for the table.
        peer: of `fleet_peer.PEERS`; empty: leaderlock.
        server: makes the server.
        lease: seconds.
    """

    title: str
    peer: str
    server: Callable[[Place], Server]
    lease: float = LEASE


CONTENDERS = {
    "leaderlock-zookeeper": Contender("leaderlock, ZooKeeper", "", ZooKeeper),
    "leaderlock-etcd": Contender("leaderlock, etcd", "", Etcd),
    "leaderlock-redis": Contender("leaderlock, Redis", "", Redis),
    "kazoo": Contender("kazoo `Election`", "kazoo", ZooKeeper),
    "tooz-etcd": Contender("tooz lock, etcd", "tooz-etcd", Etcd),
    "tooz-redis": Contender("tooz lock, Redis", "tooz-redis", Redis),
    "redis-py": Contender("redis-py `Lock`", "redis-py", Redis),
    "python-redis-lock": Contender("python-redis-lock", "python-redis-lock", Redis),
    "client-go": Contender("a loop like client-go's, 3/2/0.4 s", "client-go", Etcd),
    "client-go-15": Contender("a loop like client-go's, 15/10/2 s", "client-go", Etcd, 15.0),
}


class Race:
    """Two containers with a candidate each, at one server."""

    def __init__(self, contender: Contender, server: Server, network: Network, python: str) -> None:
        self._contender = contender
        self._server = server
        self._python = python
        self.network = network
        self.directory = network.directory / "race"
        self.directory.mkdir()
        self._resource = Resource(self.directory)
        self.boxes = [Container(network, f"box{number}") for number in range(2)]

    def start(self, box: Container) -> None:
        """Start a candidate; return when it stands."""
        if self._contender.peer:
            what = [self._python, "-m", "benchmarks.fleet_peer", str(self.directory)]
            what += [self._contender.peer, self._server.address()]
        else:
            what = [sys.executable, "-m", "tests.fleet.candidate", str(self.directory)]
            what += [self._server.url("peers")]
        box.workers = [worker for worker in box.workers if worker.poll() is None]
        box.start(*what, str(self._contender.lease), output=self.directory / f"{box.name}.output")
        pid = box.workers[-1].pid
        until(lambda: pid in judge(self.directory, self._resource).ready, "a candidate to stand")
        time.sleep(1)  # some ask for the first time now, and nothing tells when they have

    def overlaps(self) -> int:
        return len(judge(self.directory, self._resource).overlaps)

    def leader(self, other_than: int = 0) -> int:
        """The PID of the leader, once there is one other than a given process."""
        patience = 6 * self._contender.lease + 20
        return self._resource.wait(lambda work: work.accepted and work.pid != other_than, patience).pid

    def box_of(self, pid: int) -> Container:
        return next(box for box in self.boxes for worker in box.workers if worker.pid == pid)

    def strike(self, fault: Callable[[Race, int], None]) -> tuple[float | None, int]:
        """Let a fault strike; return the seconds to the next leader, and whether two led."""
        time.sleep(random.uniform(0, self._contender.lease / 2))
        pid, overlaps = self.leader(), self.overlaps()
        struck = time.monotonic()
        fault(self, pid)
        try:
            self.leader(other_than=pid)
            seconds: float | None = time.monotonic() - struck
        except TimeoutError:
            seconds = None
        both = int(self.overlaps() > overlaps)
        self._repair(pid)
        return seconds, both

    def _repair(self, pid: int) -> None:
        box = self.box_of(pid)
        self.network.heal(box.name)
        for worker in box.workers:
            worker.kill()
            worker.wait()
        self.leader()
        self.start(box)

    def waiting_queries(self) -> float:
        """Queries a second that one waiting candidate adds."""
        counts = []
        for number in (1, 1 + WAITING):
            while len(self.boxes[1].workers) < number:
                self.start(self.boxes[1])
            before = self._server.queries()
            time.sleep(SECONDS)
            counts.append(self._server.queries() - before)
        return max(counts[1] - counts[0], 0) / WAITING / SECONDS

    def close(self) -> None:
        for box in self.boxes:
            box.close()
        self._resource.close()


def kill(race: Race, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def stop(race: Race, pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


def cut(race: Race, pid: int) -> None:
    race.network.cut(race.box_of(pid).name)


FAULTS = {"killed": kill, "stopped": stop, "link cut": cut}


def measure(name: str, python: str) -> dict[str, Any]:
    """All faults for one contender, and its load."""
    contender = CONTENDERS[name]
    found: dict[str, Any] = {}
    with Network() as network:
        server = contender.server(network)
        server.start()
        race = Race(contender, server, network, python)
        try:
            for box in race.boxes:
                race.start(box)
            race.leader()
            for fault, strike in FAULTS.items():
                rounds = [race.strike(strike) for _ in range(ROUNDS)]
                seconds = [second for second, _ in rounds if second is not None]
                found[fault] = {"seconds": seconds, "overlaps": sum(both for _, both in rounds)}
                print(name, fault, found[fault], flush=True)
            found["waiting"] = race.waiting_queries()
            print(name, "waiting", found["waiting"], flush=True)
        except Exception:
            for path in race.directory.glob("*.output"):
                print(name, path.read_text(errors="replace")[-1500:], flush=True)
            raise
        finally:
            race.close()
    return found


def versions(python: str) -> dict[str, str]:
    """Of the peers."""
    script = (
        "import importlib.metadata as m, json; "
        "print(json.dumps({n: m.version(n) for n in ('kazoo', 'tooz', 'redis', 'python-redis-lock')}))"
    )
    found: dict[str, str] = json.loads(subprocess.check_output([python, "-c", script], text=True))
    return found


def table(document: dict[str, Any]) -> str:
    """The table of docs/comparison.md."""
    heads = ["", *(f"{fault}: two leaders" for fault in FAULTS)]
    heads += [f"{fault}: next leader" for fault in FAULTS]
    heads.append("queries a second of one that waits")
    lines = [f"| {' | '.join(heads)} |".replace("|  |", "| |"), "| --- " * len(heads) + "|"]
    for name, contender in CONTENDERS.items():
        found = document["contenders"][name]
        cells = [f"{found[fault]['overlaps']} of {document['rounds']}" for fault in FAULTS]
        cells += [_seconds(found[fault]["seconds"], document["rounds"]) for fault in FAULTS]
        cells.append(f"{found['waiting']:.1f}")
        lines.append(f"| {contender.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _seconds(seconds: list[float], rounds: int) -> str:
    if not seconds:
        return "never"
    shown = f"{median(seconds):.1f} s"
    return shown if len(seconds) == rounds else f"{shown} ({len(seconds)} of {rounds})"


def filled(page: str, document: dict[str, Any]) -> str:
    """The page, with what was measured between its marks."""
    named = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    about = (
        f"Measured by `make fleet-peers` on {document['date']}: {document['rounds']} times for each "
        f"fault, a lease of 3 s\n(where not named otherwise), Python {document['python']}, {named}."
    )
    for mark, text in (("peers-run", about), ("peers", table(document))):
        page, count = re.subn(
            rf"(?s)(<!-- {mark} -->\n).*?(<!-- end -->)", rf"\g<1>{text}\n\g<2>", page
        )
        assert count == 1, f"{PAGE} has no place for {mark}"
    return page


def main() -> None:
    python, *names = sys.argv[1:]
    slowest_first = sorted(names or CONTENDERS, key=lambda name: -CONTENDERS[name].lease)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = {name: pool.submit(measure, name, python) for name in slowest_first}
    found: dict[str, Any] = {}
    failed = []
    for name in names or CONTENDERS:
        try:
            found[name] = runs[name].result()
        except Exception as error:  # noqa: BLE001  (one that fails must not cost the results of the others)
            failed.append(f"{name}: {error}")
    are_all_new = not names and not failed
    earlier = {} if are_all_new else json.loads(RESULTS.read_text(encoding="utf-8"))["contenders"]
    document = {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "versions": versions(python),
        "rounds": ROUNDS,
        "contenders": earlier | found,
    }
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), document), encoding="utf-8")
    if failed:
        sys.exit("not measured, so their earlier results stand: " + "; ".join(failed))


if __name__ == "__main__":
    main()
