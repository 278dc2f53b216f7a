"""Celery: runs a leaderlock task in one of the worker processes on this machine.

    # in the module that holds the application
    from leaderlock.integrations.celery import in_one_worker
    in_one_worker(task)

A single ``celery beat`` needs no code: ``leaderlock run --name beat -- celery -A app beat``.
"""

from __future__ import annotations

import os

from leaderlock.election.placement.parents import begin_in_celery
from leaderlock.integrations.serving import ServedTask
from leaderlock.kernel.arguments import names_near_keyword

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
    """Let one process of this machine's Celery workers run the task, while the others stand by.

    With the prefork pool, each process of the pool stands for election, and the main process does not.
    With the other pools (solo, threads, gevent, eventlet) the worker stands when it is ready. A process
    that imports the application only to send messages never stands.

    The task runs beside Celery's own tasks: in a native thread, or with the gevent and eventlet pools
    as a green thread of the hub. A process that ends in good order asks the task to stop and waits up
    to 5 seconds for its end.

    Args:
        task: a function of one argument, the `Leadership`.
        name: the lock's name. The default is made of the task's name and its file's path.
        path: in place of the name, a path, or the URL of an engine.
        on_return, backoff, lease, within, on_elected, on_resigned, thread, keeper: the same as for
            `Election`; a process whose task misses its lease is killed.

    Raises:
        TypeError, ValueError: an argument is invalid.
        Unsupported: this system lacks the timer of a lease, or no engine takes the URL.
    """
    served = ServedTask(
        task,
        name=name,
        path=path,
        on_return=on_return,
        backoff=backoff,
        lease=lease,
        within=within,
        on_elected=on_elected,
        on_resigned=on_resigned,
        thread=thread,
        keeper=keeper,
    )
    begin_in_celery(served)
