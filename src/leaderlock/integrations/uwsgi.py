"""uWSGI: a task in one of the workers (or mules), and in another one as soon as that one is gone.

    # in the module that holds the application
    from leaderlock.integrations.uwsgi import in_one_worker
    in_one_worker(task)

The lock is a file, so that it outlives a reload, in which uWSGI's master executes itself anew.
"""

from __future__ import annotations

import functools
import os

from leaderlock.election.keywords import names_near_keyword
from leaderlock.election.placement import take_over, waiting
from leaderlock.election.placement.uwsgi import (
    begin_here,
    begin_in,
    require_main_interpreter,
    require_threads,
)
from leaderlock.errors import Unsupported
from leaderlock.integrations import hook_election
from leaderlock.log import log

try:
    import uwsgi
except ImportError:  # there is no such module but inside of uWSGI
    uwsgi = None

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from leaderlock.election.election import Election
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
    on_elected: Callable[[Leadership], object] | None = None,
    on_resigned: Callable[[Leadership], object] | None = None,
    thread: Literal["auto", "native"] = "auto",
) -> None:
    """Let one worker of this uWSGI server run the task, while the others stand by.

    To be called while the application is loaded, once for each task: where the master loads it, every
    worker stands for election as soon as it is forked; with ``lazy-apps``, at once. The master itself,
    spoolers and mules never do, whatever they load; for mules there is `in_one_mule`. Hooks of the
    application's own (``uwsgi.post_fork_hook`` and ``uwsgi.atexit`` set before,
    `uwsgidecorators.postfork` at any time) are called as before; whoever sets ``uwsgi.post_fork_hook``
    by hand *after* this call puts it out of action.

    The task runs beside the requests: in a native thread, or with ``gevent-monkey-patch`` as a green
    thread of the worker's hub; see `Election.start`. A worker that ends in
    good order (a reload, ``max-requests``, SIGTERM) asks it to stop and waits up to 5 seconds for that;
    the next worker leads when the process has ended. uWSGI gives no notice of the end with
    ``skip-atexit``, in async mode without gevent, or in the midst of a request: the kernel passes the
    lock on all the same. The task's thread blocks SIGINT, SIGTERM and SIGHUP, and so do threads and
    programs that it starts, unless it unblocks them first.

    A lock that cannot be used stops no worker: the error goes to the log, and the worker tries again
    after a backoff. What the ``leaderlock`` logger says goes to uWSGI's log, unless the application
    gives it or the root logger a handler.

    Args:
        task: a function of one argument, the `Leadership`.
        name: the lock's name. By default it is made of the task's name and the path of the file that
            calls this, so that other applications of the same user do not get in its way; a rolling
            release into a new directory needs a name of your own.
        path: a path in place of the name.
        on_return, backoff, lease, on_elected, on_resigned, thread: as for `Election`; a worker
            whose task misses its lease is killed.

    Raises:
        TypeError, ValueError: an argument is not of its form.
        Unsupported: a lease where there is no such timer, or the URL of an engine; this is not a uWSGI
            server; it was started without ``enable-threads``; or it has loaded the application in a
            subinterpreter.
    """
    election = hook_election(
        task,
        name,
        path,
        on_return=on_return,
        backoff=backoff,
        lease=lease,
        on_elected=on_elected,
        on_resigned=on_resigned,
        thread=thread,
    )
    require_threads()
    require_main_interpreter()
    if uwsgi.worker_id() > 0:  # loaded by a worker, for which post_fork_hook will not be called again
        begin_here(functools.partial(_stand, election, task))
    elif uwsgi.mule_id() == 0:
        begin_in(uwsgi.worker_id, functools.partial(_stand, election, task))


@names_near_keyword
def in_one_mule(
    task: Callable[[Leadership], object],
    *,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    on_return: Literal["hold", "resign"] = "hold",
    backoff: tuple[float, float] = (1.0, 60.0),
    lease: float | None = None,
    on_elected: Callable[[Leadership], object] | None = None,
    on_resigned: Callable[[Leadership], object] | None = None,
    thread: Literal["auto", "native"] = "auto",
) -> None:
    """Let one mule of this uWSGI server run the task, while the other mules stand by.

    For a task that is to share no interpreter with requests, and that no ``harakiri``,
    ``max-requests`` or reload of the workers alone is to end. All else is as for `in_one_worker`. Two
    mules (``mules = 2``) are what a failover within milliseconds needs: a single one is forked anew
    by the master first.

    To be called while the master loads the application; every mule stands as soon as it is forked,
    whether it has a module of its own or not. With ``lazy-apps`` no mule loads the application: let a
    module of the mule's own campaign (``mule = module.py``), by `Election.run`, in its main thread.

    Raises:
        TypeError, ValueError, Unsupported: as `in_one_worker`; Unsupported, too, if there is no mule,
            or if a worker or a mule calls it.
    """
    election = hook_election(
        task,
        name,
        path,
        on_return=on_return,
        backoff=backoff,
        lease=lease,
        on_elected=on_elected,
        on_resigned=on_resigned,
        thread=thread,
    )
    require_threads()
    require_main_interpreter()
    if uwsgi.worker_id() > 0 or uwsgi.mule_id() > 0:  # newer uWSGI would end such a mule without notice
        raise Unsupported(
            "in_one_mule is for an application that the master loads: without lazy-apps, outside of a "
            "mule's own module. Let such a module campaign by leaderlock.Election(...).run(task)"
        )
    if not {"mule", "mules"} & uwsgi.opt.keys():
        raise Unsupported(
            "this uWSGI server has no mule to run the task: start it with --mules 2 (mules = 2), or "
            "use in_one_worker"
        )
    begin_in(uwsgi.mule_id, functools.partial(_stand, election, task))


def _stand(election: Election, task: Callable[[Leadership], object]) -> None:
    try:
        if not (waiting and take_over(election, task)):
            election.start_unchecked(task)
    except RuntimeError as error:  # the system has no thread left
        log().error("process %d does not stand for election: %s", os.getpid(), error)
