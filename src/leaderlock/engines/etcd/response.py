"""An answer of HTTP/1.1 (RFC 9112), taken apart piece by piece as it arrives.

`http.client` could not do this: it waits in the midst of a line, and it loads OpenSSL and the parser of
e-mails, which is 40 ms of each start.
"""

from __future__ import annotations

import re

from leaderlock.kernel.arguments import whole_number

_LONGEST_HEAD = 64 * 1024
_LONGEST_BODY = 16 * 1024 * 1024
"""Bytes; etcd's own limit for a request is 1.5 MiB."""


_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |$)")


class BadResponse(OSError):
    """This is no answer of HTTP, or it ended half way."""


class Response:
    """One answer. `feed` never waits, so a reader of a stream need not wait for a whole line.

    Attributes:
        status: the HTTP status; 0 until the head has arrived.
        content_type: in lower case, without parameters.
        is_complete: whether the whole body has arrived.
    """

    def __init__(self) -> None:
        self.status = 0
        self.content_type = ""
        self.is_complete = False
        self._raw = b""
        self._body = bytearray()
        self._is_chunked = False
        self._missing: int | None = None  # bytes of the body; None: until the end of the connection

    def feed(self, data: bytes) -> None:
        """Take bytes of the connection in; no bytes are the connection's end.

        Raises:
            BadResponse: this is no answer of HTTP, or it ended half way.
        """
        if not data:
            if not self.status or self._is_chunked or self._missing is not None:
                raise BadResponse("the connection ended within the answer")
            self.is_complete = True
            return
        self._raw += data
        if len(self._raw) + len(self._body) > _LONGEST_BODY:
            raise BadResponse(f"the answer is longer than {_LONGEST_BODY} bytes")
        if not self.status:
            head, end, rest = self._raw.partition(b"\r\n\r\n")
            if not end:
                if len(self._raw) > _LONGEST_HEAD:
                    raise BadResponse("the head of the answer does not end")
                return
            self._read_head(head)
            self._raw = rest
        if self._is_chunked:
            self._take_chunks()
        else:
            self._body += self._raw
            if self._missing is not None:
                self._missing -= len(self._raw)
                self.is_complete = self._missing <= 0
            self._raw = b""

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        status = _STATUS.match(first)
        if status is None:
            raise BadResponse(f"the answer begins with {first[:40]!r}")
        fields = {}
        for line in lines:
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip().lower()
        self._is_chunked = b"chunked" in fields.get(b"transfer-encoding", b"")
        length = fields.get(b"content-length")
        if length is not None and not self._is_chunked:
            self._missing = whole_number(length, _LONGEST_BODY)
            if self._missing is None:
                raise BadResponse(f"the answer has the length {length[:20]!r}")
        self.content_type = (
            fields.get(b"content-type", b"").partition(b";")[0].decode("latin-1").strip()
        )
        self.status = int(status[1])

    def _take_chunks(self) -> None:
        while not self.is_complete:
            line, end, rest = self._raw.partition(b"\r\n")
            if not end:
                if len(line) > _LONGEST_HEAD:
                    raise BadResponse("a chunk of the answer has no size")
                return
            try:
                size = int(line.partition(b";")[0], 16)
            except ValueError:
                raise BadResponse(f"a chunk has the size {line[:20]!r}") from None
            if size <= 0:  # trailers may follow: the connection is closed anyway
                self.is_complete = True
            elif len(rest) < size + 2:
                return
            else:
                self._body += rest[:size]
                self._raw = rest[size + 2 :]

    @property
    def body(self) -> bytes:
        """The body as far as it has arrived."""
        return bytes(self._body)

    def take_lines(self) -> list[bytes]:
        """Remove the complete lines from the body, and return them."""
        *lines, rest = self.body.split(b"\n")
        if self.is_complete and rest:
            lines.append(rest)
            rest = b""
        self._body[:] = rest
        return lines
