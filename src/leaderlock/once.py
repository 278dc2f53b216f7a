"""`only_once` and `call_once`: a function that one process runs, by one line above it.

`only_once` is for what goes on (a scheduler, a reporter): one process runs it, the others stand by.
`call_once` is for what ends (a migration): one process runs it, the others wait and get its result.
"""

from __future__ import annotations

import functools
import os
from typing import overload

from leaderlock.candidate import Candidate
from leaderlock.default_name import own_name
from leaderlock.election import Election, refuse_coroutine
from leaderlock.kernel.threads import RLock
from leaderlock.keywords import names_near_keyword
from leaderlock.lock import LeaderLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any, Literal, ParamSpec, TypeVar

    from leaderlock.election import Settings
    from leaderlock.leadership import Leadership

    P = ParamSpec("P")
    R = TypeVar("R")


class _NotGiven:
    """In place of a keyword that was left out: None is what an unset variable gives."""

    def __repr__(self) -> str:
        return "<not given>"


_NOT_GIVEN = _NotGiven()


@overload
def only_once(function: Callable[P, object], /) -> Callable[P, Candidate]: ...
@overload
def only_once(
    *,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    lease: float | None = None,
    on_return: Literal["hold", "resign"] = "hold",
    backoff: tuple[float, float] = (1.0, 60.0),
    on_elected: Callable[[Leadership], object] | None = None,
    on_resigned: Callable[[Leadership], object] | None = None,
    thread: Literal["auto", "native"] = "auto",
) -> Callable[[Callable[P, object]], Callable[P, Candidate]]: ...
@names_near_keyword
def only_once(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    lease: float | None = None,
    on_return: Literal["hold", "resign"] = "hold",
    backoff: tuple[float, float] = (1.0, 60.0),
    on_elected: Callable[[Leadership], object] | None = None,
    on_resigned: Callable[[Leadership], object] | None = None,
    thread: Literal["auto", "native"] = "auto",
) -> Any:
    """Let one process run the function, in a background thread; the others stand by.

    Each call returns a `Candidate` at once. The process that leads runs the body, with the arguments
    of its own call; when that process dies, another one runs it. A body that returns keeps the
    leadership (it may have started a scheduler's threads); one that raises passes it on. Calling it
    again in the same process returns the same candidate. `current_leadership` gives the term.

    Args:
        name: the lock's name. By default it is made of the function's name and its file's path, so
            that programs in other files do not exclude each other; a rolling release into a new
            directory needs a name of your own.
        path: a path in place of the name.
        lease, on_return, backoff, on_elected, on_resigned, thread: as for `Election`.
    """
    settings: Settings = {
        "lease": lease,
        "on_return": on_return,
        "backoff": backoff,
        "on_elected": on_elected,
        "on_resigned": on_resigned,
        "thread": thread,
    }
    if function is None:
        return lambda function: _OnlyOnce.wrap(function, name, path, settings)
    return _OnlyOnce.wrap(function, None, None, settings)


class _OnlyOnce:
    """The candidate of one decorated function in this process."""

    def __init__(self, function: Callable[..., object], election: Election) -> None:
        self._function = function
        self._election = election
        self._candidate: Candidate | None = None
        # By process: a child that was forked while another thread had it would wait for ever.
        self._mutexes: dict[int, AbstractContextManager[object]] = {}

    @classmethod
    def wrap(
        cls,
        function: Callable[..., object],
        name: str | None,
        path: str | os.PathLike[str] | None,
        settings: Settings,
    ) -> Callable[..., Candidate]:
        _require_function(function, "only_once")
        election = Election(path, name=_name(function, name, path), **settings)
        once = cls(function, election)

        @functools.wraps(function)
        def start(*args: Any, **kwargs: Any) -> Candidate:
            return once.start(args, kwargs)

        return start

    def start(self, args: Any, kwargs: Any) -> Candidate:
        with self._mutexes.setdefault(os.getpid(), RLock()):  # reentrant: a signal handler may come
            candidate = self._candidate
            if candidate is None or candidate.state == "stopped":
                body = functools.partial(self._run, args, kwargs)
                candidate = self._candidate = self._election.start(body)
            return candidate

    def _run(self, args: Any, kwargs: Any, leadership: Leadership) -> object:
        leadership.tell_beside()
        return self._function(*args, **kwargs)


@names_near_keyword
def call_once(
    function: None = None,
    /,
    *,
    key: object = _NOT_GIVEN,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Run the function to completion once for a key, in one process; all callers get its result.

    The first caller runs it; the others wait, without wakeups, and return the same result, as do all
    later calls, also after a restart, for as long as the file of outcomes exists. It is
    ``PATH.outcomes.json`` beside the lock's file, written and fsynced before the lock is let go. Give
    a ``path`` under ``/var/lib`` if the outcome must survive a reboot, which empties ``/run``. If the
    runner raises, its caller gets the error and the next waiter runs the function; the same happens if
    the runner is killed. So the function runs to completion once, but may begin more than once.

    Args:
        key: what the outcome is kept under, a release's number, say: anything that JSON can hold. A
            function with parameters needs a function of them as its key: it is called with the
            arguments of each call, and its result is the key. Without ``key`` the function runs once
            for as long as the file of outcomes exists. None and an empty text are refused: an unset
            variable would otherwise mean the same.
        name, path: as for `only_once`. A bound method, a `functools.partial` and a callable object
            carry arguments of their own and need one of the two.

    Raises:
        TypeError: the key is None, empty, or cannot be held by JSON; the function has parameters and
            the key is not a function; it needs a name or a path; the parentheses are missing. When it
            is called: the result cannot be held by JSON. (The result is what JSON makes of it, for the
            runner too: a tuple comes back as a list.)
        CorruptLockFile: when it is called: the file of outcomes holds something else.
        LeaderLockError: the lock or, when it is called, the file of outcomes cannot be used.
    """
    if function is not None:
        raise TypeError(
            f"call_once needs its parentheses, and a key for what changes from one time to the next: "
            f"@call_once(key=RELEASE), not {function!r}"
        )

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        from leaderlock.once_key import OnceKey  # noqa: PLC0415  (needs inspect)
        from leaderlock.outcomes import Outcomes  # noqa: PLC0415  (needs json)

        _require_function(function, "call_once")
        once_key = OnceKey(function, key, key is not _NOT_GIVEN)
        if name is None and path is None:
            _require_own_name(function)
        lock = LeaderLock(path, name=_name(function, name, path))

        @functools.wraps(function)
        def once(*args: P.args, **kwargs: P.kwargs) -> R:
            outcomes = Outcomes(lock.path)
            encoded_key = once_key.of(args, kwargs)
            if encoded_key not in outcomes.read():
                with lock:
                    if encoded_key not in outcomes.read():  # nobody did it while we waited
                        outcomes.require_writable()
                        outcomes.write(encoded_key, function(*args, **kwargs), lock.term)
            result: R = outcomes.read()[encoded_key]["result"]
            return result

        return once

    return decorate


def _require_own_name(function: Callable[..., object]) -> None:
    """Refuse what has no name of its own: two of the kind would share one outcome."""
    owner = getattr(function, "__self__", None)
    if not hasattr(function, "__qualname__") or not (
        owner is None or isinstance(owner, type | type(os))
    ):
        raise TypeError(
            f"{function!r} carries arguments of its own, and two of its kind would get one name, and "
            f"one result: give call_once a name= or a path= for each"
        )


def _require_function(function: object, decorator: str) -> None:
    if not callable(function):
        raise TypeError(
            f"{decorator} decorates a function, not {function!r}; its arguments are keywords, "
            f"@{decorator}(name=...)"
        )
    refuse_coroutine(function)


def _name(
    function: Callable[..., object], name: str | None, path: str | os.PathLike[str] | None
) -> str | None:
    """The name given; without a path too, one of the function's own."""
    if name is not None or path is not None:
        return name
    return own_name(function)
