"""uWSGI: runs a task in one worker (or mule); when that worker ends, another one takes over.

    # in the module that holds the application
    from leaderlock.integrations.uwsgi import in_one_worker
    in_one_worker(task)

The lock is a file, so that it survives a reload, in which uWSGI's master executes itself again.
"""

from __future__ import annotations

import functools
import os

from leaderlock.election.placement import stand_here
from leaderlock.election.placement.uwsgi import (
    begin_here,
    begin_in,
    require_main_interpreter,
    require_threads,
)
from leaderlock.errors import Unsupported
from leaderlock.integrations import hook_election
from leaderlock.kernel.arguments import names_near_keyword

try:
    import uwsgi
except ImportError:  # the module exists only inside uWSGI
    uwsgi = None

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from leaderlock.election.leadership import Leadership


@names_near_keyword
def in_one_worker(
    task: Callable[[Leadership], object],
    *,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    on_return: Literal["hold", "resign"] = "hold",
    backoff: tuple[float, float] = (1.0, 60.0),
    lease: float | None = None,
    within: str | os.PathLike[str] | None = None,
    on_elected: Callable[[Leadership], object] | None = None,
    on_resigned: Callable[[Leadership], object] | None = None,
    thread: Literal["auto", "native"] = "auto",
    keeper: bool = True,
) -> None:
    """Let one worker of this uWSGI server run the task, while the others stand by.

    Call this once for each task while the application is loaded. If the master loads the application,
    every worker stands for election as soon as it is forked; with ``lazy-apps``, at once. The master,
    spoolers and mules never stand, even if they load the application; for mules use `in_one_mule`. The
    application's own hooks (``uwsgi.post_fork_hook`` and ``uwsgi.atexit`` set before,
    `uwsgidecorators.postfork` at any time) still work. But setting ``uwsgi.post_fork_hook`` by hand
    *after* this call disables this call.

    The task runs beside the requests: in a native thread, or with ``gevent-monkey-patch`` as a green
    thread of the worker's hub; see `Election.start`. A worker that ends in good order (a reload,
    ``max-requests``, SIGTERM) asks the task to stop and waits up to 5 seconds; the next worker leads
    when the process has ended. uWSGI does not announce the end with ``skip-atexit``, in async mode
    without gevent, or during a request: the kernel passes the lock on anyway. The task's thread blocks
    SIGINT, SIGTERM and SIGHUP; threads and programs that the task starts inherit this, unless the task
    unblocks the signals first.

    A lock that cannot be used does not stop a worker: the worker logs the error, and tries again after
    a backoff. The ``leaderlock`` logger writes to uWSGI's log, unless the application gives a handler
    to this logger or to the root logger.

    Args:
        task: a function of one argument, the `Leadership`.
        name: the lock's name. The default is made of the task's name and the path of the calling file,
            so that other applications of the same user do not get in its way. Set a name if each
            release goes into a new directory: the releases then share one leader.
        path: in place of the name, a path, or the URL of an engine.
        on_return, backoff, lease, within, on_elected, on_resigned, thread, keeper: the same as for
            `Election`; a worker whose task misses its lease is killed.

    Raises:
        TypeError, ValueError: an argument is invalid.
        Unsupported: this system lacks the timer of a lease, or no engine takes the URL;
            this is not a uWSGI server; the server was started without ``enable-threads``; or it has
            loaded the application in a subinterpreter.
    """
    election = hook_election(
        task,
        name,
        path,
        on_return=on_return,
        backoff=backoff,
        lease=lease,
        within=within,
        on_elected=on_elected,
        on_resigned=on_resigned,
        thread=thread,
        keeper=keeper,
    )
    require_threads()
    require_main_interpreter()
    if uwsgi.worker_id() > 0:  # a worker loads it; uWSGI will not call post_fork_hook
        begin_here(functools.partial(stand_here, election, task))
    elif uwsgi.mule_id() == 0:
        begin_in(uwsgi.worker_id, functools.partial(stand_here, election, task))


@names_near_keyword
def in_one_mule(
    task: Callable[[Leadership], object],
    *,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    on_return: Literal["hold", "resign"] = "hold",
    backoff: tuple[float, float] = (1.0, 60.0),
    lease: float | None = None,
    within: str | os.PathLike[str] | None = None,
    on_elected: Callable[[Leadership], object] | None = None,
    on_resigned: Callable[[Leadership], object] | None = None,
    thread: Literal["auto", "native"] = "auto",
    keeper: bool = True,
) -> None:
    """Let one mule of this uWSGI server run the task, while the other mules stand by.

    Use a mule if the task must not share an interpreter with requests, and must not be ended by
    ``harakiri``, ``max-requests`` or a reload of the workers alone. All other rules are those of
    `in_one_worker`. For a failover within milliseconds, run two mules (``mules = 2``): the master must
    first fork a single mule again.

    Call this while the master loads the application; every mule stands as soon as it is forked,
    whether or not it has a module of its own. With ``lazy-apps`` no mule loads the application: call
    `Election.run` in the main thread of the mule's own module (``mule = module.py``).

    Raises:
        TypeError, ValueError, Unsupported: the same as `in_one_worker`. Unsupported, too, if there is
            no mule, or if a worker or a mule calls this.
    """
    election = hook_election(
        task,
        name,
        path,
        on_return=on_return,
        backoff=backoff,
        lease=lease,
        within=within,
        on_elected=on_elected,
        on_resigned=on_resigned,
        thread=thread,
        keeper=keeper,
    )
    require_threads()
    require_main_interpreter()
    if uwsgi.worker_id() > 0 or uwsgi.mule_id() > 0:  # newer uWSGI would end such a mule silently
        raise Unsupported(
            "in_one_mule is for an application that the master loads: without lazy-apps, outside of a "
            "mule's own module. Let such a module campaign by leaderlock.Election(...).run(task)"
        )
    if not {"mule", "mules"} & uwsgi.opt.keys():
        raise Unsupported(
            "this uWSGI server has no mule to run the task: start it with --mules 2 (mules = 2), or "
            "use in_one_worker"
        )
    begin_in(uwsgi.mule_id, functools.partial(stand_here, election, task))
