"""Measures what elections cost real servers, one of each engine; writes results/fleet-costs.json.

python -m benchmarks.fleet_costs [postgresql] [zookeeper] [etcd] [redis]

`fleet_simulation` computes large fleets from these constants. Servers and clients share this machine,
so the number of requests a second is less than a server of its own would serve. Takes six minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from leaderlock.engines import Waiting
from tests.fleet.network import Loopback
from tests.fleet.servers import Etcd, PostgreSQL, Redis, Server, ZooKeeper
from tests.fleet.sessions import Sessions, acquire
from tests.processes import until

RESULTS = Path(__file__).parent / "results" / "fleet-costs.json"
SERVERS = (PostgreSQL, ZooKeeper, Etcd, Redis)

LEASE = 2.0
RENEWALS = 40
FEW, MANY = 5, 45
KILLS = 7
SECONDS = 4.0

LEADER = """
import sys
from leaderlock.engines import Waiting
from tests.fleet.sessions import Sessions, acquire
session = Sessions(sys.argv[1], float(sys.argv[2])).session()
acquire(session, Waiting())
for _ in range(2):
    print(session.renew(), flush=True)
    sys.stdin.readline()
"""
"""A leader that renews once, and once more when it is told; then it is killed."""


def main() -> None:
    costs = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for kind in SERVERS:
        if sys.argv[1:] and kind.scheme not in sys.argv[1:]:
            continue
        with Loopback() as place:
            server = kind(place)
            server.start()
            costs[server.scheme] = costs_of(server)
            print(server.scheme, costs[server.scheme], flush=True)
        RESULTS.write_text(json.dumps(costs, indent=1) + "\n", encoding="utf-8")


def costs_of(server: Server) -> dict[str, float]:
    """The constants of one engine."""
    connected = server.sessions()
    few = waiting(server, FEW)
    until(lambda: server.sessions() == connected, "the candidates' connections to end")
    many = waiting(server, MANY)
    more = MANY - FEW
    return {
        "connections": (many["sessions"] - few["sessions"]) / more,
        "memory_mib": (many["memory"] - few["memory"]) / more,
        "waiting_requests_a_lease": (many["idle"] - few["idle"]) / more / SECONDS * lease_of(server),
        "woken_requests": max((many["woken"] - few["woken"]) / more, 0.0),
        "election_requests": max(few["woken"] - FEW * (many["woken"] - few["woken"]) / more, 0.0),
        "renewal_requests": renewal(server),
        "requests_a_second": capacity(server),
        "late_s": median(lateness(server) for _ in range(KILLS)),
        "take_over_s": median(take_over(server) for _ in range(KILLS)),
    }


def lease_of(server: Server) -> float:
    """Seconds in which the leader need not renew; ZooKeeper's client keeps its session in any case."""
    return {"zookeeper": 7, "redis": 30}.get(
        server.scheme, 120
    )  # Redis: the first election waits for it


def settled(server: Server) -> int:
    """The server's counter of requests, once it includes what has happened."""
    if isinstance(server, PostgreSQL):
        time.sleep(11)  # an idle backend reports after 10 s: PGSTAT_IDLE_INTERVAL
    return server.queries()


def waiting(server: Server, number: int) -> dict[str, float]:
    """Some candidates wait; then the leader resigns, and one of them leads."""
    url = server.url(f"waiting{number}")
    sessions = Sessions(url, lease_of(server))
    try:
        leader = sessions.session()
        memory, connected = server.memory(), server.sessions()
        acquire(leader, Waiting(None, 0) if server.scheme != "redis" else Waiting())
        standbys = [sessions.start_standby() for _ in range(number)]
        until(lambda: sessions.look().waiting in {None, number}, "the candidates to wait")
        until(lambda: server.sessions() - connected >= number, "the candidates to wait")
        found = {"memory": server.memory() - memory, "sessions": server.sessions() - connected}
        before = settled(server)
        time.sleep(SECONDS)
        found["idle"] = server.queries() - before
        before = settled(server)
        leader.resign()
        until(lambda: any(standby.has_ended for standby in standbys), "a new leader")
        time.sleep(SECONDS)
        # The pings of the same time are no part of the election.
        found["woken"] = max(settled(server) - before - found["idle"], 0)
        return found
    finally:
        sessions.close()


def renewal(server: Server) -> float:
    """Requests for one renewal."""

    def requests(renewals: int) -> int:
        before = settled(server)
        sessions = Sessions(server.url(f"renewal{renewals}"), LEASE)
        session = sessions.session()
        acquire(session, Waiting())
        for _ in range(renewals):
            session.renew()
        session.resign()
        sessions.close()
        return settled(server) - before

    return (requests(RENEWALS + 1) - requests(1)) / RENEWALS


def capacity(server: Server) -> float:
    """Requests a second that eight leaders of elections of their own send at most."""
    ends = time.monotonic() + SECONDS + 2

    def renew(number: int) -> None:
        sessions = Sessions(server.url(f"capacity{number}"), LEASE)
        session = sessions.session()
        acquire(session, Waiting())
        while time.monotonic() < ends:
            session.renew()
        session.resign()
        sessions.close()

    before, began = server.queries(), time.monotonic()
    threads = [threading.Thread(target=renew, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    return (settled(server) - before) / seconds


def killed_leader(server: Server, then: Callable[[Sessions, subprocess.Popen[str]], float]) -> float:
    """Start a leader of a process of its own, call a function, and kill the leader in any case."""
    sessions = Sessions(server.url(f"killed{time.monotonic_ns()}"), LEASE)
    command = [sys.executable, "-c", LEADER, sessions.url, str(LEASE)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        return then(sessions, process)
    finally:
        process.kill()
        process.communicate()
        sessions.close()


def lateness(server: Server) -> float:
    """Seconds from the end of a killed leader's lease to the next leader."""

    def measure(sessions: Sessions, process: subprocess.Popen[str]) -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        standby = sessions.standby() if server.scheme != "etcd" else sessions.start_standby()
        process.stdin.write("\n")
        process.stdin.flush()
        confirmed = float(process.stdout.readline())
        process.kill()
        standby.claim()
        return standby.at - confirmed - LEASE

    return killed_leader(server, measure)


def take_over(server: Server) -> float:
    """Seconds for a claim by a dead predecessor's proof, with the connection."""
    sessions = Sessions(server.url(f"over{time.monotonic_ns()}"), LEASE)
    try:
        first = sessions.session()
        proof = acquire(first, Waiting()).proof
        began = time.monotonic()
        acquire(sessions.session(), Waiting(), proof)
        return time.monotonic() - began
    finally:
        sessions.close()


if __name__ == "__main__":
    main()
