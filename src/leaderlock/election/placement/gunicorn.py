"""gunicorn: a candidate begins in each worker, not in an arbiter that preloads the application."""

from __future__ import annotations

import logging
import os
import sys
from functools import partial

from leaderlock.election.at_exit import stop_at_exit
from leaderlock.election.placement import retiring
from leaderlock.election.placement.place import Elsewhere, Here, frames, say_where
from leaderlock.kernel.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gunicorn.workers.base import Worker

    from leaderlock.election.candidate import Candidate
    from leaderlock.election.placement.place import Call, Placed


def find_place() -> Here | Elsewhere | None:
    """The place where a candidate of this process begins; None if it is neither arbiter nor worker."""
    arbiter_class = sys.modules["gunicorn.arbiter"].Arbiter
    application_class = sys.modules["gunicorn.app.base"].BaseApplication
    worker_class = _worker_class()
    is_arbiter = False
    for frame in frames():
        found = frame.f_locals.get("self")
        if isinstance(found, worker_class):
            return _in_this_worker(found) if found.pid == os.getpid() else None
        if isinstance(found, arbiter_class):
            # An arbiter that preloads has no PID yet; in a worker, its attribute is the parent's PID.
            is_arbiter = getattr(found, "pid", os.getpid()) == os.getpid()
            break
        if isinstance(found, application_class):  # in an arbiter, or in a worker
            is_arbiter = True
    return Elsewhere(_in_workers) if is_arbiter else None


def _in_this_worker(worker: Worker) -> Here:
    def start(call: Call) -> Candidate:
        if not worker.booted and not type(worker).__module__.startswith("gunicorn."):
            after_init(worker, end_in_good_order)
        _heed(worker)
        return call()

    return Here(start)


def _in_workers(placed: Placed) -> None:
    say_where("gunicorn's arbiter")
    begin_in_workers(placed)


def loading_worker() -> Worker | None:
    """The worker that loads the application just now, in this process."""
    worker_class = _worker_class()
    for frame in frames():
        worker: Worker | None = frame.f_locals.get("self")
        if isinstance(worker, worker_class):
            return worker
    return None


def begin_in_workers(placed: Placed) -> None:
    """Begin in each worker that the arbiter forks after this call, once the worker is ready.

    A worker is ready when it has dropped its rights, and gevent has patched.

    gunicorn gives an application no hook for this. The calling frame distinguishes a fork by the
    arbiter from any other fork (by `multiprocessing`, for example).
    """
    from leaderlock.election.rehearsal import rehearse_before_fork  # noqa: PLC0415  (as it uses Election)

    rehearse_before_fork()
    worker_class = _worker_class()

    def after_fork() -> None:
        worker = sys._getframe(1).f_locals.get("worker")
        if isinstance(worker, worker_class):
            placed.adopt()
            when_ready(worker, placed.begin)

    os.register_at_fork(after_in_child=after_fork)


def when_ready(worker: Worker, begin: Callable[[], object]) -> None:
    """Call `begin` in this worker when it has loaded the application."""
    log_to_server()
    if not type(worker).__module__.startswith("gunicorn."):
        after_init(worker, end_in_good_order)
    after_init(worker, partial(_heed, worker))
    after_init(worker, begin)


def _heed(worker: Worker) -> None:
    retiring.heed_gunicorn(worker)
    retiring.retire_at_signals()


def _worker_class() -> type[Worker]:
    from gunicorn.workers.base import Worker  # noqa: PLC0415  (this is gunicorn)

    found: type[Worker] = Worker
    return found


def after_init(worker: Worker, call: Callable[[], object]) -> None:
    """Call something in this worker once it has dropped its rights and loaded the application."""
    chained = worker.cfg.post_worker_init

    def post_worker_init(worker: Worker) -> None:
        chained(worker)
        call()

    # Do not use cfg.set: its check of the signature (inspect) would touch, and so copy, 200 KiB of
    # pages that are shared with the arbiter.
    worker.cfg.settings["post_worker_init"].value = post_worker_init


def after(worker: Worker, method: str, call: Callable[[], object]) -> None:
    """Call something when the worker has called a method of its own."""
    # For speed: see "How it is built". A function made here costs a worker four more pages.
    setattr(worker, method, partial(_call_both, getattr(worker, method), call))


def _call_both(method: Callable[[], object], call: Callable[[], object]) -> None:
    method()
    call()


def end_in_good_order() -> None:
    """Ask the task to stop also in a worker that a signal kills; gunicorn's own workers are not killed.

    uvicorn's worker sets the signals to their defaults. After a shutdown by SIGTERM, the worker raises
    SIGTERM again; Python's exit handlers do not run then.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop_and_die)


def _stop_and_die(number: int, _frame: object) -> None:
    stop_at_exit()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def log_to_server() -> ErrorLog:
    """Attach the log handler before the fork: in a worker, a changed logger touches a hundred pages."""
    ours = logging.getLogger("leaderlock")
    for handler in ours.handlers:
        if isinstance(handler, ErrorLog):
            return handler
    to_server = ErrorLog()
    ours.addHandler(to_server)
    if ours.level == logging.NOTSET:
        ours.setLevel(logging.INFO)
    return to_server


class ErrorLog(logging.Handler):
    """Passes records that no other handler gets to gunicorn's error log, at the level of that log."""

    logger = logging.getLogger("gunicorn.error")

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on a record that no handler of the application gets."""
        # The application may have set up its logging since.
        if logging.root.handlers or logging.getLogger("leaderlock").handlers != [self]:
            return
        if self.logger.isEnabledFor(record.levelno):
            self.logger.handle(record)
