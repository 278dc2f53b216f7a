"""`names_near_keyword`: the error for an unknown keyword suggests the most similar known one."""

from __future__ import annotations

import functools

from leaderlock.wording import suggestion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
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
                near = suggestion(keyword, known)
                raise TypeError(
                    f"{function.__qualname__}() got an unexpected keyword argument {keyword!r}{near}"
                )
        return function(*args, **kwargs)

    return checked


def keywords_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The keywords that a function takes. Importing `inspect` for this would take 8 ms."""
    code = getattr(function, "__wrapped__", function).__code__
    names = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
    return tuple(name for name in names if name != "self")
