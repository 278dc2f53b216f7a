"""Elections that are not safe, each by one mistake that is often made: the checker must catch each.

They stand as the machine's own candidates do, under the same faults.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.candidates import Candidate, Leased


class _Homemade(Candidate):
    """A lock of some kind; its terms are moments, which rise by themselves."""

    longest = 0

    def stand(self) -> None:
        self.stands = True
        while not self.quits:
            try:
                with self.hold():
                    slot = self.page.enter(self.who, self.next_term())
                    for _ in range(self.longest or self.dice.randint(5, 40)):
                        self.page.stamp(slot)
                        time.sleep(0.002)
                    self.page.leave(slot)
            except OSError:
                time.sleep(0.002)

    def next_term(self) -> int:
        """The term that begins."""
        return time.monotonic_ns()

    def hold(self) -> contextlib.AbstractContextManager[None]:
        """Hold the lock for the time of a block."""
        raise NotImplementedError

    def is_held(self) -> bool:
        return False


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = _open(path)
    try:
        yield fd
    finally:
        os.close(fd)


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


class UnlinksItsFile(_Homemade):
    """flock, and the file is removed at the release: a waiter locks a file without a name."""

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        with _opened(self.path) as fd:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
            os.unlink(self.path)


class PidFile(_Homemade):
    """A file with the holder's PID: whoever finds that process dead writes its own."""

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        path = Path(self.path)
        while True:
            try:
                os.kill(int(path.read_text(encoding="ascii")), 0)
            except (FileNotFoundError, ProcessLookupError, ValueError):
                path.write_text(str(os.getpid()), encoding="ascii")
                break
            time.sleep(0.001)
        yield
        path.unlink(missing_ok=True)


class RecordLock(_Homemade):
    """A record lock of fcntl: closing any descriptor of the file, one to read it, drops the lock."""

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        with _opened(self.path) as fd:
            fcntl.lockf(fd, fcntl.LOCK_EX)
            Path(self.path).read_text(encoding="ascii")
            yield


class KeptByChildren(_Homemade):
    """flock, whose descriptor a forked child keeps: nobody leads while that child lives."""

    longest = 1_000_000

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        with _opened(self.path) as fd:
            os.set_inheritable(fd, True)
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield


class ForgetsTerms(_Homemade):
    """flock, and each process counts its own terms."""

    terms = 0

    def next_term(self) -> int:
        self.terms += 1
        return self.terms

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        with _opened(self.path) as fd:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield


class LeaksDescriptors(ForgetsTerms):
    """flock, and each turn leaves a descriptor open."""

    next_term = _Homemade.next_term

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        fd = _open(self.path)
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
        fcntl.flock(fd, fcntl.LOCK_UN)


class ParksForGood(ForgetsTerms):
    """flock, whose waiters do not give up a deleted file: a new one is not led by them."""

    next_term = _Homemade.next_term
    fd = -1

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        if self.fd < 0:
            self.fd = _open(self.path)
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        yield
        fcntl.flock(self.fd, fcntl.LOCK_UN)


class LeaseWithoutDeadMan(_Homemade):
    """A lease in a file, which the leader renews; nothing ends a leader whose lease has passed."""

    lease = 0.1

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        with _opened(self.path) as guard:
            while True:
                fcntl.flock(guard, fcntl.LOCK_EX)
                if time.monotonic() - float(os.pread(guard, 30, 0) or 0) > self.lease:
                    os.pwrite(guard, f"{time.monotonic():029.9f}".encode(), 0)
                    break
                fcntl.flock(guard, fcntl.LOCK_UN)
                time.sleep(0.005)
            fcntl.flock(guard, fcntl.LOCK_UN)
            yield


class NoDeadMan(Leased):
    """The library, whose timers do not end a stopped leader: nobody leads until it goes on."""

    def stand(self) -> None:
        from leaderlock.kernel.timer import Timer

        def do_nothing(self: Timer, moment: float = 0) -> None:
            """In place of `Timer.expire_at` and `Timer.rewind`."""

        for name in ("expire_at", "rewind"):
            getattr(Timer, name)
            setattr(Timer, name, do_nothing)
        super().stand()


VARIANTS: dict[str, type[Candidate]] = {
    "unlinks": UnlinksItsFile,
    "pidfile": PidFile,
    "record-lock": RecordLock,
    "kept-by-children": KeptByChildren,
    "forgets-terms": ForgetsTerms,
    "leaks": LeaksDescriptors,
    "parks-for-good": ParksForGood,
    "lease-only": LeaseWithoutDeadMan,
    "no-dead-man": NoDeadMan,
}
