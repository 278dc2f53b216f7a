"""`Supervisor`: runs one command as a good PID 1 would, from the wait for the lock to the exit status.

The steps of a run; the loop starts each when the previous one ends:

    wait for the lock - start the sidecars - start the command - it ends - stop what it left behind
    - perhaps start it again - release the lock - end the sidecars - exit with the command's status
"""

from __future__ import annotations

import os

from leaderlock.errors import LeaderLockError
from leaderlock.kernel.signals import signal
from leaderlock.supervisor.command import FAILED, SupervisedCommand
from leaderlock.supervisor.loop import Loop
from leaderlock.supervisor.messages import say
from leaderlock.supervisor.readiness import import_the_rest, prepare_process, share_group
from leaderlock.supervisor.reaper import Reaper
from leaderlock.supervisor.sidecars import Sidecars
from leaderlock.supervisor.signals import ENDING, FORWARDED, FROM_TERMINAL, STOPPING
from leaderlock.supervisor.spawn import is_foreground

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.engines.engine import Engine, Tenure
    from leaderlock.supervisor.lock_wait import LockWait
    from leaderlock.supervisor.loop import LoopTimer
    from leaderlock.supervisor.pings import Pings
    from leaderlock.supervisor.service import Service
    from leaderlock.supervisor.settings import Settings
    from leaderlock.supervisor.term_watch import TermWatch

_EVERY_SIGNAL = signal.valid_signals()


class Supervisor:
    """One run of one command, with all that `Settings` asks for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        share_group(settings)
        self._loop = Loop()
        self._reaper = Reaper(self._on_orphan)
        self._sidecars = Sidecars(self._loop, self._reaper, settings, self._on_sidecar_exit)
        self._command = SupervisedCommand(
            self._loop, self._reaper, settings, self._sidecars.pids, self._on_command_gone
        )
        self._service: Service | None = None
        self._pings: Pings | None = None
        self._tenure: Tenure | None = None  # set from before its wait until it has released everything
        self._lock_wait: LockWait | None = None
        self._wait_ended_by = 0
        self._term_watch: TermWatch | None = None
        self._lost: tuple[str, float] | None = None
        self._restart: LoopTimer | None = None
        self._stop_wanted = False
        self._stopped_for_sidecar = False
        self._ending = False
        self._status = 0
        self._prepare()

    def _prepare(self) -> None:
        settings = self._settings
        self._sidecars.require_found()
        prepare_process(settings)
        self._loop.on_signals(FORWARDED | {signal.SIGCHLD}, self._on_signal)
        if settings.is_service:
            from leaderlock.supervisor.service import Service  # noqa: PLC0415  (needs socket)

            is_final = settings.restart.is_never
            is_last = lambda: self._stop_wanted or (is_final and not self._lost)  # noqa: E731
            self._service = Service(self._loop, settings, self._command, is_last)
            self._command.serve(self._service)
        if settings.ping is not None:
            from leaderlock.supervisor.pings import Pings  # noqa: PLC0415  (needs urllib)

            self._pings = Pings(self._loop, settings.ping)

    def run(self) -> int:
        """Run the command, and return its exit status: 128 + N if signal N ended it.

        The lock is kept until no process of the command is left, even if an exception is raised.

        Raises:
            Conflict: the lock could not be acquired in time.
            Ended: SIGTERM, SIGINT, SIGQUIT or SIGHUP arrived during the wait for the lock.
            LeaderLockError: the lock cannot be used, or the system lacks something.
        """
        failure: BaseException | None = None
        status = FAILED
        try:
            try:
                status = self._run()
            except BaseException as error:  # noqa: BLE001  (raised, or logged, by `_after_failure`)
                failure = error
                signal.pthread_sigmask(signal.SIG_BLOCK, _EVERY_SIGNAL)
        except BaseException:  # noqa: BLE001  (a pending handler raised; signals are blocked by now)
            pass
        return status if failure is None else self._after_failure(failure)

    def _run(self) -> int:
        engine = self._settings.engine
        if engine is not None:
            import_the_rest(self._settings)
            self.acquire(engine)
        self._sidecars.start()
        self._start_command()
        if engine is None:
            import_the_rest(self._settings)
        self._loop.run()
        return 0 if self._status in self._settings.expected_statuses else self._status

    def _after_failure(self, failure: BaseException) -> int:
        """Wait, with all signals blocked, for every process that was started; then release the lock."""
        from leaderlock.supervisor.vigil import explain, keep_vigil  # noqa: PLC0415  (imported before)

        if self._lock_wait is not None:  # the command does not run; we wait for the lock
            self._lock_wait.abandon()
        expected = isinstance(failure, LeaderLockError)
        if not expected:
            explain(failure, runs=self._command.is_running, locked=self._settings.engine is not None)
        keep_vigil(
            self._command,
            self._sidecars,
            self._settings,
            self._loop.unread_signals(),
            stopping=self._stop_wanted,
            let_go=self._let_go,
        )
        if expected:
            raise failure
        return FAILED

    def acquire(self, engine: Engine) -> Tenure:
        """Wait in the engine's queue, and handle signals and children; raises the same as `run`."""
        tenure = self._wait_for(engine, self._settings.limit, self._loop.stop)
        self._loop.run()
        lock_wait, self._lock_wait = self._lock_wait, None
        assert lock_wait is not None
        if self._wait_ended_by:
            self._let_go()
        lock_wait.require_acquired(self._wait_ended_by)
        return tenure

    def _wait_for(self, engine: Engine, limit: float | None, done: Callable[[], None]) -> Tenure:
        def stand_by() -> None:
            # A standby is ready: to wait is its job, and the manager would time out otherwise.
            if self._service is not None:
                self._service.tell_manager("READY=1", f"STATUS=standing by for {engine.address}")

        from leaderlock.supervisor.lock_wait import LockWait  # noqa: PLC0415  (only with a lock)

        tenure = self._tenure = engine.tenure()
        self._lock_wait = LockWait(self._loop, tenure, limit, done, stand_by)
        self._lock_wait.begin()
        return tenure

    def _start_command(self) -> None:
        self._restart = None
        engine, tenure = self._settings.engine, self._tenure
        self._command.start(tenure, self._sidecars.stdio())
        if self._pings is not None:
            self._pings.started()
        if engine is not None and tenure is not None:
            from leaderlock.supervisor.term_watch import TermWatch  # noqa: PLC0415  (only with a lock)

            self._term_watch = TermWatch(self._loop, tenure, engine.address, self._on_lost)

    # During the run

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGCHLD:
            if self._service is not None:
                self._service.catch_up()
            self._reaper.collect()
        elif self._lock_wait is not None:
            self._on_signal_in_queue(self._lock_wait, number)
        elif number == signal.SIGTERM and self._settings.schedule is not None:
            self._stop()
        else:
            if number in STOPPING:
                self._stop_wanted = True
            if number == signal.SIGCONT:  # SIGCONT may arrive before the SIGCHLD of the stop
                self._reaper.collect()
            if not (number in FROM_TERMINAL and self._settings.shares_group and is_foreground()):
                self._command.forward(number)  # the terminal has not sent it to the command
            if self._stop_wanted and self._restart is not None:
                self._end()

    def _on_signal_in_queue(self, lock_wait: LockWait, number: int) -> None:
        if number in ENDING:
            self._wait_ended_by = number
            lock_wait.cancel()
        elif number == signal.SIGTSTP and self._settings.can_be_continued:
            os.kill(os.getpid(), signal.SIGSTOP)  # the default action, which our handler has replaced

    def _on_orphan(self, pid: int, status: int) -> None:
        say(
            f"reaped process {pid}, an orphan that ended with status {status}",
            0 if self._settings.warns_of_orphans else 2,
        )

    def _on_sidecar_exit(self) -> None:
        self._stopped_for_sidecar = True
        self._stop()

    def _stop(self) -> None:
        self._stop_wanted = True
        if self._service is not None:
            self._service.say_stopping()
        if self._command.is_running:
            self._command.stop()
        elif self._restart is not None:
            self._end()
        elif self._lock_wait is not None:  # a new wait, after the lock was released for a restart
            self._lock_wait.cancel()

    def _on_lost(self, text: str, how: str, pause: float) -> None:
        say(text)
        self._lost = how, pause
        if self._command.is_running:  # otherwise the start failed, and `_on_command_gone` follows
            self._command.stop()

    # After the command

    def _on_command_gone(self, status: int) -> None:
        if self._stopped_for_sidecar and self._command.ended_as_told:
            status = 0
        self._status = status
        if self._pings is not None:
            self._pings.ended(status)
        if self._term_watch is not None:
            self._term_watch.end()
        if self._lost and not self._stop_wanted:
            (how, pause), self._lost = self._lost, None
            self._let_go(how)
            self._restart = self._loop.call_later(pause, self._start_again)
            return
        delay = None
        if not self._stop_wanted:
            policy = self._settings.restart
            delay = policy.delay_before_restart(status, self._command.ran)
            if policy.is_exhausted:
                say(f"the command ended with status {status}: the restart limit is reached")
        if delay is None:
            self._end()
            return
        say(f"the command ended with status {status}: leaderlock starts it again in {delay:g} s")
        if status != 0 and self._settings.resign_on_failure:
            self._let_go()
        self._restart = self._loop.call_later(delay, self._start_again)

    def _start_again(self) -> None:
        engine = self._settings.engine
        if self._tenure is not None and self._term_watch is not None and self._term_watch.has_lost():
            self._let_go("lost")
        if engine is None or self._tenure is not None:
            self._start_command()
        else:
            self._restart = None
            self._wait_for(engine, None, self._on_lock_again)

    def _on_lock_again(self) -> None:
        lock_wait, self._lock_wait = self._lock_wait, None
        assert lock_wait is not None
        if lock_wait.error is not None:
            say(str(lock_wait.error))
            self._status = FAILED
        if self._wait_ended_by:
            self._status = 128 + self._wait_ended_by
        may_start = lock_wait.acquired and not self._wait_ended_by and not self._stop_wanted
        (self._start_command if may_start else self._end)()

    def _end(self) -> None:
        """End: the command will not run again. Let the next leader begin, then end the sidecars."""
        if self._ending:
            return
        self._ending = True
        if self._service is not None:
            self._service.say_stopping()
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        self._let_go()
        pings, stop = self._pings, self._loop.stop
        self._sidecars.end(stop if pings is None else lambda: pings.finish(stop))

    def _let_go(self, how: str = "released") -> None:
        if self._tenure is not None:
            if self._command.is_running:
                raise RuntimeError("the lock is kept: the command runs")
            from leaderlock.supervisor.lock_wait import let_go  # noqa: PLC0415  (imported before)

            let_go(self._tenure, how)
            self._tenure = None
