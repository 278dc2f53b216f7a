"""Checks of public arguments: the error names the argument, what it must be, and what was given.

An object checks its arguments when it is made, before a fork or a wait. A wrong type is a TypeError, a
wrong value is a ValueError, and an unknown keyword is a TypeError that suggests the most similar one.
"""

from __future__ import annotations

import functools
import math
import os

from leaderlock.wording import suggestion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")


def names_near_keyword(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function: an unknown keyword is a TypeError with ``; did you mean name?``.

    Python's own error names a near keyword from version 3.13 on, and only for functions.
    """
    known = keywords_of(function)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for keyword in kwargs:
            if keyword not in known:
                called = function.__qualname__.removesuffix(".__init__")
                near = suggestion(keyword, known)
                raise TypeError(f"{called}() got an unexpected keyword argument {keyword!r}{near}")
        return function(*args, **kwargs)

    return checked


def keywords_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The keywords that a function takes. Importing `inspect` for this would take 8 ms."""
    code = getattr(function, "__wrapped__", function).__code__
    names = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
    return tuple(name for name in names if name not in ("self", "cls"))


def number(name: str, value: Any, wanted: str) -> float:
    """The value, if it is a real number and no NaN. True and False are refused."""
    if isinstance(value, bool) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        raise TypeError(f"{name} must be {wanted}, not {value!r}")
    real = value if isinstance(value, int | float) else float(value)  # a Decimal adds to no float
    if math.isnan(real):
        raise ValueError(f"{name} must be {wanted}, not {value!r}")
    return real


def whole_number(text: str | bytes, most: int) -> int | None:
    """The number that a text has in ASCII's digits; None for any other text, and for a larger number.

    `str.isdecimal` alone is true of other scripts' digits, and `int` refuses more than 4300 of them.
    """
    if not (text.isascii() and text.isdigit()) or len(text) > 40:
        return None
    number = int(text)
    return number if number <= most else None


def positive_seconds(name: str, value: Any) -> float:
    """The value, if it is a positive and finite number."""
    wanted = "a positive number of seconds"
    seconds = number(name, value, wanted)
    if not 0 < seconds < math.inf:
        raise ValueError(f"{name} must be {wanted}, not {value!r}")
    return seconds


def longest_wait(name: str, value: Any) -> float | None:
    """The value, if it is a number or None, which waits without limit."""
    return None if value is None else number(name, value, "a number of seconds, or None")


def permission_bits(value: Any) -> int:
    """The value of ``mode``, if it has no other bits than those of chmod(1)'s three digits."""
    wanted = f"mode must be permission bits such as 0o600, not {value!r}"
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(wanted)
    if not 0 <= value <= 0o777:
        raise ValueError(wanted)
    return value


def path_text(value: Any, what: str = "a file", name: str = "path") -> str:
    """The value, if it can be a path: text, bytes or an `os.PathLike`, not empty, and without NUL."""
    try:
        text = os.fsdecode(value)
    except TypeError:
        raise TypeError(f"{name} must be text or an os.PathLike, not {value!r}") from None
    if not text or "\0" in text:
        raise ValueError(f"{name} must name {what}, not {text!r}")
    return text


def several(name: str, values: Any, wanted: str) -> list[Any]:
    """The values as a list; a single value, also a text, is refused."""
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise TypeError(f"{name} must be a list of {wanted}, not {values!r}")
    return list(values)


def choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Refuse a value that is none of the words."""
    if value not in choices:
        *others, last = map(repr, choices)
        wanted = f"{', '.join(others)} or {last}"
        near = suggestion(value, choices) if isinstance(value, str) else ""
        raise ValueError(f"{name} must be {wanted}, not {value!r}{near}")


def yes_or_no(name: str, value: Any) -> None:
    """Refuse a value that is neither True nor False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
