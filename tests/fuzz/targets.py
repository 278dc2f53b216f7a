"""Everything that parses, each with hostile input for it and the promise that it must keep.

The promise is the same everywhere: an answer of the documented form or a documented error, soon, and no
control character in any text for people.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from xml.etree import ElementTree

from hypothesis import strategies as st

from leaderlock import CorruptLockFile, LeaderLock, LeaderLockError
from leaderlock.cli import fleet as cli_fleet
from leaderlock.diagnosis import tmpfiles
from leaderlock.engines.address import Address
from leaderlock.engines.catalogue import engine_of
from leaderlock.engines.etcd.gateway import Gateway, Reply
from leaderlock.engines.etcd.key import ElectionKey
from leaderlock.engines.etcd.response import BadResponse, Response
from leaderlock.engines.etcd.watch import _events
from leaderlock.engines.leased import notes
from leaderlock.engines.leased.session import Standing
from leaderlock.engines.redis.candidacy import Attempt, Candidacy
from leaderlock.engines.redis.session import RedisSession
from leaderlock.engines.zookeeper import nodes
from leaderlock.fifo import PersistentReader
from leaderlock.health import probe
from leaderlock.health.checks import hierarchy
from leaderlock.history import fleet as history_fleet
from leaderlock.history.drawing import draw
from leaderlock.history.drawing.file import draw_for_any_screen
from leaderlock.history.reading import _history
from leaderlock.history.summary import Summary
from leaderlock.inbox import Inbox
from leaderlock.kernel import sd_notify
from leaderlock.kernel.foreign_json import parsed
from leaderlock.kernel.proc import containers, locks, mounts, processes, queues, table
from leaderlock.lock import claim, journal, record
from leaderlock.once.outcomes import Outcomes
from leaderlock.status import fleet as status_fleet
from leaderlock.status import text as status_text
from leaderlock.supervisor.loop import Loop
from leaderlock.supervisor.schedule import Schedule
from leaderlock.supervisor.service import Service
from leaderlock.supervisor.settings import Settings
from leaderlock.wording import json_text, printable
from tests.fuzz import hostile
from tests.fuzz.hostile import NASTY, TEXT, VALUES, json_of, objects, spoiled

_KEPT = tempfile.mkdtemp(prefix="leaderlock-fuzz-")
atexit.register(shutil.rmtree, _KEPT, ignore_errors=True)
KEPT = Path(_KEPT)


class Target(NamedTuple):
    """A parser under attack.

    Attributes:
        name: for people.
        given: the hostile input.
        check: parses one; raises what is no documented answer.
    """

    name: str
    given: st.SearchStrategy[Any]
    check: Callable[[Any], object]


TARGETS: list[Target] = []


def target(name: str, given: st.SearchStrategy[Any]) -> Callable[[Callable[[Any], object]], Any]:
    def add(check: Callable[[Any], object]) -> Callable[[Any], object]:
        TARGETS.append(Target(name, given, check))
        return check

    return add


def require_printable(text: str) -> None:
    assert all(line.isprintable() for line in text.split("\n")), f"control characters in {text!r}"


@contextlib.contextmanager
def allowed(*errors: type[Exception]) -> Iterator[None]:
    """Only these errors, and LeaderLockError, may come out; people can be shown their text."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, (LeaderLockError, *errors)):
            raise
        require_printable(str(error))


# The lock file


@target("the record in the lock file", hostile.RECORDS)
def _record(content: bytes) -> None:
    fields, odd = record.decode(content), record.oddity(content)
    greatest = record.greatest_term(content)
    if fields is not None:
        assert odd is None
        assert fields["term"] == greatest
        assert set(fields) <= {"term", "pid", "since", "host", "name", "waited", "lease"}
        json_text(fields)
    if odd is not None:
        require_printable(odd)
    try:
        last = record.last_term(content, "/run/x.lock")
    except CorruptLockFile as error:
        require_printable(str(error))
        assert greatest == 0
    else:
        assert last == greatest
        assert 0 <= last < 2**64
    assert record.last_term(b"", "/run/x.lock") == 0
    copy = record.whole_copy(content, greatest)
    assert (copy is not None) == (greatest > 0 or copy is not None)


@target(
    "the record that names and hosts of any kind become",
    st.tuples(
        st.integers(1, 2**64 - 1),
        st.floats(0, 253402300799),
        TEXT | st.text(min_size=50, max_size=300),
        st.none() | st.floats(0, 1e9),
        st.none() | st.floats(0.1, 1e9),
    ),
)
def _encoded(given: tuple[int, float, str, float | None, float | None]) -> None:
    term, given_since, name, waited, lease = given
    since = max(given_since, 1)  # the first second of 1970 has no record
    content = record.encode(term, int(since * 1e9), record.host_and_name(name), waited, lease)
    assert len(content) == record.SIZE
    fields = record.decode(content)
    assert fields is not None, content
    assert (fields["term"], fields["pid"]) == (term, os.getpid())
    assert name.startswith(fields["name"]) or "\ud800" <= max(name) <= "\udfff"
    assert math.isclose(fields["since"], since, abs_tol=1e-6)


@target("a tail of the history", hostile.SLOTS)
def _tail(slot: bytes) -> None:
    tail = journal.read_tail(slot)
    if tail is not None:
        require_printable(tail[-1])
        assert all(map(math.isfinite, (tail[0], tail[1] or 0, *tail[2:4])))


@target("the history, told in words, in JSON and in a drawing", hostile.LOCK_FILES)
def _history_of(content: bytes) -> None:
    history = _history("/run/x.lock", content, None)
    assert len(history.terms) <= journal.TERMS + 1
    require_printable(json_text(history.as_json()))
    require_printable(Summary(history, 1e9).as_text())
    for picture in (draw_for_any_screen(history, now=1e9), draw(history, now=1e9)):
        ElementTree.fromstring(picture)
        require_printable(picture)


@target("the claim behind the history", spoiled(json_of(objects(token=TEXT, term=st.integers()))))
def _claim(body: bytes) -> None:
    lock = _kept_lock()
    from binascii import crc32

    os.pwrite(lock.fileno(), (b"%08x %b" % (crc32(body[:1015]), body[:1015])).ljust(1024), claim._PLACE)
    proof = claim.read_claim(lock)
    assert proof is None or all(isinstance(value, str | int) for value in proof.values())


_locks: list[LeaderLock] = []


def _kept_lock() -> LeaderLock:
    if not _locks:
        lock = LeaderLock(KEPT / "claim.lock")
        lock.acquire()
        _locks.append(lock)
    return _locks[0]


_OUTCOMES = json_of(
    objects(
        format=st.just("leaderlock outcomes 1"),
        outcomes=st.dictionaries(
            TEXT,
            objects(result=VALUES | st.none(), term=st.integers(), pid=st.integers(), at=st.floats()),
            max_size=3,
        ),
    )
)


@target("the outcomes of call_once", spoiled(_OUTCOMES) | st.binary(max_size=50))
def _outcomes(content: bytes) -> None:
    path = KEPT / "x.lock.outcomes.json"
    path.write_bytes(content)
    outcomes = Outcomes(str(KEPT / "x.lock"))
    with allowed():
        before = outcomes.read()
        outcomes.write("new", {"a": 1}, 7)  # what could be read can be kept, and read again
        after = outcomes.read()
        assert after.pop("new")["result"] == {"a": 1}
        before.pop("new", None)
        assert after == before


@target("paths and names of locks", TEXT | st.binary(max_size=20) | VALUES)
def _paths(given: Any) -> None:
    for arguments in ({"path": given}, {"name": given}):
        # An error names the caller's own path as it is; the command line makes it printable.
        with contextlib.suppress(ValueError, TypeError, LeaderLockError):
            require_printable(repr(LeaderLock(**arguments)))


# What the kernel tells. Its names may hold any bytes; it escapes blanks, newlines and backslashes.

_ANY_BYTES = st.binary(max_size=12) | st.sampled_from(
    [
        b"\xff",
        b" - ",
        b"\x0b",
        b"\x0c",
        b"\x1c",
        "\u2028".encode(),
        "\x85".encode(),
        b"\r",
        b"\x1b[2J",
        b"",
    ]
)


def _escaped(name: bytes) -> bytes:
    """As the kernel's mangle() does (fs/proc_namespace.c)."""
    return b"".join(b"\\%03o" % c if c in b" \t\n\\#" else bytes([c]) for c in name.replace(b"\0", b""))


_NAMES = _ANY_BYTES.map(_escaped)
_MOUNT = st.builds(
    lambda i, major, root, point, tagged, kind, source, options: (
        b"%d 1 %d:9 /%b /%b rw,relatime%b - %b %b rw%b\n"
        % (i, major, root, point, b" shared:1" * tagged, kind, source or b"none", options)
    ),
    st.integers(1, 99),
    st.integers(0, 300),
    _NAMES,
    _NAMES,
    st.booleans(),
    st.sampled_from([b"ext4", b"cgroup2", b"cgroup", b"nfs"])
    | _NAMES.map(lambda name: b"fuse." + name),
    _NAMES,
    st.just(b"") | _NAMES.map(lambda name: b",x=" + name) | st.just(b",subvol=\\777\\9"),
)


@target("/proc/self/mountinfo", st.lists(_MOUNT, max_size=4).map(b"".join))
def _mountinfo(content: bytes) -> None:
    lines = content.split(b"\n")[:-1]
    (KEPT / "proc/self").mkdir(parents=True, exist_ok=True)
    (KEPT / "proc/self/mountinfo").write_bytes(content)
    (KEPT / "proc/self/cgroup").write_bytes(b"0::/\n")
    with mock.patch.object(mounts, "_mountinfo", return_value=lines):
        assert len(mounts.mounts()) == len(lines)
        mounts.mounts_by_id()
        mounts.local_devices()
    hierarchy.groups_of_this_process(str(KEPT))


@target(
    "/proc/PID/cgroup", st.lists(_ANY_BYTES.map(lambda n: b"0::/" + n.replace(b"\n", b"")), max_size=3)
)
def _cgroup(lines: list[bytes]) -> None:
    content = b"".join(line + b"\n" for line in lines)
    (KEPT / "proc/self").mkdir(parents=True, exist_ok=True)
    (KEPT / "proc/self/mountinfo").write_bytes(b"30 1 0:9 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    (KEPT / "proc/self/cgroup").write_bytes(content.replace(b"\0", b""))
    hierarchy.groups_of_this_process(str(KEPT))
    deepest = containers._deepest(content)
    containers.container_of(deepest, [1, 2])


_LOCK_LINE = st.builds(
    lambda n, depth, kind, access, pid, inode, end: (
        b"%d: %b%b  ADVISORY  %b %d fe:00:%d 0 %b"
        % (n, b" " * depth + b"-> " if depth else b"", kind, access, pid, inode, end)
    ),
    st.integers(1, 9),
    st.integers(0, 3),
    st.sampled_from([b"FLOCK", b"POSIX", b"OFDLCK", b"LEASE", b"ACCESS", b"DELEG"]),
    st.sampled_from([b"READ ", b"WRITE"]),
    st.integers(-1, 2**22),
    st.integers(1, 3) | st.integers(0, 2**64 - 1),
    st.sampled_from([b"EOF", b"0", b"9223372036854775807"]),
)


@target("/proc/locks", st.lists(_LOCK_LINE, max_size=6))
def _proc_locks(lines: list[bytes]) -> None:
    content = b"".join(line + b"\n" for line in lines)

    def readings() -> Iterator[bytes]:
        yield content
        yield content

    with (
        mock.patch.object(table, "readings", readings),
        mock.patch.object(queues, "readings", readings),
    ):
        assert len(locks.lock_table() or []) <= len(lines)
        entries = queues.queue_on((0xFE, 0), 1) or []
        assert len(entries) <= sum(b" FLOCK " in line and b":1 " in line for line in lines)
        queues.AllFlocks().holders()


_COMM = _ANY_BYTES.map(lambda name: name.replace(b"\0", b""))


@target("/proc/PID/stat and status", st.tuples(_COMM, st.integers(0, 2**22), st.booleans()))
def _stat(given: tuple[bytes, int, bool]) -> None:
    name, number, nested = given
    pids = b"%d\t7" % number if nested else b"%d" % number
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    contents = {
        "/proc/5/stat": b"5 (%b) S %d 6 7 8 9 %b" % (name, number, b"1 " * 40),
        "/proc/5/status": b"Name:\t%b\nState:\tS (sleeping)\nUid:\t%d\t0\t0\t0\nNSpid:\t%b\n"
        % (escaped, number, pids),
        "/proc/stat": b"cpu 1\nbtime 100\n",
    }
    with mock.patch.object(processes, "read", contents.get):
        process, identity = processes.process_of(5), processes.identity_of(5)
        processes.start_of(5)
    assert process is not None
    assert identity is not None
    assert (process.parent, process.group, identity.state) == (number, 6, "S")
    assert identity.pids[-1] == (7 if nested else number)


@target(
    "tmpfiles.d", st.lists(TEXT | st.lists(TEXT, max_size=7).map(" ".join), max_size=4).map("\n".join)
)
def _tmpfiles(text: str) -> None:
    directory = KEPT / "root/etc/tmpfiles.d"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "x.conf").write_bytes(text.encode("utf-8", "surrogatepass"))
    with mock.patch.object(tmpfiles, "DIRECTORIES", ("/etc/tmpfiles.d",)):
        tmpfiles.cleaning_of("/run/x.lock", root=str(KEPT / "root"))


# The supervisor


_SIGNALS = st.sampled_from(["TERM", "KILL", "-15", "9", "RTMIN+3", "SIGUSR1", "tstp", "_IGN", "RTMIN+"])
_SECONDS = st.sampled_from(
    ["0", "25", ".5", "1.", "1e3", "nan", "99999999999999999999", "9" * 400, "٣"]
)


@target(
    "stop schedules",
    TEXT | st.lists(_SIGNALS | _SECONDS | TEXT, max_size=6).map("/".join),
)
def _schedule(text: str) -> None:
    with allowed(ValueError):
        schedule = Schedule(text)
        assert schedule.stages
        for stage in schedule.stages:
            assert stage.signal >= 1
            assert stage.seconds is None or 0 <= stage.seconds < math.inf


class _FakeCommand:
    """Takes the place of the supervised command: notes nothing, and claims every process."""

    def belongs(self, pid: int) -> bool:
        from leaderlock.supervisor.family import belongs

        return belongs(pid, 1, set(), reaper=False) and pid == os.getpid()

    def fail(self, reason: str) -> None:
        require_printable(reason)

    def extend_stop(self, seconds: float) -> None:
        assert 0 < seconds < 1e13

    def set_main_process(self, pid: int) -> None:
        from leaderlock.supervisor.command import SupervisedCommand

        SupervisedCommand.set_main_process(self, pid)  # type: ignore[arg-type]

    class _Main:
        pid = 1

        def change(self, pid: int) -> None:
            os.close(os.pidfd_open(pid))

    _main = _Main()
    _stopper = None


_KEYS = st.sampled_from(
    [
        "READY",
        "STATUS",
        "MAINPID",
        "WATCHDOG",
        "WATCHDOG_USEC",
        "EXTEND_TIMEOUT_USEC",
        "STOPPING",
        "FDSTORE",
        "FDNAME",
        "ERRNO",
    ]
)
_NOTIFIED = st.lists(
    st.builds(
        lambda key, value: f"{key}={value}",
        _KEYS | TEXT,
        TEXT | st.sampled_from(["1", "trigger", "0", str(2**70), str(os.getpid()), "1000000"]),
    )
    | TEXT,
    max_size=6,
).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass"))


@target("notify messages to leaderlock run", spoiled(_NOTIFIED))
def _notified(message: bytes) -> None:
    from leaderlock.supervisor import messages

    said: list[str] = []
    loop = Loop()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        listener.bind("")
        address = listener.getsockname().decode().replace("\0", "@")
        variables = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "10000000"}
        stack.enter_context(mock.patch.dict(os.environ, variables))
        stack.enter_context(mock.patch.object(messages, "verbosity", 2))
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        kept = os.dup(2)
        stack.callback(os.close, kept)
        os.dup2(writer, 2)
        try:
            service = Service(loop, Settings(["true"]), _FakeCommand(), lambda: True)  # type: ignore[arg-type]
            service.command_started()
            place = service._socket._socket.getsockname()
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(message, place)
                service.catch_up()
        finally:
            os.dup2(kept, 2)
            os.close(writer)
        while piece := os.read(reader, 65536):
            said.append(piece.decode())
        service._socket._socket.close()
        os.close(loop._signals)
        os.close(loop._signals_in)
    require_printable("".join(said))


@target("the variables of systemd", st.tuples(TEXT, TEXT))
def _systemd_variables(given: tuple[str, str]) -> None:
    watchdog, place = (text.replace("\0", "") for text in given)
    values = {"WATCHDOG_USEC": watchdog, "NOTIFY_SOCKET": place}
    with contextlib.suppress(UnicodeEncodeError), mock.patch.dict(os.environ, values):
        interval = sd_notify.watchdog_interval()
        assert interval is None or 0 < interval < math.inf
        with allowed(ValueError):
            notifier = sd_notify.Notifier.from_environment()
            if notifier is not None:
                notifier.close()


# The inbox

_FRAMES = spoiled(
    st.lists(
        st.builds(lambda body: b"\x1e" + body + b"\n", json_of(VALUES).map(lambda t: t[:4000]))
        | st.sampled_from(
            [b"\x1e=AAAA\n", b"\x1e#12\n", b"\x1e#" + b"9" * 30 + b"\n", b"\x1e=A=\n", b"\x1e"]
        )
        | st.binary(max_size=30),
        max_size=5,
    ).map(b"".join)
)


@target("frames in the inbox", _FRAMES)
def _frames(content: bytes) -> None:
    inbox = _kept_inbox()
    before = inbox.received + inbox.malformed + inbox.drops_reported
    os.write(inbox.fileno(), content[:60000])
    for message in inbox.drain():
        if not isinstance(message, bytes):
            json.dumps(message, allow_nan=False)
    assert inbox.pending == 0
    if content:
        assert inbox.received + inbox.malformed + inbox.drops_reported >= before
    assert inbox.send("still works")
    assert list(inbox.drain()) == ["still works"]


_inboxes: list[Inbox] = []


def _kept_inbox() -> Inbox:
    if not _inboxes:
        _inboxes.append(Inbox(KEPT / "inbox"))
    return _inboxes[0]


@target("lines in a FIFO", st.tuples(st.binary(max_size=300), st.integers(1, 40)))
def _lines(given: tuple[bytes, int]) -> None:
    content, longest = given
    with PersistentReader(KEPT / f"fifo{longest}", longest=longest) as reader:
        end = b"\nend\n"
        descriptor = os.open(KEPT / f"fifo{longest}", os.O_WRONLY)
        try:
            os.write(descriptor, content + end)
        finally:
            os.close(descriptor)
        found = []
        last = end[1 : 1 + longest] if longest < 3 else b"end"
        count = (content + end).count(b"\n")
        for line in reader.lines():
            found.append(line)
            assert len(line) <= longest
            if len(found) == count:
                break
        assert found[-1] == last
        assert found == [line[:longest] for line in (content + end).split(b"\n")[:-1]]


# Engines


_URL = st.builds(
    lambda scheme, user, password, hosts, path, query, name: (
        f"{scheme}://{user}:{password}@{','.join(hosts)}/{path}?{query}#{name}"
    ),
    st.sampled_from(["redis", "etcd", "etcds", "postgresql", "zookeeper", "rediss", "x"]),
    TEXT,
    TEXT | st.sampled_from(["hunter2\u2100", "hun[ter]2", "hunter@2", "hunter2#"]),
    st.lists(st.sampled_from(["h", "h:1", "[::1]:2", "h:99999", ":", "[", "h:٣"]) | TEXT, max_size=3),
    TEXT,
    TEXT | st.sampled_from(["password=hunter2", "sslmode=require", "database=1&password=", "a=1&a=2"]),
    TEXT,
)


@target("URLs of elections", _URL | TEXT)
def _address(url: str) -> None:
    with allowed(ValueError):
        address = Address(url)
        require_printable(address.shown)
        require_printable(address.hide("text"))
        assert address.hosts
        assert all(port is None or 0 <= port <= 65535 for _, port in address.hosts)
    with allowed(ValueError):
        engine = engine_of(url)
        require_printable(engine.address)
    # Only where the URL has the word in a place of secrets, and nowhere else.
    if url.count("hunter") == 1 and ":hun" in url and "@" in url.partition(":hun")[2]:
        for make in (Address, engine_of):
            said = _error_of(make, url)
            assert "hunter2" not in said
            assert "ter]2" not in said


def _error_of(make: Callable[[str], object], url: str) -> str:
    try:
        made: Any = make(url)
    except (ValueError, LeaderLockError) as error:
        return str(error)
    return str(made.shown if isinstance(made, Address) else made.address)


class _FakeSession:
    """A session whose notes, and whose answers, come from an enemy."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self, note: str) -> bytes:
        return self.content

    def write(self, note: str, content: bytes) -> None:
        json.loads(content)

    def look(self) -> Standing:
        return Standing(3, None, None, None)

    def close(self) -> None:
        pass


_WHO = objects(
    pid=st.integers(1, 99), host=TEXT, since=st.floats(), lease=st.floats(), term=st.integers(1, 9)
)
_ENTRIES = objects(
    pid=st.integers(1, 99),
    host=TEXT,
    since=st.floats(0, 2e9),
    lease=st.none() | st.floats(),
    term=st.integers(1, 9),
    until=st.none() | st.floats(0, 2e9),
    ended=TEXT,
)


class _FakeEngine:
    address = "redis://h/0#x"
    session = 10.0

    class location:
        @staticmethod
        def hide(text: str) -> str:
            return text

    def __init__(self, content: bytes) -> None:
        self._content = content

    def connect(self) -> _FakeSession:
        return _FakeSession(self._content)

    def who(self) -> dict[str, str | int | float]:
        return {"pid": 1, "host": "h", "since": 5.0, "lease": 10.0}


@target("the history and the request in an engine", spoiled(json_of(st.lists(_ENTRIES, max_size=4))))
def _notes(content: bytes) -> None:
    engine: Any = _FakeEngine(content)
    with allowed():
        notes.read_history(engine.connect())
        notes.Request(engine).heed(engine.connect(), 3)
        from leaderlock.engines.leased.session import Claim

        notes.History(engine, engine.connect(), Claim(9, 0.0, {}, False)).record_end("resigned")
        with mock.patch.object(history_fleet, "leased_engine_of", return_value=engine):
            history = history_fleet.history_in_engine("redis://h")
        require_printable(json_text(history.as_json()))
        require_printable(Summary(history, 1e9).as_text())
        require_printable(draw_for_any_screen(history, now=1e9))


@target("a leader's description of itself in an engine", json_of(_WHO | VALUES))
def _who(content: bytes) -> None:
    leader = nodes.decode(b'{"token": "a", "leads": true, "who": %b}' % content)
    found = [dict(leader.who)] if leader is not None else []
    from leaderlock.engines.etcd.record import Holding

    held = Holding(content, "1", 2).leader()
    if held is not None:
        found.append(held)
    redis = RedisSession.__new__(RedisSession)
    with mock.patch.object(redis, "_run", return_value=[3, 1, 500, content, 2]):
        looked = redis.look().leader
    found.append(dict(looked or {}))
    for who in found:
        engine: Any = _FakeEngine(b"")
        status = status_fleet.status_from(engine, Standing(3, who, 5.0, 1))
        json_text(status.as_json())
        for line in status_text.lines_of_election(status, 1e9):
            require_printable(line)
        session = _FakeSession(b"")
        engine.connect = mock.Mock(return_value=session)
        with (
            mock.patch.object(cli_fleet, "leased_engine_of", return_value=engine),
            mock.patch.object(session, "look", return_value=Standing(3, who, 5.0, 1)),
            mock.patch.object(session, "write"),
            mock.patch("builtins.print") as shown,
        ):
            cli_fleet.resign("redis://h", False)
        for call in shown.call_args_list:
            require_printable(call.args[0])


_HEAD = st.lists(
    st.sampled_from(
        [
            b"Content-Length: 5",
            b"Content-Length: " + b"9" * 5000,
            b"Content-Length: -1",
            b"Transfer-Encoding: chunked",
            b"Content-Type: application/json; x",
        ]
    )
    | st.binary(max_size=10),
    max_size=4,
)
_CHUNKS = st.lists(
    st.sampled_from(
        [b"5\r\n12345\r\n", b"0\r\n\r\n", b"-1\r\n", b"0x5\r\n12345\r\n", b"ffffffffff\r\n"]
    )
    | st.binary(max_size=12),
    max_size=4,
)


@target(
    "HTTP answers of etcd",
    st.tuples(
        st.builds(
            lambda first, head, body: b"\r\n".join([first, *head]) + b"\r\n\r\n" + b"".join(body),
            st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.0 503"]) | st.binary(max_size=20),
            _HEAD,
            _CHUNKS,
        ),
        st.integers(1, 64),
    ),
)
def _http_answer(given: tuple[bytes, int]) -> None:
    content, step = given

    def read(step: int) -> tuple[int, bytes, bool] | str:
        response = Response()
        try:
            for start in range(0, len(content), step):
                response.feed(content[start : start + step])
                if response.is_complete:
                    break
            else:
                response.feed(b"")
        except BadResponse as error:
            require_printable(str(error))
            return "bad"
        return response.status, response.body, response.is_complete

    whole, parts = read(len(content) or 1), read(step)
    assert (whole == "bad") == (parts == "bad") or "chunked" in content.decode("latin-1").lower()


_KV = objects(
    value=st.sampled_from(["", "e30=", "!", "é"]),
    lease=st.sampled_from(["7", 7, None]),
    mod_revision=st.sampled_from(["7", "x", 7, 1e300]),
)
_RANGE = objects(kvs=st.lists(_KV, max_size=2))
_ANSWER = objects(
    header=objects(revision=st.sampled_from(["5", 5, "", None])),
    succeeded=st.booleans(),
    responses=st.lists(objects(response_range=_RANGE), max_size=2),
    kvs=st.lists(_KV, max_size=2),
    TTL=st.sampled_from(["10", 10, "x", "-1", None]),
    ID=st.sampled_from(["5", 5]),
    code=st.integers(0, 16),
    message=TEXT,
)


@target("JSON answers of etcd", st.tuples(json_of(_ANSWER), st.sampled_from([200, 400, 503])))
def _json_answer(given: tuple[bytes, int]) -> None:
    body, status = given
    gateway = Gateway(Address("etcd://h/app/x"), lambda host: None)  # type: ignore[arg-type, return-value]

    def ask(path: str, body_: object, share: object) -> Reply:
        response = Response()
        response.feed(
            b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % (status, len(body))
            + body
        )
        return Reply(gateway.content_of(response), 0.0)

    from leaderlock.engines.etcd.connection import Limit
    from leaderlock.engines.leased.waiting import Waiting

    limit = Limit(Waiting(), 1e12)
    key = ElectionKey(gateway, "/app/x", "etcd://h/app/x")
    with mock.patch.object(gateway, "_ask_member", ask):
        for call in (
            lambda: key.grant(10, limit),
            lambda: key.claim("{}", "5", limit, {}),
            lambda: key.delete(limit, {}),
            lambda: key.scene(limit),
            lambda: key.seconds_left("5", limit),
            lambda: key.read_note("history", limit),
            lambda: key.revoke("5", limit),
        ):
            with allowed():
                call()


_EVENT = objects(
    error=objects(message=TEXT),
    result=objects(
        canceled=st.booleans(),
        events=st.lists(objects(kv=_KV, type=st.sampled_from(["DELETE", "PUT"])), max_size=2),
    ),
)


@target("events of etcd's watch", json_of(_EVENT))
def _etcd_events(line: bytes) -> None:
    with contextlib.suppress(OSError, ValueError):  # the stream is broken: the candidate looks again
        _events(parsed(line))


_BEATS = st.sampled_from([b"free", b"9" * 400, b"9" * 5000, b"12", "²".encode(), b"heir:", b"elected"])


@target(
    "messages on Redis's channel",
    st.lists(_BEATS | st.binary(max_size=20) | _BEATS.map(lambda rest: b"elected:" + rest), max_size=4),
)
def _redis_messages(messages: list[bytes]) -> None:
    candidacy = Candidacy(10)
    candidacy.tried(Attempt(0, 1, 100, 0, 1, b""))
    for message in messages:
        candidacy.hear(message)
        assert candidacy.due() < time.monotonic() + 3600, "whoever may publish keeps candidates asleep"
        candidacy.offer_due()


# Health, and the page


_REPORT = json_of(
    objects(
        version=st.just(1),
        status=st.sampled_from(["ok", "degraded", "failing"]),
        time=st.floats(0, 2e9),
        reporter=objects(interval=st.floats(0, 100)),
        leader=objects(pid=st.integers(1, 9)),
        checks=st.dictionaries(
            TEXT,
            objects(
                status=TEXT | st.just("ok"),
                error=TEXT | st.none(),
                critical=st.booleans(),
                value=VALUES,
            ),
            max_size=3,
        ),
    )
)


@target("health reports", spoiled(_REPORT))
def _health(content: bytes) -> None:
    path = KEPT / "health.json"
    path.write_bytes(content)
    try:
        report, changed = probe.read(str(path))
        require_printable(printable(probe.judge(report, changed)))
    except probe.NotHealthyError as error:
        require_printable(printable(str(error)))


@target("the page for a health report", spoiled(_REPORT))
def _page_for_health(content: bytes) -> None:
    from leaderlock.web.site import Request, Site

    path = KEPT / "health.json"
    path.write_bytes(content)
    lock = KEPT / "page.lock"
    lock.touch()
    site = Site(lock, path)
    for place in ("/", "/healthz", "/metrics", "/status.json"):
        answer = site.respond(Request("GET", place, "", "localhost", "127.0.0.1"))
        require_printable(answer.body.decode())


_HEADER = st.builds(
    lambda name, value: f"{name}: {value}\r\n".encode("utf-8", "surrogatepass"),
    st.sampled_from(["Host", "Content-Length", "Connection", "X"]) | TEXT,
    TEXT | st.sampled_from(["localhost", "127.0.0.1:80", "[::1]", "[fe80::1%25x]", "evil"]),
)
_REQUESTS = st.builds(
    lambda method, path, version, headers: (
        f"{method} {path} {version}\r\n".encode("utf-8", "surrogatepass") + b"".join(headers) + b"\r\n"
    ),
    st.sampled_from(["GET", "HEAD", "POST", "get", "OPTIONS"]) | NASTY,
    st.sampled_from(["/style.css", "/healthz", "//evil", "/%ff", "*", "/a%0d%0aX:1", "http://x/"])
    | NASTY,
    st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/9.9", "HTTP/1.-1", "HTTP/²", ""]),
    st.lists(_HEADER, max_size=3)
    | st.just([b"X: 1\r\n"] * 150)
    | st.just([b"X: " + b"y" * 70000 + b"\r\n"]),
)
_errors: list[object] = []
_servers: list[Any] = []


@target("HTTP requests to leaderlock serve", spoiled(_REQUESTS))
def _http_request(request: bytes) -> None:
    server = _kept_server()
    with socket.create_connection(server.server_address[:2], timeout=20) as client:
        with contextlib.suppress(OSError):  # it has answered, and closed the connection
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # part of the request was not read
            while piece := client.recv(65536):
                answer += piece
    assert not _errors, _errors
    head, _, body = answer.partition(b"\r\n\r\n")
    if answer.startswith(b"HTTP/1."):
        for line in head.split(b"\r\n"):
            require_printable(line.decode("latin-1"))
        require_printable(body.decode())


def _kept_server() -> Any:
    if not _servers:
        from leaderlock.web.over_wsgi import wsgi
        from leaderlock.web.server import Server

        lock = KEPT / "served.lock"
        lock.touch()

        class Watched(Server):
            def handle_error(self, request: Any, client_address: Any) -> None:
                import sys

                if not isinstance(sys.exc_info()[1], OSError):
                    _errors.append(sys.exc_info()[1])

        server = Watched("127.0.0.1", 0, wsgi(lock))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _servers.append(server)
    return _servers[0]
