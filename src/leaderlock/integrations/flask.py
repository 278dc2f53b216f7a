"""Flask: runs a task in one of the processes that serve the application.

leader = Leader(app)

@leader.task
def report(leadership): ...
"""

from __future__ import annotations

import os
from typing import overload

from leaderlock.election.placement import find_place
from leaderlock.election.placement.parents import flask_serves
from leaderlock.election.placement.place import Elsewhere
from leaderlock.election.task import require_task
from leaderlock.integrations.serving import ServedTask
from leaderlock.kernel.arguments import names_near_keyword

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal, TypeVar

    from flask import Flask

    from leaderlock.election.leadership import Leadership

    Task = TypeVar("Task", bound=Callable[[Leadership], object])


class Leader:
    """A Flask extension: one of the processes that serve the application runs each `task`.

    Each worker of gunicorn (with and without ``preload_app``) and of uWSGI stands for election when it
    is ready. ``flask run`` stands in the process that serves, not in its reloader's parent. Under any
    other server a process stands at its first request, or when it calls `start`. A process that never
    serves (``flask shell`` and other commands, a test client of an app with ``testing`` set) never
    stands.

    Args:
        app: the application; or call `init_app` later, as the last step of a factory.

    Raises:
        TypeError: `app` is not a Flask application.
    """

    @names_near_keyword
    def __init__(self, app: Flask | None = None) -> None:
        self._tasks: list[ServedTask] = []
        self._app: Flask | None = None
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Run the tasks, including ones that are added later, with this application."""
        if not hasattr(app, "extensions"):
            raise TypeError(f"app must be a Flask application, not {app!r}")
        is_first = self._app is None
        self._app = app
        app.extensions["leaderlock"] = self
        app.before_request(self._stand_at_first_request)
        if is_first:
            for task in list(self._tasks):
                self._stand_when_ready(task)

    @overload
    def task(self, function: Task, /) -> Task: ...
    @overload
    def task(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        path: str | os.PathLike[str] | None = None,
        lease: float | None = None,
        within: str | os.PathLike[str] | None = None,
        on_return: Literal["hold", "resign"] = "hold",
        backoff: tuple[float, float] = (1.0, 60.0),
        on_elected: Callable[[Leadership], object] | None = None,
        on_resigned: Callable[[Leadership], object] | None = None,
        thread: Literal["auto", "native"] = "auto",
        keeper: bool = True,
    ) -> Callable[[Task], Task]: ...
    @names_near_keyword
    def task(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        path: str | os.PathLike[str] | None = None,
        lease: float | None = None,
        within: str | os.PathLike[str] | None = None,
        on_return: Literal["hold", "resign"] = "hold",
        backoff: tuple[float, float] = (1.0, 60.0),
        on_elected: Callable[[Leadership], object] | None = None,
        on_resigned: Callable[[Leadership], object] | None = None,
        thread: Literal["auto", "native"] = "auto",
        keeper: bool = True,
    ) -> Any:
        """Decorate a function of one argument, the `Leadership`; it runs in the application's context.

        Args:
            name: the lock's name. The default is made of the function's name and its file's path, so
                that other applications do not get in its way.
            path: in place of the name, a path, or the URL of an engine.
            lease, within, on_return, backoff, thread, keeper: the same as for `Election`.
            on_elected, on_resigned: the same as for `Election`; they run in the context, too.

        Raises:
            TypeError, ValueError: an argument is invalid.
        """

        def add(function: Task) -> Task:
            task = ServedTask(
                function,
                prepared=self._in_app_context(function),
                name=name,
                path=path,
                lease=lease,
                within=within,
                on_return=on_return,
                backoff=backoff,
                on_elected=on_elected and self._in_app_context(on_elected, "on_elected"),
                on_resigned=on_resigned and self._in_app_context(on_resigned, "on_resigned"),
                thread=thread,
                keeper=keeper,
            )
            self._tasks.append(task)
            if self._app is not None:
                self._stand_when_ready(task)
            return function

        return add if function is None else add(function)

    def _in_app_context(
        self, function: Callable[[Leadership], object], what: str = "the task"
    ) -> Callable[[Leadership], object]:
        require_task(function, what)

        def run(leadership: Leadership) -> object:
            app = self._app
            assert app is not None
            _wait_until_imported(app.import_name)
            with app.app_context():
                return function(leadership)

        return run

    def start(self) -> None:
        """Stand in this process at once, before its first request.

        If this process only forks serving processes, its workers stand instead.
        """
        place = find_place()
        for task in self._tasks:
            if isinstance(place, Elsewhere):
                place.put(task)
            else:
                task.stand()

    def _stand_when_ready(self, task: ServedTask) -> None:
        if task.stand_in_workers():
            self._tasks.remove(task)
        elif flask_serves():
            task.stand()

    def _stand_at_first_request(self) -> None:
        if self._app is not None and not self._app.testing:
            for task in self._tasks:
                task.stand()


def _wait_until_imported(module: str) -> None:
    """Wait while another thread still imports the module that makes the application.

    The task may need definitions that follow in that module. An `import` here would wait too, but would
    import the module a second time if the first import failed.
    """
    import _frozen_importlib  # noqa: PLC0415  (it holds the import system's locks)

    bootstrap: Any = _frozen_importlib
    bootstrap._lock_unlock_module(module)
