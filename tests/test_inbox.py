"""The inbox: whole messages only, none lost but what a killed leader had in hand, nobody blocked."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.inbox import Flood
from leaderlock import Election, Leadership, LockFileUnusable, UnsafeLockFile
from leaderlock.health import HealthReporter
from leaderlock.health.checks.inbox import inbox as check_of
from leaderlock.inbox import Inbox
from leaderlock.inbox.frames import LARGEST_BYTES, LARGEST_JSON, decoded, frame, pieces
from tests.integrations.server import Server
from tests.processes import (
    Child,
    ChildError,
    descriptors_of,
    forked,
    settled,
    threads_of,
    until,
    wakeups_of,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NOBODY = 65534

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
MESSAGES = st.lists(JSON | st.binary(max_size=300), max_size=8)


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path / "inbox")


def whole(window: bytes) -> list[bytes]:
    return [content for _, content in pieces(window) if content is not None]


# Frames


@given(MESSAGES)
def test_every_message_comes_out_of_its_frame_as_it_went_in(messages: list[object]) -> None:
    stream = b"".join(map(frame, messages))
    assert [decoded(content) for content in whole(stream)] == messages
    assert b"".join(piece for piece, _ in pieces(stream)) == stream


@given(MESSAGES, st.data())
def test_a_reader_that_begins_anywhere_finds_every_whole_message_after_it(
    messages: list[object], data: st.DataObject
) -> None:
    frames = [frame(message) for message in messages]
    stream = b"".join(frames)
    offset = data.draw(st.integers(0, len(stream)))
    ends = [sum(map(len, frames[: i + 1])) for i in range(len(frames))]
    after = [m for m, f, end in zip(messages, frames, ends, strict=True) if end - len(f) >= offset]
    assert [decoded(content) for content in whole(stream[offset:])] == after


@given(st.lists(st.tuples(st.binary(max_size=50), JSON), max_size=8))
def test_no_garbage_between_messages_hides_one(parts: list[tuple[bytes, object]]) -> None:
    stream = b"".join(garbage + frame(message) for garbage, message in parts)
    found = iter(whole(stream))
    for _, message in parts:
        assert frame(message)[1:-1] in found  # in this order; garbage may look like a frame, too


@given(st.binary(max_size=6000), st.integers(0, 2))
def test_any_window_is_taken_bit_by_bit_and_never_stands_still(window: bytes, cut: int) -> None:
    window = (b"\x1e" + b"x" * 5000 + window)[:: cut or 1]
    while window:
        size = sum(len(piece) for piece, _ in pieces(window))
        assert 0 < size <= len(window)
        window = window[size:]


# Sending


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_arrive_as_bytes(inbox: Inbox, kind: Callable[[bytes], object]) -> None:
    content = bytes(range(256)) + b"\x1e\n\x1e{}\n"
    assert inbox.send(kind(content))
    assert list(inbox.drain()) == [content]


def test_newlines_nul_and_the_frame_bytes_arrive_as_they_are(inbox: Inbox) -> None:
    nasty: list[object] = [
        "a\nb",
        "\0",
        "\x1e",
        "\x1e[1]\n",
        "é😀\u2028",
        "\ud800",
        {"\n": ["\x1e"]},
        "",
        None,
        0,
        [],
    ]
    assert all(inbox.send(message) for message in nasty)
    assert list(inbox.drain()) == nasty
    assert (inbox.sent, inbox.received, inbox.malformed) == (len(nasty), len(nasty), 0)


def test_the_largest_message_passes_and_one_byte_more_is_refused_with_the_limit(inbox: Inbox) -> None:
    largest = ["x" * (LARGEST_JSON - 2), b"\xff" * LARGEST_BYTES]
    assert all(inbox.send(message) for message in largest)
    assert list(inbox.drain()) == largest
    with pytest.raises(ValueError, match="4095 bytes of JSON is too large: one of more than 4094"):
        inbox.send("x" * (LARGEST_JSON - 1))
    with pytest.raises(ValueError, match="3070 bytes is too large: one of more than 3069"):
        inbox.send(b"x" * (LARGEST_BYTES + 1))
    for mebibyte in ("x" * 2**20, b"x" * 2**20):
        with pytest.raises(ValueError, match="too large"):
            inbox.send(mebibyte)
    assert (inbox.sent, inbox.dropped, inbox.pending) == (2, 0, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, {"latency": math.nan}])
def test_what_json_cannot_hold_is_refused(inbox: Inbox, value: object) -> None:
    with pytest.raises(ValueError, match="JSON cannot hold this message"):
        inbox.send(value)
    assert inbox.pending == 0


def test_a_cycle_and_a_too_deep_nesting_are_refused(inbox: Inbox) -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    with pytest.raises(ValueError, match="JSON cannot hold this message"):
        inbox.send(cycle)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="JSON cannot hold this message"):
        inbox.send(deep)


@pytest.mark.parametrize("value", [object(), {1, 2}, {("a", "b"): 1}, 1j])
def test_a_type_that_json_does_not_know_is_refused(inbox: Inbox, value: object) -> None:
    with pytest.raises(TypeError, match="a message must be bytes or what JSON can hold"):
        inbox.send(value)


def test_a_full_pipe_drops_and_counts_and_the_leader_is_told(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", capacity=1)
    sent = 0
    while inbox.send(sent):
        sent += 1
    assert not inbox.send("one more")
    assert (inbox.sent, inbox.dropped, inbox.drops_reported) == (sent, 2, 0)
    assert list(inbox.drain()) == list(range(sent))
    assert inbox.send("x" * (LARGEST_JSON - 2))  # leaves no room for the note: the next one takes it
    assert inbox.send("room again")
    assert [str(message)[:4] for message in inbox.drain()] == ["xxxx", "room"]
    assert inbox.drops_reported == 2
    assert inbox.send("told once")
    assert list(inbox.drain()) == ["told once"]
    assert (inbox.drops_reported, inbox.malformed) == (2, 0)


def test_drops_of_another_process_are_told_as_well(inbox: Inbox) -> None:
    def drop() -> bool:
        while inbox.send("x" * 1000):
            pass
        list(inbox.drain())
        return inbox.send("told")

    assert forked(drop) == 0
    assert list(inbox.drain()) == ["told"]
    assert (inbox.drops_reported, inbox.dropped) == (1, 0)


def test_a_signal_handler_may_send_while_its_thread_is_sending(inbox: Inbox) -> None:
    code = (
        "from leaderlock.inbox import Inbox\n"
        "inbox = Inbox(argv[0])\n"
        "signal.signal(signal.SIGALRM, lambda *_: inbox.send('handler'))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)\n"
        "for _ in range(3000): inbox.send('main')\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)"
    )
    with Child(inbox.path) as child:
        child.tell(code)
        sent = child.tell("inbox.sent")
    arrived = list(inbox.drain())
    assert arrived.count("main") == 3000
    assert len(arrived) == sent > 3000


# Between processes


def test_what_was_sent_without_a_leader_waits_for_the_next_one(inbox: Inbox) -> None:
    with Child(inbox.path) as first:
        first.tell(
            "from leaderlock.inbox import Inbox; inbox = Inbox(argv[0]); messages = inbox.receive()"
        )
        inbox.send("a")
        inbox.send("b")
        assert first.tell("next(messages)") == "a"
        first.kill()
    for number in range(3000):  # nobody reads, and nobody gets SIGPIPE or ENXIO
        assert inbox.send(number)
    with Child(inbox.path) as second:
        second.tell("from leaderlock.inbox import Inbox; inbox = Inbox(argv[0])")
        assert second.tell("list(inbox.drain())") == ["b", *range(3000)]


@pytest.mark.parametrize("ending", ["break", "close", "an exception"])
def test_a_reader_that_ends_leaves_the_rest_in_the_pipe(inbox: Inbox, ending: str) -> None:
    for number in range(100):
        inbox.send(number)
    if ending == "close":
        messages = inbox.receive()
        assert next(messages) == 0
        messages.close()  # type: ignore[attr-defined]
    elif ending == "break":
        for _ in inbox.receive():
            break
    else:

        def fail() -> None:
            for _ in inbox.receive():
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
    assert list(inbox.drain()) == list(range(1, 100))


def test_a_killed_reader_loses_at_most_the_message_in_hand(inbox: Inbox) -> None:
    for number in range(5000):
        inbox.send(number)
    with Child(inbox.path) as child:
        child.tell("from leaderlock.inbox import Inbox; messages = Inbox(argv[0]).receive()")
        handed = [child.tell("next(messages)") for _ in range(10)]
        child.kill()
    assert handed == list(range(10))
    assert list(inbox.drain()) == list(range(10, 5000))
    assert inbox.malformed == 0


def test_64_processes_at_once_and_leaders_killed_lose_no_more_than_one_message_each(
    tmp_path: Path,
) -> None:
    outcome = Flood(tmp_path / "inbox", workers=64, each=150).run(kills=6)
    assert outcome.sent == 64 * 150
    assert outcome.torn == outcome.duplicated == outcome.misordered == 0
    assert outcome.lost <= outcome.kills
    assert outcome.received >= outcome.sent - outcome.kills


@pytest.mark.slow
@pytest.mark.alone
def test_a_million_messages_and_20_kills_lose_no_more_than_20(tmp_path: Path) -> None:
    outcome = Flood(tmp_path / "inbox", workers=64, each=15625).run(kills=20)
    assert outcome.sent == 1_000_000
    assert outcome.torn == outcome.duplicated == outcome.misordered == 0
    assert outcome.lost <= outcome.kills


def test_a_forked_child_sends_and_counts_for_itself(inbox: Inbox) -> None:
    inbox.send("parent")
    assert forked(lambda: inbox.send("child") and (inbox.sent, inbox.dropped) == (1, 0)) == 0
    assert list(inbox.drain()) == ["parent", "child"]
    assert inbox.sent == 1


def test_a_child_that_c_code_forked_sends_and_counts_for_itself(inbox: Inbox) -> None:
    code = (
        "import ctypes\n"
        "from leaderlock.inbox import Inbox\n"
        "inbox = Inbox(argv[0]); inbox.send('parent')\n"
        "pid = ctypes.PyDLL(None).fork()\n"  # no at-fork handler runs
        "if pid == 0: os._exit(0 if inbox.send('child') and inbox.sent == 1 else 1)\n"
        "status = os.waitpid(pid, 0)[1]"
    )
    with Child(inbox.path) as child:
        child.tell(code)
        assert child.tell("status, inbox.sent") == (0, 1)
    assert list(inbox.drain()) == ["parent", "child"]


def test_a_forked_child_of_a_reader_can_be_a_reader(inbox: Inbox) -> None:
    inbox.send(1)
    inbox.send(2)
    messages = inbox.receive()
    assert next(messages) == 1
    assert forked(lambda: list(inbox.drain()) == [2]) == 0


def test_a_daemonised_child_whose_descriptors_were_closed_opens_the_path_anew(inbox: Inbox) -> None:
    def daemonise() -> bool:
        os.closerange(3, 1000)
        descriptor = os.open("/dev/null", os.O_RDWR)  # which may get the inbox's old number
        return inbox.send("child") and inbox.fileno() != descriptor

    assert forked(daemonise) == 0
    assert list(inbox.drain()) == ["child"]


@needs_root
def test_a_child_that_gave_up_its_rights_sends_by_the_descriptor_it_inherited(inbox: Inbox) -> None:
    def send() -> bool:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        with pytest.raises(PermissionError):
            os.open(inbox.path, os.O_RDWR | os.O_NONBLOCK)
        return inbox.send("child")

    assert forked(send) == 0
    assert list(inbox.drain()) == ["child"]


def test_programs_that_are_run_do_not_inherit_the_descriptor(inbox: Inbox) -> None:
    words = ["ls", "-l", "/proc/self/fd"]
    listing = subprocess.run(words, close_fds=False, capture_output=True, text=True, check=True)
    assert inbox.path not in listing.stdout


def test_closing_it_leaves_no_descriptor(tmp_path: Path) -> None:
    with Child(tmp_path / "inbox") as child:
        child.tell("from leaderlock.inbox import Inbox; Inbox(argv[0])")
        before = descriptors_of(child.pid)
        child.tell(
            "with Inbox(argv[0]) as inbox:\n"
            "    inbox.send(1)\n"
            "    assert list(inbox.drain()) == [1]\n"
            "forgotten = Inbox(argv[0]); forgotten.send(1); list(forgotten.drain()); del forgotten"
        )
        assert descriptors_of(child.pid) == before
        with pytest.raises(ChildError, match=r"ValueError: .*inbox was closed"):
            child.tell("inbox.send(2)")
        child.tell("inbox.close()")


# Receiving


def test_a_waiting_reader_is_never_woken_and_gets_what_comes(inbox: Inbox) -> None:
    with Child(inbox.path) as child:
        child.tell(
            "from leaderlock.inbox import Inbox; inbox = Inbox(argv[0]); "
            "task = lambda leadership: [print(m, flush=True) for m in inbox.receive(leadership)]; "
            "candidate = leaderlock.Election(argv[0] + '.lock').start(task); candidate.wait()"
        )
        before = settled(child.pid)
        assert child.is_silent(1.0)
        assert wakeups_of(child.pid) == before
        inbox.send("hello")
        assert child.line() == "hello"


def test_a_reader_ends_when_its_leader_is_to_stop(tmp_path: Path, inbox: Inbox) -> None:
    received: list[object] = []
    first = threading.Event()

    def task(leadership: Leadership) -> None:
        for message in inbox.receive(leadership):
            received.append(message)
            first.set()

    candidate = Election(tmp_path / "lock").start(task)
    inbox.send(1)
    assert first.wait(30)
    assert candidate.stop(30)
    assert received == [1]
    inbox.send(2)
    assert list(inbox.drain()) == [2]


def test_a_leader_that_is_to_stop_leaves_what_it_was_not_handed(tmp_path: Path, inbox: Inbox) -> None:
    for number in range(100):
        inbox.send(number)
    received: list[object] = []
    ended = threading.Event()

    def task(leadership: Leadership) -> None:
        for message in inbox.receive(leadership):
            received.append(message)
            leadership.stopping.set()
        ended.set()

    candidate = Election(tmp_path / "lock").start(task)
    assert ended.wait(30)
    assert candidate.stop(30)
    assert received == [0]
    assert list(inbox.drain()) == list(range(1, 100))


def test_many_loops_of_one_leadership_leave_no_more_threads_than_one(
    tmp_path: Path, inbox: Inbox
) -> None:
    counts: list[int] = []
    done = threading.Event()

    def task(leadership: Leadership) -> None:
        for number in range(50):
            threading.Timer(
                0, inbox.send, (number,)
            ).start()  # after the loop has begun to wait, mostly
            assert next(iter(inbox.receive(leadership))) == number
            assert list(inbox.drain()) == []
            counts.append(len(threads_of()))
        done.set()

    candidate = Election(tmp_path / "lock").start(task)
    assert done.wait(60)
    assert candidate.stop(30)
    assert max(counts) < counts[0] + 25  # some timers may be about to end; 50 loops would have left 50


def test_two_readers_of_one_process_are_refused(inbox: Inbox) -> None:
    inbox.send(1)
    inbox.send(2)
    messages = inbox.receive()
    assert next(messages) == 1
    with pytest.raises(RuntimeError, match="is being read in this process already"):
        next(inbox.receive())
    with pytest.raises(RuntimeError, match="is being read in this process already"):
        list(inbox.drain())
    del messages
    assert list(inbox.drain()) == [2]


def test_ctrl_c_ends_a_waiting_reader_in_the_main_thread(inbox: Inbox) -> None:
    with Child(inbox.path) as child:
        child.tell("from leaderlock.inbox import Inbox; inbox = Inbox(argv[0])")
        child.begin("next(inbox.receive())")
        settled(child.pid)
        child.signal(signal.SIGINT)
        with pytest.raises(ChildError, match="KeyboardInterrupt"):
            child.answer()
        inbox.send("still there")
        assert child.tell("next(inbox.receive())") == "still there"


def test_a_signal_whose_handler_returns_does_not_end_the_wait(inbox: Inbox) -> None:
    with Child(inbox.path) as child:
        child.tell("from leaderlock.inbox import Inbox; inbox = Inbox(argv[0]); seen = []")
        child.tell("_ = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))")
        child.begin("next(inbox.receive())")
        settled(child.pid)
        child.signal(signal.SIGUSR1)
        settled(child.pid)
        inbox.send("later")
        assert child.answer() == "later"
        assert child.tell("seen") == [1]


def test_closing_it_ends_a_reader_that_waits_in_another_thread(inbox: Inbox) -> None:
    begun = threading.Event()
    ended = threading.Event()

    def read() -> None:
        for _ in inbox.receive():
            begun.set()
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    inbox.send(1)
    assert begun.wait(30)
    inbox.close()
    assert ended.wait(30)


def test_a_drain_ends_though_the_senders_go_on(inbox: Inbox) -> None:
    for number in range(500):
        inbox.send(number)
    taken = 0
    for message in inbox.drain():
        inbox.send(message)
        taken += 1
    assert 500 <= taken < 1000


def test_garbage_is_thrown_away_counted_and_logged(
    inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    garbage = [
        b"hello\n",
        b"\x1e[1",  # a writer that died, or a torn head
        b"\x1eNaN\n",
        b"\x1e\xff\n",
        b"\x1e" + b"[" * 4000 + b"\n",  # too deep for Python
        b"\x1e=no base64!\n",
        b"\x1e#-1\n",
        b"\x1e" + b"x" * 9000 + b"\n",  # no atomic write
        b"\x1e\n",
    ]
    with caplog.at_level(logging.WARNING, logger="leaderlock"):
        for piece in garbage:
            os.write(inbox.fileno(), piece)
            inbox.send("whole")
        assert list(inbox.drain()) == ["whole"] * len(garbage)
        assert inbox.malformed >= len(garbage)
        assert f"{inbox.path} held what no inbox has sent" in caplog.text
    assert len(caplog.records) < len(garbage)  # a flood of it does not flood the log
    os.write(inbox.fileno(), b"\x1e[")  # without an end, and alone
    assert list(inbox.drain()) == []
    assert inbox.pending == 0


def test_a_reader_that_finds_garbage_alone_goes_on_waiting(inbox: Inbox) -> None:
    with Child(inbox.path) as child:
        child.tell("from leaderlock.inbox import Inbox; inbox = Inbox(argv[0])")
        child.begin("next(inbox.receive())")
        for piece in (b"no newline", b"\x1e{", b"\n\n"):
            os.write(inbox.fileno(), piece)
            until(lambda: inbox.pending == 0)
        before = settled(child.pid)
        assert child.is_silent(0.3)
        assert wakeups_of(child.pid) == before
        inbox.send("message")
        assert child.answer() == "message"
        assert child.tell("inbox.malformed") == 3


def test_a_shell_can_send(inbox: Inbox) -> None:
    subprocess.run(["sh", "-c", f"printf '\\036{{\"requests\":1}}\\n' > {inbox.path}"], check=True)
    assert list(inbox.drain()) == [{"requests": 1}]


def test_another_reader_is_noticed_and_raises_nothing(
    inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(100):
        inbox.send(number)
    messages = inbox.drain()
    assert next(messages) == 0
    os.read(inbox.fileno(), 50)  # a `cat`, say
    with caplog.at_level(logging.WARNING, logger="leaderlock"):
        rest = list(messages)
    assert rest == list(range(100 - len(rest), 100))
    assert "another process reads from" in caplog.text
    for number in range(3):
        inbox.send(number)
    messages = inbox.drain()
    assert next(messages) == 0
    os.read(inbox.fileno(), 50)
    assert list(messages) == []


# The path and the pipe


@pytest.mark.parametrize("kind", ["file", "symlink", "dangling", "directory", "socket"])
def test_a_path_that_is_no_fifo_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "inbox"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    else:
        if kind == "symlink":
            os.mkfifo(tmp_path / "target")
        path.symlink_to(tmp_path / "target")
    words = {"file": "a regular file", "symlink": "a symlink", "dangling": "a symlink"}
    with pytest.raises(UnsafeLockFile, match=f"{path} is {words.get(kind, 'a ' + kind)}"):
        Inbox(path)
    if kind == "file":
        assert path.read_text() == "precious"


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(LockFileUnusable, match="make its directory first") as caught:
        Inbox(tmp_path / "missing" / "inbox")
    assert caught.value.errno == errno.ENOENT
    assert str(tmp_path / "missing" / "inbox") in str(caught.value)


@needs_root
def test_a_fifo_of_somebody_else_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "inbox")
    os.chown(tmp_path / "inbox", NOBODY, NOBODY)
    with pytest.raises(UnsafeLockFile, match=f"belongs to user {NOBODY}"):
        Inbox(tmp_path / "inbox")


@pytest.mark.parametrize(
    "arguments",
    [{"mode": 0o1777}, {"mode": -1}, {"capacity": 0}, {"capacity": -1}, {"capacity": 2**31}],
)
def test_bad_arguments_are_refused(tmp_path: Path, arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        Inbox(tmp_path / "inbox", **arguments)
    assert not (tmp_path / "inbox").exists()


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_path_that_names_nothing_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path must name a FIFO"):
        Inbox(path)


def test_a_new_fifo_has_the_mode_asked_for_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    def make() -> bool:
        os.umask(0o077)
        Inbox(tmp_path / "inbox", mode=0o660)
        return stat.S_IMODE(os.stat(tmp_path / "inbox").st_mode) == 0o660

    assert forked(make) == 0
    Inbox(tmp_path / "inbox", mode=0o600)
    assert stat.S_IMODE(os.stat(tmp_path / "inbox").st_mode) == 0o660
    assert stat.S_ISFIFO(os.stat(tmp_path / "inbox").st_mode)


def test_processes_that_make_it_at_once_all_find_the_same(tmp_path: Path) -> None:
    path = tmp_path / "inbox"
    with Child(path) as one, Child(path) as two:
        for child in (one, two):
            child.begin(
                "from leaderlock.inbox import Inbox; inbox = Inbox(argv[0]); inbox.send(os.getpid())"
            )
        for child in (one, two):
            child.answer()
        assert sorted(map(str, Inbox(path).drain())) == sorted(map(str, (one.pid, two.pid)))


def test_the_pipe_grows_to_what_is_asked_and_never_shrinks(tmp_path: Path) -> None:
    small = Inbox(tmp_path / "inbox", capacity=1)
    size = small.capacity
    large = Inbox(tmp_path / "inbox", capacity=4 * size)
    assert large.capacity == small.capacity == 4 * size
    assert Inbox(tmp_path / "inbox", capacity=2 * size).capacity == 4 * size


@needs_root
def test_a_user_who_may_not_have_so_much_gets_as_much_as_he_may(tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/pipe-max-size").read_text())

    def grow() -> bool:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        return Inbox(place / "inbox", capacity=8 * limit).capacity == limit

    # Not below tmp_path, which is closed to others.
    place = Path("/tmp") / f"leaderlock-test-{os.getpid()}-{time.monotonic_ns()}"
    place.mkdir(mode=0o700)
    try:
        os.chown(place, NOBODY, NOBODY)
        assert forked(grow) == 0
    finally:
        (place / "inbox").unlink(missing_ok=True)
        place.rmdir()


def test_senders_do_not_import_ctypes(tmp_path: Path) -> None:
    program = (
        "import sys; from leaderlock.inbox import Inbox; Inbox(sys.argv[1]).send(1); "
        "print('ctypes' in sys.modules)"
    )
    words = [sys.executable, "-I", "-c", program, str(tmp_path / "inbox")]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "False\n"


GEVENT = """
from gevent import monkey; monkey.patch_all()
import sys, gevent
from leaderlock import Election
from leaderlock.inbox import Inbox
inbox = Inbox(sys.argv[1])
received = []
def task(leadership):
    for message in inbox.receive(leadership):
        received.append(message)
candidate = Election(sys.argv[1] + ".lock").start(task)
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0.001)
gevent.spawn(tick)
while ticks < 4:
    gevent.sleep(0.001)
for number in range(100):
    gevent.spawn(inbox.send, number)
while len(received) < 100:
    gevent.sleep(0.001)
print(sorted(received) == list(range(100)), ticks > 3, candidate.stop(30))
"""


def test_beside_gevent_greenlets_send_and_the_leader_waits_in_its_native_thread(tmp_path: Path) -> None:
    pytest.importorskip("gevent")
    words = [sys.executable, "-W", "ignore", "-c", GEVENT, str(tmp_path / "inbox")]
    result = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout == "True True True\n"


HOOK = """
from leaderlock.inbox import Inbox
inbox = Inbox({inbox!r})

def task(leadership):
    for _ in leadership.every(0.02):
        note("tick", leadership.term)
        for pid in inbox.drain():
            with open({received!r}, "a") as file:
                file.write(f"{{leadership.term}} {{pid}}\\n")

def pre_request(worker, _):
    inbox.send(worker.pid)

post_fork = in_one_worker(task, path={lock!r}, backoff=(0.05, 0.2))
"""


@pytest.mark.parametrize("worker_class", ["sync", "gevent"])
def test_in_gunicorn_every_request_is_told_to_whoever_leads(tmp_path: Path, worker_class: str) -> None:
    received = tmp_path / "received"
    received.touch()
    hook = HOOK.format(
        inbox=str(tmp_path / "inbox"), received=str(received), lock=str(tmp_path / "leader.lock")
    )
    with Server(tmp_path, worker_class, hook) as server:
        served = [server.get() for _ in range(20)]
        until(lambda: len(received.read_text().split("\n")) == 21)
        leader = server.leader()
        os.kill(leader.pid, signal.SIGKILL)
        server.leader(not_among=[leader.pid])
        served += [server.get() for _ in range(20)]
        until(lambda: len(received.read_text().split("\n")) == 41)
    lines = [line.split() for line in received.read_text().splitlines()]
    assert [int(pid) for _, pid in lines] == served
    assert [int(term) for term, _ in lines] == [leader.term] * 20 + [leader.term + 1] * 20


# The check


def test_the_check_sums_up_what_came_since_the_last_report(inbox: Inbox) -> None:
    check = check_of(inbox)
    assert check.__qualname__ == "inbox"
    for number in range(1, 101):
        inbox.send({"requests": 1, "latency": number / 1000, "path": "/"})
    inbox.send({"requests": 5, "errors": 2, "latency": [0.5, 0.6]})
    report = check()
    assert report["counters"] == {"requests": 105, "errors": 2}
    latency = report["timings"]["latency"]
    assert latency["count"] == 102
    assert latency["p50"] == 0.051
    assert (latency["p95"], latency["p99"], latency["max"]) == (0.097, 0.5, 0.6)
    assert latency["mean"] == pytest.approx((5.05 + 1.1) / 102)
    assert report["interval"] is None

    inbox.send({"errors": 1})
    report = check()
    assert report["counters"] == {"requests": 0, "errors": 1}
    assert report["timings"]["latency"] == dict.fromkeys(latency, None) | {"count": 0}
    assert report["totals"]["counters"] == {"requests": 105, "errors": 3}
    assert report["totals"]["messages"] == 102
    assert report["interval"] >= 0
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("value", ["1", None, True, {}, [[1]], 2**54, 10**400, [1, "x"]])
def test_what_is_no_number_is_counted_and_spoils_nothing(inbox: Inbox, value: Any) -> None:
    check = check_of(inbox)
    inbox.send({"requests": 1, "latency": value})
    inbox.send({"requests": value, "latency": 1})
    os.write(inbox.fileno(), b'\x1e{"requests":1e999}\n')  # no float holds it
    inbox.send({"requests": 1, "latency": 0.5})
    report = check()
    assert (report["messages"], report["invalid"], report["malformed"]) == (3, 2, 1)
    assert report["counters"]["requests"] == 1
    assert report["timings"]["latency"]["max"] == 0.5
    json.dumps(report, allow_nan=False)


def test_other_messages_go_to_the_callback_and_what_it_raises_is_logged(
    inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    others: list[object] = []

    def collect(message: object) -> None:
        others.append(message)
        raise RuntimeError("no room")

    check = check_of(inbox, counters=["hits"], timings=[], on_message=collect)
    for message in ({"requests": 1}, "text", b"\0", None, {"hits": 2}):
        inbox.send(message)
    report = check()
    assert others == [{"requests": 1}, "text", b"\0", None]
    assert (report["other"], report["counters"], report["timings"]) == (4, {"hits": 2}, {})
    assert caplog.text.count("on_message failed") == 4


def test_the_check_reports_drops_garbage_and_what_waits(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", capacity=1)
    check = check_of(inbox)
    os.write(inbox.fileno(), b"garbage\n")
    while inbox.send({"requests": 1}):
        pass
    pending = inbox.pending
    report = check()
    assert (report["malformed"], report["dropped"]) == (1, 0)
    assert (report["pending"], report["capacity"]) == (pending, inbox.capacity)
    inbox.send({"requests": 1})
    report = check()
    assert (report["malformed"], report["dropped"]) == (0, 1)
    assert (report["totals"]["malformed"], report["totals"]["dropped"]) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"counters": "requests"}, TypeError),
        ({"counters": [1]}, TypeError),
        ({"timings": ["a", "a"]}, ValueError),
        ({"counters": ["a"], "timings": ["a"]}, ValueError),
    ],
)
def test_names_that_cannot_be_meant_are_refused(
    inbox: Inbox, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        check_of(inbox, **arguments)


def test_the_reporter_of_the_leader_reports_what_other_processes_sent(
    tmp_path: Path, inbox: Inbox
) -> None:
    for _ in range(4):
        assert forked(lambda: inbox.send({"requests": 10, "latency": 0.1})) == 0
    reports: list[Any] = []
    reporter = HealthReporter(interval=1, checks=[check_of(inbox)], sinks=[reports.append])
    candidate = Election(tmp_path / "lock").start(reporter)
    until(lambda: len(reports) >= 2)
    assert candidate.stop(30)
    values = [report["checks"]["inbox"]["value"] for report in reports]
    assert values[0]["counters"]["requests"] == 40
    assert values[-1]["totals"]["counters"]["requests"] == 40
