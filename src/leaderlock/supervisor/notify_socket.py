"""The manager's side of sd_notify(3): a socket to which the command tells how it is."""

from __future__ import annotations

import array
import os
import socket
import struct

from leaderlock.supervisor.messages import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.supervisor.loop import Loop

LONGEST = 4096
"""Bytes of a message, as in systemd; longer ones are ignored."""

_MOST_DESCRIPTORS = 253
"""With one message: SCM_MAX_FD (unix(7))."""

_AT_ONCE = 200
"""Messages read before signals and timers have their turn again."""

_COMPLAINTS = 10
"""Messages of which it is said that they were ignored; the rest are only counted."""


class NotifySocket:
    """Receives states from the command and its descendants, and from nobody else.

    An abstract socket, so that no writable directory is needed. The sender is known by the
    credentials that the kernel attaches (SCM_CREDENTIALS, unix(7)). One that has ended before its
    message is read cannot be placed, and is ignored; systemd-notify waits for that (``BARRIER=1``).

    Args:
        loop: tells when there is something to read.
        is_ours: whether a process belongs to the command.
        on_states: called with each message's states, ``{"READY": "1"}``, its sender, and the
            descriptors that came with it, which are closed afterwards.
    """

    def __init__(
        self,
        loop: Loop,
        is_ours: Callable[[int], bool],
        on_states: Callable[[dict[str, str], int, list[int]], None],
    ) -> None:
        self._is_ours = is_ours
        self._on_states = on_states
        self._ignored = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.setblocking(False)
        name = f"leaderlock/notify/{os.getpid()}/{os.urandom(8).hex()}"
        self._socket.bind(f"\0{name}")
        self.address = f"@{name}"
        loop.on_readable(self._socket.fileno(), self.read)

    def read(self) -> None:
        """Take what is there, up to a round's worth."""
        known: dict[int, bool] = {}  # for this round: a process ID may be another one's in the next
        for _ in range(_AT_ONCE):
            try:
                message, ancillary, flags, _ = self._socket.recvmsg(
                    LONGEST,
                    socket.CMSG_SPACE(12) + socket.CMSG_SPACE(_MOST_DESCRIPTORS * 4),
                    socket.MSG_CMSG_CLOEXEC,
                )
            except BlockingIOError:
                return
            sender, descriptors = _opened(ancillary)
            if sender not in known:
                known[sender] = bool(sender) and self._is_ours(sender)
            try:
                if known[sender]:
                    self._take(message, sender, descriptors, bool(flags & socket.MSG_TRUNC))
                else:
                    self.ignore(f"it comes from process {sender}, which is not the command's")
            finally:
                for fd in descriptors:  # closing them is the answer to BARRIER=1
                    os.close(fd)

    def _take(self, message: bytes, sender: int, descriptors: list[int], truncated: bool) -> None:
        if truncated:
            self.ignore(f"it is longer than {LONGEST} bytes")
            return
        try:
            lines = message.decode().split("\n")
        except UnicodeDecodeError:
            self.ignore("it is not UTF-8")
            return
        states = dict(line.split("=", 1) for line in lines if "=" in line)
        if states:
            self._on_states(states, sender, descriptors)
        else:
            self.ignore("it has no KEY=VALUE line")

    def ignore(self, reason: str) -> None:
        """Say why a message is ignored, but not each time: a flood of them must not flood the log."""
        self._ignored += 1
        if self._ignored <= _COMPLAINTS:
            last = "; further ones are not mentioned" if self._ignored == _COMPLAINTS else ""
            say(f"ignored a notify message, since {reason}{last}")


def _opened(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, list[int]]:
    """The sender's process ID, 0 if it is not told, and the descriptors that came along."""
    sender = 0
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            sender, _, _ = struct.unpack("iii", data)
        elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return sender, list(descriptors)
