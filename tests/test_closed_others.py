"""Other code has closed a descriptor of ours, and has opened others that got its number.

Nothing of theirs is read, written, locked or closed. Our object opens its own anew, or says what is
lost.
"""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path

import pytest

from tests.processes import KEEP_WARNINGS, Child, flocks_of, holder, until, until_parked
from tests.test_native_threads import EVENTLET, Program

# Everything is closed but for 3, by which the answers come. Then all numbers are taken: by files that
# hold a text, by FIFOs that hold a byte, or by eventfds.
SETUP = (
    KEEP_WARNINGS
    + """
from leaderlock import Inbox
from leaderlock.inbox import PersistentReader
def close_all():
    os.closerange(4, 4096)
def take_numbers(kind):
    strangers = []
    for number in range(4, 1000):
        name = f"{argv[0]}.{number}"
        if kind == "file":
            fd = os.open(name, os.O_RDWR | os.O_CREAT)
            os.write(fd, b"theirs")
        elif kind == "eventfd":
            fd = os.eventfd(7)
        elif kind == "fifo":
            os.path.exists(name) or os.mkfifo(name)
            fd = os.open(name, os.O_RDWR | os.O_NONBLOCK)
            os.write(fd, b"x")
        strangers.append((fd, os.fstat(fd)))
    return strangers
def untouched(strangers, kind):
    for fd, status in strangers:
        now = os.fstat(fd)
        assert (now.st_dev, now.st_ino) == (status.st_dev, status.st_ino), fd
        if kind == "file":
            assert os.pread(fd, 100, 0) == b"theirs", fd
        elif kind == "eventfd":
            assert os.eventfd_read(fd) == 7, fd
        elif kind == "fifo":
            assert os.read(fd, 100) == b"x", fd
    return True
"""
)
kinds = pytest.mark.parametrize("kind", ["file", "eventfd", "fifo"])


@kinds
def test_an_inbox_opens_its_fifo_anew_and_leaves_the_others_alone(path: Path, kind: str) -> None:
    with Child(path) as other, Child(path) as child:
        for one in (other, child):
            one.tell(SETUP)
            one.tell("inbox = Inbox(argv[0] + '.fifo')")
        child.tell("inbox.send('before')")
        child.tell(f"close_all(); strangers = take_numbers({kind!r})")
        assert child.tell("inbox.send('after')") is True
        assert child.tell("list(inbox.drain())") == ["before", "after"]
        [said] = child.tell("messages")
        assert "has closed its descriptor" in said
        assert "it is opened anew" in said
        assert child.tell(f"untouched(strangers, {kind!r})")
        assert other.tell("messages") == []


@kinds
@pytest.mark.parametrize("end", ["inbox.close()", "del inbox; import gc; gc.collect()"])
def test_an_inbox_that_ends_closes_nobody_elses_descriptor(path: Path, kind: str, end: str) -> None:
    with Child(path) as child:
        child.tell(SETUP)
        child.tell("inbox = Inbox(argv[0] + '.fifo')")
        child.tell(f"close_all(); strangers = take_numbers({kind!r}); {end}")
        assert child.tell(f"untouched(strangers, {kind!r})")


def test_two_inboxes_of_one_fifo_keep_apart(path: Path) -> None:
    with Child(path) as child:
        child.tell(SETUP)
        child.tell("old = Inbox(argv[0] + '.fifo'); number = old.fileno(); close_all()")
        child.tell("new = Inbox(argv[0] + '.fifo')")
        assert child.tell("new.fileno() == number")
        child.tell("old.close()")
        assert child.tell("new.send('mine')") is True
        assert child.tell("list(new.drain())") == ["mine"]


@kinds
def test_a_reader_goes_on_after_its_pipes_were_closed_between_two_messages(
    path: Path, kind: str
) -> None:
    with Child(path) as other, Child(path) as child:
        other.tell(SETUP + "inbox = Inbox(argv[0] + '.fifo')")
        child.tell(SETUP + "inbox = Inbox(argv[0] + '.fifo')")
        other.tell("[inbox.send(n) for n in range(3)]")
        child.tell("messages_of = inbox.receive()")
        assert child.tell("next(messages_of)") == 0
        child.tell(f"close_all(); strangers = take_numbers({kind!r})")
        assert child.tell("next(messages_of)") == 1
        assert child.tell("next(messages_of)") == 2
        other.tell("inbox.send('last')")
        assert child.tell("next(messages_of)") == "last"
        child.tell("messages_of.close()")
        assert child.tell(f"untouched(strangers, {kind!r})")


WAITS = """
inbox = Inbox(argv[0] + '.fifo')
got = []
def read():
    got.extend(inbox.receive())
import threading
reader = threading.Thread(target=read)
reader.start()
def polls():
    with open(f"/proc/self/task/{reader.native_id}/syscall") as file:
        return file.read().split()[0] in POLLS
"""


@kinds
def test_a_reader_that_waits_ends_when_it_is_closed_though_its_bell_is_gone(
    path: Path, kind: str
) -> None:
    with Child(path) as child:
        child.tell(SETUP)
        child.tell(
            WAITS.replace("POLLS", "('7', '73', '271')")
        )  # poll, or ppoll, of x86-64 and aarch64
        until(lambda: child.tell("polls()"), "the reader to wait")
        child.tell(f"close_all(); strangers = take_numbers({kind!r}); inbox.close(); reader.join()")
        assert child.tell(f"untouched(strangers, {kind!r})")


def test_a_leader_that_receives_learns_that_everything_was_closed(path: Path) -> None:
    with Child(path) as child:
        child.tell(SETUP)
        child.tell(
            "inbox = Inbox(argv[0] + '.fifo')\n"
            "def task(leadership):\n"
            "    os.write(1, b'begins\\n')\n"
            "    list(inbox.receive(leadership))\n"
            "    os.write(1, b'ends\\n')\n"
            "election = leaderlock.Election(argv[0], backoff=(0.01, 0.01))\n"
            "candidate = election.start(task)"
        )
        assert child.line() == "begins"
        # Closed while it begins to receive, it could fail in place of ending.
        child.tell("import gc; from leaderlock.inbox.lines import Reading")
        waits = "any(type(o) is Reading and o._bell is not None for o in gc.get_objects())"
        until(lambda: child.tell(f"candidate._leadership._watch is not None and {waits}"))
        child.tell("close_all()")
        assert child.line() == "ends"
        assert child.line() == "begins"


@kinds
def test_an_anonymous_lock_says_that_it_is_lost_and_closes_no_other(path: Path, kind: str) -> None:
    with Child(path) as child:
        child.tell(SETUP)
        child.tell("lock = LeaderLock.anonymous()")
        child.tell(f"close_all(); strangers = take_numbers({kind!r})")
        child.tell(
            "try: lock.acquire()\n"
            "except leaderlock.Unsupported as error: said = str(error)\n"
            "del lock\nimport gc; gc.collect()"
        )
        assert "has closed its descriptor" in child.tell("said")
        assert child.tell(f"untouched(strangers, {kind!r})")


@kinds
@pytest.mark.parametrize("way", ["lock.acquire()", "lock.acquire(timeout=1000)", "candidate"])
def test_a_waiter_whose_descriptor_was_closed_queues_up_again_and_writes_to_no_other(
    path: Path, kind: str, way: str
) -> None:
    begin = f"threading.Thread(target=lambda: {way}).start()"
    if way == "candidate":
        begin = "candidate = leaderlock.Election(argv[0]).start(lambda leadership: None)"
    with holder(path) as leader, Child(path) as child:
        child.tell(SETUP)
        child.tell(f"import threading; lock = LeaderLock(argv[0]); {begin}")
        until_parked(path, child.pid)
        child.tell(f"close_all(); strangers = take_numbers({kind!r})")
        leader.kill()
        until(lambda: flocks_of(path) == [(child.pid, False)], "it to lead")
        until(lambda: child.tell("lock.locked() or candidate.is_leader"))
        assert "it queues up again" in child.tell("messages")[0]
        assert child.tell(f"untouched(strangers, {kind!r})")


@kinds
def test_a_candidate_whose_descriptor_was_closed_can_be_stopped(path: Path, kind: str) -> None:
    with holder(path) as leader, Child(path) as child:
        child.tell(SETUP)
        child.tell("candidate = leaderlock.Election(argv[0]).start(lambda leadership: None)")
        until_parked(path, child.pid)
        child.tell("close_all()")
        assert child.tell("candidate.stop(60)") is True
        child.tell(f"strangers = take_numbers({kind!r})")
        assert child.tell(f"untouched(strangers, {kind!r})")
        assert flocks_of(path) == [(leader.pid, False)]


@kinds
def test_what_looks_out_for_a_lock_takes_no_other_file_for_its_own(path: Path, kind: str) -> None:
    # All eventfds and inotifys share one inode.
    with Child(path) as child:
        child.tell(SETUP)
        child.tell(
            "from leaderlock.engines.file_watch import ReplacementWatch\n"
            "lock = LeaderLock(argv[0]); lock.acquire()\n"
            "number = os.dup2(lock.fileno(), 1003)\n"
            "held = type('Held', (), {'path': lock.path, 'fileno': lambda _: number})()\n"
            "watch = ReplacementWatch(lambda: None, held); watch.open()\n"
            f"close_all(); strangers = take_numbers({kind!r}); watch.release(); watch.end()"
        )
        assert child.tell(f"untouched(strangers, {kind!r})")


@kinds
def test_the_sinks_that_keep_something_open_open_it_anew(path: Path, kind: str) -> None:
    with Child(path) as child:
        child.tell(SETUP)
        child.tell(
            "import socket\n"
            "from leaderlock.health import sinks\n"
            "from leaderlock.kernel.sd_notify import Notifier\n"
            "manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
            "manager.bind(argv[0] + '.notify')\n"
            "os.mkfifo(argv[0] + '.reports')\n"
            "reader = os.open(argv[0] + '.reports', os.O_RDWR | os.O_NONBLOCK)\n"
            "os.dup2(reader, 1001); os.dup2(manager.detach(), 1002)\n"
            "manager = socket.socket(fileno=1002)\n"
            "sink = sinks.fifo(argv[0] + '.reports'); sink({'n': 1})\n"
            "notifier = Notifier(argv[0] + '.notify'); notifier.send('READY=1')\n"
            f"os.closerange(4, 1000); strangers = take_numbers({kind!r})[:-6]\n"
            "os.closerange(994, 1000)"  # room for what is opened anew
        )
        child.tell("sink({'n': 2}); notifier.send('WATCHDOG=1')")
        assert child.tell("os.read(1001, 100)") == b'{"n":1}\n{"n":2}\n'
        assert child.tell("[manager.recv(100) for _ in range(2)]") == [b"READY=1", b"WATCHDOG=1"]
        child.tell("sink.stop(); notifier.close()")
        assert child.tell(f"untouched(strangers, {kind!r})")


BELL = """
strangers = []
def task(leadership):
    leadership.stopping.wait()
candidate = leaderlock.Election(path).start(task)
while not candidate.is_leader:
    sleep(0.001)
from leaderlock.kernel.green import HubIsGone, hub_of_thread
hub = hub_of_thread()
number = hub._bell.fd
os.close(number)
theirs = os.open(path + ".theirs", os.O_RDWR | os.O_CREAT)
os.dup2(theirs, number)
try:
    hub.call(lambda: None)
except HubIsGone:
    say("gone")
say(str(os.fstat(theirs).st_size))
os._exit(0)
"""


@pytest.mark.skipif(importlib.util.find_spec("eventlet") is None, reason="needs eventlet")
def test_the_bell_of_eventlets_hub_writes_to_no_other_file(path: Path) -> None:
    with Program(EVENTLET, True, BELL, path) as program:
        assert program.line() == "gone"
        assert program.line() == "0"


def test_a_descriptor_that_is_closed_between_the_two_looks_counts_as_closed(path: Path) -> None:
    """`Descriptor.is_open` asks for the file and for the flags; a tracer closes it between the two."""
    with Child(path) as child:
        child.tell(
            "from leaderlock.kernel.descriptors import Descriptor\n"
            "import sys\n"
            "descriptor = Descriptor(argv[0], os.O_RDWR | os.O_CREAT)\n"
            "def trace(frame, event, argument):\n"
            "    if frame.f_code.co_name == 'is_ours' and event == 'call':\n"
            "        os.close(descriptor.fd)\n"
            "sys.settrace(trace)\n"
            "answer = descriptor.is_open()\n"
            "sys.settrace(None)"
        )
        assert child.tell("answer") is False
        child.signal(signal.SIGTERM)


def test_an_inherited_fifo_serves_a_forked_child_and_its_closing_there_is_its_own(path: Path) -> None:
    with Child(path) as child:
        child.tell(SETUP)
        child.tell("inbox = Inbox(argv[0] + '.fifo')")
        child.tell(
            "pid = os.fork()\n"
            "if pid == 0:\n"
            "    inbox.send('from the child'); inbox.close(); os._exit(0)\n"
            "ended = os.waitpid(pid, 0)[1]"
        )
        assert child.tell("ended") == 0
        assert child.tell("list(inbox.drain())") == ["from the child"]
        assert child.tell("messages") == []
        assert os.path.exists(f"{path}.fifo")
