"""`Election`, `Candidate`, `Leadership`: who leads, when that passes on, and how it ends."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from leaderlock import (
    Candidate,
    CorruptLockFile,
    Election,
    LeaderLock,
    LeaderLockError,
    Leadership,
    LeadershipLost,
    LockFileUnusable,
    Unsupported,
    current_leadership,
)
from tests.processes import (
    PATIENCE,
    Child,
    flocks_of,
    holder,
    run_task,
    threads_of,
    until,
    until_parked,
)

SOON = PATIENCE


def lead_until_asked(leadership: Leadership) -> None:
    leadership.stopping.wait()


@pytest.fixture
def start(path: Path) -> Iterator[Callable[..., Candidate]]:
    """Starts candidates for `path`, and stops them at the end."""
    candidates = []

    def start(task: Callable[[Leadership], object] = lead_until_asked, **settings: object) -> Candidate:
        candidate = Election(path, **settings).start(task)  # type: ignore[arg-type]
        candidates.append(candidate)
        return candidate

    yield start
    for candidate in candidates:
        assert candidate.stop(SOON)
    assert flocks_of(path) == [] if path.exists() else True


# Settings and tasks that cannot be.


@pytest.mark.parametrize("task", [None, 3, "task", [], object()])
def test_a_task_that_is_not_callable_is_refused_before_anything_waits(path: Path, task: object) -> None:
    for way in (Election(path).run, Election(path).start):
        with pytest.raises(TypeError, match="the task must be a function"):
            way(task)  # type: ignore[arg-type]
    assert not path.exists()


def test_a_task_without_an_argument_is_refused(path: Path) -> None:
    class Tasks:
        def bound(self) -> None: ...

    for task in (lambda: None, Tasks().bound):
        with pytest.raises(TypeError, match="must take one argument"):
            Election(path).start(task)  # type: ignore[arg-type]


def test_a_coroutine_function_is_refused(path: Path) -> None:
    async def task(leadership: Leadership) -> None: ...

    with pytest.raises(TypeError, match="coroutine"):
        Election(path).start(task)


BAD: list[tuple[dict[str, object], type[Exception], str]] = [
    ({"lease": 0}, ValueError, "lease"),
    ({"lease": -1}, ValueError, "lease"),
    ({"lease": float("nan")}, ValueError, "lease"),
    ({"lease": 0.01}, ValueError, "at least 0.1"),
    ({"on_return": "stay"}, ValueError, "on_return"),
    ({"backoff": 3}, TypeError, "backoff"),
    ({"backoff": (1, 2, 3)}, TypeError, "backoff"),
    ({"backoff": (0, 1)}, ValueError, "backoff"),
    ({"backoff": (-1, 1)}, ValueError, "backoff"),
    ({"backoff": (2, 1)}, ValueError, "backoff"),
    ({"backoff": (1, float("inf"))}, ValueError, "backoff"),
    ({"backoff": (float("nan"), 1)}, ValueError, "backoff"),
    ({"on_elected": 3}, TypeError, "on_elected must be a function"),
    ({"on_resigned": "x"}, TypeError, "on_resigned must be a function"),
    ({"name": "both"}, TypeError, "one of the two"),
]


@pytest.mark.parametrize(("arguments", "kind", "words"), BAD, ids=[str(bad[0]) for bad in BAD])
def test_settings_that_cannot_be_are_refused(
    path: Path, arguments: dict[str, object], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        Election(path, **arguments)  # type: ignore[arg-type]


def test_the_url_of_an_unknown_engine_is_refused_and_not_taken_for_a_path() -> None:
    with pytest.raises(Unsupported, match="no engine 'mysql'"):
        Election("mysql://host/db#job")
    with pytest.raises(Unsupported, match="did you mean postgresql"):
        Election("postgressql://user:secret@host/db#job")
    with pytest.raises(ValueError, match="names no host"):
        Election("postgresql:///db#job")


def test_a_lock_and_a_name_together_are_refused(path: Path) -> None:
    with pytest.raises(TypeError, match="one of the two"):
        Election(LeaderLock(path), name="x")


def test_a_file_that_cannot_be_used_is_an_error_at_the_start(tmp_path: Path) -> None:
    for way in (Election(tmp_path / "no" / "x").run, Election(tmp_path / "no" / "x").start):
        with pytest.raises(LockFileUnusable, match=str(tmp_path)):
            way(lead_until_asked)


# One leader.


def test_the_only_candidate_leads_and_its_task_knows_its_term(
    path: Path, start: Callable[..., Candidate]
) -> None:
    seen: list[Leadership] = []
    began = time.time()

    def task(leadership: Leadership) -> None:
        seen.append(leadership)
        leadership.stopping.wait()

    candidate = start(task)
    assert candidate.wait(SOON)
    assert (candidate.is_leader, candidate.state) == (True, "leading")
    until(lambda: seen)
    assert seen[0].term == 1
    assert began - 1 <= seen[0].since <= time.time() + 1
    assert isinstance(seen[0].stopping, threading.Event)
    seen[0].check()
    record = LeaderLock(path).holder()
    assert record is not None
    assert (record.pid, record.term) == (os.getpid(), 1)


def test_of_two_candidates_one_leads_and_the_other_follows(start: Callable[..., Candidate]) -> None:
    first = start()
    assert first.wait(SOON)
    second = start()
    assert not second.wait(0.1)
    assert (second.is_leader, second.state) == (False, "standby")
    assert first.stop(SOON)
    assert first.state == "stopped"
    assert second.wait(SOON)
    assert (second.is_leader, second.state) == (True, "leading")


STAND = """
def task(leadership):
    os.write(1, b'%d %d\\n' % (os.getpid(), leadership.term))
    leadership.stopping.wait()
candidate = leaderlock.Election(argv[0]).start(task)
"""


def test_of_four_processes_one_leads_and_each_sigkill_makes_the_next_one_lead(path: Path) -> None:
    children = [Child(path) for _ in range(4)]
    try:
        children[0].tell(STAND)
        assert children[0].line() == f"{children[0].pid} 1"
        for child in children[1:]:
            child.tell(STAND)
            until_parked(path, child.pid)
        for term, (leader, following) in enumerate(pairwise(children), 2):
            leader.kill()
            assert following.line() == f"{following.pid} {term}"
            leading = [child for child in children if child.pid in dict(flocks_of(path))]
            assert [child for child in leading if (child.pid, False) in flocks_of(path)] == [following]
    finally:
        for child in children:
            child.__exit__(None, None, None)


def test_a_sigterm_that_nobody_handles_passes_the_leadership_on(path: Path) -> None:
    with Child(path) as first, Child(path) as second:
        first.tell(STAND)
        assert first.line().endswith(" 1")
        second.tell(STAND)
        until_parked(path, second.pid)
        first.signal(signal.SIGTERM)
        assert first.wait() == -signal.SIGTERM
        assert second.line() == f"{second.pid} 2"


def test_run_campaigns_in_this_thread_and_returns_what_the_task_returns(path: Path) -> None:
    here = threading.get_ident()
    election = Election(path, on_return="resign")
    assert run_task(election, lambda leadership: (leadership.term, threading.get_ident())) == (1, here)
    assert run_task(election, lambda leadership: leadership.term) == 2
    assert flocks_of(path) == []


def test_a_foreground_campaign_waits_for_its_turn(path: Path) -> None:
    with holder(path) as other, Child(path) as child:
        child.begin(
            "leaderlock.Election(argv[0], on_return='resign').run(lambda leadership: leadership.term)"
        )
        until_parked(path, child.pid)
        other.kill()
        assert child.answer() == 2


def test_a_keyboard_interrupt_ends_a_foreground_campaign_and_passes_the_leadership_on(
    path: Path,
) -> None:
    with Child(path) as child, holder(path) as other:
        child.begin("leaderlock.Election(argv[0]).run(lambda leadership: None)")
        until_parked(path, child.pid)
        child.signal(signal.SIGINT)
        with pytest.raises(Exception, match="KeyboardInterrupt"):
            child.answer()
        other.tell("lock.release()")
        child.begin(
            "def task(leadership):\n"
            "    os.write(1, b'leads\\n')\n"
            "    leadership.stopping.wait()\n"
            "leaderlock.Election(argv[0]).run(task)"
        )
        assert child.line() == "leads"
        child.signal(signal.SIGINT)
        with pytest.raises(Exception, match="KeyboardInterrupt"):
            child.answer()
        assert flocks_of(path) == []


# A task that returns.


def test_a_task_that_returns_holds_the_leadership(path: Path, start: Callable[..., Candidate]) -> None:
    done = threading.Event()
    first = start(lambda leadership: done.set())
    assert done.wait(SOON)
    ran_twice = threading.Event()
    second = start(lambda leadership: ran_twice.set())
    assert not second.wait(0.2)
    assert (first.state, second.state) == ("leading", "standby")
    assert not ran_twice.is_set()
    assert current_leadership() is not None
    assert first.stop(SOON)
    assert (first.state, first.is_leader) == ("stopped", False)
    assert second.wait(SOON)


def test_a_task_that_returns_resigns_if_told_so(path: Path, start: Callable[..., Candidate]) -> None:
    first = start(lambda leadership: None, on_return="resign")
    until(lambda: first.state == "resigned")
    assert first.wait(0)  # it has done its work
    assert not first.is_leader
    second = start()
    assert second.wait(SOON)
    assert first.stop(SOON)
    assert first.state in ("resigned", "stopped")


def test_a_process_that_holds_on_after_run_does_not_run_a_second_task(path: Path) -> None:
    with Child(path) as child:
        child.tell("election = leaderlock.Election(argv[0])")
        assert child.tell("election.run(lambda leadership: leadership.term)") == 1
        assert flocks_of(path) == [(child.pid, False)]
        with pytest.raises(Exception, match="LeaderLockError") as caught:
            child.tell("election.run(lambda leadership: leadership.term)")
        assert "on_return='resign'" in str(caught.value)


# A task that fails.


def test_a_failing_task_is_logged_and_the_leadership_passes_on(
    path: Path, start: Callable[..., Candidate], caplog: pytest.LogCaptureFixture
) -> None:
    failed = threading.Event()

    def fail(leadership: Leadership) -> None:
        failed.set()
        raise ZeroDivisionError("on purpose")

    first = start(fail, backoff=(300, 300))
    assert failed.wait(SOON)
    second = start()
    assert second.wait(SOON)
    until(lambda: first.state == "standby")
    assert not first.is_leader
    assert not first.wait(0)
    record = next(record for record in caplog.records if "the task failed" in record.getMessage())
    assert (record.name, record.levelno) == ("leaderlock", logging.ERROR)
    assert record.exc_info is not None
    assert "term 1" in record.getMessage()
    assert str(path) in record.getMessage()
    begin = time.monotonic()
    assert first.stop(SOON)  # in the middle of its backoff
    assert time.monotonic() - begin < 60


def test_a_task_that_always_fails_never_spins_and_the_backoff_doubles(
    start: Callable[..., Candidate],
) -> None:
    begins: list[float] = []

    def fail(leadership: Leadership) -> None:
        begins.append(time.monotonic())
        raise ZeroDivisionError

    start(fail, backoff=(0.05, 2))
    until(lambda: len(begins) >= 6)
    pauses = [later - earlier for earlier, later in pairwise(begins)]
    for pause, least in zip(pauses, [0.05, 0.1, 0.2, 0.4, 0.8], strict=False):
        assert pause >= least


def test_a_term_that_lasted_longer_than_the_most_begins_the_backoff_anew(
    start: Callable[..., Candidate],
) -> None:
    begins: list[float] = []
    ends: list[float] = []

    def fail(leadership: Leadership) -> None:
        begins.append(time.monotonic())
        if len(begins) == 5:
            leadership.wait(3)
        ends.append(time.monotonic())
        raise ZeroDivisionError

    start(fail, backoff=(0.2, 2))
    until(lambda: len(begins) >= 6)
    assert begins[4] - ends[3] >= 1.6
    # As the first time, though the machine may be slow.
    assert begins[5] - ends[4] < begins[4] - ends[3]


def test_a_failing_on_elected_is_a_failing_task(
    start: Callable[..., Candidate], caplog: pytest.LogCaptureFixture
) -> None:
    ran = threading.Event()

    def on_elected(leadership: Leadership) -> None:
        raise ZeroDivisionError

    first = start(lambda leadership: ran.set(), on_elected=on_elected, backoff=(300, 300))
    until(lambda: "the task failed" in caplog.text)
    second = start()
    assert second.wait(SOON)
    assert not ran.is_set()
    assert first.state == "standby"


def test_a_failing_on_resigned_is_logged_and_the_resignation_stands(
    start: Callable[..., Candidate], caplog: pytest.LogCaptureFixture
) -> None:
    def on_resigned(leadership: Leadership) -> None:
        raise ZeroDivisionError

    first = start(on_resigned=on_resigned)
    assert first.wait(SOON)
    assert first.stop(SOON)
    assert first.state == "stopped"
    assert "on_resigned failed" in caplog.text
    assert start().wait(SOON)


def test_the_callbacks_frame_the_term(path: Path, start: Callable[..., Candidate]) -> None:
    steps: list[tuple[str, int, bool]] = []

    def note(step: str) -> Callable[[Leadership], None]:
        def call(leadership: Leadership) -> None:
            held = bool([entry for entry in flocks_of(path) if entry == (os.getpid(), False)])
            steps.append((step, leadership.term, held))

        return call

    first = start(
        note("task"), on_return="resign", on_elected=note("elected"), on_resigned=note("resigned")
    )
    until(lambda: len(steps) == 3)
    assert steps == [("elected", 1, True), ("task", 1, True), ("resigned", 1, False)]
    assert first.stop(SOON)


def test_a_task_may_end_its_thread_by_system_exit(path: Path, start: Callable[..., Candidate]) -> None:
    def task(leadership: Leadership) -> None:
        raise SystemExit

    first = start(task)
    until(lambda: first.state == "stopped")
    assert start().wait(SOON)


# stop().


def test_a_standby_that_is_stopped_leaves_the_queue_at_once(
    path: Path, start: Callable[..., Candidate]
) -> None:
    with holder(path) as other:
        candidate = start()
        until_parked(path, os.getpid())
        assert candidate.stop(SOON)
        assert candidate.state == "stopped"
        assert flocks_of(path) == [(other.pid, False)]
        assert not candidate.wait(0)
        assert candidate.stop(0)  # once more does no harm


def test_those_who_wait_for_a_candidate_that_is_stopped_learn_it(
    path: Path, start: Callable[..., Candidate]
) -> None:
    answers: list[bool] = []
    with holder(path):
        candidate = start()
        waiting = threading.Thread(target=lambda: answers.append(candidate.wait()))
        waiting.start()
        assert candidate.stop(SOON)
        waiting.join(SOON)
    assert answers == [False]


def test_a_leader_that_is_stopped_asks_its_task_and_resigns_after_it(
    path: Path, start: Callable[..., Candidate]
) -> None:
    steps: list[str] = []

    def task(leadership: Leadership) -> None:
        leadership.stopping.wait()
        assert flocks_of(path) == [(os.getpid(), False)]
        steps.append("cleaned up")

    candidate = start(task)
    assert candidate.wait(SOON)
    assert candidate.stop(SOON)
    assert steps == ["cleaned up"]
    assert flocks_of(path) == []


def test_the_leadership_is_not_given_up_while_the_task_runs(
    path: Path, start: Callable[..., Candidate]
) -> None:
    let_go = threading.Event()
    candidate = start(lambda leadership: let_go.wait())
    assert candidate.wait(SOON)
    assert candidate.stop(0.1) is False
    assert candidate.is_leader
    assert flocks_of(path) == [(os.getpid(), False)]
    let_go.set()
    until(lambda: flocks_of(path) == [])
    assert candidate.state == "stopped"


def test_a_task_may_stop_its_own_candidate(path: Path, start: Callable[..., Candidate]) -> None:
    answers: list[bool] = []
    started = threading.Event()

    def task(leadership: Leadership) -> None:
        started.wait(SOON)
        answers.append(candidate.stop())
        assert leadership.stopping.is_set()

    candidate = start(task)
    started.set()
    until(lambda: candidate.state == "stopped")
    assert answers == [False]
    until(lambda: flocks_of(path) == [])


def test_a_leader_that_holds_on_after_its_task_can_be_stopped(
    path: Path, start: Callable[..., Candidate]
) -> None:
    resigned: list[int] = []
    done = threading.Event()
    candidate = start(
        lambda leadership: done.set(), on_resigned=lambda leadership: resigned.append(leadership.term)
    )
    assert done.wait(SOON)
    assert candidate.stop(SOON)
    assert resigned == [1]
    assert flocks_of(path) == []


def test_a_candidate_that_has_ended_is_stopped_by_any_thread(
    path: Path, start: Callable[..., Candidate]
) -> None:
    # A thread that has ended hands its number on: one of these gets that of the candidate's.
    with holder(path):
        candidate = start()
        until_parked(path, os.getpid())
        assert candidate.stop(SOON)
    answers: list[bool] = []
    for _ in range(20):
        thread = threading.Thread(target=lambda: answers.append(candidate.stop(SOON)))
        thread.start()
        thread.join()
    assert answers == [True] * 20


def test_stops_from_many_threads_at_once_resign_once(
    path: Path, start: Callable[..., Candidate]
) -> None:
    resigned: list[int] = []
    candidate = start(on_resigned=lambda leadership: resigned.append(leadership.term))
    assert candidate.wait(SOON)
    threads = [threading.Thread(target=candidate.stop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert resigned == [1]
    assert candidate.state == "stopped"


def test_stopping_at_the_moment_of_election_leaves_nobody_leading(path: Path) -> None:
    with Child(path) as child:
        child.tell(
            "import random\n"
            "def turn(n):\n"
            "    candidate = leaderlock.Election(argv[0]).start(lambda leadership: None)\n"
            "    time.sleep(random.random() / 2000)\n"
            "    assert candidate.stop(60)\n"
            "    assert candidate.state == 'stopped', candidate.state\n"
        )
        for _ in range(10):
            child.tell("for n in range(20): turn(n)")
            assert flocks_of(path) == []
        until(lambda: len(threads_of(child.pid)) == 1, "the threads to end")


# Leadership.


def test_steady_ticks_begin_at_once_and_end_when_asked(start: Callable[..., Candidate]) -> None:
    ticks: list[tuple[int, float]] = []

    begins: list[float] = []

    def task(leadership: Leadership) -> None:
        begins.append(time.monotonic())
        ticks.extend((tick, time.monotonic()) for tick in leadership.every(0.05))

    candidate = start(task, on_return="resign")
    until(lambda: len(ticks) >= 5)
    assert candidate.stop(SOON)
    assert ticks[0][0] == 0
    numbers = [number for number, _ in ticks]
    assert numbers == sorted(set(numbers))
    for number, at in ticks:
        assert at - begins[0] >= number * 0.05 - 0.01


def test_a_slow_tick_does_not_put_off_the_next_nor_make_up_for_those_missed(
    start: Callable[..., Candidate],
) -> None:
    ticks: list[int] = []

    def task(leadership: Leadership) -> None:
        for tick in leadership.every(0.1):
            ticks.append(tick)
            if tick == 0:
                time.sleep(0.35)

    start(task)
    until(lambda: len(ticks) >= 2)
    assert ticks[1] >= 4


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_ticks_that_cannot_be_are_refused_at_once(path: Path, seconds: float) -> None:
    def task(leadership: Leadership) -> None:
        with pytest.raises(ValueError, match="positive"):
            leadership.every(seconds)

    run_task(Election(path, on_return="resign"), task)


def test_waiting_in_a_task_ends_when_it_is_asked_to_stop(start: Callable[..., Candidate]) -> None:
    answers: list[bool] = []

    def task(leadership: Leadership) -> None:
        answers.append(leadership.wait(0.01))
        answers.append(leadership.wait(300))

    candidate = start(task)
    until(lambda: len(answers) == 1)
    assert candidate.stop(SOON)
    assert answers == [False, True]


def test_the_leadership_is_over_for_who_kept_it(path: Path, start: Callable[..., Candidate]) -> None:
    kept: list[Leadership] = []
    candidate = start(kept.append)
    until(lambda: kept)
    kept[0].check()
    assert candidate.stop(SOON)
    for use in (kept[0].check, kept[0].beat):
        with pytest.raises(LeadershipLost, match=str(path)):
            use()
    assert kept[0].stopping.is_set()
    assert start().wait(SOON)  # the next term, in the same process
    with pytest.raises(LeadershipLost):
        kept[0].check()


@pytest.mark.parametrize("replace", [True, False], ids=["replaced", "deleted"])
def test_a_leader_whose_file_goes_steps_down_at_its_next_tick(
    path: Path, start: Callable[..., Candidate], replace: bool, caplog: pytest.LogCaptureFixture
) -> None:
    terms: list[Leadership] = []

    def task(leadership: Leadership) -> None:
        terms.append(leadership)
        for _ in leadership.every(0.02):
            pass

    candidate = start(task, backoff=(0.01, 0.01))
    until(lambda: terms)
    path.unlink()
    if replace:
        path.touch()
    until(lambda: len(terms) == 2)  # it stands again, on the new file
    assert terms[0].lost
    assert "leadership lost" in caplog.text
    assert candidate.wait(SOON)
    terms[1].check()
    assert flocks_of(path) == [(os.getpid(), False)]


def test_a_beat_that_finds_the_file_gone_raises_in_the_task(
    path: Path, start: Callable[..., Candidate]
) -> None:
    caught: list[LeadershipLost] = []
    entered, gone = threading.Event(), threading.Event()

    def task(leadership: Leadership) -> None:
        entered.set()
        gone.wait(SOON)
        if not caught:
            try:
                leadership.beat()
            except LeadershipLost as error:
                caught.append(error)
                assert leadership.stopping.is_set()
                raise
        leadership.stopping.wait()

    start(task, backoff=(0.01, 0.01))
    assert entered.wait(SOON)
    path.unlink()
    gone.set()
    until(lambda: caught)
    assert str(path) in str(caught[0])


def test_a_standby_that_finds_garbage_says_so_and_leads_once_it_is_mended(
    path: Path, start: Callable[..., Candidate], caplog: pytest.LogCaptureFixture
) -> None:
    with holder(path) as other:
        candidate = start(backoff=(0.05, 0.05))
        until_parked(path, os.getpid())
        path.write_bytes(b"garbage")
        other.kill()
        until(lambda: "cannot stand for election" in caplog.text)
        assert candidate.state == "standby"
        assert str(path) in caplog.text
        path.unlink()
        assert candidate.wait(SOON)


def test_a_foreground_campaign_raises_what_is_wrong_with_the_file(path: Path) -> None:
    path.write_bytes(b"garbage")
    with pytest.raises(CorruptLockFile, match=str(path)):
        Election(path).run(lead_until_asked)
    assert flocks_of(path) == []


def test_an_election_can_be_given_a_lock(path: Path) -> None:
    lock = LeaderLock.anonymous()
    election = Election(lock, on_return="resign")
    assert run_task(election, lambda leadership: lock.locked()) is True
    assert not lock.locked()


# current_leadership().


def test_the_current_leadership_is_known_in_the_task_and_in_the_threads_it_starts(
    start: Callable[..., Candidate],
) -> None:
    seen: list[Leadership | None] = []

    def task(leadership: Leadership) -> None:
        seen.append(current_leadership())
        thread = threading.Thread(target=lambda: seen.append(current_leadership()))
        thread.start()
        thread.join()
        seen.append(leadership)
        leadership.stopping.wait()

    assert current_leadership() is None
    candidate = start(task)
    until(lambda: len(seen) == 3)
    assert seen[0] is seen[1] is seen[2] is not None
    assert current_leadership() is seen[0]  # anywhere in the process that leads
    assert candidate.stop(SOON)
    assert current_leadership() is None


def test_a_process_that_stands_by_has_no_current_leadership(
    path: Path, start: Callable[..., Candidate]
) -> None:
    with holder(path):
        start()
        until_parked(path, os.getpid())
        assert current_leadership() is None


def test_with_two_leaderships_in_a_process_only_their_tasks_know_theirs(tmp_path: Path) -> None:
    seen: dict[str, tuple[Leadership | None, Leadership]] = {}

    def task(leadership: Leadership) -> None:
        seen[leadership._engine.address] = (current_leadership(), leadership)
        leadership.stopping.wait()

    candidates = [Election(tmp_path / name).start(task) for name in "ab"]
    try:
        until(lambda: len(seen) == 2)
        assert all(current is own for current, own in seen.values())
        assert current_leadership() is None
    finally:
        for candidate in candidates:
            assert candidate.stop(SOON)


# The end of the process.


def test_a_standby_never_delays_the_exit(path: Path) -> None:
    with holder(path), Child(path) as child:
        child.tell("leaderlock.Election(argv[0]).start(lambda leadership: leadership.stopping.wait())")
        until_parked(path, child.pid)
        begin = time.monotonic()
        assert child.end() == 0
        assert time.monotonic() - begin < 4  # the grace of a task that does not stop is 5 s


def test_a_leaders_task_is_asked_to_stop_before_the_process_ends(path: Path) -> None:
    with Child(path) as child:
        child.tell(
            "def task(leadership):\n"
            "    leadership.stopping.wait()\n"
            "    time.sleep(0.2)\n"
            "    os.write(1, b'cleaned up\\n')\n"
            "candidate = leaderlock.Election(argv[0]).start(task); candidate.wait()"
        )
        assert child.end() == 0
        assert child.line() == "cleaned up"


def test_a_task_whose_threads_wait_for_its_end_does_not_hang_the_exit(path: Path) -> None:
    # A scheduler's: the interpreter joins them before it runs what atexit has.
    with Child(path) as child:
        child.tell(
            "def task(leadership):\n"
            "    thread = threading.Thread(target=leadership.stopping.wait)\n"
            "    thread.start()\n"
            "    thread.join()\n"
            "    os.write(1, b'cleaned up\\n')\n"
            "candidate = leaderlock.Election(argv[0]).start(task); candidate.wait(); time.sleep(0.2)"
        )
        assert child.end() == 0
        assert child.line() == "cleaned up"


def test_a_task_that_ignores_the_exit_delays_it_for_a_bounded_time(path: Path) -> None:
    with Child(path) as child:
        child.tell(
            "import leaderlock.election.at_exit; leaderlock.election.at_exit.EXIT_GRACE = 0.5\n"
            "never = threading.Event()\n"
            "candidate = leaderlock.Election(argv[0]).start(lambda leadership: never.wait())\n"
            "candidate.wait()"
        )
        begin = time.monotonic()
        assert child.end() == 0
        assert 0.5 <= time.monotonic() - begin < 30
        assert flocks_of(path) == []


def test_an_exit_while_the_leadership_is_held_on_to_is_immediate(path: Path) -> None:
    with Child(path) as child:
        child.tell(
            "done = threading.Event()\n"
            "candidate = leaderlock.Election(argv[0]).start(lambda leadership: done.set())\n"
            "done.wait()"
        )
        begin = time.monotonic()
        assert child.end() == 0
        assert time.monotonic() - begin < 4
        assert flocks_of(path) == []


def test_a_candidate_that_nobody_refers_to_leads_on(path: Path) -> None:
    with Child(path) as child:
        child.tell(
            "import gc\n"
            "leaderlock.Election(argv[0]).start(lambda leadership: None).wait()\n"
            "gc.collect()"
        )
        assert flocks_of(path) == [(child.pid, False)]


def test_errors_name_their_family() -> None:
    assert issubclass(LeadershipLost, LeaderLockError)


def test_waits_that_timed_out_leave_nothing_behind(path: Path) -> None:
    with holder(path):
        candidate = Election(path).start(lambda leadership: leadership.stopping.wait())
        for _ in range(100):
            assert not candidate.wait(0)
        assert candidate._watchers == []
        assert candidate.stop(60)
