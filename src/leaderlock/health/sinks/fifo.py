"""Writes reports as lines of JSON to a FIFO for another program."""

from __future__ import annotations

import array
import errno
import fcntl
import json
import os
import select
import stat
import termios

from leaderlock.kernel.arguments import names_near_keyword, path_text
from leaderlock.kernel.descriptors import Descriptor
from leaderlock.kernel.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class fifo:
    """A sink that writes each report as one line of JSON to a FIFO.

    The FIFO is opened for writing only, without waiting, and stays open until its reader closes it. So
    a missing reader is an error (a sink that held both ends would hide that).

    A line is written completely or not at all. The kernel guarantees this up to PIPE_BUF (4,096 bytes,
    pipe(7)). A longer line is written only into an empty pipe, which is enlarged for it; this works
    only if no other process writes there. If the reader is too slow, it misses reports; the leader
    never waits.

    Args:
        path: the FIFO, which must exist: ``mkfifo PATH``.
    """

    @names_near_keyword
    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.path.abspath(path_text(path, "a FIFO"))
        self.__qualname__ = f"sinks.fifo({self._path!r})"
        self._descriptor = Descriptor()

    def __call__(self, report: Mapping[str, Any]) -> None:
        """Write the report.

        Raises:
            OSError: there is no FIFO (ENOENT, EINVAL) or no reader (ENXIO, EPIPE), the reader is too
                slow (EAGAIN), or the line is longer than the largest pipe that the system allows
                (EMSGSIZE).
        """
        line = json.dumps(report, separators=(",", ":")).encode() + b"\n"
        if not self._descriptor.is_open():  # a forked child's, or closed by other code
            self._descriptor.forget()
            self._open()
        if len(line) > select.PIPE_BUF:
            self._make_room(len(line))
        try:
            written = _write_without_sigpipe(self._descriptor.fd, line)
        except BrokenPipeError:
            self.stop()
            raise self._error(errno.EPIPE, "its reader has closed it") from None
        except BlockingIOError:
            raise self._error(errno.EAGAIN, "it is full: its reader is too slow") from None
        if written < len(line):
            raise self._error(errno.EAGAIN, "a line is torn: another process writes to it too")

    def stop(self) -> None:
        """Close the FIFO."""
        self._descriptor.close_if_open()

    def _open(self) -> None:
        try:
            status = self._descriptor.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise self._error(errno.ENOENT, "there is no such FIFO; make it by mkfifo") from None
        except OSError as error:
            if error.errno != errno.ENXIO:  # fifo(7)
                raise
            raise self._error(errno.ENXIO, "no process reads it; start its reader") from None
        if not stat.S_ISFIFO(status.st_mode):
            self._descriptor.close()
            raise self._error(errno.EINVAL, "it is not a FIFO; make one by mkfifo")

    def _make_room(self, size: int) -> None:
        waiting = array.array("i", [0])
        fd = self._descriptor.fd
        fcntl.ioctl(fd, termios.FIONREAD, waiting)
        if waiting[0]:
            raise self._error(errno.EAGAIN, "its reader is too slow, so a long line could be torn")
        try:
            if fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) < size:
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
        except (AttributeError, PermissionError):  # macOS and the BSDs; over /proc/sys/fs/pipe-max-size
            text = f"a line of {size} bytes is more than it can hold; use fewer checks, or sinks.file()"
            raise self._error(errno.EMSGSIZE, text) from None

    def _error(self, number: int, text: str) -> OSError:
        return OSError(number, text, self._path)


def _write_without_sigpipe(fd: int, data: bytes) -> int:
    """Write data; raise if the reader is gone, even if the server lets SIGPIPE kill the process."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
    try:
        return os.write(fd, data)
    except BrokenPipeError:
        if signal.SIGPIPE not in before and signal.SIGPIPE in signal.sigpending():
            signal.sigwait({signal.SIGPIPE})  # it was sent to this thread: signal(7)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
