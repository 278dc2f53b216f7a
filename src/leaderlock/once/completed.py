"""`call_once`: a function that one process runs to completion; the others wait and get its result."""

from __future__ import annotations

import functools
import os

from leaderlock.engines.urls import is_url
from leaderlock.kernel.arguments import names_near_keyword
from leaderlock.lock.leader_lock import LeaderLock
from leaderlock.once.decorated import name_for, require_function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")


class _NotGiven:
    """The default of a keyword that was left out. None is no default: an unset variable is None."""

    def __repr__(self) -> str:
        return "<not given>"


_NOT_GIVEN = _NotGiven()


@names_near_keyword
def call_once(
    function: None = None,
    /,
    *,
    key: object = _NOT_GIVEN,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    lease: float | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Run the function to completion once for a key, in one process; all callers get its result.

    The first caller runs the function; the others wait, without wakeups, and return the same result.
    All later calls return it too, also after a restart, while the file of outcomes exists. That file is
    ``PATH.outcomes.json`` beside the lock's file, written and fsynced before the lock is released. Give
    a ``path`` under ``/var/lib`` if the outcome must survive a reboot, which empties ``/run``. If the
    function raises, its caller gets the error, and the next waiter runs the function; the same happens
    if the running process is killed. So the function runs to completion once, but may begin more than
    once.

    With the URL of an engine as ``path``, one process among all machines runs the function, and the
    engine keeps the outcomes. The runner must keep its session for as long as the function runs.

    Args:
        key: the key of the outcome, for example a release's number: any value that JSON can hold. A
            function with parameters needs a key function: the key function is called with the arguments
            of each call, and returns the key. Without ``key``, the function runs once while the file
            of outcomes exists. None and an empty text are refused, since an unset variable would be
            the same key each time.
        name, path: as for `only_once`. A bound method, a `functools.partial` and a callable object
            carry arguments of their own and need one of the two.
        lease: with the URL of an engine, as for `Election`; the function need not beat.

    Raises:
        TypeError: the key is None, empty, or JSON cannot hold it; the function has parameters and
            the key is not a function; the function needs a name or a path; the parentheses are missing.
            At a call: JSON cannot hold the result. (The runner too gets the result as JSON returns it:
            a tuple becomes a list.)
        CorruptLockFile: at a call: the file of outcomes has other content.
        LeaderLockError: the lock or, at a call, the file of outcomes cannot be used.
    """
    if function is not None:
        raise TypeError(
            f"call_once needs its parentheses, and a key for what changes from one time to the next: "
            f"@call_once(key=RELEASE), not {function!r}"
        )

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        from leaderlock.once.key import OnceKey  # noqa: PLC0415  (needs inspect)
        from leaderlock.once.outcomes import Outcomes  # noqa: PLC0415  (needs json)

        require_function(function, "call_once")
        once_key = OnceKey(function, key, key is not _NOT_GIVEN)
        if name is None and path is None:
            _require_own_name(function)
        if is_url(path):
            from leaderlock.once.fleet import once_in_fleet  # noqa: PLC0415  (only in an engine)

            if name is not None:
                raise TypeError(
                    "call_once takes name= or the URL of an engine as path=, one of the two"
                )
            return once_in_fleet(function, once_key, str(path), lease)
        if lease is not None:
            raise TypeError("lease= needs the URL of an engine as path=: a lock's file has no session")
        lock = LeaderLock(path, name=name_for(function, name, path))

        @functools.wraps(function)
        def once(*args: P.args, **kwargs: P.kwargs) -> R:
            outcomes = Outcomes(lock.path)
            encoded_key = once_key.of(args, kwargs)
            if encoded_key not in outcomes.read():
                with lock:
                    if encoded_key not in outcomes.read():  # no process ran it while we waited
                        outcomes.require_writable()
                        outcomes.write(encoded_key, function(*args, **kwargs), lock.term)
            result: R = outcomes.read()[encoded_key]["result"]
            return result

        return once

    return decorate


def _require_own_name(function: Callable[..., object]) -> None:
    """Refuse an object without a name of its own: two of its kind would share one outcome."""
    owner = getattr(function, "__self__", None)
    if not hasattr(function, "__qualname__") or not (
        owner is None or isinstance(owner, type | type(os))
    ):
        raise TypeError(
            f"{function!r} carries arguments of its own, and two of its kind would get one name, and "
            f"one result: give call_once a name= or a path= for each"
        )
