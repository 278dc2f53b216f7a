"""`Judgement`: what flock is worth on a kind of file system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["good", "doubtful", "broken"]
Keeper = Literal["kernel", "server", "nobody", "unknown"]

ALLOW = "choose a path in /run, or pass on_network_filesystem='allow' if one machine is all you have"
ELSEWHERE = "choose a path on a local file system, such as /run"
ACROSS = "across machines use an engine (PostgreSQL, ZooKeeper, etcd, Redis)"


@dataclass(frozen=True)
class Judgement:
    """What flock is worth on a file system.

    Attributes:
        verdict: for processes of one machine.
        keeper: who keeps the lock: this machine's ``kernel`` alone, a ``server`` (so that other
            machines are excluded as well), ``nobody`` (flock fails), or ``unknown``.
        shared: whether several machines can have these files.
        explanation: one or two sentences.
        remedy: what to do; empty if there is nothing to do.
    """

    verdict: Verdict
    keeper: Keeper
    shared: bool
    explanation: str
    remedy: str = ""
