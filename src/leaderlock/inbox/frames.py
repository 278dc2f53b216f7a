r"""Messages as frames in a pipe: one atomic write each; a reader finds the next frame from any byte.

A frame is RS (0x1e), the message, newline. Neither byte occurs in the message: JSON escapes both, and
bytes are sent as base64. JSON frames are those of RFC 7464, so a shell can send as well, with
``printf '\036{"requests":1}\n'`` or ``jq --seq -c``.
"""

from __future__ import annotations

import binascii
import json
import select

from leaderlock.kernel.arguments import whole_number
from leaderlock.kernel.foreign_json import parsed, require_shallow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PIPE_BUF = getattr(select, "PIPE_BUF", 512)
"""Bytes that one write(2) puts into a pipe whole or not at all (pipe(7)): 4096 on Linux."""
LARGEST_JSON = PIPE_BUF - 2
"""The most bytes of JSON (ASCII, no blanks between tokens) in one message: 4094."""
LARGEST_BYTES = (PIPE_BUF - 3) // 4 * 3
"""The most bytes in a message of bytes: 3069, or 4092 in base64."""

_RS = b"\x1e"
_NEWLINE = b"\n"
# No JSON text begins with one of these bytes.
_BYTES = b"="
_DROPS = b"#"


class Drops(int):
    """A sender's report: how many messages it dropped, as the pipe was full, since its last report."""


def frame(message: object) -> bytes:
    """The frame of a message, as written to the pipe.

    Raises:
        ValueError: the message is too large, or JSON cannot hold it: NaN, an infinity, a cycle.
        TypeError: the message, or a part of it, has a type that JSON does not know.
    """
    if isinstance(message, bytes | bytearray | memoryview):
        raw = bytes(message)
        if len(raw) > LARGEST_BYTES:
            raise _too_large(len(raw), LARGEST_BYTES, "bytes")
        return _RS + _BYTES + binascii.b2a_base64(raw)  # b2a_base64 adds the newline
    try:
        text = _encode(message)
        require_shallow(text)
    except TypeError as error:
        raise TypeError(f"a message must be bytes or what JSON can hold: {error}") from error
    except (ValueError, RecursionError) as error:  # NaN and infinities, a cycle, too deep a nesting
        raise ValueError(f"JSON cannot hold this message: {error}") from error
    if len(text) > LARGEST_JSON:
        raise _too_large(len(text), LARGEST_JSON, "bytes of JSON")
    return b"%b%b\n" % (_RS, text.encode("ascii"))


def pieces(window: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """The pieces at the front of a pipe: each piece, and its content if the piece is a whole frame.

    A frame without an end is left out if it is not the first piece: the end may lie behind the window.
    If such a frame is the first piece, it has no end, since a window has at least one atomic write.
    """
    begin = 0
    while begin < len(window):
        if window[begin : begin + 1] != _RS:
            following = window.find(_RS, begin)
            stop = len(window) if following < 0 else following
            yield window[begin:stop], None
        else:
            following = window.find(_RS, begin + 1)
            end = window.find(_NEWLINE, begin, begin + PIPE_BUF)
            if end >= 0 and not begin < following < end:
                stop = end + 1
                yield window[begin:stop], window[begin + 1 : end]
            elif following >= 0:  # the frame was cut off, and the next frame follows
                stop = following
                yield window[begin:stop], None
            elif begin == 0:
                stop = len(window)
                yield window, None
            else:
                return
        begin = stop


def decoded(content: bytes) -> object:
    """The message of a frame.

    Raises:
        ValueError: no inbox has sent this frame.
    """
    if content.startswith(_BYTES):
        raw = binascii.a2b_base64(content[1:])
        if binascii.b2a_base64(raw, newline=False) != content[1:]:  # a2b_base64 skips other bytes
            raise ValueError("no base64")
        return raw
    if content.startswith(_DROPS):
        count = whole_number(content[1:], 10**18)
        if count is None:
            raise ValueError("no number")
        return Drops(count)
    return parsed(content)


def drops_note(count: int) -> bytes:
    """The frame that reports dropped messages; the sender writes it before its next message."""
    return b"%b%b%d\n" % (_RS, _DROPS, count)


def _too_large(size: int, limit: int, unit: str) -> ValueError:
    return ValueError(
        f"a message of {size} {unit} is too large: one of more than {limit} could be torn on its way "
        f"(PIPE_BUF is {PIPE_BUF}); send parts, or the path of a file"
    )


_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
