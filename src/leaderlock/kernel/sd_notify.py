"""Telling a service manager how we are: the sender's side of sd_notify(3)."""

from __future__ import annotations

import os
import socket
import struct

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
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

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
            self._socket.sendto(message, self._address)
            return
        rights = struct.pack(f"{len(descriptors)}i", *descriptors)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
        self._socket.sendmsg([message], ancillary, 0, self._address)

    def close(self) -> None:
        """Close the socket; the manager's is its own."""
        self._socket.close()


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
