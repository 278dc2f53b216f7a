"""`Election`: one process of those that stand leads, and runs the task; the others stand by.

What it does not do: it cannot stop a task that does not look at ``leadership.stopping``, and a leader
that hangs without dying keeps the leadership, unless there is a lease. Across machines it says nothing.
"""

from __future__ import annotations

import _thread
import functools
import math
import os

from leaderlock.election.at_exit import candidates, see_to_end_of_child
from leaderlock.election.candidate import Candidate
from leaderlock.election.keywords import names_near_keyword
from leaderlock.election.placement import Elsewhere, find_place, stand_elsewhere, take_over
from leaderlock.election.placement.forks import say_if_parent_leads, watch_forks
from leaderlock.election.rehearsal import import_for_leader, rehearse_in_place
from leaderlock.election.runners import (
    LATE,
    NATIVE,
    WHERE,
    ForegroundRunner,
    foreground_hub,
    runner_for,
)
from leaderlock.election.task import require_task
from leaderlock.errors import LeaderLockError, Unsupported
from leaderlock.kernel.eventloop import refuse_to_block
from leaderlock.kernel.offload import in_native_thread
from leaderlock.kernel.threads import start_new_thread
from leaderlock.lock.leader_lock import LeaderLock
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from typing import Any, Literal, TypedDict, TypeVar

    from leaderlock.deadman import DeadManSwitch
    from leaderlock.election.leadership import Leadership
    from leaderlock.election.runners import Runner

    Result = TypeVar("Result")
    Callback = Callable[[Leadership], object] | None

    class Settings(TypedDict, total=False):
        """The settings of an `Election` that `only_once` and each server's hook hand on to it."""

        lease: float | None
        on_return: Literal["hold", "resign"]
        backoff: tuple[float, float]
        on_elected: Callback
        on_resigned: Callback
        thread: Literal["auto", "native"]


# `logging` is imported here, and so before a server forks: each worker would need 2 MiB for it, and
# whoever forks while a thread imports has half a module in the child, for good.
log()

_BUILTIN: object = type(len)


class Election:
    """The election of one process among those that use the same lock.

    A task that returns holds the leadership, so that nobody runs it again, unless
    ``on_return="resign"``. One that raises is logged with its traceback, the leadership passes on, and
    this candidate stands again after a backoff. The object may be made before a fork and used after it;
    pickled, it is its settings.

    Args:
        lock: a path, or a `LeaderLock`.
        name: in place of it, the name of a lock, as for `LeaderLock`.
        lease: seconds within which the task must beat (`Leadership.beat`, `Leadership.every`), or the
            kernel kills the process, so that another one leads; see `DeadManSwitch` for what that
            costs and how to choose it. It ends with the task, also if the leadership is held on to.
        on_return: ``"hold"`` or ``"resign"``.
        backoff: seconds before the first time of standing again after a failure, and the most that
            this doubles to. It starts over once a term has lasted longer than the most.
        on_elected: a plain function, called with the `Leadership` before the task, in its thread; if it
            raises, the task has failed.
        on_resigned: a plain function, called with the `Leadership` after the lock was released; errors
            are logged. A process that is killed calls nothing.
        thread: where gevent or eventlet has patched `threading`, ``"auto"`` runs the task and the
            callbacks as a green thread of the process's own hub, like everything that the task starts;
            ``"native"`` runs them in a native thread, for a task that computes or blocks, and starts no
            threads. Without such a patch they always run in a native thread.

    Raises:
        TypeError, ValueError: an argument is not of its form.
        Unsupported: a lease where there is no such timer, or the URL of an engine.
    """

    @names_near_keyword
    def __init__(
        self,
        lock: str | os.PathLike[str] | LeaderLock | None = None,
        *,
        name: str | None = None,
        lease: float | None = None,
        on_return: Literal["hold", "resign"] = "hold",
        backoff: tuple[float, float] = (1.0, 60.0),
        on_elected: Callable[[Leadership], object] | None = None,
        on_resigned: Callable[[Leadership], object] | None = None,
        thread: Literal["auto", "native"] = "auto",
    ) -> None:
        if on_return not in ("hold", "resign"):
            raise ValueError(f"on_return must be 'hold' or 'resign', not {on_return!r}")
        if thread not in WHERE:
            raise ValueError(f"thread must be 'auto' or 'native', not {thread!r}")
        for callback, what in ((on_elected, "on_elected"), (on_resigned, "on_resigned")):
            if callback is not None:
                require_task(callback, what)
        self.lock = _as_lock(lock, name)
        self.switch: DeadManSwitch | None = None
        if lease is not None:
            from leaderlock.deadman import DeadManSwitch  # noqa: PLC0415  (ctypes, 8 ms)

            self.switch = DeadManSwitch(lease)
        import_for_leader()
        self.on_return = on_return
        self.backoff = _as_backoff(backoff)
        self.on_elected = on_elected
        self.on_resigned = on_resigned
        self.thread = thread
        self._kept: Candidate | None = None
        # Of every instance, from here on: what differs between two cannot be learnt from one of them.
        self.is_rehearsal = False
        self.before_parking: Callable[[], None] | None = None

    def run(self, task: Callable[[Leadership], Result]) -> Result:
        """Campaign in this thread, and return what the task returns.

        With ``on_return="hold"`` this process leads on after that, until it ends.

        Raises:
            TypeError: the task is not a function of one argument.
            BlocksEventLoop: an event loop runs in this thread.
            LeaderLockError: the lock cannot be used.
        """
        require_task(task)
        refuse_to_block(
            "Election.run(task)",
            "write `async with election.lead() as leadership:`, or `election.start(task)`, which has a "
            "thread of its own for a plain function",
        )
        self._have_rehearsed()
        if self._kept is not None and self._kept.is_leader:
            raise LeaderLockError(
                f"this process leads {self.lock.path} already, since an earlier task returned and "
                f"holds the leadership: pass on_return='resign', or run both in one task"
            )
        hub = foreground_hub()
        is_native = hub is None or self.thread == "native"
        runner = NATIVE if hub is None or is_native else ForegroundRunner(hub)
        candidate = self._kept = Candidate(self, task, runner)
        campaign = functools.partial(candidate.campaign, in_foreground=True)
        result: Result
        try:
            if hub is not None and is_native:
                result = in_native_thread(hub, campaign, candidate._ask_to_stop)
            else:
                result = campaign()
            return result
        except BaseException:
            try:
                candidate._abandon()
            except BaseException:  # a signal handler's, once more: none is called in that thread
                start_new_thread(candidate._abandon, ())
                raise
            raise

    def start(self, task: Callable[[Leadership], object]) -> Candidate:
        """Campaign in a native background thread, and return at once.

        Where gevent or eventlet has patched `threading`, that thread only waits for the lock, and the
        task is a green thread of the caller's hub; see `thread`. It does not keep the process alive; at
        the interpreter's exit a leader's task is asked to stop, and has 5 seconds for it. Errors after
        the start go to the ``leaderlock`` logger.

        Raises:
            TypeError: the task is not a function of one argument.
            LeaderLockError: the lock cannot be used.
        """
        require_task(task)
        place = find_place()
        if isinstance(place, Elsewhere):
            return stand_elsewhere(self, task, place)
        self.lock._require_usable()
        self._have_rehearsed()
        if place is None:
            say_if_parent_leads(self.lock)
            candidate = take_over(self, task) or self.start_unchecked(task)
            watch_forks(candidate)
            return candidate
        return place.start(lambda: take_over(self, task) or self.start_unchecked(task))

    def lead(self) -> AbstractAsyncContextManager[Leadership]:
        """Lead for the time of a block: ``async with election.lead() as leadership:``.

        It waits without blocking the event loop, and resigns at the block's end; if it is cancelled,
        nothing is left behind. `on_return` plays no part. When the leadership is lost, the block is
        cancelled (`asyncio.Task.cancel`), and `LeadershipLost` is raised at its end. With a lease, the
        kernel kills the process when its event loop is stuck for so long, as by a call that blocks; a
        block that merely awaits need not beat.

        Raises, at the block's begin:
            LeaderLockError: the lock cannot be used.
            Unsupported: the event loop is not one of asyncio's kind.
        """
        from leaderlock.election.aio.block import Lead  # noqa: PLC0415  (asyncio; see `import_for_leader`)

        return Lead(self)

    def _have_rehearsed(self) -> None:
        self.before_parking = rehearse_in_place

    def start_unchecked(
        self,
        task: Callable[[Leadership], object],
        runner: Runner | None = None,
        candidate: Candidate | None = None,
    ) -> Candidate:
        """`start` for servers: a lock that cannot be used is logged, and tried again.

        Whatever is done here in each worker copies pages that it would share with its parent.
        """
        if candidate is None:
            if runner is None and type(_thread.start_new_thread) is _BUILTIN:  # nothing has patched
                runner = NATIVE if self.thread == "native" else LATE
            candidate = Candidate(self, task, runner or runner_for(task, self.thread))
        candidates.add(candidate)
        see_to_end_of_child()
        start_new_thread(candidate.campaign, ())
        return candidate

    def __reduce__(self) -> tuple[functools.partial[Election], tuple[()]]:
        """Its settings: whoever unpickles it neither stands nor leads."""
        settings: dict[str, Any] = {
            "lease": None if self.switch is None else self.switch.lease,
            "on_return": self.on_return,
            "backoff": self.backoff,
            "on_elected": self.on_elected,
            "on_resigned": self.on_resigned,
            "thread": self.thread,
        }
        return functools.partial(type(self), self.lock, **settings), ()


def _as_lock(lock: str | os.PathLike[str] | LeaderLock | None, name: str | None) -> LeaderLock:
    if isinstance(lock, LeaderLock):
        if name is not None:
            raise TypeError("Election takes a lock or name=, one of the two")
        return lock
    if isinstance(lock, str) and "://" in lock:
        raise Unsupported(f"{lock}: this version elects by a file only; give a path or name=")
    return LeaderLock(lock, name=name)


def _as_backoff(backoff: tuple[float, float]) -> tuple[float, float]:
    try:
        first, most = backoff
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"backoff must be two numbers of seconds, the first and the most, not {backoff!r}"
        ) from error
    if not (0 < first <= most and math.isfinite(most)):
        raise ValueError(
            f"backoff must be two positive numbers of seconds, the first not larger than the most, "
            f"not {backoff!r}"
        )
    return first, most
