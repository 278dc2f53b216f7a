"""The experiments, each a few lines. `trial_run` runs them."""

from __future__ import annotations

import errno
import fcntl
import os
import statistics
import sys
import time
from dataclasses import dataclass

from leaderlock.kernel.laboratory.bench import Bench

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.kernel.filesystems.judgement import Verdict

_ROUNDS = 5
_LONG_ENOUGH = 2.0
"""Seconds after which no further round of a measurement begins."""


def _lock(fd: int) -> bool:
    """Try the exclusive lock without waiting; return whether it was granted."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _must_lock(fd: int) -> None:
    if not _lock(fd):
        raise OSError(errno.EWOULDBLOCK, "a lock that nobody holds was refused")


def _is_free(bench: Bench) -> bool:
    fd = bench.open()
    try:
        return _lock(fd)
    finally:
        bench.close(fd)


def _two_descriptors(bench: Bench) -> tuple[bool, str]:
    _must_lock(bench.open())
    return (False, "both have it") if _lock(bench.open()) else (True, "the second is refused")


def _two_processes(bench: Bench) -> tuple[bool, str]:
    fd = bench.open()
    _must_lock(fd)
    if bench.fork(lambda: _is_free(bench)).answer():
        return False, "both have it"
    fcntl.flock(fd, fcntl.LOCK_UN)
    if not bench.fork(lambda: _is_free(bench)).answer():
        return False, "refused after the release too"
    return True, "refused, then granted"


def _child_inherits(bench: Bench) -> tuple[bool, str]:
    fd = bench.open()
    _must_lock(fd)
    child = bench.fork(lambda: _lock(fd))
    if not child.answer():
        return False, "the child is refused its parent's lock"
    bench.close(fd)
    if _is_free(bench):
        return False, "the lock ends with the parent's descriptor"
    child.let_go()
    return (True, "it lasts until the child ends") if _is_free(bench) else (False, "it never ends")


def _child_closes(bench: Bench) -> tuple[bool, str]:
    fd = bench.open()
    _must_lock(fd)
    child = bench.fork(lambda: os.close(fd))
    child.answer()
    child.let_go()
    return (False, "the lock is gone") if _is_free(bench) else (True, "the parent keeps it")


def _child_unlocks(bench: Bench) -> tuple[bool, str]:
    fd = bench.open()
    _must_lock(fd)
    bench.fork(lambda: fcntl.flock(fd, fcntl.LOCK_UN)).answer()
    return (True, "the lock is free") if _is_free(bench) else (False, "the parent keeps it")


def _exec(bench: Bench) -> tuple[bool, str]:
    stay, go = os.pipe()

    def become_another_program() -> None:
        fd = bench.open()
        _must_lock(fd)
        os.set_inheritable(fd, True)
        os.dup2(stay, 0)
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", "import os; os.read(0, 1)"])

    child = bench.fork(become_another_program)
    try:
        child.until_exec()
        if _is_free(bench):
            return False, "the lock is gone"
        child.kill()
        return (True, "the new program keeps it") if _is_free(bench) else (False, "it never ends")
    finally:
        os.close(stay)
        os.close(go)


def _sigkill(bench: Bench) -> tuple[bool, str, float]:
    begin = time.monotonic()
    latencies: list[float] = []
    while len(latencies) < _ROUNDS and time.monotonic() - begin < _LONG_ENOUGH:
        holder = bench.fork(lambda: _must_lock(bench.open()))
        holder.answer()
        waiter = bench.fork(lambda: _moment_of_locking(bench))
        waiter.settle()
        killed = time.monotonic()
        holder.kill()
        latencies.append(waiter.answer() - killed)
        waiter.kill()
    median = statistics.median(latencies)
    return True, f"the next has it after {_text_of(median)}", median


def _moment_of_locking(bench: Bench) -> float:
    fcntl.flock(bench.open(), fcntl.LOCK_EX)
    return time.monotonic()


def _deleted(bench: Bench) -> tuple[bool, str]:
    fd = bench.open()
    _must_lock(fd)
    try:
        os.unlink(bench.path)
    except OSError as error:  # EBUSY, EACCES, ETXTBSY: a server that cannot delete an open file
        return True, f"it cannot be deleted while it is open: {error.strerror}"
    if not _lock(bench.open()):
        return False, "the new file has the old one's lock"
    if os.path.samestat(os.fstat(fd), os.stat(bench.path)):
        return False, "both have it, and the two files look the same"
    return True, "both have it; inodes differ"


def _read_only(bench: Bench) -> tuple[bool, str]:
    bench.close(bench.open())
    try:
        locked = _lock(bench.open(os.O_RDONLY))
    except OSError as error:  # EBADF on NFS
        return False, f"refused: {errno.errorcode.get(error.errno or 0, str(error))}"
    return (True, "it can be locked") if locked else (False, "refused, though nobody holds it")


@dataclass(frozen=True)
class Trial:
    """An experiment; see `laboratory.Result` for the attributes."""

    name: str
    expectation: str
    run: Callable[[Bench], tuple[bool, str] | tuple[bool, str, float]]
    consequence: Verdict
    explanation: str


TRIALS = (
    Trial(
        "two processes",
        "refused, then granted",
        _two_processes,
        "broken",
        "The second one is to be refused until the first lets go: this is what an election stands on.",
    ),
    Trial(
        "two descriptors, one process",
        "the second is refused",
        _two_descriptors,
        "broken",
        "A lock belongs to what open(2) made, not to the process. Where it does not, closing any other "
        "descriptor of the file would drop it.",
    ),
    Trial(
        "a child inherits",
        "it lasts until the child ends",
        _child_inherits,
        "doubtful",
        "A forked child keeps a killed leader's lock alive, so leaderlock closes it in its children.",
    ),
    Trial(
        "a child's close",
        "the parent keeps it",
        _child_closes,
        "broken",
        "Only the last descriptor's end releases.",
    ),
    Trial(
        "a child's LOCK_UN",
        "the lock is free",
        _child_unlocks,
        "doubtful",
        "Parent and child have one lock: leaderlock never unlocks in a child.",
    ),
    Trial(
        "exec, descriptor handed on",
        "the new program keeps it",
        _exec,
        "doubtful",
        "leaderlock run --exec stands on it; all other descriptors are close-on-exec.",
    ),
    Trial(
        "SIGKILL to the holder",
        "the next has it in a few ms",
        _sigkill,
        "broken",
        "Nothing has to be cleaned up after a crash.",
    ),
    Trial(
        "file deleted and made anew",
        "both have it; inodes differ",
        _deleted,
        "broken",
        "Whoever opens the path now gets a new file, and so a second leader. LeaderLock.check compares "
        "the path with what is locked, and raises LockFileReplaced.",
    ),
    Trial(
        "a read-only descriptor",
        "it can be locked",
        _read_only,
        "good",
        "On NFS 4 it cannot. leaderlock opens for writing, so it does not mind.",
    ),
)


def _text_of(seconds: float) -> str:
    return f"{seconds * 1e3:.2g} ms" if seconds < 1 else f"{seconds:.2g} s"
