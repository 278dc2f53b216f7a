"""`@only_once` and `@call_once`: one process runs it, also when that process dies half way."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leaderlock import (
    Candidate,
    CorruptLockFile,
    LeaderLockError,
    Leadership,
    LockFileUnusable,
    UnsafeLockFile,
    call_once,
    current_leadership,
    only_once,
)
from tests.processes import Child, ChildError, flocks_of, needs_root, until, until_parked
from tests.test_status_machine import as_nobody


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADERLOCK_DIR", str(tmp_path / "locks"))


def outcomes_of(path: Path) -> Path:
    return path.with_name(path.name + ".outcomes.json")


# only_once.


def test_the_bare_decorator_runs_the_body_and_returns_a_candidate_at_once() -> None:
    ran = threading.Event()

    @only_once
    def job() -> None:
        """What it is for."""
        assert current_leadership() is not None
        ran.set()

    candidate = job()
    try:
        assert isinstance(candidate, Candidate)
        assert ran.wait(60)
        assert job() is candidate
        assert (job.__name__, job.__doc__) == ("job", "What it is for.")
    finally:
        assert candidate.stop(60)


def test_the_body_gets_the_arguments_of_the_call_in_the_process_that_leads(path: Path) -> None:
    seen = []

    @only_once(path=path)
    def job(number: int, *, word: str) -> None:
        seen.append((number, word))

    candidate = job(3, word="x")
    try:
        until(lambda: seen == [(3, "x")])
    finally:
        assert candidate.stop(60)


def test_callbacks_are_called_around_the_body(path: Path) -> None:
    seen: list[tuple[str, int]] = []

    @only_once(
        path=path,
        on_return="resign",
        on_elected=lambda leadership: seen.append(("elected", leadership.term)),
        on_resigned=lambda leadership: seen.append(("resigned", leadership.term)),
    )
    def job() -> None:
        seen.append(("body", 1))

    candidate = job()
    try:
        until(lambda: len(seen) == 3)
    finally:
        assert candidate.stop(60)
    assert seen == [("elected", 1), ("body", 1), ("resigned", 1)]


async def _coroutine(_leadership: Leadership) -> None: ...


@pytest.mark.parametrize("callback", [_coroutine, lambda: None, "notify"])
def test_a_callback_that_could_never_be_called_is_refused(callback: object) -> None:
    with pytest.raises(TypeError, match=r"on_elected must|plain function"):
        only_once(on_elected=callback)(lambda: None)  # type: ignore[call-overload]


JOB = """
@leaderlock.only_once(path=argv[0])
def job():
    os.write(1, b'%d runs\\n' % os.getpid())
candidate = job()
"""


def test_of_several_processes_one_runs_the_body_and_another_when_that_one_dies(path: Path) -> None:
    with Child(path) as first, Child(path) as second:
        first.tell(JOB)
        assert first.line() == f"{first.pid} runs"
        second.tell(JOB)
        until_parked(path, second.pid)
        assert second.tell("candidate.state") == "standby"
        first.kill()
        assert second.line() == f"{second.pid} runs"


def test_a_call_after_a_stop_stands_again(path: Path) -> None:
    ran: list[int] = []

    @only_once(path=path)
    def job() -> None:
        ran.append(1)

    first = job()
    until(lambda: len(ran) == 1)
    assert first.stop(60)
    second = job()
    assert second is not first
    until(lambda: len(ran) == 2)
    assert second.stop(60)


def test_threads_that_call_it_first_at_once_get_one_candidate(tmp_path: Path) -> None:
    for number in range(20):
        job = only_once(path=tmp_path / f"{number}.lock")(lambda: None)
        barrier = threading.Barrier(8)
        candidates: list[Candidate] = []

        def call(job: Callable[[], Candidate] = job, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            candidates.append(job())  # noqa: B023  (the threads end in this round)

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for candidate in set(candidates):
            assert candidate.stop(60)
        assert len(candidates) == 8
        assert len(set(candidates)) == 1


def test_a_call_in_a_forked_child_stands_there(path: Path) -> None:
    with Child(path) as parent:
        parent.tell(JOB)
        assert parent.line() == f"{parent.pid} runs"
        pid = parent.tell("(pid := os.fork()) or (job().wait(), os.write(1, b'%d ' % os.getpid()))")
        until(lambda: parent.tell("pid") in dict(flocks_of(path)), "the child to stand")
        child = parent.tell("pid")
        parent.signal(signal.SIGKILL)
        until(lambda: flocks_of(path) == [(child, False)], "the child to lead")
        assert pid == child


def test_functions_of_one_name_in_different_files_do_not_exclude_each_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(
            "import leaderlock\n@leaderlock.only_once\ndef job(): pass\n", encoding="utf-8"
        )
    with Child(tmp_path) as child:
        child.tell("sys.path.insert(0, argv[0]); import a, b; jobs = [a.job(), b.job()]")
        assert child.tell("[job.wait(60) for job in jobs]") == [True, True]
    assert len(list((tmp_path / "locks").glob("job-*.lock"))) == 2


def test_settings_and_functions_that_cannot_be_are_refused_at_the_decoration() -> None:
    async def coroutine() -> None: ...

    for decorate in (only_once, call_once(key=1)):
        with pytest.raises(TypeError, match="coroutine"):
            decorate(coroutine)
        with pytest.raises(TypeError, match="decorates a function"):
            decorate("name")  # type: ignore[call-overload, arg-type]
    with pytest.raises(ValueError, match="lease"):
        only_once(lease=0)(lambda: None)
    with pytest.raises(ValueError, match="name must be"):
        only_once(name="a/b")(lambda: None)
    with pytest.raises(TypeError):
        only_once(name="x", path="/x")(lambda: None)
    with pytest.raises(TypeError, match="name must be text, not 3"):
        only_once(name=3)(lambda: None)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"@call_once\(key=RELEASE\)"):
        call_once(lambda: None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the key"):
        call_once(key=object())(lambda: None)


# call_once.


@pytest.fixture
def several(path: Path) -> Iterator[list[Child]]:
    children = [Child(path) for _ in range(4)]
    yield children
    for child in children:
        child.__exit__(None, None, None)


MIGRATION = """
@leaderlock.call_once(key='release 7', path=argv[0])
def migrate():
    os.write(1, b'runs\\n')
    sys.stdin.readline()  # until it is told to go on
    return {'by': os.getpid(), 'list': [1, 2.5, None, True, 'ü']}
"""


def test_one_process_runs_it_and_all_get_the_same_result(path: Path, several: list[Child]) -> None:
    runner, *others = several
    for child in several:
        child.tell(MIGRATION)
    runner.begin("migrate()")
    assert runner.line() == "runs"
    for child in others:
        child.begin("migrate()")
        until_parked(path, child.pid)
    runner.begin("")
    result = runner.answer()
    assert result == {"by": runner.pid, "list": [1, 2.5, None, True, "ü"]}
    for child in others:
        assert child.answer() == result
        assert child.tell("migrate()") == result
    assert flocks_of(path) == []


def test_a_runner_that_is_killed_half_way_is_followed_by_the_next_waiter(
    path: Path, several: list[Child]
) -> None:
    for child in several:
        child.tell(MIGRATION)
    several[0].begin("migrate()")
    assert several[0].line() == "runs"
    for child in several[1:]:
        child.begin("migrate()")
        until_parked(path, child.pid)
    several[0].kill()
    assert several[1].line() == "runs"
    several[1].kill()
    assert several[2].line() == "runs"
    several[2].begin("")
    assert several[2].answer()["by"] == several[2].pid
    assert several[3].answer()["by"] == several[2].pid


def test_a_runner_that_raises_gets_its_error_and_the_next_waiter_runs(
    path: Path, several: list[Child]
) -> None:
    first, second = several[:2]
    first.tell(MIGRATION.replace("return", "raise ZeroDivisionError('on purpose')\n    return"))
    second.tell(MIGRATION)
    first.begin("migrate()")
    assert first.line() == "runs"
    second.begin("migrate()")
    until_parked(path, second.pid)
    first.begin("")
    with pytest.raises(ChildError, match="ZeroDivisionError: on purpose"):
        first.answer()
    assert second.line() == "runs"
    second.begin("")
    assert second.answer()["by"] == second.pid
    first.begin("migrate()")
    assert first.answer()["by"] == second.pid


def test_the_outcome_outlives_a_runner_that_is_killed_right_after_it(path: Path) -> None:
    program = "@leaderlock.call_once(key=1, path=argv[0])\ndef f():\n    return os.getpid()\n"
    for _ in range(20):
        with Child(path) as runner:
            runner.tell(program)
            runner.begin("(f(), os.kill(os.getpid(), signal.SIGKILL))")
            assert runner.wait() == -signal.SIGKILL
            with Child(path) as later:
                later.tell(program)
                assert later.tell("f()") == runner.pid
        path.unlink()
        outcomes_of(path).unlink()


def test_a_kill_at_any_instant_of_the_recording_leaves_it_whole_or_undone(path: Path) -> None:
    with Child(path) as child:
        child.tell(
            "import random, json\n"
            "def run(key):\n"
            "    leaderlock.call_once(key=key, path=argv[0])(lambda: [key] * 2000)()\n"
            "def turn(key):\n"
            "    pid = os.fork()\n"
            "    if pid == 0:\n"
            "        for n in range(1000): run(f'{key} {n}')\n"
            "    time.sleep(random.uniform(0.001, 0.02))\n"
            "    os.kill(pid, signal.SIGKILL)\n"
            "    os.waitpid(pid, 0)\n"
        )
        for key in range(60):
            child.tell(f"turn({key})")
            if outcomes_of(path).exists():
                document = json.loads(outcomes_of(path).read_bytes())
                for name, outcome in document["outcomes"].items():
                    assert outcome["result"] == [json.loads(name)] * 2000
            child.tell("run('again')")  # and nobody is shut out


def test_an_outcome_that_finds_no_space_is_an_error_and_the_function_runs_again(tiny: Path) -> None:
    path = tiny / "x.lock"
    runs: list[int] = []

    @call_once(key=1, path=path)
    def small() -> str:
        return "kept"

    @call_once(key=2, path=path)
    def large() -> str:
        runs.append(1)
        return "x" * 30000 if len(runs) > 1 else "x" * 100_000

    assert small() == "kept"
    with pytest.raises(LockFileUnusable, match="No space left") as caught:
        large()
    assert "run again" in str(caught.value)
    assert sorted(os.listdir(tiny)) == ["x.lock", "x.lock.outcomes.json"]
    assert str(path) in str(caught.value)
    assert flocks_of(path) == []
    assert small() == "kept"
    assert len(large()) == 30000
    assert len(runs) == 2


@pytest.mark.parametrize("result", [object, {1, 2}, b"bytes", float("nan"), float("inf")], ids=repr)
def test_a_result_that_json_cannot_hold_is_an_error_that_says_so(path: Path, result: object) -> None:
    runs: list[int] = []

    @call_once(key=1, path=path)
    def function() -> object:
        runs.append(1)
        return result

    for _ in range(2):
        with pytest.raises(TypeError, match="JSON can hold"):
            function()
    assert len(runs) == 2
    assert flocks_of(path) == []


@pytest.mark.parametrize(
    "result", [None, False, 0, "", [], {}, {"a": [1, {"b": None}]}, "ü\0\n", 10**30, 1.5], ids=repr
)
def test_any_result_that_json_can_hold_is_kept(path: Path, result: object) -> None:
    runs: list[int] = []

    def function() -> object:
        runs.append(1)
        return result

    assert call_once(key=1, path=path)(function)() == result
    assert call_once(key=1, path=path)(function)() == result  # as after a restart
    assert len(runs) == 1


def test_the_runner_gets_what_json_makes_of_its_result_as_everybody_does(path: Path) -> None:
    @call_once(key=1, path=path)
    def function() -> object:
        return {1: (2, 3)}

    assert function() == {"1": [2, 3]}
    assert function() == {"1": [2, 3]}


def test_each_key_is_run_once(path: Path) -> None:
    runs: list[object] = []
    keys: list[object] = [1, "1", 1.5, 0, False, True, "true", ["a", 1], {"b": 1, "a": 2}, [], {}]

    def function_for(key: object) -> Callable[[], object]:
        def function() -> object:
            runs.append(key)
            return key

        return function

    for key in [*keys, *keys, {"a": 2, "b": 1}]:
        assert call_once(key=key, path=path)(function_for(key))() == key
    assert runs == keys


@pytest.mark.parametrize("key", [None, ""])
def test_a_key_from_an_unset_variable_is_refused_and_the_remedy_named(path: Path, key: object) -> None:
    with pytest.raises(TypeError, match=r"os\.environ\.get.*os\.environ\["):
        call_once(key=key, path=path)(lambda: 1)
    keyed = call_once(key=lambda who: key, path=path)(lambda who: who)
    with pytest.raises(TypeError, match=r"os\.environ\.get"):
        keyed("alice")
    assert not path.exists()


def test_without_a_key_it_runs_once_for_as_long_as_the_outcomes_exist(path: Path) -> None:
    runs: list[int] = []
    for _ in range(3):
        call_once(path=path)(lambda: runs.append(1))()
    assert runs == [1]
    outcomes_of(path).unlink()
    call_once(path=path)(lambda: runs.append(1))()
    assert runs == [1, 1]


class Loader:
    def __init__(self, who: str) -> None:
        self.who = who

    def load(self, who: str = "") -> str:
        return who or self.who

    def own(self) -> str:
        return self.who

    def __call__(self) -> str:
        return self.who

    @staticmethod
    def static() -> str:
        return "static"

    @classmethod
    def of_class(cls) -> str:
        return cls.__name__


def one(who: str) -> str:
    return who


def by_default(who: str = "alice") -> str:
    return who


def any_number(*who: str) -> list[str]:
    return list(who)


def any_keywords(**who: str) -> dict[str, str]:
    return who


@pytest.mark.parametrize(
    ("function", "key"),
    [
        (one, "lambda who: ..."),
        (by_default, "lambda who: ..."),
        (any_number, "lambda *who: ..."),
        (any_keywords, "lambda **who: ..."),
        (Loader.load, "lambda self, who: ..."),
        (Loader("alice").load, "lambda who: ..."),
        (functools.partial(any_number, "alice"), "lambda *who: ..."),
        (Loader, "lambda who: ..."),
    ],
)
def test_a_function_with_parameters_needs_a_key_that_depends_on_them(
    path: Path, function: Callable[..., object], key: str
) -> None:
    for decorate in (call_once(key=1, path=path), call_once(path=path)):
        with pytest.raises(TypeError, match=f"first call's result.*{re.escape(key)}"):
            decorate(function)
    assert not path.exists()


@pytest.mark.parametrize(
    ("function", "result"),
    [
        (Loader("alice").own, "alice"),
        (Loader("alice"), "alice"),
        (Loader.static, "static"),
        (Loader.__dict__["static"], "static"),
        (Loader.of_class, "Loader"),
        (functools.partial(one, "alice"), "alice"),
        (functools.partial(one, who="alice"), "alice"),
    ],
)
def test_what_has_all_its_arguments_is_run(
    path: Path, function: Callable[[], object], result: object
) -> None:
    once = call_once(key=1, path=path)(function)
    assert once() == result
    for args, kwargs in ((("bob",), {}), ((), {"who": "bob"})):
        with pytest.raises(TypeError, match="takes no arguments"):
            once(*args, **kwargs)


def test_a_key_that_is_a_function_gets_the_arguments_of_each_call(path: Path) -> None:
    runs: list[object] = []

    @call_once(key=lambda who, *, size=1: [who, size], path=path)
    def load(who: str, *, size: int = 1) -> list[object]:
        runs.append((who, size))
        return [who, size]

    for _ in range(2):
        assert load("alice") == ["alice", 1]
        assert load("bob") == ["bob", 1]
        assert load(who="alice", size=2) == ["alice", 2]
    assert runs == [("alice", 1), ("bob", 1), ("alice", 2)]
    with pytest.raises(TypeError, match="the key must be something that JSON can hold"):
        load(object())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "function",
    [Loader("a").own, Loader("a"), functools.partial(one, "a"), "text".upper],
    ids=["method", "object", "partial", "built-in method"],
)
def test_what_carries_arguments_of_its_own_needs_a_name(function: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match="give call_once a name="):
        call_once(key=1)(function)
    call_once(key=1, name="mine")(function)


def test_a_function_that_does_not_say_its_parameters_is_refused(path: Path) -> None:
    with pytest.raises(TypeError, match="cannot see which parameters"):
        call_once(key=1, path=path)(dict)


def test_threads_of_one_process_run_it_once(path: Path) -> None:
    runs: list[int] = []
    results: list[str] = []

    @call_once(key=1, path=path)
    def function() -> str:
        runs.append(1)
        return "result"

    threads = [threading.Thread(target=lambda: results.append(function())) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runs == [1]
    assert results == ["result"] * 10


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"[]",
        b"{}",
        b"null",
        b"7",
        b'{"format": "leaderlock outcomes 1"}',
        b"\xff",
        b"[" * 100_000,
        b'{"format": "leaderlock outcomes 1", "outcomes": ' + b'{"a":' * 100_000,
        *(
            b'{"format": "leaderlock outcomes 1", "outcomes": %b}' % outcomes
            for outcomes in (
                b"[]",
                b"7",
                b'{"1": 7}',
                b'{"1": []}',
                b'{"1": {}}',
                b'{"1": {"term": 1, "pid": 1, "at": 1}}',
                b'{"1": {"result": 1, "term": "1", "pid": 1, "at": 1}}',
                b'{"1": {"result": 1, "term": 1, "pid": null, "at": 1}}',
                b'{"1": {"result": 1, "term": 1, "pid": 1, "at": NaN}}',
                b'{"1": {"result": Infinity, "term": 1, "pid": 1, "at": 1}}',
                b'{"1": {"result": 1, "result": 2, "term": 1, "pid": 1, "at": 1}}',
                b'{"1": {"result": 1, "term": 1, "pid": 1, "at": 1}, "1": {}}',
                b'{"1": {"result": 1%b, "term": 1, "pid": 1, "at": 1}}' % (b"0" * 10_000),
            )
        ),
    ],
    ids=lambda content: content[:120].decode("latin-1")[45:],
)
def test_a_file_of_outcomes_that_is_something_else_is_an_error_and_nothing_runs(
    path: Path, content: bytes
) -> None:
    runs: list[int] = []
    outcomes = outcomes_of(path)
    outcomes.write_bytes(content)
    function = call_once(key=1, path=path)(lambda: runs.append(1))
    with pytest.raises(CorruptLockFile, match=str(outcomes)) as caught:
        function()
    assert "remove it" in str(caught.value)
    assert runs == []
    assert outcomes.read_bytes() == content
    outcomes.unlink()
    function()
    assert runs == [1]


def test_outcomes_that_others_could_have_written_are_refused(path: Path, tmp_path: Path) -> None:
    outcomes = outcomes_of(path)
    function = call_once(key=1, path=path)(lambda: None)
    (tmp_path / "target").write_bytes(b"{}")
    outcomes.symlink_to(tmp_path / "target")
    with pytest.raises(LeaderLockError, match=str(outcomes)):
        function()
    outcomes.unlink()
    os.mkfifo(outcomes)
    with pytest.raises(UnsafeLockFile, match=str(outcomes)):
        function()
    outcomes.unlink()
    outcomes.mkdir()
    with pytest.raises(UnsafeLockFile, match=str(outcomes)):
        function()
    outcomes.rmdir()
    if os.geteuid() == 0:
        outcomes.write_bytes(b"{}")
        os.chown(outcomes, 65534, 65534)
        with pytest.raises(UnsafeLockFile, match=str(outcomes)):
            function()


def test_what_others_put_beside_the_outcomes_is_neither_opened_nor_removed(
    path: Path, tmp_path: Path
) -> None:
    temporary = outcomes_of(path).with_name(outcomes_of(path).name + ".tmp")
    makers: list[Callable[[Path], object]] = [
        os.mkfifo,
        Path.touch,
        lambda p: p.symlink_to(tmp_path / "elsewhere"),
    ]
    for make in makers:
        make(temporary)
        assert call_once(key=os.urandom(4).hex(), path=path)(lambda: 1)() == 1
        temporary.unlink()
    assert sorted(os.listdir(path.parent)) == [path.name, outcomes_of(path).name]


@pytest.mark.skipif(os.geteuid() != 0, reason=needs_root)
def test_outcomes_that_cannot_be_replaced_are_an_error_before_the_function_runs(
    shared: Path,
) -> None:
    """In a directory with the sticky bit the file is root's: it can be read, and not replaced."""
    shared.chmod(0o1777)
    path = shared / "x.lock"
    call_once(key="root", path=path)(lambda: 1)()
    path.chmod(0o666)
    outcomes_of(path).chmod(0o644)

    def ask() -> object:
        runs: list[int] = []
        kept = call_once(key="root", path=path)(lambda: runs.append(1))()
        told = []
        for _ in range(2):
            try:
                call_once(key="other", path=path)(lambda: runs.append(1))()
            except LeaderLockError as error:
                told.append(str(error))
        return [runs, kept, told]

    runs, kept, told = as_nobody(ask)
    assert (runs, kept, len(told)) == ([], 1, 2)
    assert "so the function was not run" in told[0]
    assert str(outcomes_of(path)) in told[0]


def test_a_result_that_is_nested_too_deeply_is_an_error_and_spoils_nothing(path: Path) -> None:
    nested: object = []
    for _ in range(500):
        nested = [nested]
    with pytest.raises(TypeError, match="nested more than 100 deep"):
        call_once(key=1, path=path)(lambda: nested)()
    with pytest.raises(TypeError, match="the key must be"):
        call_once(key=nested, path=path)(lambda: 1)
    assert call_once(key=2, path=path)(lambda: '[[["[' * 500)() == '[[["[' * 500
