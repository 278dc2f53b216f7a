"""Judges the facts about one lock: its status, with the problems and with what is hidden."""

from __future__ import annotations

from leaderlock.status.judging.hidden import hidden_from
from leaderlock.status.judging.warnings import warnings_about
from leaderlock.status.model import HolderStatus, LockStatus, ProcessStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.status.facts import Asker, LockFacts, TakerFacts


def status_from(facts: LockFacts, asker: Asker, now: float) -> LockStatus:
    """The status of a lock.

    Args:
        facts: the facts about the lock.
        asker: the process that asks.
        now: the time, in seconds since the epoch.
    """
    file = facts.file
    fields = None if facts.record is None else facts.record.fields
    holder = None if facts.taker is None else _holder(facts, facts.taker, asker)
    major, minor = file.device
    return LockStatus(
        file.path,
        None if fields is None else fields["name"],
        file.filesystem,
        f"{major}:{minor}",
        file.inode,
        holder,
        facts.waiting,
        warnings_about(facts, holder, now),
        hidden_from(asker, facts),
        file.unreadable,
    )


def _holder(facts: LockFacts, taker: TakerFacts, asker: Asker) -> HolderStatus:
    seen = taker.process
    fields = None if facts.record is None else facts.record.fields
    keepers: list[ProcessStatus] = []
    if taker.has_ended(fields):
        # A shell that keeps the lock passes it to its children, including `leaderlock status`.
        others = [carrier for carrier in facts.carriers if carrier.pid != asker.pid] or facts.carriers
        keepers = [carrier for carrier in others if carrier.pid != seen.pid]
        if all(carrier.pid != seen.pid for carrier in facts.carriers):
            seen = ProcessStatus(seen.pid, None, None, None, None, None, seen.state)
        # Otherwise only the first thread of the process has ended.
    if fields is None or not taker.wrote(fields):
        return HolderStatus(*seen, None, None, None, None, None, taker.is_frozen, keepers, taker.keeper)
    lease, last_beat = None, None
    if facts.beat is not None and facts.beat.term == fields["term"]:
        _, lease, last_beat = facts.beat
    return HolderStatus(
        *seen,
        fields["host"],
        fields["term"],
        fields["since"],
        lease,
        last_beat,
        taker.is_frozen,
        keepers,
        taker.keeper,
    )
