"""What crosses to another process by pickle, as arguments and results of `multiprocessing` do."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import stat
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from leaderlock import Election, LeaderLock, Leadership, LockTimeout, only_once


def test_a_pickled_lock_is_the_same_path_and_not_held(path: Path) -> None:
    lock = LeaderLock(path, mode=0o640)
    with lock:
        other = pickle.loads(pickle.dumps(lock))
        assert other.path == lock.path
        assert not other.locked()
        assert not other.acquire(blocking=False)
    with other:
        assert other.term == 2
    path.unlink()
    with other:
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_pickled_lock_keeps_its_timeout(path: Path) -> None:
    lock = pickle.loads(pickle.dumps(LeaderLock(path, timeout=0)))
    with LeaderLock(path), pytest.raises(LockTimeout), lock:
        pytest.fail("it is held")


def test_a_pickled_lock_of_a_name_is_still_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADERLOCK_DIR", str(tmp_path / "one"))
    pickled = pickle.dumps(LeaderLock(name="job"))
    monkeypatch.setenv("LEADERLOCK_DIR", str(tmp_path / "other"))
    assert pickle.loads(pickled).path == str(tmp_path / "other" / "job.lock")


def test_a_copied_lock_is_another_object_for_the_same_path(path: Path) -> None:
    lock = LeaderLock(path)
    with lock:
        assert not copy.deepcopy(lock).acquire(blocking=False)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_election_is_pickled_with_its_settings(path: Path, protocol: int) -> None:
    election = Election(path, lease=30, on_return="resign", backoff=(0.5, 2), on_elected=print)
    other = pickle.loads(pickle.dumps(election, protocol))
    assert isinstance(other, Election)
    assert other.lock.path == str(path)
    assert other.settings.switch is not None
    assert other.settings.switch.lease == 30
    assert (other.settings.on_return, other.settings.backoff) == ("resign", (0.5, 2))
    assert (other.settings.on_elected, other.settings.on_resigned) == (print, None)


def test_an_anonymous_lock_is_not_pickled_and_says_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"memfd:leaderlock cannot be pickled.*use a path"):
        pickle.dumps(Election(LeaderLock.anonymous()))


def test_a_candidate_and_a_leadership_are_not_pickled_and_say_what_to_do(path: Path) -> None:
    refused: list[str] = []

    def try_to_pickle(leadership: Leadership) -> None:
        with pytest.raises(TypeError, match="hand the Election") as error:
            pickle.dumps(leadership)
        refused.append(str(error.value))

    candidate = Election(path).start(try_to_pickle)
    try:
        assert candidate.wait(60)
        with pytest.raises(TypeError, match=f"a Candidate cannot be pickled.*process {os.getpid()}"):
            pickle.dumps(candidate)
    finally:
        candidate.stop()
    assert refused


@only_once(name="of-the-tests-of-pickling")
def report() -> None:
    return


def lock_name(start: object) -> str:
    """The lock that a decorated function has in this process."""
    once = start.__closure__[0].cell_contents  # type: ignore[attr-defined]
    path: str = once._election.lock.path
    return path


def test_a_decorated_function_is_pickled_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADERLOCK_DIR", str(tmp_path / "locks"))
    assert pickle.loads(pickle.dumps(report)) is report
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(lock_name, report).result() == lock_name(report)


def test_a_pool_says_why_it_cannot_hand_back_a_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADERLOCK_DIR", str(tmp_path / "locks"))
    with (
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
        pytest.raises(TypeError, match="a Candidate cannot be pickled"),
    ):
        pool.submit(report).result()


OF_VERSION_0_1 = b"""cfunctools
partial
p0
(cleaderlock.election
Election
p1
tp2
Rp3
(g1
(ccopy_reg
_reconstructor
p4
(cleaderlock.lock
LeaderLock
p5
c__builtin__
object
p6
Ntp7
Rp8
(V/tmp/x/leader.lock
p9
NI384
Vrefuse
p10
tp11
btp12
(dp13
Vlease
p14
I30
sVon_return
p15
Vresign
p16
sVbackoff
p17
(F0.5
I2
tp18
sVon_elected
p19
c__builtin__
print
p20
sVon_resigned
p21
NsNtp22
b(tRp23
."""
"""An election of ``/tmp/x/leader.lock``, with a lease, a backoff and a callback."""


def test_an_election_that_version_0_1_pickled_is_still_one() -> None:
    election = pickle.loads(OF_VERSION_0_1)
    assert isinstance(election, Election)
    assert election.lock.path == "/tmp/x/leader.lock"
    assert election.settings.switch is not None
    assert election.settings.switch.lease == 30
    assert election.settings.backoff == (0.5, 2)
    assert election.settings.on_elected is print
