"""flock(2) beside POSIX record locks and OFD locks of fcntl(2): the table of docs/flock.md, by rows."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Child, ChildError, table_of_locks, until
from tests.raw_flock import locked
from tests.record_locks import get, holder_by

PREPARE = f"""
sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
from tests.record_locks import *
fd = os.open(argv[0], os.O_RDWR)
"""


@pytest.fixture
def first(path: Path) -> Iterator[Child]:
    path.touch()
    with process(path) as child:
        yield child


@pytest.fixture
def second(path: Path, first: Child) -> Iterator[Child]:
    with process(path) as child:
        yield child


def process(path: Path) -> Child:
    child = Child(path)
    child.tell(PREPARE)
    return child


def takes(child: Child, kind: str, arguments: str = "") -> bool:
    return bool(child.tell(f"get({kind!r}, fd, {arguments})"))


def by_kind(*, flock: object, posix: object, ofd: object) -> pytest.MarkDecorator:
    """One row of the table."""
    row = [("flock", flock), ("POSIX", posix), ("OFD", ofd)]
    return pytest.mark.parametrize(("kind", "expected"), row)


@by_kind(flock=True, posix=True, ofd=True)
def test_processes_that_opened_the_file_exclude_each_other(
    first: Child, second: Child, kind: str, expected: bool
) -> None:
    assert takes(first, kind)
    assert takes(second, kind) is not expected
    first.kill()
    assert takes(second, kind) is expected


@by_kind(flock=False, posix=True, ofd=False)
def test_a_second_open_of_the_same_process_gets_it_too(path: Path, kind: str, expected: bool) -> None:
    with path.open("wb") as file, path.open("wb") as other:
        assert get(kind, file.fileno())
        assert get(kind, other.fileno()) is expected


@by_kind(flock=False, posix=True, ofd=False)
def test_a_thread_with_a_descriptor_of_its_own_gets_it_too(
    first: Child, kind: str, expected: bool
) -> None:
    assert takes(first, kind)
    first.tell("got = []; own = os.open(argv[0], os.O_RDWR)")
    first.tell(f"thread = threading.Thread(target=lambda: got.append(get({kind!r}, own)))")
    first.tell("thread.start(); thread.join()")
    assert first.tell("got") == [expected]


@by_kind(flock=False, posix=True, ofd=False)
@pytest.mark.parametrize("how", ["os.open(argv[0], os.O_RDONLY)", "os.dup(fd)"], ids=["open", "dup"])
def test_closing_another_descriptor_of_the_file_drops_it(
    first: Child, second: Child, how: str, kind: str, expected: bool
) -> None:
    assert takes(first, kind)
    first.tell(f"os.close({how})")
    assert takes(second, kind) is expected


FORK = """
down, up = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    told = os.read(down[0], 65536).decode()
    os.write(up[1], repr(eval(told)).encode())
    os.read(down[0], 1)
"""


def tell_its_child(parent: Child, source: str) -> object:
    parent.tell(f"os.write(down[1], {source.encode()!r})")
    return parent.tell("eval(os.read(up[0], 100))")


@by_kind(flock=True, posix=False, ofd=True)
def test_a_forked_child_shares_it(first: Child, kind: str, expected: bool) -> None:
    assert takes(first, kind)
    first.tell(FORK)
    assert tell_its_child(first, f"get({kind!r}, fd)") is expected


@by_kind(flock=True, posix=False, ofd=True)
def test_the_unlock_of_a_forked_child_unlocks_for_its_parent(
    first: Child, second: Child, kind: str, expected: bool
) -> None:
    assert takes(first, kind)
    first.tell(FORK)
    tell_its_child(first, f"get({kind!r}, fd, F_UNLCK)")
    assert takes(second, kind) is expected


@by_kind(flock=True, posix=False, ofd=True)
def test_a_forked_child_keeps_it_when_the_parent_is_killed(
    first: Child, second: Child, kind: str, expected: bool
) -> None:
    assert takes(first, kind)
    first.tell(FORK)
    first.kill()
    assert takes(second, kind) is not expected


@by_kind(flock=True, posix=True, ofd=True)
def test_a_program_keeps_it_through_exec_if_the_descriptor_stays_open(
    first: Child, second: Child, kind: str, expected: bool
) -> None:
    assert takes(first, kind)
    first.tell("os.set_inheritable(fd, True)")
    first.begin("os.execlp('cat', 'cat')")
    until(lambda: Path(f"/proc/{first.pid}/comm").read_text() == "cat\n", "the exec")
    assert takes(second, kind) is not expected


@by_kind(flock=True, posix=False, ofd=False)
def test_a_descriptor_that_may_only_read_takes_it_exclusively(
    path: Path, kind: str, expected: bool
) -> None:
    path.touch()
    with path.open("rb") as file:
        if expected:
            assert get(kind, file.fileno())
        else:
            with pytest.raises(OSError) as caught:
                get(kind, file.fileno())
            assert caught.value.errno == errno.EBADF


@by_kind(flock=False, posix=True, ofd=True)
def test_a_refused_conversion_keeps_what_was_shared(
    first: Child, second: Child, kind: str, expected: bool
) -> None:
    assert takes(first, kind, "F_RDLCK")
    assert takes(second, kind, "F_RDLCK")
    assert not takes(first, kind, "F_WRLCK")
    assert takes(second, kind, "F_WRLCK") is not expected


@by_kind(flock=False, posix=True, ofd=False)
def test_a_deadlock_is_refused(
    path: Path, tmp_path: Path, first: Child, second: Child, kind: str, expected: bool
) -> None:
    (tmp_path / "two").touch()
    for child in (first, second):
        child.tell(f"two = os.open({str(tmp_path / 'two')!r}, os.O_RDWR)")
    assert takes(first, kind)
    assert second.tell(f"get({kind!r}, two)")
    first.begin(f"wait_for({kind!r}, two)")
    until_waiting(tmp_path / "two")
    second.begin(f"wait_for({kind!r}, fd)")
    if expected:
        with pytest.raises(ChildError, match=f"Errno {errno.EDEADLK}"):
            second.answer()
    else:
        until_waiting(path)


def until_waiting(path: Path) -> None:
    """Wait until /proc/locks shows a waiter for the file; an OFD lock's has no PID there."""

    until(lambda: any("->" in line for line in lines_of(path)), "somebody to wait")


def lines_of(path: Path) -> set[tuple[str, ...]]:
    """What /proc/locks says of a file."""
    return {tuple(fields[:-3]) for fields in table_of_locks(f":{path.stat().st_ino}")}


@pytest.mark.parametrize("kind", ["POSIX", "OFD"])
def test_record_locks_lock_bytes(first: Child, second: Child, kind: str) -> None:
    assert takes(first, kind, "start=0, length=1")
    assert not takes(second, kind, "start=0, length=1")
    assert takes(second, kind, "start=1, length=1")


@pytest.mark.parametrize("kind", ["POSIX", "OFD"])
def test_the_kernel_tells_the_pid_of_a_posix_locks_holder_alone(
    path: Path, first: Child, kind: str
) -> None:
    assert takes(first, kind)
    with path.open("ab") as file:
        assert holder_by(kind, file.fileno()) == (first.pid if kind == "POSIX" else -1)


@by_kind(flock="FLOCK", posix="POSIX", ofd="OFDLCK")
def test_the_lock_table_names_the_kind_and_has_no_pid_for_ofd_locks(
    path: Path, first: Child, kind: str, expected: str
) -> None:
    assert takes(first, kind)
    pid = -1 if kind == "OFD" else first.pid
    assert lines_of(path) == {(expected, "ADVISORY", "WRITE", str(pid))}


def test_on_a_local_file_system_flock_and_record_locks_do_not_see_each_other(
    path: Path, first: Child
) -> None:
    with locked(path):
        assert takes(first, "POSIX")
        assert takes(first, "POSIX", "F_UNLCK")
        assert takes(first, "OFD")


def test_posix_and_ofd_locks_exclude_each_other(first: Child, second: Child) -> None:
    assert takes(first, "POSIX")
    assert not takes(second, "OFD")
    assert not takes(first, "OFD")  # not even in the process that has the other
