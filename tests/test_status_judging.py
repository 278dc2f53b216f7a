"""`status` judges facts that were gathered before: plain values in, a status out, no look anywhere."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import leaderlock.status.judging
from leaderlock.status.facts import (
    Asker,
    BeatFacts,
    FileFacts,
    LockFacts,
    RecordFacts,
    Rival,
    SearchFacts,
    TakerFacts,
)
from leaderlock.status.judging.hidden import unsearched_by
from leaderlock.status.judging.lock import status_from
from leaderlock.status.model import LockStatus, ProcessStatus
from leaderlock.status.text import lines_about

NOW = 1_000_000.0

ASKER = Asker(9, "root", in_pid_namespace=False, hidepid=None, sees_whole_queue=True, kernel="6.1.0")
FILE = FileFacts("/run/l", "/run/l", (8, 1), 7, None, 1000, "app", 0o600, None)
FIELDS: dict[str, Any] = {"pid": 417, "term": 5, "host": "h", "name": "beat", "since": NOW - 60}
RECORD = RecordFacts(FIELDS, None, is_empty=False)


def process(pid: int, state: str | None = "S") -> ProcessStatus:
    if state is None:
        return ProcessStatus(pid, None, None, None, None, None, None)
    return ProcessStatus(pid, f"worker {pid}", "app", 1000, None, "/app.slice", state)


TAKER = TakerFacts(process(417), True, 417, NOW - 100, is_frozen=False, is_stuck=False)


def facts(**changed: Any) -> LockFacts:
    """The facts about a healthy lock with one holder, and what is changed."""
    return LockFacts(FILE, RECORD, BeatFacts(5, None, None), TAKER, 1, [], [], [], [])._replace(
        **changed
    )


def judged(asker: Asker = ASKER, **changed: Any) -> LockStatus:
    return status_from(facts(**changed), asker, NOW)


def codes(status: LockStatus) -> list[str]:
    return [warning.code for warning in status.warnings]


def test_a_healthy_lock_has_no_warning_and_hides_nothing() -> None:
    status = judged()
    assert status.holder is not None
    assert (status.holder.pid, status.holder.term, status.name) == (417, 5, "beat")
    assert (status.device, status.warnings, status.hidden) == ("8:1", [], None)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"taker": TAKER._replace(process=process(417, "T"))}, "leader-stopped"),
        ({"taker": TAKER._replace(process=process(417, "T"), is_frozen=True)}, "leader-frozen"),
        ({"taker": TAKER._replace(process=process(417, "D"), is_stuck=True)}, "leader-uninterruptible"),
        ({"taker": TAKER._replace(process=process(417, "Z"))}, "leader-zombie"),
        ({"taker": TAKER._replace(process=process(417, "Z")), "carriers": [process(500)]},
         "kept-by-orphan"),
        ({"taker": TAKER._replace(process=process(417, None), exists=False)}, "kept-by-orphan"),
        ({"record": RECORD._replace(fields={**FIELDS, "pid": 400}), "beat": None}, "foreign-holder"),
        ({"record": RecordFacts(None, "term", is_empty=False), "beat": None}, "record-odd"),
        ({"record": RecordFacts(None, None, is_empty=False), "beat": None, "taker": None},
         "record-corrupt"),
        ({"file": FILE._replace(mode=0o606)}, "world-writable"),
        ({"file": FILE._replace(owner=1001)}, "foreign-owner"),
        ({"rivals": [Rival(300, "/proc/300/fd/3")]}, "file-deleted"),
        ({"file": FILE._replace(path="/run/l (deleted)", reached_by="/proc/417/fd/3")}, "file-deleted"),
    ],
)  # fmt: skip
def test_each_problem_follows_from_its_facts(changed: dict[str, Any], code: str) -> None:
    assert codes(judged(**changed)) == [code]


@pytest.mark.parametrize(
    "changed",
    [
        {"taker": TAKER._replace(process=process(417, "D"))},  # a write to a disk
        {"record": RecordFacts(None, None, is_empty=True), "beat": None, "taker": None},  # a new file
        {"record": RECORD._replace(fields={**FIELDS, "pid": 3}), "taker": TAKER._replace(own_pid=3)},
        {"file": FILE._replace(owner=0)},
        {"file": FILE._replace(path="memfd:l", reached_by="/proc/417/fd/3", mode=0o777)},
    ],
)
def test_what_only_looks_like_a_problem_is_none(changed: dict[str, Any]) -> None:
    assert codes(judged(**changed)) == []


@pytest.mark.parametrize(("silence", "is_late"), [(7.9, False), (8.1, True)])
def test_a_leader_is_late_after_four_fifths_of_its_lease(silence: float, is_late: bool) -> None:
    status = judged(beat=BeatFacts(5, 10.0, NOW - silence))
    assert codes(status) == ["lease-late"] * is_late


def test_the_lease_of_an_earlier_term_does_not_count() -> None:
    status = judged(beat=BeatFacts(4, 10.0, NOW - 3600))
    assert status.holder is not None
    assert (status.holder.lease, codes(status)) == (None, [])


@pytest.mark.parametrize(("later", "is_another"), [(2.0, False), (4.0, True)])
def test_a_process_that_is_younger_than_its_term_is_another_one(later: float, is_another: bool) -> None:
    taker = TAKER._replace(started=FIELDS["since"] + later)
    status = judged(taker=taker, carriers=[process(500)])
    assert status.holder is not None
    assert [keeper.pid for keeper in status.holder.kept_by] == [500] * is_another
    assert (status.holder.command is None) == is_another


def test_the_asking_process_keeps_a_lock_only_if_nobody_else_does() -> None:
    ended = TAKER._replace(process=process(417, None), exists=False)
    for carriers, kept_by in (([9, 500], [500]), ([9], [9])):
        holder = judged(taker=ended, carriers=[process(pid) for pid in carriers]).holder
        assert holder is not None
        assert [keeper.pid for keeper in holder.kept_by] == kept_by


@pytest.mark.parametrize(
    ("asker", "changed", "text"),
    [
        ({}, {"file": FILE._replace(unreadable="Permission denied")}, "ask as root or as user app"),
        ({"hidepid": "hidepid=2"}, {"unseen": [417]}, "command and user of process 417"),
        ({"in_pid_namespace": True}, {"taker": None}, "ask on the host"),
        ({"sees_whole_queue": False}, {"waiting": [process(500)]}, "Linux 6.1.0 does not show them"),
    ],
)
def test_the_status_names_what_it_hides(
    asker: dict[str, Any], changed: dict[str, Any], text: str
) -> None:
    assert judged(ASKER._replace(**asker)).hidden is None
    hidden = judged(ASKER._replace(**asker), **changed).hidden
    assert hidden is not None
    assert text in hidden


def test_a_search_names_the_places_where_it_could_not_look() -> None:
    assert unsearched_by(ASKER, SearchFacts([], [], 0)) is None
    text = unsearched_by(ASKER, SearchFacts([], ["/a"], 2))
    assert text is not None
    assert text.startswith("the locks in /a and 2 locked files of other users")


def test_the_text_tells_the_time_that_has_passed_until_the_look() -> None:
    lines = dict(lines_about(judged(), NOW))
    assert lines["since"].endswith("(1 min ago)")
    assert dict(lines_about(judged(), NOW + 3605))["since"].endswith("(1 h 1 min 5 s ago)")


def test_judging_has_no_way_to_look() -> None:
    """It imports nothing that could open a file, read /proc or tell the time."""
    allowed = ("__future__", "stat", "typing", "leaderlock.status.facts", "leaderlock.status.model")
    folder = Path(leaderlock.status.judging.__file__).parent
    modules = {file.stem for file in folder.glob("*.py")}
    assert {"lock", "warnings", "hidden"} <= modules
    for file in (*folder.glob("*.py"), folder.parent / "facts.py", folder.parent / "model.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(
                ("leaderlock.status.judging.", "collections.abc")
            ):
                assert node.module in allowed, f"{file.name} imports {node.module}"
            elif isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= set(allowed), file.name
            elif isinstance(node, ast.Name):
                assert node.id not in ("open", "__import__"), f"{file.name} uses {node.id}"
