"""filelock's `AsyncFileLock`, whose waiters sleep in the kernel."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

import filelock
import filelock.asyncio

from leaderlock.interop.filelock import MAKES_DIRECTORY_ONCE, TakesGranted, is_soft
from leaderlock.interop.patience import BoundedWait

if TYPE_CHECKING:
    from collections.abc import Callable

_patience: ContextVar[BoundedWait | None] = ContextVar("_patience", default=None)


class AsyncFileLock(TakesGranted, filelock.AsyncUnixFileLock):
    """A `filelock.AsyncFileLock` that waits without polling, and that the kernel wakes.

    While a coroutine waits for the file, a native thread blocks in the kernel. Coroutines that share
    one object wait for each other in filelock's way, with `poll_interval`.
    """

    async def acquire(  # type: ignore[override]  # filelock overrides it in the same way
        self,
        timeout: float | None = None,
        poll_interval: float | None = None,
        *,
        blocking: bool | None = None,
        cancel_check: Callable[[], bool] | None = None,
    ) -> filelock.asyncio.AsyncAcquireReturnProxy:
        """Acquire the lock like `filelock.BaseAsyncFileLock.acquire`; see `FileLock.acquire`.

        A cancelled coroutine leaves nothing behind that could hold the lock later.
        """
        patience = BoundedWait(
            self.lock_file,
            self.timeout if timeout is None else timeout,
            self.poll_interval if poll_interval is None else poll_interval,
            cancel_check,
        )
        waits = self.blocking if blocking is None else blocking
        token = _patience.set(patience if waits else None)
        try:
            return await super().acquire(
                timeout,
                poll_interval,
                blocking=blocking,
                cancel_check=None if cancel_check is None else patience.is_cancelled,
            )
        finally:
            _patience.reset(token)

    async def _run_acquire_attempt(self) -> None:
        await super()._run_acquire_attempt()
        patience = _patience.get()
        if patience is None or self.is_locked or is_soft(self):
            return
        descriptor = await patience.wait_async()
        if MAKES_DIRECTORY_ONCE and descriptor is None and not patience.was_cancelled:
            patience.require_directory()
        if descriptor is not None:
            self._granted().append(descriptor)
            try:
                await super()._run_acquire_attempt()
            finally:
                self._withdraw(descriptor)
