"""A session in ZooKeeper, through kazoo: requests with limits of time, and two kinds of an end."""

from __future__ import annotations

import contextlib
import logging
import os
import time

from kazoo import exceptions as kazoo
from kazoo.client import KazooClient
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState, KeeperState
from kazoo.retry import KazooRetry
from kazoo.security import CREATOR_ALL_ACL

from leaderlock.engines.zookeeper.answers import OUTCOMES, meaning, raise_failure, refused_credentials
from leaderlock.engines.zookeeper.bell import Bell
from leaderlock.engines.zookeeper.handler import Handler, require_native_threads
from leaderlock.errors import EngineUnreachable, EngineUnusable, LeadershipLost
from leaderlock.kernel.event import NativeEvent
from leaderlock.kernel.signals import signal
from leaderlock.kernel.threads import start_thread_without_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import Any

    from leaderlock.engines.address import Address
    from leaderlock.engines.leased.waiting import Waiting
    from leaderlock.engines.zookeeper.handler import Wire

PORT, TLS_PORT = 2181, 2281

_LONGEST_PAUSE = 0.5
"""Seconds between two tries of all servers; a short lease needs shorter pauses."""


class Connection:
    """One session; it belongs to one process, and one thread at a time uses it.

    Kazoo's own threads connect again, to any of the servers, whenever a connection ends.

    Args:
        address: the URL.
        timeout: the session's timeout to ask for, in seconds.
        patience: seconds for a server to accept a connection, and for its first answer.
        identity: number and password of a session to go on with.
        tls: the certificates; None without TLS.

    Attributes:
        is_lost: whether the session has expired, or cannot be used any more.
    """

    def __init__(
        self,
        address: Address,
        timeout: float,
        patience: float,
        identity: tuple[int, bytes] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        require_native_threads(address)
        self.is_lost = False
        self._address = address
        self._pid = os.getpid()
        self._changes, self._answers = Bell(), Bell()
        self._handler = Handler(patience, tls)
        usual_port = PORT if tls is None else TLS_PORT
        credentials = [("digest", f"{address.user}:{address.password}")] if address.user else []
        self._client = KazooClient(
            ",".join(_host(host, port or usual_port) for host, port in address.hosts),
            timeout=timeout,
            client_id=identity,
            handler=self._handler,
            auth_data=credentials,
            default_acl=CREATOR_ALL_ACL if credentials else None,
            connection_retry=KazooRetry(
                max_tries=-1, delay=0.02, backoff=1.5, max_delay=min(patience / 2, _LONGEST_PAUSE)
            ),
            logger=_logger(),
        )
        self._client.add_listener(self._note)
        self._live: Any = None

    def _note(self, state: str) -> None:
        if state == KazooState.LOST:
            self.is_lost = True
        self._changes.ring()
        self._answers.ring()

    def open(self, until: float, waiting: Waiting | None = None) -> None:
        """Connect to one of the servers.

        Args:
            until: a moment of CLOCK_MONOTONIC.
            waiting: lets another thread call this off.

        Raises:
            EngineUnreachable: no server has answered in time.
        """
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:  # kazoo's threads inherit the mask: the kernel must not give them our signals
            signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
            self._live = self._client.start_async()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._await(self._live.is_set, self._live.wait, until, waiting)
        self.require_connected()

    def _await(
        self,
        is_done: Callable[[], bool],
        wait: Callable[[float], object],
        until: float,
        waiting: Waiting | None,
    ) -> None:
        """Wait for kazoo's threads, which ring after each step."""
        if waiting is None:
            wait(max(until - time.monotonic(), 0))
            return
        while not is_done() and (left := until - time.monotonic()) > 0:
            self._answers.quiet()
            if not is_done():
                waiting.answers(self._answers.descriptor.fd, left)

    def await_server(self, until: float) -> None:
        """Wait until a server is connected.

        Args:
            until: a moment of CLOCK_MONOTONIC.

        Raises:
            EngineUnreachable: no server has answered.
            LeadershipLost: the session has expired.
        """
        if not self.is_closed:
            self._live.wait(max(until - time.monotonic(), 0))
        self.require_connected()

    def require_connected(self) -> None:
        """Raise what `await_server` raises, without waiting."""
        wire = self._handler.wire
        if self.is_closed and wire is not None and wire.granted and self._address.user:
            raise refused_credentials(self._address)  # the one known reason for kazoo to give up
        if self.is_lost:
            raise LeadershipLost("ZooKeeper has ended the session")
        if not self._client.connected:
            raise self.unreachable()

    @property
    def is_closed(self) -> bool:
        """Whether kazoo has given up."""
        return bool(self._client.client_state == KeeperState.CLOSED)

    @property
    def wire(self) -> Wire | None:
        """The latest connection to a server."""
        return self._handler.wire

    @property
    def identity(self) -> tuple[int, bytes]:
        """Number and password of the session.

        Raises:
            EngineUnreachable: no server is connected.
        """
        identity = self._client.client_id
        if identity is None:
            raise self.unreachable()
        number, password = identity
        return int(number), bytes(password)

    @property
    def bell(self) -> int:
        """A descriptor that is readable after a change of the session, or of a watched node."""
        return self._changes.descriptor.fd

    def granted(self) -> Wire:
        """The latest connection, on which the server has granted the session.

        Raises:
            EngineUnreachable: no server is connected.
        """
        self.require_connected()
        wire = self._handler.wire
        if wire is None or not wire.granted:
            raise self.unreachable()
        return wire

    def quiet(self) -> None:
        """Make the bell unreadable until the next change."""
        self._changes.quiet()

    def ring(self, _event: object) -> None:
        """For kazoo: a watched node has changed."""
        self._changes.ring()

    def _ring_for_answer(self, _result: object) -> None:
        self._answers.ring()

    def ask(self, request: Callable[[Any], Any], until: float, waiting: Waiting | None = None) -> Any:
        """Send a request, and wait for the answer.

        Args:
            request: calls an asynchronous method of the kazoo client that it gets.
            until: a moment of CLOCK_MONOTONIC.
            waiting: lets another thread call this off.

        Raises:
            EngineUnreachable: the answer is not known.
            EngineUnusable: the server refuses.
            LeadershipLost: the session has expired.
            BadVersionError, NoNodeError, NodeExistsError: what the server answers.
        """
        self._require_own_process()
        try:
            result = request(self._client)
            if waiting is not None:
                result.rawlink(self._ring_for_answer)
            self._await(result.ready, result.wait, until, waiting)
            answer = result.get_nowait()
            raise_failure(answer)
            return answer
        except KazooTimeoutError:
            # The connection may lead nowhere, and kazoo sends no pings while we send requests.
            self._handler.reconnect()
            raise self.unreachable("no answer in time") from None
        except OUTCOMES:
            raise
        except kazoo.KazooException as error:
            raise meaning(error, self._address) from error

    def _require_own_process(self) -> None:
        if self._pid != os.getpid():
            raise EngineUnusable(
                f"{self._address.shown}: process {self._pid} made this session, and its forked child "
                f"{os.getpid()} cannot use it: begin the election in the child"
            )

    def unreachable(self, reason: str = "") -> EngineUnreachable:
        """The error of a server that does not answer."""
        reason = reason if reason and self._client.connected else self._handler.trouble
        return EngineUnreachable(
            f"{self._address.shown}: ZooKeeper does not answer ({self._address.hide(reason)})"
        )

    def end(self, seconds: float) -> None:
        """Close the session, so that ZooKeeper deletes its nodes; give up after some seconds."""
        if self._pid == os.getpid():
            if not self._client.connected:  # no server can be told
                self._handler.close()
                seconds = 0
            self._stop(seconds)
            self._close_bells()

    def leave(self, seconds: float) -> None:
        """End the connection alone: the session and its nodes live on until its timeout.

        KazooClient.stop would send a CloseSession. The connection is shut down before, and the handler
        makes no other one, so this request goes nowhere.
        """
        if self._pid == os.getpid():
            self._handler.close()
            self._stop(seconds)
            self._close_bells()

    def _close_bells(self) -> None:
        self._changes.close()
        self._answers.close()

    def _stop(self, seconds: float) -> None:
        stopped = NativeEvent()
        start_thread_without_signals(self._stop_client, stopped)  # it waits 10 s at least
        if not stopped.wait(seconds):
            self._handler.close()

    def _stop_client(self, stopped: NativeEvent) -> None:
        try:
            with contextlib.suppress(kazoo.WriterNotClosedException):  # its thread resolves a name
                self._client.stop()
                self._client.close()
        finally:
            stopped.set()


def _host(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _logger() -> logging.Logger:
    """Kazoo's logger: without its notes on each connection, and its debug log, which has passwords."""
    logger = logging.getLogger("leaderlock.kazoo")
    logger.setLevel(logging.ERROR)
    return logger
