"""The manager's side of sd_notify(3): a socket on which the command reports its state."""

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
"""The longest message in bytes, as in systemd; longer messages are ignored."""

_MOST_DESCRIPTORS = 253
"""The most descriptors in one message: SCM_MAX_FD (unix(7))."""

_AT_ONCE = 200
"""The most messages read in one round of the loop, before signals and timers are handled again."""

_COMPLAINTS = 10
"""How many ignored messages are logged; further ones are only counted."""


class NotifySocket:
    """Receives states from the command and its descendants, and from no other process.

    An abstract socket, so that no writable directory is needed. The credentials that the kernel
    attaches (SCM_CREDENTIALS, unix(7)) identify the sender. A message is ignored if its sender has
    ended before the message is read; systemd-notify waits until it was read (``BARRIER=1``).

    Args:
        loop: calls `read` when a message has arrived.
        is_ours: returns whether a process belongs to the command.
        on_states: called with a message's states, ``{"READY": "1"}``, the process ID of its
            sender, and the descriptors that came with it, which are closed afterwards.
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
        """Read the waiting messages, at most `_AT_ONCE` of them."""
        known: dict[int, bool] = {}  # only for this round: a PID may be reused before the next
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
                for fd in descriptors:  # closing the descriptors answers BARRIER=1
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
        """Log why a message is ignored, but only the first few times: messages may come in a flood."""
        self._ignored += 1
        if self._ignored <= _COMPLAINTS:
            last = "; further ones are not mentioned" if self._ignored == _COMPLAINTS else ""
            say(f"ignored a notify message, since {reason}{last}")


def _opened(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, list[int]]:
    """The sender's process ID, 0 if unknown, and the descriptors that came with the message."""
    sender = 0
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            sender, _, _ = struct.unpack("iii", data)
        elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return sender, list(descriptors)
