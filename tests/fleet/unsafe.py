"""Elections that are not safe, each by one rule that is left out: the witness must notice each of them.

A variant patches the library in the process of a candidate. Nothing of this is in leaderlock itself.
"""

from __future__ import annotations

import http.client
import json
import math
import time
from collections.abc import Callable
from typing import NamedTuple

from leaderlock.errors import LeadershipLost


class Variant(NamedTuple):
    """A rule that is left out.

    Attributes:
        what: for tables.
        patch: called in a candidate before it makes its election.
    """

    what: str
    patch: Callable[[], None]


def replace(owner: object, name: str, by: object) -> None:
    """Replace a part of the library in this process; an error if there is no such part."""
    getattr(owner, name)
    setattr(owner, name, by)


def no_timers() -> None:
    """The kernel kills nobody: neither a leader whose lease has passed, nor one whose task hangs."""
    from leaderlock.kernel.timer import Timer

    def do_nothing(self: Timer, moment: float = 0) -> None:
        """In place of `Timer.expire_at` and `Timer.rewind`."""

    for name in ("expire_at", "rewind"):
        replace(Timer, name, do_nothing)


def lock_only() -> None:
    """PostgreSQL: whoever has the advisory lock leads at once; nobody waits for the end of a lease."""
    from leaderlock.engines.postgresql import statements
    from leaderlock.engines.postgresql.candidacy import Candidacy

    def do_not_wait(self: Candidacy) -> str | None:
        """In place of `Candidacy._wait_for_end`."""
        [(changes, *_)] = self._link.query(statements.INSPECT, self._names.row, "0")
        return changes

    replace(Candidacy, "_wait_for_end", do_not_wait)


def reads_confirm() -> None:
    """ZooKeeper: that the node is still there confirms a leader, whichever server says so."""
    from leaderlock.engines.zookeeper.session import ZooKeeperSession

    def look(self: ZooKeeperSession) -> float:
        """In place of `ZooKeeperSession.renew`."""
        sent = time.monotonic()
        if self._ask(lambda client: client.exists_async(self._node)) is None:
            raise LeadershipLost("the node is gone")
        return sent

    replace(ZooKeeperSession, "renew", look)


def keepalive_confirms() -> None:
    """etcd: an answer to LeaseKeepAlive confirms a leader, and the key keeps its first lease."""
    from leaderlock.engines.etcd import candidacy
    from leaderlock.engines.etcd.session import EtcdSession
    from leaderlock.engines.leased.notes import Request

    # What a leader asks before each renewal needs the majority, and would tell it of its loss.
    replace(Request, "heed", lambda *_: False)
    # Such a leader does not change its key, so its candidates wait for etcd to delete it.
    replace(candidacy, "_MARGIN", math.inf)

    def keep_alive(self: EtcdSession) -> float:
        """In place of `EtcdSession.renew`."""
        error: OSError | None = None
        for host, port in self._engine.location.hosts:
            connection = http.client.HTTPConnection(host, port, timeout=self._engine.session / 3)
            sent = time.monotonic()
            try:
                connection.request("POST", "/v3/lease/keepalive", json.dumps({"ID": self._lease}))
                answer = json.loads(connection.getresponse().read())
            except OSError as failed:
                error = failed
                continue
            finally:
                connection.close()
            if int(answer.get("result", {}).get("TTL", 0)) <= 0:
                raise LeadershipLost("the lease has ended")
            return sent
        raise error or OSError("the URL names no host")

    replace(EtcdSession, "renew", keep_alive)


def no_quarantine() -> None:
    """Redis: a server that has started anew elects at once, though it may have forgotten a leader."""
    from leaderlock.engines.redis import scripts, session

    rule = "  left = math.max(my_lease, lease)\n  write('', term, left)\n"
    assert rule in scripts.ATTEMPT
    replace(session, "ATTEMPT", scripts.ATTEMPT.replace(rule, "  left, is_known = 0, true\n"))


VARIANTS = {
    "no dead-man": Variant("the kernel kills no leader whose lease has passed", no_timers),
    "lock only": Variant("the advisory lock alone decides", lock_only),
    "reads": Variant("a read confirms a leader", reads_confirm),
    "keepalive": Variant("a keepalive confirms a leader", keepalive_confirms),
    "no quarantine": Variant("a new server elects at once", no_quarantine),
}


class Case(NamedTuple):
    """A fault that shows that a variant is not safe.

    Attributes:
        variant: a name of `VARIANTS`.
        kind: a name of `tests.fleet.matrix.KINDS`.
        fault: the name of one of its faults.
    """

    variant: str
    kind: str
    fault: str


CASES = [
    Case("no dead-man", "PostgreSQL", "stopped (SIGSTOP)"),
    Case("no dead-man", "ZooKeeper", "stopped (SIGSTOP)"),
    Case("no dead-man", "etcd", "stopped (SIGSTOP)"),
    Case("no dead-man", "Redis", "stopped (SIGSTOP)"),
    Case("lock only", "PostgreSQL", "link cut, server crashed"),
    Case("reads", "ZooKeeper, a node of one's own", "own node parted"),
    Case("keepalive", "etcd, a node of one's own", "own node parted, and stutters"),
    Case("no quarantine", "Redis", "link cut, server crashed"),
]
