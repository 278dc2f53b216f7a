"""Addresses of a host's name, by a thread: getaddrinfo(3) can neither be cancelled nor given a limit.

Native: gevent replaces `socket.getaddrinfo` by a function for green threads. The names are bytes, since
a text would import the codec "idna" in the midst of a wait.
"""

from __future__ import annotations

import _socket
import os

from leaderlock.kernel.descriptors import Descriptor
from leaderlock.kernel.threads import start_thread_without_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.engines.etcd.connection import Limit

    Places = list[tuple[int, tuple[object, ...]]]


def encoded(host: str) -> bytes:
    """A host's name as the resolver takes it.

    Raises:
        ValueError: there can be no such name.
    """
    return host.encode("ascii") if host.isascii() else host.encode("idna")


def places_of(host: str, port: int, limit: Limit) -> Places:
    """The families and addresses of a host, in the order of getaddrinfo(3).

    Raises:
        OSError: the name has no address, or the resolver did not answer in time.
        CalledOff: cancelled.
    """
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, host)
        except OSError:
            continue
        return [(family, (host, port))]
    lookup = _Lookup(host, port)
    return lookup.result(limit)


class _Lookup:
    """One question to the resolver. The thread may outlive the caller's patience, so both own this."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._places: Places = []
        self._error: OSError | None = None
        self._bell = Descriptor()
        self._bell.open_by(os.eventfd, 0)
        start_thread_without_signals(self._run)

    def _run(self) -> None:
        try:
            found = _socket.getaddrinfo(encoded(self._host), self._port, 0, _socket.SOCK_STREAM)
            self._places = [(family, place) for family, _, _, _, place in found]
        except OSError as error:
            self._error = error
        if self._bell.is_open():
            os.eventfd_write(self._bell.fd, 1)

    def result(self, limit: Limit) -> Places:
        limit.wait(self._bell.fd, f"resolving {self._host}")
        if self._error is not None:
            raise self._error
        return self._places

    def __del__(self) -> None:
        self._bell.close_if_open()
