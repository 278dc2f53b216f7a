"""Text that other people wrote, made safe to show: in a terminal, a log, a label, a page, and JSON.

Command lines, names, host names and paths are other people's: an escape sequence in one could rewrite
the screen, a newline forge a line, and a character that turns the direction of writing hide a part.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def printable(text: str) -> str:
    """The text with all that cannot be printed written as an escape.

    That is what `str.isprintable` refuses: control characters (C0 and C1), separators of lines and
    paragraphs, marks of direction and of zero width, lone surrogates, and characters that do not exist.
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def json_text(document: object, indent: int | None = None) -> str:
    """A document as JSON (RFC 8259: no NaN) in which every text, keys too, is `printable`.

    Raises:
        ValueError: a number is not finite.
    """
    import json  # noqa: PLC0415  (8 ms that only a reader needs)

    return json.dumps(printable_within(document), indent=indent, allow_nan=False)


def printable_within(document: Any) -> Any:
    """A document of JSON's types with every text in it made printable, keys too."""
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
