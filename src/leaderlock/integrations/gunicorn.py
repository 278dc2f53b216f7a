"""gunicorn: runs a task in one worker; when that worker ends, another one takes over.

    # gunicorn.conf.py
    from leaderlock.integrations.gunicorn import in_one_worker
    post_fork = in_one_worker(task)

The lock is a file, so that it survives a reload (HUP), and an upgrade (USR2), whose second arbiter
shares no memory with the first.
"""

from __future__ import annotations

import functools
import os

from leaderlock.election.placement import stand_here
from leaderlock.election.placement.gunicorn import after, after_init, end_in_good_order, log_to_server
from leaderlock.election.placement.retiring import heed_gunicorn, retire_at_signals
from leaderlock.election.rehearsal import rehearse_before_fork
from leaderlock.errors import LeaderLockError
from leaderlock.integrations import hook_election
from leaderlock.integrations.handover import hand_over
from leaderlock.kernel.arguments import names_near_keyword

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from gunicorn.arbiter import Arbiter
    from gunicorn.config import Config
    from gunicorn.workers.base import Worker

    from leaderlock.election.leadership import Leadership

    Hook = Callable[[Arbiter, Worker], object]


@names_near_keyword
def in_one_worker(
    task: Callable[[Leadership], object],
    *,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    chain: Hook | None = None,
    on_return: Literal["hold", "resign"] = "hold",
    backoff: tuple[float, float] = (1.0, 60.0),
    lease: float | None = None,
    within: str | os.PathLike[str] | None = None,
    on_elected: Callable[[Leadership], object] | None = None,
    on_resigned: Callable[[Leadership], object] | None = None,
    thread: Literal["auto", "native"] = "auto",
    keeper: bool = True,
) -> Hook:
    """Make a ``post_fork`` hook: one worker runs the task, while the others stand by.

    The task runs beside the requests: in a native thread, or under gevent and eventlet as a green
    thread of the worker's hub; see `Election.start`. A worker that ends in good order (TERM, HUP,
    ``max_requests``) asks the task to stop and waits up to 5 seconds. The next worker leads when the
    task has ended, at the latest when the process has ended.

    A gevent or eventlet worker stands for election after the library has patched the standard library.

    A lock that cannot be used does not stop a worker: the worker logs the error, and tries again after
    a backoff. The ``leaderlock`` logger writes to gunicorn's error log, unless the application gives a
    handler to this logger or to the root logger.

    If gunicorn runs as root with ``user`` set, a worker stands for election after it has become that
    user and has loaded the application. Root creates a lock file at `path`, and gives it to the user if
    only root can write to the directory.

    Args:
        task: a function of one argument, the `Leadership`.
        name: the lock's name. The default is made of the task's name and the path of the configuration
            file, so that other servers of the same user do not get in its way. Servers that share
            their configuration file also share the leader, unless each gets a name of its own.
        path: in place of the name, a path, or the URL of an engine.
        chain: another ``post_fork`` hook, which is called first.
        on_return, backoff, lease, within, on_elected, on_resigned, thread, keeper: the same as for
            `Election`; a worker whose task misses its lease is killed.

    Raises:
        TypeError, ValueError: an argument is invalid.
        Unsupported: this system lacks the timer of a lease, or no engine takes the URL.
    """
    if chain is not None and not callable(chain):
        raise TypeError(f"chain must be another post_fork hook, not {chain!r}")
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
    rehearse_before_fork()
    to_server = log_to_server()

    def post_fork(server: Arbiter, worker: Worker) -> None:
        if chain is not None:
            chain(server, worker)
        # Keep this short: each step copies memory pages that the worker would share with the arbiter.
        log = getattr(worker.log, "error_log", to_server.logger)  # a custom logger_class may lack it
        if log is not to_server.logger:
            to_server.logger = log
        if not type(worker).__module__.startswith("gunicorn."):
            after(worker, "init_signals", end_in_good_order)  # before the worker loads the application
        after(worker, "init_signals", retire_at_signals)
        heed_gunicorn(worker)

        if _will_drop_rights(worker.cfg):
            if path is not None and election.place.lock is not None and os.geteuid() == 0:
                _hand_over(election.place.lock.path, worker)
            after_init(worker, functools.partial(stand_here, election, task))
        elif hasattr(worker, "patch"):
            # A gevent worker. If the task began before the patch, `threading` and `socket` would change
            # while it runs, and the first leader would use another kind of threads than the next one.
            after(worker, "patch", functools.partial(stand_here, election, task))
        else:
            stand_here(election, task)

    return post_fork


def _will_drop_rights(config: Config) -> bool:
    """Whether the worker will become another user or group; follows gunicorn's own rule."""
    return bool(
        (config.uid and config.uid != os.getuid()) or (config.gid and config.gid != os.getgid())
    )


def _hand_over(path: str, worker: Worker) -> None:
    if not worker.cfg.uid:
        return
    try:
        hand_over(path, worker.cfg.uid, worker.cfg.gid)
    except LeaderLockError as error:  # the worker reports more if it cannot use the file
        worker.log.error("%s", error)
