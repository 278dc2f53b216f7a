"""Whatever runs after a wait, a drop of rights or an upgrade on disk has been imported before it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import leaderlock
from leaderlock.lock import record
from tests.late_imports import late
from tests.processes import Child, holder, until_parked

HERE = Path(__file__).parent

# The programs import nothing that leaderlock could need. `PATH` is held by somebody else at first.
BEGIN = """
import importlib.util, os, sys
def module(name, file):
    spec = importlib.util.spec_from_file_location(name, file)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found
forbid = module("late_imports", sys.argv[2]).forbid
PATH, REPORT = sys.argv[1], sys.argv[3]
def waits():
    forbid(REPORT)
    os.write(1, b"waits\\n")
def said(text):
    os.write(1, text.encode() + b"\\n")
def replace():
    os.rename(PATH, PATH + ".old")
    os.close(os.open(PATH, os.O_CREAT, 0o600))
"""

LOCK = """
from leaderlock import LeaderLock, NotHeld
lock = LeaderLock(PATH)
waits()
with lock:
    assert lock.holder().pid == os.getpid()
    assert lock.acquire(False) is False
    lock.check()
    said("leads")
    replace()
    try:
        lock.check()
    except Exception as error:
        said(type(error).__name__)
try:
    lock.release()
except NotHeld:
    pass
"""

START = """
from leaderlock import Election, LeaderLock, current_leadership, is_leader
from leaderlock.kernel.threads import allocate_lock
lock = LeaderLock(PATH)
elected = []
lost = allocate_lock()
lost.acquire()
def task(leadership):
    if len(elected) == 2:  # elected anew, on the new file
        raise ValueError("a task that fails: its traceback is logged")
    said(f"leads {lock.holder().term}")
    assert current_leadership() is leadership and is_leader()
    for tick in leadership.every(0.01):
        leadership.beat()
        if tick > 2:
            break
    replace()
    while not leadership.wait(1):
        pass
    lost.release()
callbacks = {"on_elected": elected.append, "on_resigned": lambda _: said("resigned")}
election = Election(lock, lease=LEASE, backoff=(0.01, 0.01), **callbacks)
candidate = election.start(task)
waits()
lost.acquire()
candidate.wait()
candidate.stop()
"""

RUN = """
from leaderlock import Election
def task(leadership):
    said("leads")
    return leadership.term
election = Election(PATH, on_return="resign")
waits()
election.run(task)
"""

ONLY_ONCE = """
from leaderlock import only_once
from leaderlock.kernel.threads import allocate_lock
led = allocate_lock()
led.acquire()
@only_once(path=PATH)
def job():
    said("leads")
    led.release()
job()
waits()
led.acquire()
"""

CALL_ONCE = """
from leaderlock import call_once
@call_once(key="1", path=PATH)
def job():
    said("leads")
    return [1]
waits()
assert job() == [1]
assert job() == [1]
"""

INBOX = """
from leaderlock import Election, Inbox
from leaderlock.inbox.lines import PersistentReader
inbox, lines = Inbox(PATH + ".fifo"), PersistentReader(PATH + ".lines")
inbox.send(["sent by a standby"])
def task(leadership):
    said("leads")
    assert next(inbox.receive(leadership)) == ["sent by a standby"]
    inbox.send(b"sent by the leader")
    assert list(inbox.drain()) == [b"sent by the leader"]
    fd = os.open(PATH + ".lines", os.O_WRONLY)
    os.write(fd, b"a line\\n")
    assert next(lines.lines(leadership)) == b"a line"
election = Election(PATH, on_return="resign")
waits()
election.run(task)
"""

COROUTINE = """
import asyncio
from leaderlock import Election, LeaderLock
lock = LeaderLock(PATH)
election = Election(lock)
async def main():
    waits()
    async with lock:
        assert lock.holder().pid == os.getpid()
    async with election.lead() as leadership:
        said("leads")
        leadership.beat()
asyncio.run(main())
"""

REPORTER = """
from leaderlock import Election
from leaderlock.health import HealthReporter, checks, sinks
from leaderlock.kernel.threads import allocate_lock
reported = allocate_lock()
reported.acquire()
def told(report):
    if reported.locked():
        reported.release()
reporter = HealthReporter(
    interval=0.1,
    checks=[CHECKS],
    sinks=[SINKS, told],
)
candidate = Election(PATH).start(reporter)
waits()
reported.acquire()
candidate.stop()
said("leads")
"""

PROGRAMS = {
    "LeaderLock": LOCK,
    "Election.start": START.replace("LEASE", "None"),
    "Election.start with a lease": START.replace("LEASE", "60"),
    "Election.run": RUN,
    "only_once": ONLY_ONCE,
    "call_once": CALL_ONCE,
    "inbox": INBOX,
    "coroutines": COROUTINE,
}
# Each with few others, which might import the same.
CHECKS = [
    "workers()",
    "cgroup(), checks.disk('/'), checks.listen_queue()",
    "tcp('localhost:1')",
    "http('http://localhost:1/')",
    "http('https://localhost:1/')",
]
SINKS = [
    "file(PATH + '.json')",
    "log()",
    "statsd('localhost:1')",
    "systemd()",
    "prometheus(PATH + '.prom')",
    "http('http://localhost:1/')",
    "healthchecks('http://localhost:1/')",
    "opentelemetry()",
    "fifo(PATH + '.fifo')",
]
for check, sink in itertools.zip_longest(CHECKS, SINKS, fillvalue="disk('/')"):
    program = REPORTER.replace("CHECKS", f"checks.{check}").replace("SINKS", f"sinks.{sink}")
    PROGRAMS[f"reporter: {check}, {sink}"] = program


def started(program: str, path: Path, report: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN + program, path, HERE / "late_imports.py", report],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said_by(process: subprocess.Popen[str], path: Path, held: Child) -> str:
    """What it says once the lock is free; it must end well."""
    until_parked(path, process.pid)
    held.kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "leads" in out
    assert "ModuleNotFoundError" not in err
    return err


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_nothing_is_imported_once_it_waits(path: Path, tmp_path: Path, program: str) -> None:
    report = tmp_path / "report"
    with holder(path) as held, started(program, path, report) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        said_by(process, path, held)
    assert late(str(report)) == []


@pytest.mark.parametrize(
    "program", [LOCK, PROGRAMS["Election.start with a lease"]], ids=["LeaderLock", "Election"]
)
def test_a_standby_leads_after_the_package_was_removed(
    path: Path, tmp_path: Path, program: str
) -> None:
    source = Path(leaderlock.__file__).parent
    package = tmp_path / "packages" / "leaderlock"
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
    with (
        holder(path) as held,
        started(program, path, tmp_path / "r", PYTHONPATH=str(package.parent)) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        shutil.rmtree(package)
        said_by(process, path, held)


def test_an_import_that_comes_too_late_is_noticed(path: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    with started("import leaderlock\nforbid(REPORT)\nleaderlock.Election", path, report) as process:
        process.communicate(timeout=60)
    assert "leaderlock.election.election for lazy.py" in late(str(report))


# What a leader reads without json, which it may not be able to import any more.


@given(
    st.integers(1, 2**64 - 1),
    st.integers(10**9, 4 * 10**18),
    st.text(max_size=40),
    st.none() | st.floats(0, 1e6),
    st.none() | st.integers(1, 3600),
)
def test_a_record_without_escapes_is_read_as_json_reads_it(
    term: int, since: int, name: str, waited: float | None, lease: float | None
) -> None:
    content = record.encode(term, since, record.host_and_name(name), waited, lease)
    text = content[record.COPY_SIZE - len(content) :][len(b"leaderlock 1 00000000") :]
    text = text[: record.COPY_SIZE - len(b"leaderlock 1 00000000")]
    plain = record._plain_fields(text)
    assert plain in (None, json.loads(text))
    if name.isascii() and name.isprintable() and not set(name) & set('"\\'):
        assert plain is not None


@given(
    st.dictionaries(
        st.sampled_from(["term", "pid", "a b"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([1]),
    ),
    st.booleans(),
)
def test_a_record_of_a_strangers_is_read_as_json_reads_it(fields: object, spaces: bool) -> None:
    text = json.dumps(fields, separators=None if spaces else (",", ":"), ensure_ascii=False).encode()
    plain = record._plain_fields(text)
    assert plain is None or plain == json.loads(text)
