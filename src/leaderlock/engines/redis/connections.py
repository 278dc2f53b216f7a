"""The client's connections, with native sockets: gevent and eventlet patch only the module `socket`.

A patched socket belongs to the native thread that has made it, and several threads use a session, one
after the other.
"""

from __future__ import annotations

import _socket
import encodings.idna  # noqa: F401  (looking up a host name needs it, maybe after an upgrade on disk)
from typing import Any

import redis

from leaderlock.errors import Unsupported
from leaderlock.kernel.threads import threads_are_green

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from leaderlock.engines.address import Address

    class Connection(Protocol):
        """The part of the client's connections that we use; the client gives them no types."""

        @property
        def is_connected(self) -> bool:
            """Whether the socket is open."""

        def connect(self) -> None:
            """Connect, and log in."""

        def send_command(self, *command: str | int | bytes) -> None:
            """Send a command."""

        def read_response(self, *, push_request: bool, timeout: float) -> object:
            """The next answer or message."""

        def can_read(self, timeout: float) -> bool:
            """Whether something has come."""

        def fileno(self) -> int:
            """The socket's descriptor."""

        def disconnect(self) -> None:
            """Close the socket."""


PARAMETERS = {
    *("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"),
    *("ssl_password", "ssl_cert_reqs", "ssl_check_hostname"),
}
"""The parameters of a ``rediss://`` URL; redis-py documents them."""


class _TcpConnection(redis.Connection):
    def _connect(self) -> Any:
        """Connect to one of the host's addresses; see `redis.Connection._connect`."""
        failure: OSError = OSError(f"{self.host} has no address")
        for family, kind, protocol, _, place in _socket.getaddrinfo(
            self.host, self.port, 0, _socket.SOCK_STREAM
        ):
            connected = _socket.socket(family, kind | _socket.SOCK_CLOEXEC, protocol)
            try:
                connected.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
                connected.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
                for option, value in self.socket_keepalive_options.items():
                    connected.setsockopt(_socket.IPPROTO_TCP, option, value)
                connected.settimeout(self.socket_connect_timeout)
                connected.connect(place)
                connected.settimeout(self.socket_timeout)
            except OSError as error:  # the next address may answer
                failure = error
                connected.close()
                continue
            return connected
        raise failure

    def fileno(self) -> int:
        """The socket's descriptor."""
        if self._sock is None:
            raise redis.ConnectionError("the connection is closed")
        fd: int = self._sock.fileno()
        return fd


class _TlsConnection(redis.SSLConnection, _TcpConnection):
    """Encrypts what `_TcpConnection` connects."""


def connection_of(address: Address, settings: dict[str, Any]) -> Connection:
    """A connection that is not open yet; for ``rediss://`` with TLS."""
    make: Callable[..., Connection] = _TcpConnection
    if address.scheme == "rediss":
        make = _TlsConnection
        settings = {**settings, **_tls(address)}
    return make(**settings)


def _tls(address: Address) -> dict[str, str | bool]:
    settings: dict[str, str | bool] = dict(address.parameters)
    checks = address.parameters.get("ssl_check_hostname")
    if checks is not None:
        settings["ssl_check_hostname"] = checks.lower() not in {"0", "no", "false"}
    return settings


def require_native_tls(address: Address) -> None:
    """Refuse TLS where the module `ssl` is patched: its sockets belong to one thread.

    Raises:
        Unsupported: gevent or eventlet has patched this process, and the URL asks for TLS.
    """
    if address.scheme == "rediss" and threads_are_green():
        raise Unsupported(
            f"{address.shown}: gevent or eventlet has patched TLS in this process: elect a process of "
            f"its own, with `leaderlock run --lock URL -- COMMAND`"
        )
