"""uWSGI: no candidate begins in the master; workers and mules begin after their fork.

uWSGI forks in C. Python's at-fork handlers do not run by default, and a thread of the master may hold
the GIL at that moment: the worker does not have that thread, and waits for the GIL for ever.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys

from leaderlock.election.at_exit import stop_at_exit
from leaderlock.election.placement.place import Elsewhere, Here
from leaderlock.election.placement.stderr_log import log_to_stderr
from leaderlock.errors import Unsupported
from leaderlock.kernel.threads import threads_are_green

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from leaderlock.election.placement.place import Placed

    Started = TypeVar("Started")

try:
    import uwsgi
except ImportError:  # only uWSGI has this module
    uwsgi = None

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals with which uWSGI's master, an operator or a terminal ends a worker."""

_is_set_up = False
"""Whether this process has its exit hook and its log handler; False in the master."""


def find_place() -> Here | Elsewhere | None:
    """The place where a candidate of this process begins.

    Raises:
        Unsupported: uWSGI runs no threads, or has loaded the application in a subinterpreter.
    """
    if not _is_uwsgi():
        return None
    require_threads()
    if uwsgi.worker_id() > 0 or uwsgi.mule_id() > 0:
        return Here(begin_here)
    if uwsgi.masterpid() not in (0, os.getpid()):  # a spooler, for example: neither master nor worker
        return None
    require_main_interpreter()
    return Elsewhere(lambda placed: begin_in(uwsgi.worker_id, placed.begin))


def _is_uwsgi() -> bool:
    return hasattr(uwsgi, "worker_id")  # there may be another module of that name


def stand_in_workers(placed: Placed) -> bool:
    """Begin in this worker, or in the workers that this master forks; False if this is not uWSGI.

    Mules and spoolers, which load an application to use parts of it, do not begin.
    """
    if not _is_uwsgi():
        return False
    place = find_place()
    if isinstance(place, Elsewhere):
        place.put(placed)
    elif uwsgi.worker_id() > 0:
        begin_here(placed.begin)
    return True


def begin_in(number: Callable[[], int], begin: Callable[[], object]) -> None:
    """Call `begin` in every process that is forked after this call, if `number` is not 0 there."""
    from leaderlock.election.rehearsal import rehearse_before_fork  # noqa: PLC0415  (as it uses Election)

    rehearse_before_fork()

    def begin_if_numbered() -> None:
        if number() != 0:  # uWSGI calls the same hook in all processes that it forks
            begin_here(begin)

    _after_fork(begin_if_numbered)


def begin_here(begin: Callable[[], Started]) -> Started:
    """Call `begin`, which starts a candidate's thread, in the process that is to stand."""
    global _is_set_up  # noqa: PLW0603  (once in a process, for any number of tasks)
    if not _is_set_up:
        _is_set_up = True
        log_to_stderr()  # stderr is uWSGI's log
        ask_to_stop_at_end()
        _patch_as_uwsgi_will()
    # uWSGI's handler ends the process in the thread that receives the signal. If that is not the main
    # thread, CPython waits for its main thread for ever. So the task's thread, and all threads that it
    # starts, begin with these signals blocked, like uWSGI's own request threads.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        return begin()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _patch_as_uwsgi_will() -> None:
    """With ``gevent-monkey-patch``, have gevent patch this worker now: uWSGI does so a moment later.

    A task that began before would find `threading` changed while it starts its threads, and the first
    leader would run with other threads than the next one.
    """
    if uwsgi.worker_id() > 0 and "gevent-monkey-patch" in uwsgi.opt and not threads_are_green():
        from gevent import monkey  # noqa: PLC0415  (uWSGI imports it next)

        monkey.patch_all()


def require_threads() -> None:
    """Raise Unsupported outside of uWSGI, or if no Python thread would run."""
    if uwsgi is None:
        raise Unsupported(
            "this is not a uWSGI server, which alone has the module 'uwsgi': call in_one_worker in the "
            "module that holds the application, or use leaderlock.only_once, which needs no server"
        )
    if not uwsgi.has_threads:
        raise Unsupported(
            "uWSGI runs no Python threads, so no task would ever run: start it with --enable-threads "
            "(enable-threads = true), which is the default since uWSGI 2.0.27"
        )


def require_main_interpreter() -> None:
    """Refuse a subinterpreter: uWSGI calls only the hooks of the main interpreter."""
    import ctypes  # noqa: PLC0415  (once, where the application is loaded)

    api = ctypes.pythonapi
    current, main = api.PyInterpreterState_Get, api.PyInterpreterState_Main
    current.restype = main.restype = ctypes.c_void_p
    if current() != main():
        raise Unsupported(
            "uWSGI has loaded this application in a subinterpreter, whose hooks it does not call: "
            "start it with --single-interpreter (single-interpreter = true)"
        )


def _after_fork(call: Callable[[], object]) -> None:
    """Have `call` called in every process that uWSGI forks, after the hooks that are set already."""
    by_hand = getattr(uwsgi, "post_fork_hook", None)
    _import_decorators()
    # The hook of the decorators; it also calls functions that are decorated later.
    decorated = getattr(uwsgi, "post_fork_hook", None)

    def post_fork_hook() -> None:
        with contextlib.ExitStack() as last_first:  # each is called, even if another raises
            last_first.callback(call)
            for hook in (decorated, by_hand if by_hand is not decorated else None):
                if hook is not None:
                    last_first.callback(hook)

    uwsgi.post_fork_hook = post_fork_hook


def _import_decorators() -> None:
    """Import `uwsgidecorators` now: a later import would replace all other hooks by its own."""
    if "uwsgidecorators" in sys.modules or not uwsgi.masterpid():  # its decorators need a master
        return
    hooks = ("spooler", "mule_msg_hook")
    by_hand = {name: getattr(uwsgi, name) for name in hooks if hasattr(uwsgi, name)}
    try:
        import uwsgidecorators  # noqa: F401, PLC0415
    except ImportError:  # Debian ships it in a package of its own
        return
    for name, hook in by_hand.items():
        setattr(uwsgi, name, hook)


def ask_to_stop_at_end() -> None:
    """Have the tasks asked to stop when uWSGI ends this process.

    Python's exit handlers are not enough: ``skip-atexit-teardown`` skips them.
    """
    chained: Callable[[], object] | None = getattr(uwsgi, "atexit", None)

    def at_end() -> None:
        _ignore_further_signals()
        atexit.unregister(stop_at_exit)  # wait only once for a task that does not stop
        with contextlib.ExitStack() as last_first:
            if chained is not None:
                last_first.callback(chained)
            stop_at_exit()

    uwsgi.atexit = at_end


def _ignore_further_signals() -> None:
    """Ignore further signals, so that a second one does not interrupt the stop of a task.

    Ctrl-C reaches a worker twice, from the terminal and from the master. The main thread runs the
    handler of the first signal and takes no second one, so a thread of the application would take it.
    """
    with contextlib.suppress(ValueError):  # not the main thread
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
