"""A task under gevent and eventlet: a green thread of the process's hub, like all that it starts."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leaderlock import Election
from tests.processes import PATIENCE, flocks_of, holder, until, until_parked
from tests.test_native_threads import Program, libraries

STARTS = """
import concurrent.futures

def task(leadership):
    threading.Timer(0.01, say, ["timer"]).start()
    thread = threading.Thread(target=say, args=["thread"])
    thread.start()
    thread.join()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        say(pool.submit(lambda: "pool").result())
    assert leaderlock.current_leadership() is leadership
    done = threading.Event()
    def in_another():
        say(str(leaderlock.current_leadership() is leadership))
        done.set()
    threading.Thread(target=in_another).start()
    done.wait()
    {ending}

candidate = leaderlock.Election(path).start(task)
told()
say(str(candidate.stop(60)))
"""


@pytest.mark.parametrize(
    "ending",
    [
        "leadership.stopping.wait()",
        pytest.param("leadership.wait(1000)", marks=pytest.mark.slow),
        "return",
    ],
)
@libraries
def test_what_a_task_starts_runs_also_after_its_body_has_returned(
    path: Path, library: dict[str, str], ending: str
) -> None:
    body = STARTS.replace("{ending}", ending)
    with Program(library, True, body, path) as program:
        said = {program.line() for _ in range(4)}
        assert said == {"timer", "thread", "pool", "True"}
        program.go_on()
        assert program.line() == "True"
        assert program.process.wait(PATIENCE) == 0


RETURNS = """
def work():
    while True:
        time.sleep(0.01)
        if leaderlock.is_leader():
            say("works")

election = leaderlock.Election(path{lease})
candidate = election.start(lambda leadership: threading.Thread(target=work).start())
told()
{end}
told()
"""


@libraries
def test_a_body_that_returned_leaves_what_it_started_and_leads_on(
    path: Path, library: dict[str, str]
) -> None:
    body = RETURNS.replace("{lease}", "").replace("{end}", "")
    with Program(library, True, body, path) as program:
        assert program.line() == program.line() == "works"
        assert flocks_of(path) == [(program.process.pid, False)]


@libraries
def test_the_lease_of_a_body_that_returned_says_that_the_hub_lives(
    path: Path, library: dict[str, str]
) -> None:
    stuck = "while True: pass"
    body = RETURNS.replace("{lease}", ", lease=1").replace("{end}", stuck)
    with Program(library, True, body, path) as program:
        for _ in range(200):  # longer than the lease
            assert program.line() == "works"
        assert program.process.poll() is None
        program.go_on()
        assert program.process.wait(PATIENCE) == -signal.SIGKILL


BEATS = """
def task(leadership):
    for tick in leadership.every(0.1):
        if tick < 30:
            say(str(tick))

candidate = leaderlock.Election(path, lease=1).start(task)
told()
while True: pass
"""


@libraries
def test_a_task_beats_in_its_hub_and_dies_with_it(path: Path, library: dict[str, str]) -> None:
    with Program(library, True, BEATS, path) as program:
        until(lambda: program.line() == "20", "two leases to pass")
        program.go_on()
        assert program.process.wait(PATIENCE) == -signal.SIGKILL


NATIVE = """
import {original} as original
main = original.get_ident()

def task(leadership):
    say(str(original.get_ident() == main))
    leadership.stopping.wait()

candidate = leaderlock.Election(path, thread={thread!r}).start(task)
told()
say(str(candidate.stop(60)))
"""


@pytest.mark.parametrize("thread", ["auto", "native"])
@libraries
def test_a_keyword_chooses_a_native_thread(path: Path, library: dict[str, str], thread: str) -> None:
    body = NATIVE.replace("{original}", "leaderlock.kernel.threads").replace("{thread!r}", repr(thread))
    with Program(library, True, body, path) as program:
        assert program.line() == str(thread == "auto")
        program.go_on()
        assert program.line() == "True"


def test_other_values_of_the_keyword_are_refused_and_pickles_keep_it(path: Path) -> None:
    with pytest.raises(ValueError, match="thread must be 'auto' or 'native', not 'green'"):
        Election(path, thread="green")  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(Election(path, thread="native"))).settings.thread == "native"
    assert pickle.loads(pickle.dumps(Election(path))).settings.thread == "auto"


STOP_NATIVELY = "leaderlock.kernel.threads.start_new_thread(candidate.stop, ())"
CALLBACKS = """
def green(what):
    thread = threading.Thread(target=say, args=[what])  # runs in a hub alone
    thread.start()
    thread.join()

election = leaderlock.Election(
    path,
    on_elected=lambda leadership: green("elected"),
    on_resigned=lambda leadership: green("resigned"),
    backoff=(0.001, 0.001),
)
candidate = election.start(lambda leadership: {task})
told()
{end}
told()
"""


@pytest.mark.parametrize(
    ("task", "end"),
    [
        ("leadership.wait(1000)", "candidate.stop(60)"),
        ("None", "os.unlink(path)"),
        pytest.param("None", "candidate.stop(60)", marks=pytest.mark.slow),
        pytest.param("leadership.wait(1000)", "os.unlink(path)", marks=pytest.mark.slow),
        pytest.param("leadership.wait(1000)", STOP_NATIVELY, marks=pytest.mark.slow),
        pytest.param("None", STOP_NATIVELY, marks=pytest.mark.slow),
    ],
)
@libraries
def test_the_callbacks_run_in_the_hub_however_a_term_ends(
    path: Path, library: dict[str, str], task: str, end: str
) -> None:
    body = CALLBACKS.replace("{task}", task).replace("{end}", end)
    with Program(library, True, body, path) as program:
        assert program.line() == "elected"
        program.go_on()
        assert program.line() == "resigned"


NATIVE_WAITERS = """
from leaderlock.kernel.threads import start_new_thread

def task(leadership):
    def native():
        say("waits")
        say(str(leadership.stopping.wait()))
    start_new_thread(native, ())
    leadership.stopping.wait()

candidate = leaderlock.Election(path).start(task)
told()
say(str(candidate.stop(60)))
told()
"""


@libraries
def test_native_threads_wait_for_the_same_objects(path: Path, library: dict[str, str]) -> None:
    with Program(library, True, NATIVE_WAITERS, path) as program:
        assert program.line() == "waits"
        program.go_on()
        assert program.line() == program.line() == "True"


RUN = """
def ask():
    said = told()
    while ticks < 100:
        sleep(0.001)
    say("the hub runs")
    told()
    os.kill(os.getpid(), {signal})
spawn(ask)

def task(leadership):
    say(f"leads {leadership.term}")
    thread = threading.Thread(target=say, args=["green"])
    thread.start()
    thread.join()
    leadership.wait(1000)

try:
    leaderlock.Election(path{native}).run(task)
except KeyboardInterrupt:
    say(f"interrupted {leaderlock.is_leader()}")
"""


@libraries
def test_run_waits_natively_and_runs_the_task_where_it_was_called(
    path: Path, library: dict[str, str]
) -> None:
    body = RUN.replace("{signal}", "signal.SIGINT").replace("{native}", "")
    with holder(path) as other, Program(library, True, "import signal\n" + body, path) as program:
        until_parked(path, program.process.pid)
        program.go_on()
        assert program.line() == "the hub runs"
        other.kill()
        assert program.line() == "leads 2"
        assert program.line() == "green"
        program.go_on()
        assert program.line() == "interrupted False"
        assert program.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("native", ["", ", thread='native'"])
@libraries
def test_run_that_is_interrupted_while_it_waits_leaves_the_queue(
    path: Path, library: dict[str, str], native: str
) -> None:
    body = RUN.replace("{signal}", "signal.SIGINT").replace("{native}", native)
    with holder(path) as other, Program(library, True, "import signal\n" + body, path) as program:
        until_parked(path, program.process.pid)
        program.go_on()
        assert program.line() == "the hub runs"
        program.go_on()
        assert program.line() == "interrupted False"
        assert program.process.wait(PATIENCE) == 0
        assert flocks_of(path) == [(other.pid, False)]


EXITS = """
def task(leadership):
    try:
        say("leads")
        leadership.wait(1000)
        sleep(0.05)  # greenly
        say("ended")
    finally:
        say("finally")

candidate = leaderlock.Election(path).start(task)
told()
"""


@libraries
def test_at_the_exit_a_green_task_is_asked_to_stop_and_waited_for(
    path: Path, library: dict[str, str]
) -> None:
    with Program(library, True, EXITS, path) as program:
        assert program.line() == "leads"
        program.go_on()
        assert program.line() == "ended"
        assert program.line() == "finally"
        assert program.process.wait(PATIENCE) == 0


LOST = """
terms = []
def task(leadership):
    say(f"leads {leadership.term}")
    say(str(leadership.wait(1000)))

candidate = leaderlock.Election(path, backoff=(0.001, 0.001)).start(task)
told()
"""


@libraries
def test_a_green_task_learns_of_its_files_deletion_and_stands_again(
    path: Path, library: dict[str, str]
) -> None:
    with Program(library, True, LOST, path) as program:
        assert program.line() == "leads 1"
        path.unlink()
        assert program.line() == "True"
        assert program.line() == "leads 2"
        assert flocks_of(path) == [(program.process.pid, False)]


RECEIVES = """
inbox = leaderlock.Inbox(path + ".inbox")

def task(leadership):
    for message in inbox.receive(leadership):
        say(message)
    say("asked to stop")

candidate = leaderlock.Election(path).start(task)
told()
inbox.send("hello")
told()
say(str(candidate.stop(60)))
"""


@libraries
def test_a_green_task_receives_while_the_hub_runs_on(path: Path, library: dict[str, str]) -> None:
    with Program(library, True, RECEIVES, path) as program:
        program.go_on()
        assert program.line() == "hello"
        program.go_on()
        assert program.line() == "asked to stop"
        assert program.line() == "True"


@libraries
def test_a_candidate_older_than_the_patch_says_so(path: Path, library: dict[str, str]) -> None:
    early = "import logging; logging.basicConfig(stream=sys.stdout, format='%(message)s')\n"
    early += "import leaderlock; candidate = leaderlock.Election(path).start(lambda leadership: None)\n"
    with holder(path) as other:
        patched = {**library, "patch": early + library["patch"]}
        with Program(patched, True, "say('patched'); told()", path) as program:
            until_parked(path, program.process.pid)
            assert program.line() == "patched"
            other.kill()
            assert "start its candidate after gevent or eventlet has patched" in program.line()


def test_nothing_of_it_is_imported_where_nothing_is_patched() -> None:
    program = (
        "import sys, leaderlock; leaderlock.Election; "
        "print(*(m for m in sys.modules if m.split('.')[0] in ('gevent', 'eventlet', 'greenlet')))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
