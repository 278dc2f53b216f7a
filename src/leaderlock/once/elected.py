"""`only_once`: a function that one process runs for as long as it leads; the others stand by."""

from __future__ import annotations

import functools
import os
from typing import overload

from leaderlock.election.candidate import Candidate
from leaderlock.election.election import Election
from leaderlock.election.leadership import run_deferred_in_thread
from leaderlock.kernel.arguments import names_near_keyword
from leaderlock.kernel.threads import RLock
from leaderlock.once.decorated import name_for, require_function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any, Literal, ParamSpec, TypeVar

    from leaderlock.election.leadership import Leadership
    from leaderlock.election.settings import Settings

    P = ParamSpec("P")
    R = TypeVar("R")


@overload
def only_once(function: Callable[P, object], /) -> Callable[P, Candidate]: ...
@overload
def only_once(
    *,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    lease: float | None = None,
    within: str | os.PathLike[str] | None = None,
    on_return: Literal["hold", "resign"] = "hold",
    backoff: tuple[float, float] = (1.0, 60.0),
    on_elected: Callable[[Leadership], object] | None = None,
    on_resigned: Callable[[Leadership], object] | None = None,
    thread: Literal["auto", "native"] = "auto",
    keeper: bool = True,
) -> Callable[[Callable[P, object]], Callable[P, Candidate]]: ...
@names_near_keyword
def only_once(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    lease: float | None = None,
    within: str | os.PathLike[str] | None = None,
    on_return: Literal["hold", "resign"] = "hold",
    backoff: tuple[float, float] = (1.0, 60.0),
    on_elected: Callable[[Leadership], object] | None = None,
    on_resigned: Callable[[Leadership], object] | None = None,
    thread: Literal["auto", "native"] = "auto",
    keeper: bool = True,
) -> Any:
    """Let one process run the function, in a background thread; the others stand by.

    Each call returns a `Candidate` at once. The process that leads runs the body, with the arguments
    of its own call; when that process dies, another one runs the body. After the body has returned, the
    process keeps the leadership (the body may have started a scheduler's threads). If the body raises,
    the leadership passes on. A second call in the same process returns the same candidate.
    `current_leadership` gives the term.

    Args:
        name: the lock's name. By default it is made from the function's name and the path of its file,
            so that programs in other files do not exclude each other; a rolling release into a new
            directory needs a name of your own.
        path: the path of the lock's file, in place of the name.
        lease, within, on_return, backoff, on_elected, on_resigned, thread, keeper: as for `Election`.
    """
    settings: Settings = {
        "lease": lease,
        "within": within,
        "on_return": on_return,
        "backoff": backoff,
        "on_elected": on_elected,
        "on_resigned": on_resigned,
        "thread": thread,
        "keeper": keeper,
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
        # One mutex for each process: in a child, a mutex that was locked at the fork stays locked.
        self._mutexes: dict[int, AbstractContextManager[object]] = {}

    @classmethod
    def wrap(
        cls,
        function: Callable[..., object],
        name: str | None,
        path: str | os.PathLike[str] | None,
        settings: Settings,
    ) -> Callable[..., Candidate]:
        require_function(function, "only_once")
        election = Election(path, name=name_for(function, name, path), **settings)
        once = cls(function, election)

        @functools.wraps(function)
        def start(*args: Any, **kwargs: Any) -> Candidate:
            return once.start(args, kwargs)

        return start

    def start(self, args: Any, kwargs: Any) -> Candidate:
        with self._mutexes.setdefault(os.getpid(), RLock()):  # reentrant, for signal handlers
            candidate = self._candidate
            if candidate is None or candidate.state == "stopped":
                body = functools.partial(self._run, args, kwargs)
                candidate = self._candidate = self._election.start(body)
            return candidate

    def _run(self, args: Any, kwargs: Any, leadership: Leadership) -> object:
        run_deferred_in_thread(leadership)
        return self._function(*args, **kwargs)
