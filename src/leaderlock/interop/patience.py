"""The wait of one acquisition of a filelock: its file, its limit, and calls of `cancel_check`."""

from __future__ import annotations

import errno
import logging
import math
import os
import time

from leaderlock.kernel.descriptors import Descriptor
from leaderlock.kernel.flock import flock
from leaderlock.kernel.parked import Parked
from leaderlock.kernel.threads import TIMEOUT_MAX
from leaderlock.kernel.wait import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# No O_CREAT: filelock creates the file, with the mode that it was given. O_NONBLOCK: see lock/file.py.
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class BoundedWait:
    """The wait of one acquisition.

    Attributes:
        was_cancelled: whether `cancel_check` has ended the wait.

    Args:
        path: the lock file; made absolute at once, since the program may change its directory.
        timeout: seconds from now; negative: without limit.
        poll_interval: seconds between two calls of `cancel_check`, which the kernel cannot make.
        cancel_check: returns whether to end the wait.
    """

    def __init__(
        self,
        path: str,
        timeout: float,
        poll_interval: float,
        cancel_check: Callable[[], bool] | None,
    ) -> None:
        self._begin = time.monotonic()
        self._path = os.path.abspath(path)
        self._timeout = timeout
        self._poll_interval = poll_interval
        self._cancel_check = cancel_check
        self.was_cancelled = False

    def is_cancelled(self) -> bool:
        """Whether `cancel_check` ends the wait now, or has ended it before."""
        if not self.was_cancelled and self._cancel_check is not None:
            self.was_cancelled = bool(self._cancel_check())
        return self.was_cancelled

    def _remaining(self) -> float:
        if self._timeout < 0:
            return math.inf
        return max(self._begin + float(self._timeout) - time.monotonic(), 0)

    def _until_next_look(self) -> float | None:
        seconds = self._remaining()
        if self._cancel_check is not None:
            seconds = min(seconds, float(self._poll_interval))
        return None if seconds > TIMEOUT_MAX else seconds

    def _is_over(self) -> bool:
        return self.is_cancelled() or self._remaining() == 0

    def require_directory(self) -> None:
        """Raise if the file's directory is gone: no later try could succeed.

        filelock finds this out at its next try. A wait in the kernel is for the file itself, which may
        have moved along with its directory, so this is found out when the wait ends.

        Raises:
            FileNotFoundError: the directory is gone.
        """
        if not os.path.isdir(os.path.dirname(self._path)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._path)

    def _log(self) -> None:
        """Log the wait as filelock does, in its words and with its logger."""
        logger = logging.getLogger("filelock")
        logger.debug("Lock on %s not acquired, waiting for it in the kernel", self._path)

    def wait(self) -> Descriptor | None:
        """Wait in this thread for the file's lock; None if the wait is over, or the file is gone."""
        descriptor = None if self._is_over() else self._open()
        if descriptor is None:
            return None
        self._log()
        locked = False
        try:
            locked = self._lock(descriptor.fd) and self._leads_to(descriptor)
        finally:
            if not locked:
                descriptor.close()
        return descriptor if locked else None

    async def wait_async(self) -> Descriptor | None:
        """Like `wait`, without blocking the event loop."""
        descriptor = None if self._is_over() else self._open()
        if descriptor is None:
            return None
        self._log()
        locked = False
        try:
            locked = await self._lock_async(descriptor.fd) and self._leads_to(descriptor)
        finally:
            if not locked:
                descriptor.close()
        return descriptor if locked else None

    def _open(self) -> Descriptor | None:
        try:
            return Descriptor(self._path, _FLAGS)
        except (FileNotFoundError, BlockingIOError):  # file removed; a lease on it is being broken
            return None

    def _leads_to(self, descriptor: Descriptor) -> bool:
        """Whether the path still names the file: the kernel may grant the lock of a replaced file."""
        try:
            now = os.lstat(self._path)
        except FileNotFoundError:
            return False
        return (now.st_dev, now.st_ino) == (descriptor.status.st_dev, descriptor.status.st_ino)

    def _lock(self, fd: int) -> bool:
        if self._cancel_check is None:
            return flock(fd, Wait(), self._until_next_look())
        parked = Parked(fd)
        try:
            while not parked.has_ended(self._until_next_look()):
                if self._is_over():
                    return False
            return parked.granted()
        finally:
            parked.call_off()

    async def _lock_async(self, fd: int) -> bool:
        import asyncio  # noqa: PLC0415  (plain locks need none of it)

        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def end() -> None:
            if not ended.done():
                ended.set_result(None)

        def tell() -> None:
            try:
                loop.call_soon_threadsafe(end)
            except RuntimeError:  # the loop was closed: no coroutine waits any more
                return

        parked = Parked(fd, tell)
        try:
            while not (await asyncio.wait({ended}, timeout=self._until_next_look()))[0]:
                if self._is_over():
                    return False
            return parked.granted()
        finally:
            parked.call_off()
