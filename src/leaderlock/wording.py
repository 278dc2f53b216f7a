"""Text for people: durations, dates, other people's text made printable, and suggestions.

Command lines, names, host names and paths come from others: an escape sequence in one could rewrite
the screen, a newline could forge a line, and a character that turns the direction of writing could
hide a part. `printable` makes such text safe for a terminal, a log, a label, a page and JSON.
"""

from __future__ import annotations

import math
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_LONGER = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float) -> str:
    """A duration in its two largest units: ``0.8 ms``, ``12.5 s``, ``3 min 5 s``, ``2 d 4 h``."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 0.9995:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.00995 else f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    rest, parts = round(seconds), []
    for size, unit in _LONGER:
        count, rest = divmod(rest, size)
        parts.append((count, unit))
    first = next(index for index, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def moment(seconds: float) -> str:
    """The local date and time for seconds since the epoch."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):  # EOVERFLOW of localtime(3): the year is too large
        return "unknown"


def printable(text: str) -> str:
    """The text, with each unprintable character written as an escape.

    `str.isprintable` decides. Unprintable are control characters (C0 and C1), separators of lines and
    paragraphs, marks of direction and of zero width, lone surrogates, and unassigned characters.
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def json_text(document: object, indent: int | None = None) -> str:
    """A document as JSON (RFC 8259: no NaN); every text in it, also each key, is `printable`.

    Raises:
        ValueError: a number is not finite.
    """
    import json  # noqa: PLC0415  (8 ms; only a reader needs it)

    return json.dumps(printable_within(document), indent=indent, allow_nan=False)


def printable_within(document: Any) -> Any:
    """A document of JSON's types with every text in it, also each key, made printable."""
    if isinstance(document, str):
        return printable(document)
    if isinstance(document, dict):
        return {printable_within(key): printable_within(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [printable_within(value) for value in document]
    return document


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # a byte that is no UTF-8 (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def suggestion(word: str, known: Iterable[str], *, prefix: str = "") -> str:
    """``; did you mean --watch?``, or an empty text if no known word is similar.

    Args:
        word: the unknown word.
        known: the known words.
        prefix: the common prefix of all known words; it does not count as a similarity.
    """
    import difflib  # noqa: PLC0415  (only an error needs it)

    rests = [other.removeprefix(prefix) for other in known]
    near = difflib.get_close_matches(word.removeprefix(prefix), rests, n=1, cutoff=0.6)
    return f"; did you mean {prefix}{near[0]}?" if near else ""
