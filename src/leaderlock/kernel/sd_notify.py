"""Telling a service manager how we are: the sender's side of sd_notify(3)."""

from __future__ import annotations

import errno
import os
import socket
import struct

from leaderlock.kernel.descriptors import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Notifier:
    """Sends states to the socket that ``$NOTIFY_SOCKET`` names, from any process of the service.

    Args:
        address: the socket's path; one that begins with ``@`` is abstract (unix(7)).

    Raises:
        ValueError: the address is neither.
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
            made.setblocking(False)  # before its flags are looked at, which are a part of its identity
            self._descriptor.open_by(os.dup, made.fileno())
        self._socket = socket.socket(fileno=self._descriptor.fd)
        self._socket.setblocking(False)

    def _own_socket(self) -> socket.socket:
        """The socket; a new one if other code has closed it, as the number may be anybody's now."""
        if self._is_closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if not self._descriptor.is_open():
            self._socket.detach()
            self._descriptor.forget()
            self._open()
        return self._socket

    @classmethod
    def from_environment(cls) -> Notifier | None:
        """The one that the environment names, or None if no manager wants to be told."""
        address = os.environ.get("NOTIFY_SOCKET")
        return cls(address) if address else None

    def send(self, *states: str, descriptors: Sequence[int] = ()) -> None:
        """Send ``READY=1``, ``STATUS=...``, ``WATCHDOG=1`` and the like, in one message.

        Args:
            states: what to say.
            descriptors: open files to hand over with it (``FDSTORE=1``).

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
        """Close the socket; the manager's is its own."""
        self._is_closed = True
        self._socket.detach()
        self._descriptor.close_if_open()

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self.close()


def watchdog_interval() -> float | None:
    """Seconds within which the manager wants to see a beat, or None (sd_watchdog_enabled(3)).

    Half of it is the time to keep to. ``WATCHDOG_PID``, if it is set, must be this process.
    """
    text = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not text.isascii() or not text.isdecimal() or int(text) == 0:
        return None
    if pid and pid != str(os.getpid()):
        return None
    return int(text) / 1e6
