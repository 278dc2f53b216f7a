"""`Election`: one of the processes that stand leads and runs the task; the others stand by.

Limits: an election cannot stop a task that ignores ``leadership.stopping``. A leader that hangs without
dying keeps the leadership, unless there is a lease. An election by a file covers one machine; an
election by the URL of an engine covers all machines that reach the engine.
"""

from __future__ import annotations

import functools
import os

from leaderlock.election.candidate import Candidate
from leaderlock.election.place import find_engine
from leaderlock.election.placement import find_place, stand_elsewhere, take_over
from leaderlock.election.placement.forks import say_if_parent_leads, watch_forks
from leaderlock.election.placement.place import Elsewhere
from leaderlock.election.rehearsal import import_for_leader, rehearse_in_place
from leaderlock.election.runners.choice import foreground_hub
from leaderlock.election.runners.green import ForegroundRunner
from leaderlock.election.runners.native import NATIVE
from leaderlock.election.settings import ElectionSettings
from leaderlock.election.starting import start_candidate
from leaderlock.election.task import require_task
from leaderlock.errors import LeaderLockError, Unsupported
from leaderlock.kernel.arguments import names_near_keyword
from leaderlock.kernel.eventloop import refuse_to_block
from leaderlock.kernel.offload import in_native_thread
from leaderlock.kernel.threads import start_new_thread
from leaderlock.lock.remedies import unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from typing import Literal, TypeVar

    from leaderlock.election.leadership import Leadership
    from leaderlock.election.runners.runner import Runner
    from leaderlock.lock.leader_lock import LeaderLock

    Result = TypeVar("Result")


class Election:
    """The election of one process among those that use the same lock.

    After its task has returned, the process keeps the leadership, so that no process runs the task
    again, unless ``on_return="resign"``. If the task raises, the error is logged with its traceback,
    the leadership passes on, and this candidate stands again after a backoff. An `Election` may be made
    before a fork and used after the fork; a pickled one consists of its settings.

    Args:
        lock: a path, a `LeaderLock`, or the URL of an engine (``postgresql://…``, ``zookeeper://…``,
            ``etcd://…``, ``redis://…``) for one leader among many machines; see `leaderlock.engines`.
        name: in place of `lock`, the name of a lock, as for `LeaderLock`.
        lease: seconds within which the task must beat (`Leadership.beat`, `Leadership.every`). If no
            beat comes in time, the kernel kills the process, and another one leads; see `DeadManSwitch`
            for the cost and the choice of the number. The lease ends with the task, even if the
            leadership is kept. With an engine, the lease (15 seconds without one) is also the time
            after the last confirmed renewal at which the kernel kills a leader.
        within: with an engine, the path of a lock's file on this machine: the processes of a machine or
            container first elect one among themselves by this file, and that one stands in the engine.
            When that process dies, another one of the machine takes its session over at once.
        on_return: ``"hold"`` or ``"resign"``.
        backoff: two numbers of seconds: the pause before the candidate stands again after a first
            failure, and the longest pause. The pause doubles at each failure, and starts over when a
            term has lasted longer than the longest pause.
        on_elected: a plain function, called with the `Leadership` before the task, in its thread; if it
            raises, the task has failed.
        on_resigned: a plain function, called with the `Leadership` after the lock was released; errors
            are logged. A process that is killed calls nothing.
        thread: where gevent or eventlet has patched `threading`, ``"auto"`` runs the task and the
            callbacks as a green thread of the process's own hub, like everything that the task starts;
            ``"native"`` runs them in a native thread, for a task that computes or blocks, and starts no
            threads. Without such a patch, the task and the callbacks always run in a native thread.
        keeper: where leaderlock-native is installed, a process that leads by a file has a keeper: a
            child process that shares its memory, so that the next leader need not wait until the kernel
            has freed that (docs/keeper.md). With False, this election makes none.

    Raises:
        TypeError, ValueError: an argument has a wrong type or value.
        Unsupported: the system has no timer for a lease, there is no engine for the URL, or the
            engine's client is not installed.
    """

    @names_near_keyword
    def __init__(
        self,
        lock: str | os.PathLike[str] | LeaderLock | None = None,
        *,
        name: str | None = None,
        lease: float | None = None,
        within: str | os.PathLike[str] | None = None,
        on_return: Literal["hold", "resign"] = "hold",
        backoff: tuple[float, float] = (1.0, 60.0),
        on_elected: Callable[[Leadership], object] | None = None,
        on_resigned: Callable[[Leadership], object] | None = None,
        thread: Literal["auto", "native"] = "auto",
        keeper: bool = True,
    ) -> None:
        self.place = find_engine(lock, name, lease=lease, within=within)
        self.settings = ElectionSettings(
            self.place.engine,
            lease=lease,
            on_return=on_return,
            backoff=backoff,
            on_elected=on_elected,
            on_resigned=on_resigned,
            thread=thread,
            keeper=keeper,
        )
        try:
            import_for_leader()
            self.settings.engine.import_for_term()
            if keeper and self.place.lock is not None:
                from leaderlock.kernel.keeper import start_keeper  # noqa: PLC0415  (a shared library)

                self.settings.start_keeper = start_keeper
        except OSError as error:  # EMFILE
            address = self.settings.engine.address
            raise unusable(error, "import what a leader needs", address) from error
        self._kept: Candidate | None = None

    @property
    def lock(self) -> LeaderLock:
        """The lock of the election's file.

        Raises:
            Unsupported: the election has a URL and no `within`, so it has no file.
        """
        if self.place.lock is None:
            raise Unsupported(f"{self.settings.engine.address}: this election has no lock file")
        return self.place.lock

    @names_near_keyword
    def run(self, task: Callable[[Leadership], Result]) -> Result:
        """Campaign in this thread, and return the task's result.

        With ``on_return="hold"``, this process leads on after the task has returned, until it exits.

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
        self.rehearse_before_parking()
        if self._kept is not None and self._kept.is_leader:
            raise LeaderLockError(
                f"this process leads {self.settings.engine.address} already, since an earlier task "
                f"returned and holds the leadership: pass on_return='resign', or run both in one task"
            )
        hub = foreground_hub()
        is_native = hub is None or self.settings.thread == "native"
        runner: Runner = NATIVE if hub is None or is_native else ForegroundRunner(hub)
        candidate = self._kept = Candidate(self.settings, task, runner)
        campaign = functools.partial(candidate.campaign, in_foreground=True)
        result: Result
        try:
            if hub is not None and is_native:
                result = in_native_thread(hub, campaign, candidate.ask_to_stop)
            else:
                result = campaign()
            return result
        except BaseException:
            try:
                candidate._abandon()
            except BaseException:  # of a signal handler; none runs in the new thread
                start_new_thread(candidate._abandon, ())
                raise
            raise

    @names_near_keyword
    def start(self, task: Callable[[Leadership], object]) -> Candidate:
        """Campaign in a native background thread, and return at once.

        Where gevent or eventlet has patched `threading`, the background thread only waits for the lock,
        and the task is a green thread of the caller's hub; see `thread`. The background thread does not
        keep the process alive. At the interpreter's exit a leader's task is asked to stop, and has 5
        seconds to end. Errors after the start go to the ``leaderlock`` logger.

        Raises:
            TypeError: the task is not a function of one argument.
            NoThreadLeft: the system starts no more threads.
            LeaderLockError: the lock cannot be used.
        """
        require_task(task)
        place = find_place()
        if isinstance(place, Elsewhere):
            return stand_elsewhere(self, task, place)
        self.settings.engine.require_usable()
        self.rehearse_before_parking()
        if place is None:
            if self.place.lock is not None:
                say_if_parent_leads(self.place.lock)
            candidate = take_over(self, task) or self.start_unchecked(task)
            watch_forks(candidate)
            return candidate
        return place.start(lambda: take_over(self, task) or self.start_unchecked(task))

    def lead(self) -> AbstractAsyncContextManager[Leadership]:
        """Lead for the time of a block: ``async with election.lead() as leadership:``.

        The block waits for the leadership without blocking the event loop, and resigns at its end. A
        cancelled wait leaves nothing behind. `on_return` has no effect. When the leadership is lost,
        the block is cancelled (`asyncio.Task.cancel`), and `LeadershipLost` is raised at its end. With
        a lease, the kernel kills the process when its event loop is stuck for the time of the lease,
        for example by a call that blocks; a block that merely awaits need not beat.

        Raises, at the block's begin:
            LeaderLockError: the lock cannot be used.
            Unsupported: no event loop of asyncio's kind runs here.
        """
        from leaderlock.election.aio.block import Lead  # noqa: PLC0415  (asyncio; see `import_for_leader`)

        return Lead(self)

    def ask_to_stop(self) -> None:
        """Ask the task of `run` to stop, and return at once; safe in any thread and signal handler."""
        if self._kept is not None:
            self._kept.ask_to_stop()

    def rehearse_before_parking(self) -> None:
        """Have candidates rehearse before they wait, if the parent process has not rehearsed."""
        self.settings.before_parking = rehearse_in_place

    def start_unchecked(
        self,
        task: Callable[[Leadership], object],
        runner: Runner | None = None,
        candidate: Candidate | None = None,
    ) -> Candidate:
        """`start` for servers: see `start_candidate`."""
        return start_candidate(self.settings, task, runner, candidate)

    def __reduce__(self) -> tuple[functools.partial[Election], tuple[()]]:
        """Pickle the settings: the process that unpickles them does not stand or lead by doing so."""
        return functools.partial(type(self), **self.place.keywords, **self.settings.as_keywords()), ()
