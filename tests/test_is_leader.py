"""`leaderlock.is_leader`: whether this process leads, asked by code that is not the task's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from leaderlock import Election, LeaderLock, Leadership, is_leader
from tests.processes import PATIENCE, forked, holder, until, until_parked


def lead_until_asked(leadership: Leadership) -> None:
    leadership.stopping.wait()


def test_the_leader_says_so_by_name_by_path_and_in_general(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADERLOCK_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.lock").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    election = Election(name="health")
    assert not is_leader()
    candidate = election.start(lead_until_asked)
    assert candidate.wait(PATIENCE)
    try:
        assert is_leader()
        for name in ("health", election.lock.path, Path("health.lock"), "./link/health.lock"):
            assert is_leader(name), name
        for name in ("other", "health.lock.", tmp_path / "other.lock", tmp_path / "missing"):
            assert not is_leader(name), name
        with pytest.raises(ValueError, match="must name a lock"):
            is_leader("a\0b")
    finally:
        assert candidate.stop(PATIENCE)
    assert not is_leader()
    assert not is_leader("health")


def test_a_path_is_no_name(tmp_path: Path) -> None:
    candidate = Election(tmp_path / "health.lock").start(lead_until_asked)
    assert candidate.wait(PATIENCE)
    try:
        assert is_leader(tmp_path / "health.lock")
        assert not is_leader("health"), "another lock may have this name"
    finally:
        assert candidate.stop(PATIENCE)


def test_an_anonymous_lock_has_its_name() -> None:
    candidate = Election(LeaderLock.anonymous(name="health")).start(lead_until_asked)
    assert candidate.wait(PATIENCE)
    try:
        assert is_leader("health")
        assert not is_leader("else")
    finally:
        assert candidate.stop(PATIENCE)


def test_what_is_neither_a_name_nor_a_path_is_refused() -> None:
    with pytest.raises(TypeError):
        is_leader(3)  # type: ignore[arg-type]


def test_a_standby_does_not_lead(path: Path) -> None:
    with holder(path):
        candidate = Election(path).start(lead_until_asked)
        until_parked(path, os.getpid())
        assert not is_leader()
        assert not is_leader(path)
        assert candidate.stop(PATIENCE)


def test_a_leadership_that_is_held_on_to_after_the_task_counts(path: Path) -> None:
    candidate = Election(path).start(lambda leadership: None)
    assert candidate.wait(PATIENCE)
    until(lambda: candidate._ended, "the task to return")
    assert is_leader(path)
    assert candidate.stop(PATIENCE)
    assert not is_leader(path)


def test_of_two_leaderships_each_is_asked_for_by_itself(tmp_path: Path) -> None:
    first, second = (Election(tmp_path / name).start(lead_until_asked) for name in "ab")
    assert first.wait(PATIENCE)
    assert second.wait(PATIENCE)
    assert first.stop(PATIENCE)
    assert is_leader()
    assert not is_leader(tmp_path / "a")
    assert is_leader(tmp_path / "b")
    assert second.stop(PATIENCE)


def test_a_forked_child_of_the_leader_does_not_lead(path: Path) -> None:
    candidate = Election(path).start(lead_until_asked)
    assert candidate.wait(PATIENCE)
    try:
        assert forked(lambda: not is_leader() and not is_leader(path)) == 0
        assert is_leader(path)
    finally:
        assert candidate.stop(PATIENCE)


@pytest.mark.parametrize("replace", [Path.unlink, lambda path: path.with_suffix(".new").rename(path)])
def test_a_leader_whose_file_is_gone_does_not_lead(
    path: Path, replace: Callable[[Path], object]
) -> None:
    path.with_suffix(".new").touch(0o600)
    answers: list[bool] = []

    def task(leadership: Leadership) -> None:
        if not answers:
            replace(path)
            answers.append(is_leader())  # at once, whoever has noticed

    candidate = Election(path, on_return="resign", backoff=(0.001, 0.001)).start(task)
    until(lambda: candidate.state == "resigned", "it to lead anew")
    assert answers == [False]


def test_a_block_of_a_coroutine_leads(path: Path) -> None:
    async def main() -> None:
        async with Election(path).lead():
            assert is_leader(path)
            assert await asyncio.to_thread(is_leader, path)
        assert not is_leader(path)

    asyncio.run(main())
