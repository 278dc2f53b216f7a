"""A connection with TLS, for ``etcds://``: the encryption works on bytes in memory, and never waits."""

from __future__ import annotations

import encodings.idna  # noqa: F401  (ssl imports this as a connection begins)
import ssl

from leaderlock.engines.etcd.connection import Connection, Distrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from leaderlock.engines.address import Address
    from leaderlock.engines.etcd.connection import Limit

_MOST = 64 * 1024


def context_of(address: Address) -> ssl.SSLContext:
    """The certificates that the URL's parameters name: ``ca``, ``cert`` and ``key``, each a file.

    Raises:
        ValueError: a file cannot be read, or is no certificate; or there is a key without one.
    """
    files: Mapping[str, str] = address.parameters
    if "key" in files and "cert" not in files:
        raise ValueError(f"{address.shown}: the parameter key needs cert, the certificate of the key")
    try:
        context = ssl.create_default_context(cafile=files.get("ca"))
        if "cert" in files:
            context.load_cert_chain(files["cert"], files.get("key"))
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(
            f"{address.shown}: the files of the parameters ca, cert and key cannot be used: {error}"
        ) from error
    return context


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
