"""The servers of a URL: each host and each of its IP addresses is tried by itself, in bounded time.

libpq would try them one after the other by itself, but an address that does not answer would use up all
of the time. So each attempt gets a part of it.
"""

from __future__ import annotations

import os
from _socket import IPPROTO_TCP, SOCK_STREAM, gaierror, getaddrinfo  # gevent patches only `socket`

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from leaderlock.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.engines.address import Address

    Parameters = dict[str, str | int | None]


class Servers:
    """The ways to connect to a URL.

    Args:
        address: the URL; the part behind ``#`` is not for libpq.

    Raises:
        ValueError: libpq does not know a parameter.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        scheme, _, rest = address.url.partition("://")
        try:
            self._parameters: Parameters = dict(
                conninfo_to_dict(f"{scheme.lower()}://{rest.partition('#')[0]}")
            )
        except psycopg.ProgrammingError as error:
            text = printable(address.hide(str(error)).strip())
            raise ValueError(f"{address.shown}: libpq does not accept this URL: {text}") from error
        if "PGTARGETSESSIONATTRS" not in os.environ:
            self._parameters.setdefault("target_session_attrs", "read-write")
        self._parameters.setdefault("application_name", f"leaderlock {address.name}")
        hosts = str(self._parameters.get("host") or "").split(",")
        ports = str(self._parameters.get("port") or "").split(",")
        if len(ports) == 1:
            ports *= len(hosts)
        if len(ports) != len(hosts):
            raise ValueError(f"{address.shown}: there are {len(ports)} ports for {len(hosts)} hosts")
        try:
            encoded = [_encoded(host) for host in hosts]
        except UnicodeError as error:
            raise ValueError(f"{address.shown}: a host's name is not valid: {error}") from error
        self._hosts = list(zip(hosts, encoded, ports, strict=True))

    def attempts(self, **parameters: str | int) -> list[bytes]:
        """A connection string of libpq for each address of each host.

        Args:
            parameters: these replace the URL's own.

        Raises:
            OSError: no host has an address.
        """
        merged: Parameters = {**self._parameters, **parameters}
        if merged.get("hostaddr"):
            return [make_conninfo("", **merged).encode()]
        found: list[bytes] = []
        failure: OSError | None = None
        for host, encoded, port in self._hosts:
            merged.update(host=host, port=port or None)
            try:
                found.extend(
                    make_conninfo("", **merged, hostaddr=ip).encode() for ip in _addresses(encoded)
                )
            except gaierror as error:
                failure = OSError(f"{host}: {error.strerror}")
        if failure is not None and not found:
            raise failure
        return found


def _encoded(host: str) -> bytes:
    """A host's name in ASCII, now: the codec for other letters is imported when it is needed."""
    return host.encode("ascii" if host.isascii() else "idna")


def _addresses(host: bytes) -> list[str | None]:
    """The IP addresses of a host; None for the directory of a Unix socket."""
    if host.startswith((b"/", b"@")):
        return [None]
    infos = getaddrinfo(host, None, 0, SOCK_STREAM, IPPROTO_TCP)
    return list(dict.fromkeys(str(info[4][0]) for info in infos))
