"""A connection with TLS, for ``etcds://``: the encryption works on bytes in memory, and never waits."""

from __future__ import annotations

import encodings.idna  # noqa: F401  (ssl imports this as a connection begins)
import ssl

from leaderlock.engines.etcd.connection import Connection, Distrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.engines.etcd.connection import Limit

_MOST = 64 * 1024


class TlsConnection(Connection):
    """See `Connection`.

    Args:
        context: the certificates.
        host: the name that the server's certificate must have.
    """

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        super().__init__()
        self._arrived, self._due = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._due, server_hostname=host)

    def open(self, family: int, place: tuple[object, ...], limit: Limit) -> None:
        """See `Connection.open`; includes the handshake."""
        super().open(family, place, limit)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush(limit)
                while not self._has_taken():
                    limit.wait(self.fileno(), "beginning TLS")
            except ssl.SSLCertVerificationError as error:
                raise Distrusted(error.verify_message) from error
            else:
                self._flush(limit)
                return

    def _flush(self, limit: Limit) -> None:
        super().send(self._due.read(), limit)

    def _has_taken(self) -> bool:
        """Hand what has arrived on to OpenSSL; False if nothing has."""
        data = self.take()
        if data:
            self._arrived.write(data)
        elif data is not None:
            self._arrived.write_eof()
        return data is not None

    def send(self, data: bytes, limit: Limit) -> None:
        """See `Connection.send`."""
        self._tls.write(data)
        self._flush(limit)

    def receive_ready(self) -> bytes | None:
        """See `Connection.receive_ready`."""
        while True:
            try:
                return self._tls.read(_MOST)
            except ssl.SSLWantReadError:
                if not self._has_taken():
                    return None
            except ssl.SSLZeroReturnError:  # the other side has closed the connection in good order
                return b""
