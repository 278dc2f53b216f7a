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

from leaderlock.engines.zookeeper.bell import Bell
from leaderlock.engines.zookeeper.handler import Handler, require_native_threads
from leaderlock.errors import EngineUnreachable, EngineUnusable, LeadershipLost
from leaderlock.kernel.event import NativeEvent
from leaderlock.kernel.signals import signal
from leaderlock.kernel.threads import start_thread_without_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from leaderlock.engines.address import Address
    from leaderlock.engines.zookeeper.handler import Wire

PORT = 2181

_REFUSALS = (
    kazoo.AuthFailedError,
    kazoo.InvalidACLError,
    kazoo.NoAuthError,
    kazoo.NoChildrenForEphemeralsError,
    kazoo.QuotaExceededError,
    kazoo.SessionClosedRequireSaslError,
)
"""Answers that a later try does not change."""

_OUTCOMES = (kazoo.BadVersionError, kazoo.NoNodeError, kazoo.NodeExistsError)
"""Answers that callers expect."""


class Connection:
    """One session; it belongs to one process, and one thread at a time uses it.

    Kazoo's own threads connect again, to any of the servers, whenever a connection ends.

    Args:
        address: the URL.
        timeout: the session's timeout to ask for, in seconds.
        patience: seconds for a server to accept a connection, and for its first answer.
        identity: number and password of a session to go on with.

    Attributes:
        is_lost: whether the session has expired, or cannot be used any more.
    """

    def __init__(
        self,
        address: Address,
        timeout: float,
        patience: float,
        identity: tuple[int, bytes] | None = None,
    ) -> None:
        require_native_threads(address)
        self.is_lost = False
        self._address = address
        self._pid = os.getpid()
        self._bell = Bell()
        self._handler = Handler(patience)
        credentials = [("digest", f"{address.user}:{address.password}")] if address.user else []
        self._client = KazooClient(
            ",".join(_host(*host) for host in address.hosts),
            timeout=timeout,
            client_id=identity,
            handler=self._handler,
            auth_data=credentials,
            default_acl=CREATOR_ALL_ACL if credentials else None,
            connection_retry=KazooRetry(max_tries=-1, delay=0.05, backoff=1.5, max_delay=0.5),
            logger=_logger(),
        )
        self._client.add_listener(self._note)
        self._live: Any = None

    def _note(self, state: str) -> None:
        if state == KazooState.LOST:
            self.is_lost = True
        self._bell.ring()

    def open(self, seconds: float) -> None:
        """Connect to one of the servers.

        Raises:
            EngineUnreachable: no server has answered within these seconds.
            EngineUnusable: the servers do not accept the credentials.
        """
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:  # kazoo's threads inherit the mask: the kernel must not give them our signals
            signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
            self._live = self._client.start_async()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self.await_server(time.monotonic() + seconds)

    def await_server(self, until: float) -> None:
        """Wait until a server is connected.

        Args:
            until: a moment of CLOCK_MONOTONIC.

        Raises:
            EngineUnreachable: no server has answered.
            EngineUnusable: the servers do not accept the credentials.
            LeadershipLost: the session has expired.
        """
        self._live.wait(max(until - time.monotonic(), 0))
        self.require_connected()

    def require_connected(self) -> None:
        """Raise what `await_server` raises, without waiting."""
        if self._client.client_state == KeeperState.AUTH_FAILED:
            raise self._refused(kazoo.AuthFailedError())
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
        return self._bell.descriptor.fd

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
        self._bell.quiet()

    def ring(self, _event: object) -> None:
        """For kazoo: a watched node has changed."""
        self._bell.ring()

    def ask(self, request: Callable[[Any], Any], until: float) -> Any:
        """Send a request, and wait for the answer.

        Args:
            request: calls an asynchronous method of the kazoo client that it gets.
            until: a moment of CLOCK_MONOTONIC.

        Raises:
            EngineUnreachable: the answer is not known.
            EngineUnusable: the server refuses.
            LeadershipLost: the session has expired.
            BadVersionError, NoNodeError, NodeExistsError: what the server answers.
        """
        self._require_own_process()
        try:
            answer = request(self._client).get(timeout=max(until - time.monotonic(), 0))
            _raise_failure(answer)
            return answer
        except KazooTimeoutError:
            # The connection may lead nowhere, and kazoo sends no pings while we send requests.
            self._handler.reconnect()
            raise self.unreachable("no answer in time") from None
        except (
            kazoo.ConnectionClosedError
        ) as error:  # a kind of SessionExpiredError, but not the server's word
            raise self.unreachable("the client is closed") from error
        except kazoo.SessionExpiredError as error:
            raise LeadershipLost("ZooKeeper has ended the session") from error
        except _REFUSALS as error:
            raise self._refused(error) from error
        except _OUTCOMES:
            raise
        except kazoo.KazooException as error:
            raise self.unreachable(type(error).__name__) from error

    def _require_own_process(self) -> None:
        if self._pid != os.getpid():
            raise EngineUnusable(
                f"{self._address.shown}: process {self._pid} made this session, and its forked child "
                f"{os.getpid()} cannot use it: begin the election in the child"
            )

    def unreachable(self, reason: str = "") -> EngineUnreachable:
        """The error of a server that does not answer."""
        trouble = self._handler.trouble or "no server was found under the names of the URL"
        if self._client.connected or not reason:
            trouble = reason or trouble
        return EngineUnreachable(
            f"{self._address.shown}: ZooKeeper does not answer ({self._address.hide(trouble)})"
        )

    def _refused(self, error: Exception) -> EngineUnusable:
        user = f"the user {self._address.user!r}" if self._address.user else "a client without a user"
        return EngineUnusable(
            f"{self._address.shown}: ZooKeeper refuses ({type(error).__name__}) for {user}: the "
            f"nodes' ACL must give it all rights from {self._address.path} on, and the right to create "
            f"that node"
        )

    def end(self, seconds: float) -> None:
        """Close the session, so that ZooKeeper deletes its nodes; give up after some seconds."""
        if self._pid == os.getpid():
            self._stop(seconds)
            self._bell.close()

    def leave(self, seconds: float) -> None:
        """End the connection alone: the session and its nodes live on until its timeout.

        KazooClient.stop would send a CloseSession. The connection is shut down before, and the handler
        makes no other one, so this request goes nowhere.
        """
        if self._pid == os.getpid():
            self._handler.close()
            self._stop(seconds)
            self._bell.close()

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


def _raise_failure(answer: object) -> None:
    """Raise the error of a transaction's operation; the others were rolled back, or not tried."""
    errors = [a for a in answer if isinstance(a, Exception)] if isinstance(answer, list) else []
    if errors:
        consequences = (kazoo.RolledBackError, kazoo.RuntimeInconsistency)
        raise next((e for e in errors if not isinstance(e, consequences)), errors[0])


def _host(host: str, port: int | None) -> str:
    return f"[{host}]:{port or PORT}" if ":" in host else f"{host}:{port or PORT}"


def _logger() -> logging.Logger:
    """Kazoo's logger: without its notes on each connection, and its debug log, which has passwords."""
    logger = logging.getLogger("leaderlock.kazoo")
    logger.setLevel(logging.ERROR)
    return logger
