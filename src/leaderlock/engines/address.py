"""The URL of an election in an engine, and its form for people, without any secret."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, unquote, unquote_plus, urlencode, urlsplit

from leaderlock.wording import printable, suggestion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SECRET = re.compile("pass|secret|token|auth|credential", re.IGNORECASE)
"""Parameters of a query whose values are not shown."""

HIDDEN = "***"

CERTIFICATES = ("ca", "cert", "key")
"""Parameters: the files of the authority, of the client's certificate and of its key."""

_HOST = re.compile(r"(\[[^\]]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")


def _are_hosts(text: str) -> bool:
    return all(_HOST.fullmatch(host) for host in text.split(",") if host)


def _scheme_of(url: str) -> str:
    """The beginning of a URL that cannot be taken apart, so that its secrets cannot be found."""
    scheme, separator, _ = url.partition("://")
    return printable(f"{scheme}://{HIDDEN}") if separator else "the URL"


class Address:
    """A URL of the form ``scheme://user:password@host,host:port/path?parameters#name``.

    Args:
        url: the URL.

    Raises:
        ValueError: the URL has no host, or a port is no number.

    Attributes:
        url: the whole URL, with the password.
        shown: the URL for messages: a password and secret parameters are replaced by ``***``.
        scheme: the engine, in lower case.
        user, password: decoded; empty without one.
        hosts: pairs of a host and a port; the port is None if the URL has none.
        path: decoded, with the leading slash.
        parameters: those of the query.
        name: the part behind ``#``, decoded.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
        except ValueError:  # its text quotes the part with the password
            raise ValueError(
                f"{_scheme_of(url)}: this is no URL, because of brackets, or a character that looks "
                "like one of :/?#@; write such characters of a password as %5B, %2F …"
            ) from None
        self.url = url
        self.scheme = parts.scheme.lower()
        self.path = unquote(parts.path)
        self.name = unquote(parts.fragment)
        self.parameters: Mapping[str, str] = dict(parse_qsl(parts.query, keep_blank_values=True))
        credentials, _, hosts = parts.netloc.rpartition("@")
        user, _, password = credentials.partition(":")
        self.user, self.password = unquote(user), unquote(password)
        self._secrets = self._all_secrets(parts.query, password)
        self.shown = self._without_secrets(parts, user, hosts, has_password=bool(password))
        name, at, _ = f"{parts.path}{parts.query}{parts.fragment}".partition("@")
        if at and (":" in name or not hosts or not _are_hosts(hosts)):
            raise ValueError(  # the hosts end before or within the password, which is not shown
                f"{_scheme_of(url)}: the hosts end before the '@': begin with two slashes, and write "
                f"/ ? # and @ in a password as %2F %3F %23 and %40 (and @ in a path as %40)"
            )
        self.hosts = [self._host(host) for host in hosts.split(",") if host]
        if not self.hosts:
            raise ValueError(f"{self.shown}: the URL names no host")

    def _host(self, text: str) -> tuple[str, int | None]:
        match = _HOST.fullmatch(text)
        if match is None or int(match[2] or 0) > 65535:
            raise ValueError(f"{self.shown}: {text!r} is no host, and no host:port")
        return match[1].strip("[]"), None if match[2] is None else int(match[2])

    def _without_secrets(self, parts: SplitResult, user: str, hosts: str, *, has_password: bool) -> str:
        if has_password:
            user = f"{user}:{HIDDEN}"
        shown = {k: HIDDEN if _SECRET.search(k) else v for k, v in self.parameters.items()}
        netloc = f"{user}@{hosts}" if user else hosts
        return printable(parts._replace(netloc=netloc, query=urlencode(shown, safe="*/:,")).geturl())

    def require_known_parameters(self, with_tls: str) -> None:
        """Refuse all parameters but `CERTIFICATES`, which the engine's scheme `with_tls` has.

        Raises:
            ValueError: the engine has no parameter of this name.
        """
        known = CERTIFICATES if self.scheme == with_tls else ()
        for name in self.parameters:
            if name not in known:
                hint = suggestion(name, known) or (f"; known: {', '.join(known)}" if known else "")
                raise ValueError(
                    f"{self.shown}: {self.scheme}:// has no parameter {name!r}{hint}"
                    + ("" if known else f" ({with_tls}:// has ca, cert and key)")
                )

    def hide(self, text: str) -> str:
        """The text of a client's error, with each secret of the URL replaced by ``***``."""
        text = text.replace(self.url, self.shown)
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    def _all_secrets(self, query: str, quoted_password: str) -> list[str]:
        """Each secret, decoded and as the URL has it; the longest first, since one may hold another."""
        secrets = {self.password, quoted_password}
        for pair in query.split("&"):
            key, _, quoted = pair.partition("=")
            if _SECRET.search(unquote(key)):
                secrets |= {quoted, unquote_plus(quoted)}
        return sorted(secrets - {""}, key=len, reverse=True)

    def __repr__(self) -> str:
        return f"<Address {self.shown}>"
