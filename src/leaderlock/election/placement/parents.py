"""Other servers: Celery's main process, the parents of reloaders, Sanic's main process, uvicorn."""

from __future__ import annotations

import os
import sys

from leaderlock.election.placement.place import Elsewhere, Here, frames, say_where
from leaderlock.election.placement.retiring import heed_uvicorn, uvicorn_server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from leaderlock.election.candidate import Candidate
    from leaderlock.election.placement.place import Call, Placed


def find_place() -> Here | Elsewhere | None:
    """The place where a candidate of this process begins; None if none of these servers runs here."""
    if _is_celery_worker_loading():
        return Elsewhere(begin_in_celery)
    if "sanic" in sys.modules:
        return _place_in_sanic()
    for parent, is_this in _RELOADERS.items():
        if is_this():
            return _nowhere(f"the parent of {parent}")
    if uvicorn_server() is not None or _is_uvicorn_loading():
        return Here(_in_uvicorn)
    return None


def _is_uvicorn_loading() -> bool:
    """Whether uvicorn's server imports the application just now, before it sets its signal handlers."""
    return any(f.f_globals.get("__name__") == "uvicorn.server" for f in frames())


def _in_uvicorn(call: Call) -> Candidate:
    heed_uvicorn()
    return call()


def _nowhere(place: str) -> Elsewhere:
    """Start nothing: the processes that serve import the application, and start their own candidate."""
    return Elsewhere(lambda _placed: say_where(place))


def _click_context() -> Any:
    click = sys.modules.get("click")
    return None if click is None else click.get_current_context(silent=True)


# Celery.


def _is_celery_worker_loading() -> bool:
    """Whether this process is a ``celery worker`` that has not begun to work.

    A process of the pool, and code that runs in the worker later, may start a candidate at once.
    """
    if "celery.bin.celery" not in sys.modules:
        return False
    context = _click_context()
    root = None if context is None else context.find_root()
    if root is None or root.command is not sys.modules["celery.bin.celery"].celery:
        return False
    if root.invoked_subcommand != "worker":
        return False
    names = {(f.f_globals.get("__name__"), f.f_code.co_name) for f in frames()}
    return ("celery.worker.worker", "start") not in names


def begin_in_celery(placed: Placed) -> None:
    """Begin in each process of a prefork pool; with any other pool, in the worker when it is ready."""
    from celery import signals  # noqa: PLC0415  (this is Celery)

    from leaderlock.election.at_exit import retire, stop_at_exit  # noqa: PLC0415  (before the fork)

    def begin(**_: object) -> None:
        placed.adopt()
        placed.begin()

    def begin_unless_pool_does(sender: Any, **_: object) -> None:
        prefork = sys.modules.get("celery.concurrency.prefork")  # loaded if the pool is a prefork pool
        if prefork is None or not isinstance(sender.pool, prefork.TaskPool):
            placed.begin()

    def stop(**_: object) -> None:
        stop_at_exit()

    def lead_no_more(**_: object) -> None:
        retire()

    # weak: Celery would forget these functions as soon as this one returns.
    signals.worker_process_init.connect(begin, weak=False)
    signals.worker_ready.connect(begin_unless_pool_does, weak=False)
    signals.worker_shutting_down.connect(lead_no_more, weak=False, dispatch_uid="leaderlock")
    # The processes of the pool end without Python's exit handlers.
    signals.worker_process_shutdown.connect(stop, weak=False, dispatch_uid="leaderlock")


# Sanic.


def _place_in_sanic() -> Elsewhere | None:
    name = os.environ.get("SANIC_WORKER_NAME", "")
    if name:
        return None if name.startswith("Sanic-Server") else _nowhere(f"Sanic's process {name}")
    if not any(f.f_globals.get("__name__") == "sanic.cli.app" for f in frames()):
        return None
    if "--single-process" in sys.argv:
        return None

    def place(placed: Placed) -> None:
        say_where("Sanic's main process")

        def after_fork() -> None:  # with Sanic.start_method = "fork"; by default a worker imports anew
            if os.environ.get("SANIC_WORKER_NAME", "").startswith("Sanic-Server"):
                placed.adopt()
                placed.begin()

        os.register_at_fork(after_in_child=after_fork)

    return Elsewhere(place)


# Reloaders.


def flask_serves() -> bool | None:
    """Whether this ``flask run`` is the process that will serve; None if it is no ``flask run``."""
    if os.environ.get("WERKZEUG_RUN_MAIN") == "true":
        return True
    context = _click_context()
    if context is None or context.command.name != "run" or "reload" not in context.params:
        return None
    reloads = context.params["reload"]
    if reloads is None:
        reloads = sys.modules["flask.helpers"].get_debug_flag()
    return not reloads


def django_serves() -> bool | None:
    """Whether this ``manage.py runserver`` is the process that will serve; None for other commands.

    Django's autoreloader starts the command again, with $RUN_MAIN, and supervises the new process.
    """
    if sys.argv[1:2] != ["runserver"]:
        return None
    return os.environ.get("RUN_MAIN") == "true" or "--noreload" in sys.argv


def _is_flasks_parent() -> bool:
    return "flask.cli" in sys.modules and flask_serves() is False


def _is_djangos_parent() -> bool:
    if "django" not in sys.modules:
        return False
    if sys.argv[1:2] == ["runserver_plus"]:  # of django-extensions, by Werkzeug's reloader
        return os.environ.get("WERKZEUG_RUN_MAIN") != "true" and "--noreload" not in sys.argv
    return django_serves() is False


def _is_hypercorns_parent() -> bool:
    """Whether this is Hypercorn's reloader: it imports the application to know the files to watch.

    Its workers are spawned.
    """
    if "hypercorn.run" not in sys.modules:
        return False
    return any(
        (f.f_globals.get("__name__"), f.f_code.co_name) == ("hypercorn.run", "run") for f in frames()
    )


_RELOADERS = {
    "Flask's reloader": _is_flasks_parent,
    "Django's reloader": _is_djangos_parent,
    "Hypercorn's reloader": _is_hypercorns_parent,
}
