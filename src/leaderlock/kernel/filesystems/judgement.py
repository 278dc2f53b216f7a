"""`Judgement`: whether flock can be trusted on a kind of file system."""

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
    """Whether flock can be trusted on a file system.

    Attributes:
        verdict: how well flock excludes the processes of one machine.
        keeper: the keeper of the lock: this machine's ``kernel`` alone, a ``server`` (so that other
            machines are excluded as well), ``nobody`` (flock fails), or ``unknown``.
        shared: whether several machines can have these files.
        explanation: the reason, in one or two sentences.
        remedy: the action to take; empty if none is needed.
    """

    verdict: Verdict
    keeper: Keeper
    shared: bool
    explanation: str
    remedy: str = ""
