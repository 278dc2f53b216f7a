"""An answer of HTTP/1.1, taken apart piece by piece as it arrives."""

from __future__ import annotations

import http.client
import io
from typing import cast

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

_LONGEST_HEAD = 64 * 1024
_LONGEST_BODY = 16 * 1024 * 1024
"""Bytes; etcd's own limit for a request is 1.5 MiB."""


class _Head:
    """The part of a socket that `http.client.HTTPResponse` uses, for a head that has arrived."""

    def __init__(self, head: bytes) -> None:
        self._head = head

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._head)


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
        self._length: int | None = None  # until the end of the connection

    def feed(self, data: bytes) -> None:
        """Take bytes of the connection in; no bytes are the connection's end.

        Raises:
            http.client.HTTPException: this is no answer of HTTP, or it ended half way.
        """
        if not data:
            if not self.status or self._is_chunked or self._length is not None:
                raise http.client.HTTPException("the connection ended within the answer")
            self.is_complete = True
            return
        self._raw += data
        if len(self._raw) + len(self._body) > _LONGEST_BODY:
            raise http.client.HTTPException(f"the answer is longer than {_LONGEST_BODY} bytes")
        if not self.status:
            head, end, rest = self._raw.partition(b"\r\n\r\n")
            if not end:
                if len(self._raw) > _LONGEST_HEAD:
                    raise http.client.HTTPException("the head of the answer does not end")
                return
            self._read_head(head + end)
            self._raw = rest
        if self._is_chunked:
            self._take_chunks()
        else:
            self._body += self._raw
            self._raw = b""
            self.is_complete = self._length is not None and len(self._body) >= self._length

    def _read_head(self, head: bytes) -> None:
        parsed = http.client.HTTPResponse(cast("socket.socket", _Head(head)))
        parsed.begin()
        self._is_chunked = bool(parsed.chunked)
        self._length = parsed.length
        self.content_type = (parsed.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        self.status = parsed.status

    def _take_chunks(self) -> None:
        while not self.is_complete:
            line, end, rest = self._raw.partition(b"\r\n")
            if not end:
                if len(line) > _LONGEST_HEAD:
                    raise http.client.HTTPException("a chunk of the answer has no size")
                return
            try:
                size = int(line.partition(b";")[0], 16)
            except ValueError:
                raise http.client.HTTPException(f"a chunk has the size {line[:20]!r}") from None
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
