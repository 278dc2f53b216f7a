"""Candidates beside gevent and eventlet: the hub runs on, whatever they have patched, and when."""

from __future__ import annotations

import importlib.util
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import PATIENCE, Child, flocks_of, holder, until, until_parked

GEVENT = {
    "patch": "from gevent import monkey; monkey.patch_all()",
    "hub": "import gevent; spawn, sleep = gevent.spawn, gevent.sleep",
}
EVENTLET = {
    "patch": (
        "import warnings; warnings.simplefilter('ignore')\nimport eventlet; eventlet.monkey_patch()"
    ),
    "hub": "import eventlet; spawn, sleep = eventlet.spawn, eventlet.sleep",
}
libraries = pytest.mark.parametrize(
    "library",
    [
        pytest.param(
            library,
            id=name,
            marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"needs {name}"),
        )
        for name, library in (("gevent", GEVENT), ("eventlet", EVENTLET))
    ],
)
orders = pytest.mark.parametrize("patch_first", [True, False], ids=["patched before", "patched after"])

# Talks by its own pipes and runs in a plain interpreter: nothing may be imported before the patch.
PROGRAM = """
import os, sys
path = sys.argv[1]
{first}
{second}
{hub}
import logging, threading, time
logging.basicConfig(level=logging.INFO, stream=open(os.devnull, "w"))

def say(text):
    os.write(1, text.encode() + b"\\n")

ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        sleep(0.001)
spawn(tick)

def told():
    # Greenly: a blocking read would stop the hub itself.
    os.set_blocking(0, False)
    line = b""
    while not line.endswith(b"\\n"):
        try:
            data = os.read(0, 1)
        except BlockingIOError:
            sleep(0.001)
            continue
        if not data:
            os._exit(3)
        line += data
    return line

{body}
"""

STANDBY = """
def task(leadership):
    say(f"leads {leadership.term}")
    WAIT
    say("asked to stop")

candidate = leaderlock.Election(path).start(task)
say("started")
before = ticks
told()
while ticks < before + 20:
    sleep(0.001)
say("the hub has run")
told()
leading = candidate.wait(60)
before = ticks
while ticks < before + 10:
    sleep(0.001)
say(f"{leading} {candidate.state}")
told()
say(str(candidate.stop(60)))
say(candidate.state)
"""


class Program:
    def __init__(self, library: dict[str, str], patch_first: bool, body: str, path: Path | str) -> None:
        load = "import leaderlock; leaderlock.Election"
        first, second = (library["patch"], load) if patch_first else (load, library["patch"])
        source = PROGRAM.replace("{first}", first).replace("{second}", second)
        source = source.replace("{hub}", library["hub"]).replace("{body}", body)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", source, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # or select() would not see what is in the buffer
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def line(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        assert ready, "it said nothing"
        return self.process.stdout.readline().decode().rstrip("\n")

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()


@pytest.mark.parametrize("wait", ["leadership.stopping.wait()", "leadership.wait(1000)"])
@orders
@libraries
def test_the_hub_runs_on_while_a_candidate_waits_and_leads(
    path: Path, library: dict[str, str], patch_first: bool, wait: str
) -> None:
    standby = STANDBY.replace("WAIT", wait)
    with holder(path) as other, Program(library, patch_first, standby, path) as program:
        assert program.line() == "started"
        until_parked(path, program.process.pid)
        program.go_on()
        assert program.line() == "the hub has run"
        other.kill()
        assert program.line() == "leads 2"
        program.go_on()
        assert program.line() == "True leading"
        program.go_on()
        assert program.line() == "asked to stop"
        assert program.line() == "True"
        assert program.line() == "stopped"
        assert program.process.wait(60) == 0


TASK = """
seen = []
def task(leadership):
    # The native tools that a task has: its own event, a steady tick, and a thread.
    for tick in leadership.every(0.01):
        seen.append(tick)
        if tick > 3:
            break
    seen.append(leadership.wait(0.01))
    seen.append(leaderlock.current_leadership() is leadership)
    say("done")

candidate = leaderlock.Election(path, on_return="resign").start(task)
told()
say(str(seen[-2:]))
say(candidate.state)
"""


@orders
@libraries
def test_a_task_can_use_its_leadership(path: Path, library: dict[str, str], patch_first: bool) -> None:
    with Program(library, patch_first, TASK, path) as program:
        assert program.line() == "done"
        until(lambda: flocks_of(path) == [], "it to resign")
        program.go_on()
        assert program.line() == "[False, True]"
        assert program.line() == "resigned"


LOGGING = """
log = logging.getLogger("app")
def write():
    while True:
        log.info("a greenlet")
        sleep(0)
for _ in range(5):
    spawn(write)

terms = []
def task(leadership):
    for n in range(50):
        logging.getLogger("task").info("a native thread")
    terms.append(leadership.term)
    raise ZeroDivisionError  # logged with its traceback

candidate = leaderlock.Election(path, backoff=(0.001, 0.001)).start(task)
while len(terms) < 30:
    sleep(0.001)
say(str(candidate.stop(60)))
"""


@pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="needs gevent")
def test_logging_from_the_native_thread_and_from_greenlets_at_once_hangs_nobody(path: Path) -> None:
    # Not so under eventlet, whose locks, logging's too, are of no use between native threads.
    with Program(GEVENT, True, LOGGING, path) as program:
        assert program.line() == "True"


STOPPED = """
candidate = leaderlock.Election(path).start(lambda leadership: None)
say("started")
told()
say(str(candidate.stop(60)))
say(candidate.state)
"""


@libraries
def test_a_standby_can_be_stopped(path: Path, library: dict[str, str]) -> None:
    with holder(path) as other, Program(library, True, STOPPED, path) as program:
        assert program.line() == "started"
        until_parked(path, program.process.pid)
        program.go_on()
        assert program.line() == "True"
        assert program.line() == "stopped"
        assert flocks_of(path) == [(other.pid, False)]
        assert program.process.wait(60) == 0


def test_the_native_functions_are_those_of_the_interpreter_where_nothing_is_patched() -> None:
    with Child() as child:
        child.tell("import _thread; from leaderlock.kernel import threads")
        assert child.tell("threads.start_new_thread is _thread.start_new_thread")
        assert child.tell("threads.allocate_lock is _thread.allocate_lock")
