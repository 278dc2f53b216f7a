"""Reads JSON that another program may have written: one kind of error, whatever is in it.

Python's reader alone raises RecursionError for a deep nesting, reads NaN, which is no JSON (RFC 8259),
and reads 1e999 as an infinity, which Python then writes as no JSON.
"""

from __future__ import annotations

import json
import math
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEEPEST = 100
"""The deepest nesting of lists and objects: writing, comparing or printing a value recurses, too."""


def parsed(text: str | bytes, *, unique_names: bool = False) -> Any:
    """The value of a text.

    Args:
        text: the text; bytes may be UTF-8, UTF-16 or UTF-32.
        unique_names: refuse an object that has a name twice.

    Raises:
        ValueError: this is no JSON, a number in it is too large for Python, or it is nested more than
            `DEEPEST` deep.
    """
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    require_shallow(text)
    return (_decode_unique if unique_names else _decode)(text)


def require_shallow(text: str) -> None:
    """Raise a ValueError if a text of JSON is nested more than `DEEPEST` deep."""
    if text.count("[") + text.count("{") > DEEPEST and depth_of(text) > DEEPEST:
        raise ValueError(f"it is nested more than {DEEPEST} deep")


def depth_of(text: str) -> int:
    """The nesting depth of JSON's brackets, without those inside strings."""
    depth = deepest = 0
    for token in _TOKENS.findall(text):
        if token in "[{":
            deepest = max(deepest, depth := depth + 1)
        elif token in "]}":
            depth -= 1
    return deepest


# A string without an end counts to the end of the text, so that no text is read twice.
_TOKENS = re.compile(r'"(?:[^"\\]+|\\.?)*(?:"|\Z)|[\[\]{}]', re.DOTALL)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.20} is too large a number")
    return number


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


_decode = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse).decode
_decode_unique = json.JSONDecoder(
    object_pairs_hook=_without_repeats, parse_float=_finite, parse_constant=_refuse
).decode
