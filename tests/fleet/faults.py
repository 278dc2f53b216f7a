"""The faults that strike a fleet, and how long the next leader may take to come."""

from __future__ import annotations

import itertools
import math
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.fleet.containers import Fleet
from tests.fleet.servers import PostgreSQL
from tests.processes import PATIENCE

LEADS_ON, MOVES, EITHER = "leads on", "moves", "either"


class Outcome(NamedTuple):
    """What came of a fault.

    Attributes:
        moved: whether another term has begun.
        seconds: from the fault, or from the end of the server's outage, to the next leader's first
            write to the resource; 0 if the leader has led on.
        outage: how long no server could have answered anybody.
        gap: the longest time without any leader's write.
    """

    moved: bool
    seconds: float
    outage: float
    gap: float


class Fault(NamedTuple):
    """A fault.

    Attributes:
        name: for tables.
        strike: does it, and returns how long no server could have answered anybody.
        expected: `LEADS_ON`, `MOVES`, or `EITHER` where both are right.
        leases: the next leader comes within so many leases.
        prepare: called before it, while nothing is wrong.
    """

    name: str
    strike: Callable[[Fleet], float]
    expected: str
    leases: float = 1.1
    prepare: Callable[[Fleet], object] = Fleet.latest


def kill_worker(fleet: Fleet) -> float:
    worker = fleet.leader()[1]
    worker.kill()
    worker.wait(PATIENCE)  # so that `Fleet.start` knows that it is missing
    return 0


def kill_container(fleet: Fleet) -> float:
    fleet.leader()[0].kill()
    return 0


def terminate(fleet: Fleet) -> float:
    fleet.terminate(fleet.leader()[1])
    return 0


def stop(fleet: Fleet) -> float:
    fleet.leader()[1].send_signal(signal.SIGSTOP)
    return 0


def freeze(fleet: Fleet) -> float:
    fleet.leader()[0].freeze()
    return 0


def cut(fleet: Fleet) -> float:
    fleet.network.cut(fleet.leader()[0].name)
    return 0


def hear_nothing(fleet: Fleet) -> float:
    fleet.network.one_way(fleet.leader()[0].name, "in")
    return 0


def be_heard_by_nobody(fleet: Fleet) -> float:
    fleet.network.one_way(fleet.leader()[0].name, "out")
    return 0


def cut_briefly(fleet: Fleet) -> float:
    name = fleet.leader()[0].name
    fleet.network.cut(name)
    time.sleep(0.4 * fleet.lease)
    fleet.network.heal(name)
    return 0


def restart_server(fleet: Fleet) -> float:
    began = time.monotonic()
    fleet.server.restart()
    return time.monotonic() - began


def crash_server(fleet: Fleet) -> float:
    began = time.monotonic()
    fleet.server.crash()
    fleet.server.start()
    return time.monotonic() - began


def pause_server_briefly(fleet: Fleet) -> float:
    return _pause_server(fleet, 0.4)


def pause_server(fleet: Fleet) -> float:
    return _pause_server(fleet, 1.5)


def _pause_server(fleet: Fleet, leases: float) -> float:
    began = time.monotonic()
    fleet.server.pause()
    time.sleep(leases * fleet.lease)
    fleet.server.resume()
    return time.monotonic() - began


def cut_and_crash(fleet: Fleet) -> float:
    cut(fleet)
    return crash_server(fleet)


def kill_node(fleet: Fleet) -> float:
    fleet.server.crash(fleet.server.leader())
    return 0


def pause_node(fleet: Fleet) -> float:
    fleet.server.pause(fleet.server.leader())
    return 0


def part_node(fleet: Fleet) -> float:
    """Part the nodes' leader from the other nodes; every candidate still reaches all of them."""
    server, leader = fleet.server, fleet.server.leader()
    fleet.network.part(server.host(leader), *[server.host(n) for n in server.nodes if n != leader])
    return 0


def lead_at_own_node(fleet: Fleet) -> None:
    """Let the leader know one node only, which serves on when it is parted.

    In etcd that is the nodes' leader, until it notices; in ZooKeeper a follower.
    """
    server, (own,) = fleet.server, fleet.reach[0]
    while (server.leader() == own) != (server.scheme == "etcd"):
        server.restart(server.leader())
    fleet.start()
    fleet.lead_in(fleet.containers[0])


def part_own_node(fleet: Fleet) -> float:
    """Part the only node that the leader's container knows from the other nodes."""
    server, (own,) = fleet.server, fleet.reach[0]
    fleet.network.part(server.host(own), *[server.host(n) for n in server.nodes if n != own])
    return 0


def part_own_node_which_stutters(fleet: Fleet) -> float:
    """As `part_own_node`; the node also runs for a twentieth of the time, as on a machine without rest.

    So it needs long to notice that it is parted: it counts its own time.
    """
    (own,), before = fleet.reach[0], fleet.latest().term
    part_own_node(fleet)
    until = time.monotonic() + 3 * fleet.lease
    while time.monotonic() < until and fleet.works[-1].term == before:
        fleet.server.pause(own)
        time.sleep(0.2 * fleet.lease)
        fleet.server.resume(own)
        time.sleep(0.01 * fleet.lease)
    return 0


def promote(fleet: Fleet) -> float:
    assert isinstance(fleet.server, PostgreSQL)
    began = time.monotonic()
    fleet.server.crash(fleet.server.primary)
    fleet.server.promote()
    return time.monotonic() - began


def part_and_promote(fleet: Fleet) -> float:
    """The old primary runs on, out of the standby's sight, until somebody ends it after a lease."""
    server = fleet.server
    assert isinstance(server, PostgreSQL)
    began, old = time.monotonic(), server.primary
    fleet.network.part(server.host(1), server.host(2))
    server.promote()
    time.sleep(1.3 * fleet.lease)
    server.crash(old)
    return time.monotonic() - began


OF_CANDIDATES = [
    Fault("worker killed", kill_worker, MOVES),
    Fault("container killed", kill_container, MOVES),
    Fault("TERM", terminate, MOVES, leases=0),
    Fault("stopped (SIGSTOP)", stop, MOVES),
    Fault("container frozen", freeze, MOVES),
    Fault("link cut", cut, MOVES),
    Fault("hears nothing", hear_nothing, MOVES),
    Fault("heard by nobody", be_heard_by_nobody, MOVES),
    Fault("link cut briefly", cut_briefly, LEADS_ON),
]
OF_SERVERS = [
    Fault("server restarted", restart_server, LEADS_ON),
    Fault("server crashed", crash_server, LEADS_ON),
    Fault("server paused briefly", pause_server_briefly, LEADS_ON),
    Fault("server paused", pause_server, MOVES),
    Fault("link cut, server crashed", cut_and_crash, MOVES, leases=2),
]
OF_NODES = [
    Fault("node killed", kill_node, EITHER, leases=2.5),
    Fault("node paused", pause_node, EITHER, leases=2.5),
    Fault("node parted", part_node, EITHER, leases=2.5),
]
OF_OWN_NODES = [
    Fault("own node parted", part_own_node, MOVES, leases=2.5, prepare=lead_at_own_node),
    Fault(
        "own node parted, and stutters",
        part_own_node_which_stutters,
        MOVES,
        leases=2.5,
        prepare=lead_at_own_node,
    ),
]
OF_PAIRS = [
    Fault("standby promoted", promote, LEADS_ON),
    Fault("standby promoted beside the primary", part_and_promote, EITHER, leases=2.5),
]


def strike(fault: Fault, fleet: Fleet) -> Outcome:
    """Let a fault strike a complete fleet; wait for what comes of it, and repair the fleet.

    Raises:
        TimeoutError: nobody has led again in time, with much patience.
    """
    fault.prepare(fleet)
    fleet.pause_randomly(fleet.lease / 2)
    before = fleet.latest()
    struck = time.monotonic()
    outage = fault.strike(fleet)
    # A leader that was dropped is dead by then.
    settled = struck + 1.2 * fleet.lease
    if fault.expected == MOVES:
        fleet.wait(lambda work: work.accepted and work.term > before.term)
    else:
        fleet.wait(lambda work: work.accepted and work.moment > settled)
    outcome = _outcome(fleet, before.term, struck, outage)
    fleet.repair()
    return outcome


def _outcome(fleet: Fleet, term: int, struck: float, outage: float) -> Outcome:
    works = [work for work in fleet.works if work.accepted and work.moment > struck - 0.5]
    later = min((work.moment for work in works if work.term > term), default=math.inf)
    moments = sorted(work.moment for work in works)
    gap = max((b - a for a, b in itertools.pairwise(moments)), default=0.0)
    moved = later < math.inf
    seconds = max(later - struck - outage, 0.0) if moved else 0.0
    return Outcome(moved, seconds, outage, gap)
