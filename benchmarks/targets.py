"""What was promised, and whether this run shows it. Ratios, since milliseconds are the machine's."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.cycle import RAW
from benchmarks.failover_keeper import KEPT, SPREAD
from benchmarks.failover_keeper import RAW as RAW_THREAD
from benchmarks.figure import Figure, Interval
from benchmarks.lease import HANGS
from benchmarks.memory import PREPARED
from benchmarks.requests import SERVERS
from benchmarks.status import WAYS
from benchmarks.supervised_start import BARE
from benchmarks.supervisors import BECOME, INIT, RUN, TINI

Figures = dict[str, Figure]


class Target(NamedTuple):
    """A promise: `value` is computed from the figures named in `needs`, and held against `limit`."""

    text: str
    needs: str
    value: Callable[[Figure], Interval]
    limit: float
    unit: str
    at_least: bool = False

    def is_met(self, value: Interval) -> bool:
        return value.value >= self.limit if self.at_least else value.value <= self.limit

    @property
    def wanted(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g} {self.unit}"


def _plain(contender: str) -> Callable[[Figure], Interval]:
    return lambda figure: figure.interval(contender)


def _worst(contender: str) -> Callable[[Figure], Interval]:
    def value(figure: Figure) -> Interval:
        rows = figure.rows[contender]
        return Interval(max(rows), min(rows), max(rows))

    return value


def _ratio(contender: str, base: str) -> Callable[[Figure], Interval]:
    return lambda figure: figure.ratio(contender, base)


def _ratio_of_pairs(contender: str, base: str) -> Callable[[Figure], Interval]:
    return lambda figure: figure.ratio_of_pairs(contender, base)


TARGETS = [
    *(
        Target(
            f"failover, {number} standbys, against a raw flock thread",
            f"failover-{number}",
            _ratio("leaderlock", "raw fcntl.flock"),
            1.25,
            "×",
        )
        for number in (4, 64)
    ),
    Target(
        "failover in gunicorn, against a bare flock thread",
        "failover-gunicorn",
        _ratio("leaderlock's hook", "bare flock thread"),
        1.25,
        "×",
    ),
    *(
        Target(
            f"failover with a keeper, a leader of {megabytes} MB, against a raw flock thread",
            f"failover-keeper-{megabytes}",
            _ratio(KEPT, RAW_THREAD),
            limit,
            "×",
        )
        for megabytes, limit in ((10, 0.7), (100, 0.12), (500, 0.03), (1500, 0.01))
    ),
    Target(
        "failover in gunicorn with keepers, workers of 200 MB, against a bare flock thread",
        "failover-gunicorn-keeper",
        _ratio("leaderlock's hook", "bare flock thread"),
        0.15,
        "×",
    ),
    Target(
        "failover with a keeper, a leader of 1,500 MB against one of 10 MB",
        "failover-keeper",
        _ratio(SPREAD[-1], SPREAD[0]),
        1.6,
        "×",
    ),
    Target(
        "failover, 4 standbys, faster than filelock",
        "failover-4",
        _ratio("filelock", "leaderlock"),
        8,
        "×",
        at_least=True,
    ),
    Target(
        "failover, 4 standbys, faster than portalocker",
        "failover-4",
        _ratio("portalocker", "leaderlock"),
        20,
        "×",
        at_least=True,
    ),
    Target(
        "failover with the history, against without",
        "history",
        _ratio("with history", "without history"),
        1.05,
        "×",
    ),
    *(
        target
        for server in SERVERS
        for target in [
            Target(
                f"{server}: requests with the hook, against without",
                "requests",
                _ratio_of_pairs(f"{server}, with", f"{server}, without"),
                0.98,
                "×",
                at_least=True,
            ),
            Target(
                f"{server}: the latency of 99 of 100 with the hook, against without",
                "latency",
                _ratio_of_pairs(f"{server}, with", f"{server}, without"),
                1.05,
                "×",
            ),
        ]
    ),
    Target("wakeups of a standby in 10 s, the most of any", "wakeups", _worst("leaderlock"), 0, ""),
    Target(
        "one uncontended cycle, against the raw system calls",
        "cycle",
        _ratio("leaderlock", RAW),
        3,
        "×",
    ),
    *(
        target
        for what, name in [
            ("import leaderlock", "leaderlock"),
            ("the import of LeaderLock", "leaderlock.LeaderLock"),
            ("the import of Election", "leaderlock.Election"),
        ]
        for target in (
            Target(f"{what}, over a bare interpreter", "import", _plain(name), 8, "ms"),
            Target(f"{what}, against filelock", "import", _ratio(name, "filelock"), 0.25, "×"),
        )
    ),
    Target(
        "a reporter's tick of all checks, each second",
        "reporter",
        _plain("a tick"),
        10,
        "ms",
    ),
    Target("how late such a tick begins", "reporter-lag", _plain("a tick"), 5, "ms"),
    *(
        Target(f"leaderlock {way}, 500 who wait, over python3", "status", _plain(way), 100, "ms")
        for way in WAYS
    ),
    Target("a beat of a leadership with a lease", "beat", _plain("Leadership.beat"), 10, "µs"),
    *(
        Target(
            f"a leader that {hang}: the next one leads, after the lease, the longest of 20",
            "lease",
            _worst(hang),
            100,
            "ms",
        )
        for hang in HANGS
    ),
    *(
        Target(
            f"inbox, a million messages and 20 kills: {what}", "inbox-losses", _worst(what), most, ""
        )
        for what, most in [("lost", 20), ("torn", 0), ("duplicated", 0), ("misordered", 0)]
    ),
    Target(
        "memory that a standby adds, forked, against a raw flock thread",
        "memory",
        _ratio(PREPARED, "raw fcntl.flock"),
        1,
        "×",
    ),
    Target(
        "memory that a standby adds, gunicorn",
        "memory-gunicorn",
        _plain("leaderlock's hook"),
        200,
        "KiB",
    ),
    *(
        Target(
            f"{name}: start to exit of `true`, against {BARE}",
            "supervised-start",
            _ratio(name, BARE),
            1.6,
            "×",
        )
        for name in (RUN, INIT)
    ),
    *(
        Target(f"{name}: resident memory", "supervised-memory", _worst(name), 12, "MiB")
        for name in (RUN, INIT)
    ),
    Target(f"{BECOME}: memory beside the command", "supervised-memory", _worst(BECOME), 0, "MiB"),
    *(
        Target(
            f"{name}: a signal's way to the command, against {TINI}",
            "supervised-signals",
            _ratio(name, TINI),
            5,
            "×",
        )
        for name in (RUN, INIT)
    ),
]
