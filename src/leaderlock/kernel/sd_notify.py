"""Reports the state of a service to its manager: the sender's side of sd_notify(3)."""

from __future__ import annotations

import errno
import os
import socket
import struct

from leaderlock.kernel.arguments import whole_number
from leaderlock.kernel.descriptors import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Notifier:
    """Sends states to the socket that ``$NOTIFY_SOCKET`` names, from any process of the service.

    Args:
        address: the socket's path; one that begins with ``@`` is abstract (unix(7)).

    Raises:
        ValueError: the address begins neither with ``/`` nor with ``@``.
    """

    def __init__(self, address: str) -> None:
        if not address.startswith(("/", "@")) or len(address) < 2:
            raise ValueError(f"NOTIFY_SOCKET must be a path or begin with '@', not {address!r}")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._descriptor = Descriptor(inherited=True)
        self._is_closed = False
        self._open()

    def _open(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as made:
            made.setblocking(False)  # first: `open_by` records the flags as a part of the identity
            self._descriptor.open_by(os.dup, made.fileno())
        self._socket = socket.socket(fileno=self._descriptor.fd)
        self._socket.setblocking(False)

    def _own_socket(self) -> socket.socket:
        """The socket; a new one if other code has closed it, since the number may be another file's."""
        if self._is_closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if not self._descriptor.is_open():
            self._socket.detach()
            self._descriptor.forget()
            self._open()
        return self._socket

    @classmethod
    def from_environment(cls) -> Notifier | None:
        """A notifier for ``$NOTIFY_SOCKET``; None if the variable is unset or empty."""
        address = os.environ.get("NOTIFY_SOCKET")
        return cls(address) if address else None

    def send(self, *states: str, descriptors: Sequence[int] = ()) -> None:
        """Send ``READY=1``, ``STATUS=...``, ``WATCHDOG=1`` and the like, in one message.

        Args:
            states: assignments such as ``READY=1``.
            descriptors: open files to hand over with the message (``FDSTORE=1``).

        Raises:
            OSError: the manager is gone, or its queue is full (BlockingIOError).
        """
        message = "\n".join(states).encode(errors="surrogateescape")
        if not descriptors:
            self._own_socket().sendto(message, self._address)
            return
        rights = struct.pack(f"{len(descriptors)}i", *descriptors)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
        self._own_socket().sendmsg([message], ancillary, 0, self._address)

    def close(self) -> None:
        """Close our socket; the manager's socket stays open."""
        self._is_closed = True
        self._socket.detach()
        self._descriptor.close_if_open()

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self.close()


def microseconds(text: str) -> float | None:
    """Convert a text of microseconds to seconds; None if it is no positive number, or too large."""
    number = whole_number(text, 10**18 - 1)
    return number / 1e6 if number else None


def watchdog_interval() -> float | None:
    """Seconds within which the manager expects each watchdog ping, or None (sd_watchdog_enabled(3)).

    Send a ping in each half of this interval. ``WATCHDOG_PID``, if it is set, must be this process.
    """
    text = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return None
    return microseconds(text)
