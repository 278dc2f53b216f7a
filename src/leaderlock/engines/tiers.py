"""Two tiers: the processes of one machine elect one by a file, and that one stands in the engine.

So a machine or container holds one session, however many processes it has. When the process that stands
dies, the kernel grants the file's lock to the next process of the machine at once. That proves that its
predecessor is dead, so the next process takes over the claim that the predecessor kept in the file, and
need not wait for the end of the lease.
"""

from __future__ import annotations

import time

from leaderlock.engines.flock import FlockEngine
from leaderlock.errors import LeaderLockError, NotHeld, Unsupported
from leaderlock.lock.claim import is_readable_by_strangers, read_claim, write_claim
from leaderlock.lock.holder import standing
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.engines.engine import Engine, Request, Tenure, Watch
    from leaderlock.engines.leased.engine import LeasedEngine
    from leaderlock.engines.leased.loss import LossWatch
    from leaderlock.engines.leased.tenure import LeasedTenure
    from leaderlock.kernel.event import NativeEvent
    from leaderlock.kernel.wait import Wait
    from leaderlock.lock.leader_lock import LeaderLock


class TieredEngine:
    """The elections of an engine, among the machines; and of a file, among a machine's processes."""

    def __init__(self, lock: LeaderLock, remote: LeasedEngine) -> None:
        self.lock = lock
        self.local = FlockEngine(lock)
        self.remote = remote
        self.session = remote.session

    @property
    def address(self) -> str:
        """The URL for messages, and the file."""
        return f"{self.remote.address} within {self.lock.path}"

    def require_usable(self) -> None:
        """See `Engine.require_usable`."""
        self.remote.require_usable()
        self.local.require_usable()

    def import_for_term(self) -> None:
        """See `Engine.import_for_term`."""
        self.remote.import_for_term()
        self.local.import_for_term()

    def tenure(self) -> TieredTenure:
        """See `Engine.tenure`."""
        return TieredTenure(self)

    def is_same(self, other: Engine) -> bool:
        """See `Engine.is_same`."""
        return (
            isinstance(other, TieredEngine)
            and self.local.is_same(other.local)
            and self.remote.is_same(other.remote)
        )

    def is_called(self, name: str) -> bool:
        """See `Engine.is_called`."""
        return self.remote.is_called(name) or self.local.is_called(name)


class TieredTenure:
    """A turn at the file's lock, and within it a turn in the engine; see `Tenure`."""

    def __init__(self, engine: TieredEngine) -> None:
        self._engine = engine
        self._local: Tenure = engine.local.tenure()
        self._remote: LeasedTenure = engine.remote.tenure()

    @property
    def term(self) -> int:
        """See `Tenure.term`: the engine's term, since all machines compare it."""
        return self._remote.term

    @property
    def since(self) -> float:
        """See `Tenure.since`."""
        return self._remote.since

    @property
    def takes_over(self) -> bool:
        """See `Tenure.takes_over`."""
        return self._remote.takes_over

    @property
    def request(self) -> Request:
        """See `Tenure.request`; the request is a note in the engine."""
        return self._remote.request

    def stand(
        self, wait: Wait | None, *, limit: float | None = None, lease: float | None = None
    ) -> bool:
        """See `Tenure.stand`."""
        until = None if limit is None else time.monotonic() + limit
        if not self._local.stand(wait, limit=limit, lease=lease):
            return False
        led = False
        try:
            left = None if until is None else max(until - time.monotonic(), 0)
            previous = read_claim(self._engine.lock)
            led = self._remote.stand(wait, limit=left, lease=lease, previous=previous)
            if led:
                self._keep_claim()
            return led
        finally:
            if not led:
                self._remote.finish()
                self._local.finish()

    def _keep_claim(self) -> None:
        lock = self._engine.lock
        try:
            if is_readable_by_strangers(lock):
                write_claim(lock, None)
                log().warning(
                    "%s can be read by other users, so the session's secret is not kept there, and the "
                    "next process of this machine waits for the lease: set mode 0600",
                    lock.path,
                )
                return
            write_claim(lock, self._remote.claim.proof)
        except (OSError, LeaderLockError) as error:  # ENOSPC: the next process waits for the lease
            log().warning("%s: the claim could not be kept: %s", lock.path, error)

    def check(self) -> None:
        """See `Tenure.check`."""
        self._remote.check()
        self._local.check()

    def beat(self) -> None:
        """See `Tenure.beat`."""
        self._remote.beat()
        self._local.beat()

    def look(self) -> None:
        """See `Tenure.look`."""
        self._remote.look()
        self._local.look()

    def watch(self, changed: Callable[[], object]) -> Watch:
        """See `Tenure.watch`."""
        return TieredWatch(self._local.watch(changed), self._remote.watch(changed))

    def record_start(self) -> None:
        """See `Tenure.record_start`."""
        self._local.record_start()

    def record_end(self, how: str) -> None:
        """See `Tenure.record_end`."""
        self._remote.record_end(how)
        self._local.record_end(how)

    def end_lease(self) -> None:
        """See `Tenure.end_lease`."""
        self._remote.end_lease()
        self._local.end_lease()

    def resign(self, how: str) -> None:
        """See `Tenure.resign`: a waiter of this machine takes the session over, if there is one."""
        try:
            if how != "lost" and not self.request.asked and self._somebody_waits_here():
                self._remote.leave(how)
            else:
                try:
                    self._remote.resign(how)
                finally:
                    self._forget_claim()
        finally:
            self._local.resign(how)

    def _somebody_waits_here(self) -> bool:
        try:
            found = standing(self._engine.lock)
        except (OSError, Unsupported):
            return False
        return found is not None and bool(found.waiting)

    def _forget_claim(self) -> None:
        try:
            write_claim(self._engine.lock, None)
        except (OSError, NotHeld):  # a claim that has ended helps nobody, and harms nobody
            return

    def finish(self) -> None:
        """See `Tenure.finish`."""
        self._remote.finish()
        self._local.finish()


class TieredWatch:
    """Watches the file and the engine; see `Watch`."""

    def __init__(self, local: Watch, remote: LossWatch) -> None:
        self._local = local
        self._remote = remote

    @property
    def has_thread(self) -> bool:
        """See `Watch.has_thread`."""
        return self._local.has_thread

    def open(self) -> None:
        """See `Watch.open`."""
        self._remote.open()
        self._local.open()

    def fileno(self) -> int:
        """See `Watch.fileno`."""
        return self._local.fileno()

    def read(self) -> None:
        """See `Watch.read`."""
        self._local.read()

    def start(self) -> None:
        """See `Watch.start`."""
        self._local.start()

    def wait(self, event: NativeEvent, seconds: float | None) -> bool:
        """See `Watch.wait`."""
        return self._local.wait(event, seconds)

    def end(self) -> None:
        """See `Watch.end`."""
        self._remote.end()
        self._local.end()
