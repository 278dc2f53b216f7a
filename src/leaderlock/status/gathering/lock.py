"""Gathers the facts about locks whose files are open: the kernel's table, the record, the processes."""

from __future__ import annotations

import stat

from leaderlock.kernel.proc.processes import is_there, wait_for_end
from leaderlock.lock import record
from leaderlock.status.facts import (
    STUCK,
    BeatFacts,
    FileFacts,
    LockFacts,
    RecordFacts,
    TakerFacts,
    is_record_of,
)
from leaderlock.status.gathering.people import user_name
from leaderlock.status.model import Filesystem, ProcessStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from leaderlock.kernel.proc.table import FlockEntry
    from leaderlock.status.gathering.opened import Opened
    from leaderlock.status.gathering.view import View

_LOOKS = 50

_PATIENCE = (0.001, 0.005, 0.02, 0.1)
"""Seconds between looks: a new leader writes its record less than 1 ms after it acquired the lock, but
later on a busy machine."""


def facts_about(files: Sequence[Opened], view: View) -> list[LockFacts]:
    """The facts about several locks whose files are open, at one moment."""
    return [
        _facts(opened, *settled, view)
        for opened, settled in zip(files, _settled(files, view), strict=True)
    ]


def _facts(opened: Opened, entries: list[FlockEntry], content: bytes | None, view: View) -> LockFacts:
    found = None if content is None else _record(content)
    fields = None if found is None else found.fields
    waiting = [view.process(entry.pid) for entry in entries if entry.waiting]
    holding = [entry for entry in entries if not entry.waiting]
    carriers: list[int] = []
    taker, beat = None, None
    if holding:
        taker = _taker(holding[0].pid, view)
    elif view.asker.in_pid_namespace:
        # In a container, /proc/locks omits a lock if the process that took it has ended.
        carriers = view.processes_with_flock(opened.place)
        taker = _UNLISTED if carriers else None
    if taker is not None:
        if taker.has_ended(fields):
            carriers = carriers or view.processes_with_flock(opened.place)
        if taker.wrote(fields):
            beat = _beat(opened)
    people = waiting if taker is None else [taker.process, *waiting]
    return LockFacts(
        _file(opened),
        found,
        beat,
        taker,
        len(holding),
        [view.process(pid) for pid in carriers],
        waiting,
        [each.pid for each in people if each.state is None and each.pid and is_there(each.pid)],
        view.deleted_files_at(opened.path, opened.place) if opened.reached_by == opened.path else [],
    )


def _record(content: bytes) -> RecordFacts:
    fields = record.decode(content) if content else None
    return RecordFacts(
        fields, record.oddity(content) if content and fields is None else None, not content
    )


def _beat(opened: Opened) -> BeatFacts | None:
    term = opened.term()
    return None if term is None else BeatFacts(term.term, term.lease, term.last_beat)


_UNLISTED = TakerFacts(
    ProcessStatus(0, None, None, None, None, None, None), False, None, None, False, False
)


def _taker(pid: int, view: View) -> TakerFacts:
    seen = view.process(pid)
    is_frozen = view.freezers.is_frozen(pid)
    return TakerFacts(
        seen,
        bool(pid) and is_there(pid),
        view.pid_in_its_namespace(pid),
        None if seen.state is None else view.start_of(pid),
        is_frozen,
        seen.state == "D" and not is_frozen and view.is_stuck(pid, STUCK),
        view.keeper_of(pid) if pid else None,
    )


def _file(opened: Opened) -> FileFacts:
    status, mount = opened.status(), opened.mount
    return FileFacts(
        opened.path,
        opened.reached_by,
        *opened.place,
        None
        if mount is None
        else Filesystem(mount.kind, mount.mount_point, mount.source, mount.is_network),
        status.st_uid,
        user_name(status.st_uid),
        stat.S_IMODE(status.st_mode),
        opened.unreadable,
    )


def _settled(files: Sequence[Opened], view: View) -> list[tuple[list[FlockEntry], bytes | None]]:
    """The table's entries and the record of each file; read again while they do not fit together.

    One wait serves all files that do not fit, so that many foreign holders take no longer than one.
    """
    found: dict[Opened, tuple[list[FlockEntry], bytes | None]] = {}
    before: dict[Opened, tuple[int, bytes | None]] = {}
    pending, patience = list(files), list(_PATIENCE)
    for _ in range(_LOOKS):
        now = {}
        for opened in pending:
            found[opened] = entries, content = view.queue_on(opened.place), opened.content()
            if not _fit(entries, content, view):
                now[opened] = entries[0].pid, content
        # Wait only where the holder is unchanged: where the lock changes hands, the next look may fit.
        stay = [opened for opened in now if now[opened] == before.get(opened)]
        if stay and patience:
            wait_for_end(now[stay[0]][0], patience.pop(0))
            stay = []
        pending = [opened for opened in now if opened not in stay]
        if not pending:
            break
        before = now
        view.look_again()
    for opened in pending:
        found[opened] = view.queue_on(opened.place), None
    return [found[opened] for opened in files]


def _fit(entries: list[FlockEntry], content: bytes | None, view: View) -> bool:
    """Whether the holder wrote the record, or no better record can be expected."""
    if not entries or entries[0].waiting or content is None or not is_there(entries[0].pid):
        return True
    fields = record.decode(content)
    if fields is None:
        return record.oddity(content) is not None  # another program's record: it will not change
    return is_record_of(fields, entries[0].pid, view.pid_in_its_namespace(entries[0].pid))
