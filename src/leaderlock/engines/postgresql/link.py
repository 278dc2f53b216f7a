"""`Link`: a connection to one server, whose calls end in time, even if the server never answers.

psycopg's own connections wait in Python and wake up ten times a second, without any limit. So this uses
the part of psycopg that is libpq (`psycopg.pq`) and waits in poll(2): without wakeups, with a limit,
and in a native thread also where gevent has patched the process.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

import psycopg
from psycopg import pq

from leaderlock.engines.postgresql.failures import connection_failure, failure
from leaderlock.errors import EngineUnreachable
from leaderlock.kernel.descriptors import Descriptor
from leaderlock.kernel.pipes import wait_readable, wait_writable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from leaderlock.engines.postgresql.servers import Servers

    Row = tuple[str | None, ...]
    Parameter = str | int | float | None

    class Ready(Protocol):
        """Waits for a descriptor, at most for some seconds; may end early, with False."""

        def __call__(self, fd: int, seconds: float, *, writable: bool = False) -> bool:
            """Return whether the descriptor is readable, or writable."""


_RESULTS = {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.EMPTY_QUERY}


def ready(fd: int, seconds: float, *, writable: bool = False) -> bool:
    """Wait for a descriptor, at most for some seconds; a signal ends the wait early, with False."""
    wait = wait_writable if writable else wait_readable
    return wait(fd, seconds=seconds)


class Link:
    """A connection, and one statement at a time on it.

    Args:
        servers: the ways to connect.
        seconds: the longest time of one call, unless the call has a limit of its own.
        waits: waits for the server's part of a call; `ready`, or `Waiting.answers`.

    Attributes:
        waits: see above; may be replaced between two calls.
    """

    def __init__(self, servers: Servers, seconds: float, waits: Ready = ready) -> None:
        self.waits = waits
        self._servers = servers
        self._address = servers.address
        self._seconds = seconds
        self._pgconn: pq.abc.PGconn | None = None
        self._socket = Descriptor()  # so that a forked child closes it, and does not keep the session
        self._pid = os.getpid()

    def open(self, until: float, **parameters: str | int) -> None:
        """Connect to the first server that accepts.

        Args:
            until: CLOCK_MONOTONIC at which the attempts end.
            parameters: for libpq.

        Raises:
            EngineUnreachable: no server answers in time.
            EngineUnusable: a server refuses.
        """
        try:
            attempts = self._servers.attempts(**parameters)
        except OSError as error:
            raise EngineUnreachable(f"{self._address.shown}: {error}") from error
        errors = []
        for number, conninfo in enumerate(attempts):
            now = time.monotonic()
            try:
                self._pgconn = self._connect(conninfo, now + (until - now) / (len(attempts) - number))
                self._pgconn.nonblocking = 1
                self._socket.open_by(int, self._pgconn.socket)
                return
            except EngineUnreachable as error:
                errors.append(error)
        raise errors[0] if len(errors) == 1 else EngineUnreachable("; ".join(map(str, errors)))

    def _connect(self, conninfo: bytes, until: float) -> pq.abc.PGconn:
        pgconn: pq.abc.PGconn = pq.PGconn.connect_start(conninfo)
        try:
            step = pq.PollingStatus.WRITING
            while pgconn.status != pq.ConnStatus.BAD and step != pq.PollingStatus.OK:
                self._await(pgconn, until, "connect", writable=step == pq.PollingStatus.WRITING)
                step = pq.PollingStatus(pgconn.connect_poll())
                if step == pq.PollingStatus.FAILED:
                    break
            if step == pq.PollingStatus.OK:
                return pgconn
            raise connection_failure(self._address, pgconn.get_error_message())
        except BaseException:
            pgconn.finish()
            raise

    def _await(
        self, pgconn: pq.abc.PGconn, until: float, doing: str, *, writable: bool = False
    ) -> None:
        while not self.waits(pgconn.socket, max(until - time.monotonic(), 0), writable=writable):
            if time.monotonic() >= until:
                raise EngineUnreachable(
                    f"{self._address.shown}: the server did not answer in time ({doing})"
                )

    def is_alive(self) -> bool:
        """Whether there is a connection that neither an error nor the server has ended, so far."""
        try:
            while ready(self.fd, 0):  # the server's last message, and then the end of the stream
                self.has_answer()
            return self._used().status == pq.ConnStatus.OK
        except EngineUnreachable:
            return False

    @property
    def fd(self) -> int:
        """The descriptor, for a wait between two calls."""
        return self._used().socket

    @property
    def server_version(self) -> int:
        """The server's version: 150002 for 15.2."""
        return self._used().server_version

    @property
    def backend_pid(self) -> int:
        """The process that serves this connection, as it was told when the connection was made."""
        return self._used().backend_pid

    @property
    def user(self) -> str:
        """The role that has logged in."""
        return self._used().user.decode()

    def _used(self) -> pq.abc.PGconn:
        if self._pgconn is None:
            raise EngineUnreachable(f"{self._address.shown}: the connection is closed")
        return self._pgconn

    def query(self, sql: str, *parameters: Parameter, until: float | None = None) -> list[Row]:
        """Run a statement and return its rows; without parameters, there may be several statements.

        Args:
            sql: the statement, with $1, $2, and so on for the parameters.
            parameters: as text.
            until: CLOCK_MONOTONIC at which the call ends; None: after the seconds of the link.

        Raises:
            ServerRefuses, ServerFails: the server's answer is an error; the connection may go on.
            EngineUnreachable: there is no answer in time, or the connection broke; it is closed.
        """
        if until is None:
            until = time.monotonic() + self._seconds
        self.send(sql, *parameters, until=until)
        return self.answer(until=until)

    def send(self, sql: str, *parameters: Parameter, until: float | None = None) -> None:
        """Send a statement; `has_answer` and `answer` follow. See `query`."""
        pgconn = self._used()
        if until is None:
            until = time.monotonic() + self._seconds
        with self._closing_on_error():
            if parameters:
                values = [None if value is None else str(value).encode() for value in parameters]
                pgconn.send_query_params(sql.encode(), values)
            else:
                pgconn.send_query(sql.encode())
            while pgconn.flush():
                self._await(pgconn, until, "send", writable=True)

    def has_answer(self) -> bool:
        """Read what has arrived; return whether that is the answer. Call it when `fd` is readable.

        Raises:
            EngineUnreachable: the connection broke.
        """
        pgconn = self._used()
        with self._closing_on_error():
            pgconn.consume_input()
            return not pgconn.is_busy()

    def answer(self, until: float | None = None) -> list[Row]:
        """Wait for the answer to `send`. See `query`."""
        pgconn = self._used()
        if until is None:
            until = time.monotonic() + self._seconds
        rows: list[Row] = []
        refusal = None
        with self._closing_on_error():
            while True:
                while pgconn.is_busy():
                    self._await(pgconn, until, "answer")
                    pgconn.consume_input()
                result = pgconn.get_result()
                if result is None:
                    break
                if result.status in _RESULTS:
                    rows = _rows(result)
                else:
                    is_standby = pgconn.parameter_status(b"in_hot_standby") == b"on"
                    refusal = refusal or failure(self._address, *_said(result), is_standby=is_standby)
        if refusal is not None:
            raise refusal
        return rows

    def is_notified(self) -> bool:
        """Whether a notification has arrived. Call it when `fd` is readable between two calls.

        Raises:
            EngineUnreachable: the connection broke.
        """
        self.has_answer()
        pgconn = self._used()
        found = False
        while pgconn.notifies() is not None:
            found = True
        return found

    @contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        """After an error, close the connection: an answer may still come, and answer the wrong call."""
        try:
            yield
        except psycopg.Error as error:
            self.close()
            text = self._address.hide(" ".join(str(error).split()))
            raise EngineUnreachable(f"{self._address.shown}: the connection broke: {text}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection. A forked child leaves its parent's connection open."""
        pgconn, self._pgconn = self._pgconn, None
        if pgconn is not None and self._pid == os.getpid():
            self._socket.forget()
            pgconn.finish()


def _rows(result: pq.abc.PGresult) -> list[Row]:
    texts = [
        [result.get_value(row, column) for column in range(result.nfields)]
        for row in range(result.ntuples)
    ]
    return [tuple(None if text is None else text.decode() for text in row) for row in texts]


def _said(result: pq.abc.PGresult) -> tuple[str, str]:
    """The SQLSTATE and the message of an error."""
    state = result.error_field(pq.DiagnosticField.SQLSTATE) or b""
    return state.decode(), result.get_error_message()
