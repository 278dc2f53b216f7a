"""`PersistentReader`: lines from a FIFO, across the restarts of its writers and of its readers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderlock import Election, Leadership, LockFileUnusable, UnsafeLockFile
from leaderlock.inbox.lines import PersistentReader
from tests.processes import (
    Child,
    ChildError,
    descriptors_of,
    flocks_of,
    forked,
    settled,
    until,
    until_parked,
    wakeups_of,
)

EXAMPLE = Path(__file__).parent.parent / "examples" / "fifo_reader.py"

OPEN = "from leaderlock.inbox.lines import PersistentReader; reader = PersistentReader(argv[0])"


@pytest.fixture
def reader(tmp_path: Path) -> PersistentReader:
    return PersistentReader(tmp_path / "fifo")


def write(reader: PersistentReader, text: str) -> None:
    """By a program that opens the FIFO, writes, and ends."""
    subprocess.run(["sh", "-c", 'printf "$0" > "$1"', text, reader.path], check=True, timeout=60)


def taken(reader: PersistentReader, count: int) -> list[bytes]:
    lines = reader.lines()
    return [next(lines) for _ in range(count)]


def test_a_writer_that_ends_and_begins_anew_is_no_end_of_file(reader: PersistentReader) -> None:
    lines = reader.lines()
    for number in range(3):
        write(reader, f"from writer {number}\\n")
        assert next(lines) == b"from writer %d" % number
    assert reader.received == 3


def test_lines_are_handed_out_as_they_are(reader: PersistentReader) -> None:
    content = [
        b"",
        b"\0",
        b"\xff\xfe",
        b"carriage return\r",
        b"\x1e\x0b\x0c\x85 no ends of lines",
        b"x" * 5000,
    ]
    descriptor = os.open(reader.path, os.O_WRONLY)
    os.write(descriptor, b"".join(line + b"\n" for line in content))
    os.close(descriptor)
    assert taken(reader, len(content)) == content
    assert reader.truncated == 0


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(1, 50), max_size=20))
def test_however_the_writes_are_cut_the_lines_come_out_whole(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], sizes: list[int]
) -> None:
    lines = [content.replace(b"\n", b"") for content in contents]
    stream = b"".join(line + b"\n" for line in lines)
    handed: list[bytes] = []
    with (
        PersistentReader(tmp_path_factory.mktemp("cut") / "fifo", longest=30) as reader,
        open(reader.path, "wb", buffering=0) as fifo,
    ):
        for size in [*sizes, len(stream)]:
            fifo.write(stream[:size])
            handed += taken(reader, stream[:size].count(b"\n"))
            stream = stream[size:]
    assert handed == [line[:30] for line in lines]


def test_a_line_without_its_end_waits_for_it(reader: PersistentReader) -> None:
    with Child(reader.path) as child:
        child.tell(OPEN)
        child.begin("next(iter(reader))")
        write(reader, "begun by one, ")
        until(lambda: reader.pending == 0)
        before = settled(child.pid)
        assert child.is_silent(0.3)
        assert wakeups_of(child.pid) == before
        write(reader, "ended by another\\n")
        assert child.answer() == b"begun by one, ended by another"


def test_an_overlong_line_is_cut_and_takes_no_more_memory(tmp_path: Path) -> None:
    reader = PersistentReader(tmp_path / "fifo", longest=100)
    size = 20_000_000

    def fill() -> None:
        with open(reader.path, "wb", buffering=0) as fifo:
            for _ in range(size // 100_000):
                fifo.write(b"x" * 100_000)
            fifo.write(b"\nshort\n" + b"y" * 100 + b"\n")

    writer = threading.Thread(target=fill)
    writer.start()
    import tracemalloc

    tracemalloc.start()
    try:
        assert taken(reader, 3) == [b"x" * 100, b"short", b"y" * 100]
        assert tracemalloc.get_traced_memory()[1] < size / 4
    finally:
        tracemalloc.stop()
        writer.join()
    assert reader.truncated == 1


def test_a_killed_reader_leaves_all_lines_but_the_one_in_hand(reader: PersistentReader) -> None:
    numbers = range(20_000)
    with Child(reader.path) as child:
        child.tell(OPEN)
        child.tell("lines = reader.lines()")
        writer = threading.Thread(target=write_numbers, args=(reader, numbers))
        writer.start()
        handed = [child.tell("next(lines)") for _ in range(100)]
        child.kill()
    rest = taken(reader, len(numbers) - 100)
    writer.join()
    assert [int(line) for line in handed + rest] == list(numbers)


def write_numbers(reader: PersistentReader, numbers: range) -> None:
    descriptor = os.open(reader.path, os.O_WRONLY)
    for number in numbers:
        os.write(descriptor, b"%d\n" % number)
    os.close(descriptor)


def test_while_nobody_reads_a_holder_keeps_the_writers_unhurt(reader: PersistentReader) -> None:
    with Child(reader.path) as child:
        child.tell(OPEN)
        child.tell("lines = reader.lines()")
        descriptor = os.open(reader.path, os.O_WRONLY)
        os.write(descriptor, b"a\n")
        assert child.tell("next(lines)") == b"a"
        child.kill()
    os.write(descriptor, b"b\n")  # EPIPE without the holder, which is this process
    os.close(descriptor)
    write(reader, "c\\n")  # and this would wait in open(2)
    assert taken(reader, 2) == [b"b", b"c"]


def test_a_waiting_reader_is_never_woken(reader: PersistentReader) -> None:
    with Child(reader.path) as child:
        child.tell(OPEN)
        child.begin("next(reader.lines())")
        before = settled(child.pid)
        assert child.is_silent(1.0)
        assert wakeups_of(child.pid) == before
        write(reader, "hello\\n")
        assert child.answer() == b"hello"


def test_it_ends_when_its_leader_is_to_stop_and_leaves_the_rest(
    tmp_path: Path, reader: PersistentReader
) -> None:
    handed: list[bytes] = []
    waiting = threading.Event()

    def task(leadership: Leadership) -> None:
        for line in reader.lines(leadership):
            handed.append(line)
            waiting.set()

    candidate = Election(tmp_path / "lock").start(task)
    write(reader, "a\\n")
    assert waiting.wait(30)
    assert candidate.stop(30)
    write(reader, "b\\nc\\n")
    assert handed == [b"a"]
    assert taken(reader, 2) == [b"b", b"c"]


def test_closing_it_from_another_thread_ends_a_loop_that_waits(tmp_path: Path) -> None:
    with Child(tmp_path / "fifo") as child:
        child.tell("from leaderlock.inbox.lines import PersistentReader")
        before = descriptors_of(child.pid)
        child.tell(
            "reader = PersistentReader(argv[0])\n"
            "closing = threading.Timer(0.2, reader.close); closing.start()\n"
            "lines = list(reader)\n"
            "closing.join()"
        )
        assert child.tell("lines") == []
        with pytest.raises(ChildError, match=r"ValueError: .*fifo was closed"):
            child.tell("next(reader.lines())")
        child.tell("reader.close(); del reader, closing")
        assert descriptors_of(child.pid) == before


def test_closing_it_within_the_loop_ends_it(reader: PersistentReader) -> None:
    write(reader, "a\\nb\\n")
    for line in reader:
        assert line == b"a"
        reader.close()
        reader.close()
    with pytest.raises(ValueError, match="was closed"):
        next(reader.lines())


def test_ctrl_c_ends_it(reader: PersistentReader) -> None:
    with Child(reader.path) as child:
        child.tell(OPEN)
        child.begin("next(reader.lines())")
        settled(child.pid)
        child.signal(signal.SIGINT)
        with pytest.raises(ChildError, match="KeyboardInterrupt"):
            child.answer()


def test_two_loops_of_one_process_are_refused_and_a_forked_child_may_read(
    reader: PersistentReader,
) -> None:
    write(reader, "a\\nb\\n")
    lines = reader.lines()
    assert next(lines) == b"a"
    with pytest.raises(RuntimeError, match="is being read in this process already"):
        next(reader.lines())
    assert forked(lambda: (next(reader.lines()), reader.received) == (b"b", 1)) == 0


@pytest.mark.parametrize("kind", ["file", "symlink", "directory"])
def test_a_path_that_is_no_fifo_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "fifo"
    if kind == "file":
        path.touch()
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/null")
    with pytest.raises(UnsafeLockFile, match=f"{path} is a "):
        PersistentReader(path)


def test_a_missing_directory_and_a_bad_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LockFileUnusable, match="make its directory first"):
        PersistentReader(tmp_path / "missing" / "fifo")
    with pytest.raises(ValueError, match="longest must be a positive number"):
        PersistentReader(tmp_path / "fifo", longest=0)


@pytest.mark.slow
def test_the_example_survives_the_restarts_of_its_writers_and_the_deaths_of_its_leaders(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.fifo"
    os.mkfifo(path)
    chance = random.Random(1)
    readers: dict[int, Child] = {}

    with ExitStack() as stack:

        def start() -> None:
            child = stack.enter_context(Child(path, program=EXAMPLE))
            readers[child.pid] = child
            until(lambda: str(path) in descriptors_of(child.pid), "the reader to open the FIFO")

        start()
        start()
        holder = PersistentReader(path)
        successor = 0
        for term in range(1, 4):
            leader = reader_of(path, readers)
            for number in range(chance.randrange(1, 5)):
                write(holder, f"{term}.{number}\\n")
                assert readers[leader].line().split() == [str(leader), str(term), f"{term}.{number}"]
            readers.pop(leader).kill()
            write(holder, "while nobody leads\\n")
            start()
            successor = reader_of(path, readers)
            said = readers[successor].line().split(maxsplit=2)
            assert said[1:] == [str(term + 1), "while nobody leads"]
        until_parked(f"{path}.lock", *(readers.keys() - {successor}))  # so both wait for the signal
        for child in readers.values():
            child.signal(signal.SIGTERM)
            assert child.wait() == 0


def reader_of(path: Path, readers: dict[int, Child]) -> int:
    """Which of them leads, by the kernel's lock table."""
    lock = Path(f"{path}.lock")

    def holders() -> list[int]:
        return [pid for pid, waits in flocks_of(lock) if not waits and pid in readers]

    until(lambda: lock.exists() and holders(), "one of them to lead")
    return holders()[0]


def test_its_import_brings_no_ctypes_to_those_who_only_hold(tmp_path: Path) -> None:
    program = (
        "import sys; from leaderlock.inbox.lines import PersistentReader; "
        "PersistentReader(sys.argv[1]); print('ctypes' in sys.modules)"
    )
    words = [sys.executable, "-I", "-c", program, str(tmp_path / "fifo")]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "False\n"
