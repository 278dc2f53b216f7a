"""`Bell`: kazoo's threads wake a candidate that waits in poll(2)."""

from __future__ import annotations

import contextlib
import os

from leaderlock.kernel.descriptors import Descriptor
from leaderlock.kernel.threads import RLock


class Bell:
    """An eventfd that any thread may ring, as long as it is open.

    Attributes:
        descriptor: readable after a ring.
    """

    def __init__(self) -> None:
        self.descriptor = Descriptor()
        self._mutex = RLock()
        self.descriptor.open_by(os.eventfd, 0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def ring(self) -> None:
        """Make the bell readable; nothing happens once it is closed."""
        with self._mutex:
            if self.descriptor.is_open():
                os.eventfd_write(self.descriptor.fd, 1)

    def quiet(self) -> None:
        """Make the bell unreadable until the next ring."""
        with contextlib.suppress(BlockingIOError):  # it has not rung
            os.eventfd_read(self.descriptor.fd)

    def close(self) -> None:
        """Close the eventfd; late rings of other threads do not reach the number's next owner."""
        with self._mutex:
            self.descriptor.close_if_open()
