"""The check of a decorated function, and the name of its lock, for both decorators."""

from __future__ import annotations

from leaderlock.election.task import refuse_coroutine
from leaderlock.lock.naming import own_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable


def require_function(function: object, decorator: str) -> None:
    """Refuse an object that is not callable, or is a coroutine function."""
    if not callable(function):
        raise TypeError(
            f"{decorator} decorates a function, not {function!r}; its arguments are keywords, "
            f"@{decorator}(name=...)"
        )
    refuse_coroutine(function)


def name_for(
    function: Callable[..., object], name: str | None, path: str | os.PathLike[str] | None
) -> str | None:
    """The name that was given; without a name and a path, a name made from the function."""
    if name is not None or path is not None:
        return name
    return own_name(function)
