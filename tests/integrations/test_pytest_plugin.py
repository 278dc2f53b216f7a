"""`once_per_run` in real runs of pytest with real xdist: workers crash, fail, and are interrupted."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leaderlock.integrations.pytest import once_per_run
from tests.processes import PATIENCE, flocks, until, wakeups_of

pytestmark = pytest.mark.slow

CONFTEST = """
import os, signal, time, pytest
from pathlib import Path
from leaderlock.integrations.pytest import once_per_run

pytest_plugins = ["leaderlock.integrations.pytest"]
LOG = Path(__file__).with_name(os.environ.get("LOG", "log"))

def note(*words):
    with LOG.open("a") as log:
        print(*words, file=log)

def noted(word):
    return [line.split() for line in LOG.read_text().splitlines() if line.split()[0] == word]

def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)

def together(workers):
    note("here", os.getpid())
    until(lambda: len({pid for _, pid in noted("here")}) >= workers)

@pytest.fixture(scope="session")
def in_each_worker():
    yield
    note("left", os.getpid())

def drop(result):
    note("dropped", os.getpid(), result["maker"])

@pytest.fixture(scope="session")
@once_per_run(teardown=drop)
def data(in_each_worker, tmp_path_factory):
    note("made", os.getpid())
    work(len(noted("made")))
    return {"maker": os.getpid()}
"""
NOTHING = "def work(count): pass"
FOUR = """
import pytest
from conftest import note, together

@pytest.mark.parametrize("number", range(4))
def test(number, data):
    together(4)
    note("used", data["maker"])
"""


class Project:
    """A directory with tests of its own, and what their processes have noted."""

    def __init__(self, directory: Path, work: str, *modules: str, log: str = "log") -> None:
        self._directory = directory
        self._log = directory / log
        self._temporary = directory / "temporary"
        self._temporary.mkdir(exist_ok=True)
        (directory / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
        (directory / "conftest.py").write_text(f"{CONFTEST}\n{textwrap.dedent(work)}\n")
        for number, module in enumerate(modules):
            (directory / f"test_{number}.py").write_text(textwrap.dedent(module))

    def start(self, *options: str) -> subprocess.Popen[str]:
        ours = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
            cwd=self._directory,
            env={**ours, "TMPDIR": str(self._temporary), "LOG": self._log.name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *options: str) -> str:
        """What pytest says, with its exit status in the last line."""
        with ended(self.start(*options)) as process:
            return outcome_of(process)

    def noted(self, word: str) -> list[list[str]]:
        if not self._log.exists():
            return []
        lines = [line.split() for line in self._log.read_text().splitlines()]
        return [line[1:] for line in lines if line[0] == word]

    def words(self) -> list[str]:
        return [line.split()[0] for line in self._log.read_text().splitlines()]

    def left_behind(self) -> list[str]:
        return [path.name for path in self._temporary.iterdir() if "leaderlock" in path.name]


def outcome_of(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=2 * PATIENCE)
    print(said)
    return f"{said}\nexit {process.returncode}"


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_one_of_four_workers_calls_it_and_the_last_one_tears_down(tmp_path: Path) -> None:
    tests = Project(tmp_path, NOTHING, FOUR)
    assert "exit 0" in tests.run("-n", "4")
    [[maker]] = tests.noted("made")
    assert tests.noted("used") == [[maker]] * 4
    workers = {pid for [pid] in tests.noted("left")}
    assert len(workers) == 4
    [[last, result]] = tests.noted("dropped")
    assert last in workers
    assert result == maker
    assert tests.words()[-1] == "dropped"  # after all fixtures of all workers
    assert tests.left_behind() == []


@pytest.mark.parametrize("options", [["-n", "0"], ["-p", "no:xdist"], []], ids="-".join)
def test_without_workers_it_is_an_ordinary_fixture(tmp_path: Path, options: list[str]) -> None:
    tests = Project(tmp_path, NOTHING, FOUR.replace("together(4)", "together(1)"))
    assert "4 passed" in tests.run(*options)
    [[maker]] = tests.noted("made")
    assert tests.noted("used") == [[maker]] * 4
    assert tests.noted("dropped") == [[maker, maker]]
    assert tests.left_behind() == []


def test_by_scope_and_with_a_worker_that_has_no_test(tmp_path: Path) -> None:
    one = "from conftest import together\ndef test(data): together(2)"
    tests = Project(tmp_path, NOTHING, one, one)
    assert "2 passed" in tests.run("-n", "3", "--dist", "loadscope")
    assert len(tests.noted("made")) == len(tests.noted("dropped")) == 1
    assert tests.left_behind() == []


def test_a_worker_that_needs_it_when_the_others_have_finished_gets_the_same(tmp_path: Path) -> None:
    tests = Project(
        tmp_path,
        NOTHING,
        "from conftest import together\ndef test(data): together(2)",
        """
        from conftest import noted, together, until

        def test_first():
            together(2)
            until(lambda: noted("left"))

        def test_second(data):
            assert str(data["maker"]) == noted("left")[0][1]
        """,
    )
    assert "3 passed" in tests.run("-n", "2", "--dist", "loadfile")
    assert len(tests.noted("made")) == len(tests.noted("dropped")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_the_next_worker_calls_it_when_one_crashes_half_way(tmp_path: Path, end: str) -> None:
    tests = Project(
        tmp_path,
        f"def work(count):\n    if count == 1: {end}",
        FOUR.replace("together(4)", "together(3)"),
    )
    said = tests.run("-n", "4")
    assert "1 failed, 3 passed" in said
    assert "crashed while running" in said
    [[crashed], [maker]] = tests.noted("made")
    assert crashed != maker
    assert tests.noted("used") == [[maker]] * 3
    assert [result for _, result in tests.noted("dropped")] == [maker]
    assert tests.left_behind() == []


@pytest.mark.slow
def test_a_worker_that_crashes_later_counts_no_more(tmp_path: Path) -> None:
    tests = Project(
        tmp_path,
        NOTHING,
        """
        import os, signal, pytest
        from conftest import noted, together

        @pytest.mark.parametrize("number", range(4))
        def test(number, data):
            together(4)
            if data["maker"] == os.getpid():
                os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    said = tests.run("-n", "4")
    assert "1 failed, 3 passed" in said
    [[maker]] = tests.noted("made")
    [[last, result]] = tests.noted("dropped")
    assert last != maker
    assert result == maker
    assert tests.left_behind() == []


def test_the_next_worker_calls_it_when_it_raises(tmp_path: Path) -> None:
    tests = Project(
        tmp_path,
        "def work(count):\n    if count == 1: raise ValueError('not today')",
        FOUR.replace("together(4)", "together(3)"),
    )
    said = tests.run("-n", "4")
    assert "3 passed, 1 error" in said
    assert "ValueError: not today" in said
    assert len(tests.noted("made")) == 2
    assert len(tests.noted("dropped")) == 1


def test_if_it_always_raises_each_worker_tries_and_nothing_is_torn_down(tmp_path: Path) -> None:
    tests = Project(tmp_path, "def work(count): raise ValueError('never')", FOUR)
    assert "4 errors" in tests.run("-n", "2")
    assert len(tests.noted("made")) == 2
    assert tests.noted("dropped") == []


@pytest.mark.slow
def test_two_runs_at_a_time_have_one_each(tmp_path: Path) -> None:
    first = Project(tmp_path, NOTHING, FOUR, log="first")
    second = Project(tmp_path, NOTHING, FOUR, log="second")
    with ended(first.start("-n", "4")) as one, ended(second.start("-n", "4")) as two:
        assert "exit 0" in outcome_of(one)
        assert "exit 0" in outcome_of(two)
    [[one_maker]], [[two_maker]] = first.noted("made"), second.noted("made")
    assert first.noted("used") == [[one_maker]] * 4
    assert second.noted("used") == [[two_maker]] * 4
    assert len(first.noted("dropped")) == len(second.noted("dropped")) == 1


@pytest.mark.parametrize("option", ["-x", "--maxfail=1"])
@pytest.mark.parametrize("workers", ["0", "2"])
def test_it_is_torn_down_when_the_first_failure_ends_the_run(
    tmp_path: Path, option: str, workers: str
) -> None:
    tests = Project(tmp_path, NOTHING, FOUR.replace("together(4)", "assert False"))
    assert "exit 0" not in tests.run("-n", workers, option)
    assert len(tests.noted("made")) == len(tests.noted("dropped")) == 1
    assert tests.words()[-1] == "dropped"
    assert tests.left_behind() == []


WAITS = """
import pytest
from conftest import note, together, until

@pytest.mark.parametrize("number", range(2))
def test(number, data):
    together(2)
    note("running")
    until(lambda: False)
"""


def test_ctrl_c_ends_a_run_and_its_waiting_workers(tmp_path: Path) -> None:
    tests = Project(tmp_path, "def work(count): until(lambda: False)", WAITS)
    with ended(tests.start("-n", "2")) as process:
        until(lambda: tests.noted("made"), "a worker to call it")
        until(lambda: any(waits for _, waits in flocks_in(process)), "the other one to wait")
        os.killpg(process.pid, signal.SIGINT)
        assert "exit 2" in outcome_of(process)
    assert len(tests.noted("made")) == 1
    assert tests.left_behind() == []


def flocks_in(process: subprocess.Popen[str]) -> list[tuple[int, bool]]:
    """The flocks, held and waited for, of all processes in a process's session."""
    found = []
    for pid, waits in flocks():
        with contextlib.suppress(ProcessLookupError):
            if pid > 0 and os.getsid(pid) == process.pid:
                found.append((pid, waits))
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_tears_down(tmp_path: Path, workers: int) -> None:
    tests = Project(tmp_path, NOTHING, WAITS.replace("together(2)", f"together({workers or 1})"))
    with ended(tests.start("-n", str(workers))) as process:
        until(lambda: len(tests.noted("running")) == (workers or 1), "the tests to run")
        os.killpg(process.pid, signal.SIGINT)
        assert "exit 2" in outcome_of(process)
    assert tests.words()[-1] == "dropped"
    assert tests.left_behind() == []


def test_a_worker_that_waits_costs_no_wakeups(tmp_path: Path) -> None:
    work = "def work(count): until(lambda: Path('go').exists())"
    tests = Project(tmp_path, work, FOUR.replace("together(4)", "together(2)"))
    with ended(tests.start("-n", "2")) as process:
        until(lambda: any(waits for _, waits in flocks_in(process)), "a worker to wait")
        [waiter] = [pid for pid, waits in flocks_in(process) if waits]
        before = wakeups_of(waiter)[waiter]
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert wakeups_of(waiter)[waiter] == before
        (tmp_path / "go").touch()
        assert "4 passed" in outcome_of(process)


def test_each_parameter_is_called_once(tmp_path: Path) -> None:
    tests = Project(
        tmp_path,
        """
        @pytest.fixture(scope="session", params=["a", "b"])
        @once_per_run(teardown=lambda result: note("dropped", result))
        def letter(request):
            note("made", request.param)
            return request.param
        """,
        """
        import pytest
        @pytest.mark.parametrize("number", range(4))
        def test(number, letter): assert letter in "ab"
        """,
    )
    assert "8 passed" in tests.run("-n", "2")
    assert sorted(tests.noted("made")) == sorted(tests.noted("dropped")) == [["a"], ["b"]]


def test_what_was_made_last_is_torn_down_first_and_a_failure_stops_none(tmp_path: Path) -> None:
    tests = Project(
        tmp_path,
        """
        def fail(result):
            note("dropped", result)
            raise ValueError("not " + result)

        @pytest.fixture(scope="session")
        @once_per_run(teardown=fail)
        def lower(): return "lower"

        @pytest.fixture(scope="session")
        @once_per_run(teardown=fail)
        def upper(lower): return "upper"
        """,
        "def test(upper): pass\ndef test_more(upper): pass",
    )
    said = tests.run("-n", "2")
    assert tests.noted("dropped") == [["upper"], ["lower"]]
    assert "2 passed, 1 error" in said
    assert "ValueError: not lower" in said
    assert "ValueError: not upper" in said
    assert "exit 1" in said


def test_a_result_that_json_cannot_hold_is_a_clear_error(tmp_path: Path) -> None:
    work = """
    @pytest.fixture(scope="session")
    @once_per_run
    def thing(): return object()
    """
    tests = Project(tmp_path, work, "def test(thing): pass")
    said = tests.run()
    assert "TypeError: the result of thing, under once_per_run, must be something that JSON can" in said


def test_the_example(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "pytest_once"
    project = tmp_path / "project"
    shutil.copytree(example, project, ignore=shutil.ignore_patterns("__pycache__"))
    tests = Project(tmp_path, NOTHING)
    (tmp_path / "conftest.py").unlink()
    assert "8 passed" in tests.run("-n", "4", "project")
    assert [path.name for path in (tmp_path / "temporary").glob("example-*")] == []
    assert tests.left_behind() == []


def test_without_the_plugin_the_error_says_how_to_load_it(tmp_path: Path) -> None:
    tests = Project(tmp_path, NOTHING, "def test(data): pass")
    conftest = tmp_path / "conftest.py"
    conftest.write_text(conftest.read_text().replace("pytest_plugins =", "plugins ="))
    assert "add pytest_plugins = ['leaderlock.integrations.pytest'] to the top conftest" in tests.run()
    assert "1 passed" in tests.run("-p", "leaderlock.integrations.pytest")


def test_a_fixture_of_a_smaller_scope_is_refused(tmp_path: Path) -> None:
    work = "@pytest.fixture\n@once_per_run\ndef thing(): return 1"
    assert (
        "needs scope='session', not 'function'"
        in Project(tmp_path, work, "def test(thing): pass").run()
    )


def yielding() -> Iterator[int]:
    yield 1


async def coroutine() -> None: ...


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (yielding, "return the result, and give teardown="),
        (coroutine, "not a coroutine function"),
        (pytest.fixture(scope="session")(lambda: 1), "stands below @pytest.fixture, not above it"),
        ("name", "decorates a function"),
    ],
    ids=["generator", "coroutine", "fixture", "string"],
)
def test_what_cannot_be_called_once_is_refused_at_the_decoration(
    function: Callable[..., object], said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        once_per_run(function)


def test_a_teardown_that_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match="teardown must be a function"):
        once_per_run(teardown=1)(lambda: 1)  # type: ignore[call-overload]
