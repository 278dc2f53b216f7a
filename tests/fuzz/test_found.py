"""What hostile input has found, one test for each mend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock
from xml.etree import ElementTree

import pytest

from leaderlock import CorruptLockFile
from leaderlock.cli.fleet import resign
from leaderlock.cli.history import _number
from leaderlock.engines.address import HIDDEN, Address
from leaderlock.engines.catalogue import engine_of
from leaderlock.engines.etcd.record import Holding
from leaderlock.engines.etcd.response import BadResponse, Response
from leaderlock.engines.leased.notes import History, read_history
from leaderlock.engines.leased.session import Claim, Standing
from leaderlock.engines.redis.candidacy import Attempt, Candidacy
from leaderlock.history import fleet as history_fleet
from leaderlock.history.drawing.file import draw_for_any_screen
from leaderlock.inbox import Inbox
from leaderlock.kernel.foreign_json import DEEPEST, depth_of, parsed
from leaderlock.kernel.sd_notify import watchdog_interval
from leaderlock.once.outcomes import Outcomes
from tests.fuzz.targets import _FakeEngine, _FakeSession
from tests.supervisor.pid1 import run

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

_WITH_STRANGE_MOUNTS = """
import ctypes, os, sys, tempfile
libc = ctypes.CDLL(None, use_errno=True)
def mount(*arguments):
    if libc.mount(*arguments):
        sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")
where = tempfile.mkdtemp()
fuse = os.open("/dev/fuse", os.O_RDWR)
options = b"fd=%d,rootmode=40000,user_id=0,group_id=0,subtype=\\xff" % fuse
mount(b"source", where.encode(), b"fuse", 0, options)
where = tempfile.mkdtemp(suffix="\\x0b\\u2028")
mount(b"tmpfs", os.fsencode(where), b"tmpfs", 0, None)
import leaderlock
from leaderlock.health.checks import cgroup
from leaderlock.kernel.proc.mounts import mounts
with leaderlock.LeaderLock(sys.argv[1]):
    cgroup()()
    print(sorted(os.fsencode(m.kind) for m in mounts() if m.kind.startswith("fuse."))[-1])
"""


@needs_root
@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="needs FUSE")
def test_a_mount_of_any_users_file_system_does_not_break_all_locks(path: Path) -> None:
    words = ["unshare", "--mount", sys.executable, "-c", _WITH_STRANGE_MOUNTS, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    if "cannot mount" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout == "b'fuse.\\xff'\n", done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:hunter2\u2100@host/0#x",
        "redis://me:[hunter2]@host/0#x",
        "redis://me:hunter2/3@host/0#x",
        "redis://me:hunter2?3@host/0#x",
        "redis://me:hunter2#3@host/0",
        "redis:///me:hunter2@host/0#x",
        "redis://me/x:hunter2@host/0#x",
    ],
)
def test_a_password_that_was_not_quoted_is_not_shown_by_the_error(url: str) -> None:
    with pytest.raises(ValueError, match=r"of a password|in a password") as caught:
        Address(url)
    assert "hunter2" not in str(caught.value)
    assert HIDDEN in str(caught.value)


@pytest.mark.parametrize(
    "url", ["redis://h/0#\x1b[2J", "etcd://h/0#\x1f", "x\x1by://h/", "redis://\x1b@h:1:2/"]
)
def test_no_control_character_of_a_url_reaches_a_message(url: str) -> None:
    shown = []
    for make in (Address, engine_of):
        try:
            made: Any = make(url)
            shown.append(made.shown if make is Address else made.address)
        except Exception as error:  # noqa: BLE001  (its text is what counts)
            shown.append(str(error))
    assert all(text.isprintable() for text in shown), shown


DEEP = b"[" * 5000 + b"]" * 5000


@pytest.mark.parametrize("content", [DEEP, b'{"a":' * 200 + b"1" + b"}" * 200, b"NaN", b"[1e999]"])
def test_a_note_that_no_leader_wrote_does_not_keep_the_leader_from_its_resignation(
    content: bytes,
) -> None:
    engine: Any = _FakeEngine(content)
    assert read_history(engine.connect()) == []
    History(engine, engine.connect(), Claim(9, 0.0, {}, False)).record_end("resigned")
    assert Holding(content, "1", 2).leader() is None


def test_a_depth_is_counted_outside_of_strings_and_in_one_pass() -> None:
    assert depth_of('[{"a[[": "\\"]]["}]') == 2
    assert depth_of('"\\"' * 500_000) == 0  # of a string without an end
    assert parsed("[" * DEEPEST + "]" * DEEPEST)
    with pytest.raises(ValueError, match="nested more than 100 deep"):
        parsed("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_a_number_too_large_for_a_float_is_no_message_and_no_outcome(
    tmp_path: Path, number: str
) -> None:
    inbox = Inbox(tmp_path / "inbox")
    os.write(inbox.fileno(), f'\x1e{{"latency": {number}}}\n'.encode())
    assert list(inbox.drain()) == []
    assert inbox.malformed == 1
    outcome = f'{{"result": {number}, "term": 1, "pid": 1, "at": 1}}'
    (tmp_path / "x.outcomes.json").write_text(
        f'{{"format": "leaderlock outcomes 1", "outcomes": {{"a": {outcome}}}}}'
    )
    with pytest.raises(CorruptLockFile):  # before, the next write made a file that nobody could read
        Outcomes(str(tmp_path / "x")).read()


def test_what_an_inbox_takes_it_also_hands_out(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    deepest: object = []
    for _ in range(DEEPEST - 1):
        deepest = [deepest]
    assert inbox.send(deepest)
    assert list(inbox.drain()) == [deepest]
    with pytest.raises(ValueError, match="JSON cannot hold this message: it is nested more than 100"):
        inbox.send([deepest])


@pytest.mark.parametrize("lease", [10**400, float("nan"), True, "long", -1])
def test_resign_says_nothing_about_a_lease_that_no_leader_has(
    lease: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine, session = _FakeEngine(b""), _FakeSession(b"")
    who: Any = {"pid": 1, "host": "h", "lease": lease}
    monkeypatch.setattr(session, "look", lambda: Standing(3, who, 5.0, 1))
    monkeypatch.setattr(engine, "connect", lambda: session)
    monkeypatch.setattr("leaderlock.cli.fleet.leased_engine_of", lambda *_, **__: engine)
    assert resign("redis://h/0#x", False) == 0
    assert capsys.readouterr().out == "asked process 1 on h to resign from redis://h/0#x, term 3\n"


@pytest.mark.parametrize("message", ["²", "9" * 400, "elected:²", "elected:" + "9" * 5000 + ":1"])
def test_a_message_that_no_leader_published_neither_ends_a_wait_nor_prolongs_it(message: str) -> None:
    candidacy = Candidacy(10)
    candidacy.tried(Attempt(0, 1, 100, 0, 1, b""))
    candidacy.hear(message.encode())
    assert candidacy.due() < time.monotonic() + 1000


def test_how_a_term_ended_is_printable_in_a_drawing_whoever_wrote_it() -> None:
    entry = {"term": 1, "pid": 1, "host": "\x1b", "since": 5.0, "ended": "\x1f"}
    engine: Any = _FakeEngine(json.dumps([entry]).encode())
    with mock.patch.object(history_fleet, "leased_engine_of", return_value=engine):
        history = history_fleet.history_in_engine("redis://h/0#x")
    ElementTree.fromstring(draw_for_any_screen(history, now=10.0))
    assert (history.terms[0].host, history.terms[0].ended) == ("\\x1b", "\\x1f")


def test_what_libpq_says_of_a_url_is_printable_and_without_the_password() -> None:
    with pytest.raises(ValueError, match="libpq does not accept this URL") as caught:
        engine_of("postgresql://me:hunter2@h/a?\U00018cd6#0")
    assert str(caught.value).isprintable()
    assert "hunter2" not in str(caught.value)


LONG = "9" * 5000
"""Python refuses to read such a number, by a ValueError of its own."""


def test_variables_of_a_service_manager_may_hold_any_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", LONG)
    assert watchdog_interval() is None
    variables = {"LISTEN_FDS": LONG, "WATCHDOG_USEC": LONG, "NOTIFY_SOCKET": "@none"}
    done = run("run", "--", "sh", "-c", "exit 3", environment=variables)
    assert done.returncode == 3, done.stderr


def test_an_answer_of_impossible_length_is_no_answer() -> None:
    for length in (LONG, "-1", "x", ""):
        with pytest.raises(BadResponse, match="has the length"):
            Response().feed(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())


def test_a_number_of_terms_may_have_any_digits() -> None:
    for text in (LONG, "٣", "0", ""):
        with pytest.raises(ValueError, match="a number of terms"):
            _number(text)
    assert _number("7") == 7
    assert json.dumps(_number("007")) == "7"
