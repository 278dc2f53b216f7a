"""The tasks in ``settings.LEADERLOCK``."""

from __future__ import annotations

import os
import sys

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from leaderlock.election.election import Election
from leaderlock.election.task import require_task
from leaderlock.integrations.serving import ServedTask
from leaderlock.kernel.arguments import keywords_of
from leaderlock.lock.naming import own_name
from leaderlock.wording import suggestion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from leaderlock.election.leadership import Leadership

_KEYS = ("path", *(key for key in keywords_of(Election.__init__) if key != "lock"))
"""The settings that a task accepts."""


def configured() -> dict[str, Mapping[str, Any]]:
    """The settings of each task, keyed by its dotted path.

    Raises:
        ImproperlyConfigured: ``settings.LEADERLOCK`` is invalid.
    """
    tasks = getattr(settings, "LEADERLOCK", {})
    if isinstance(tasks, dict) and all(
        isinstance(path, str) and isinstance(keywords, dict) for path, keywords in tasks.items()
    ):
        return tasks
    raise ImproperlyConfigured(
        f"LEADERLOCK must map the dotted path of each task to its settings, as in "
        f"{{'polls.tasks.report': {{'lease': 180}}}}, not {tasks!r}"
    )


def task_of(path: str, keywords: Mapping[str, Any]) -> ServedTask:
    """The task with this dotted path.

    Raises:
        ImproperlyConfigured: the task cannot be imported, is no function of one argument, or one of its
            settings is wrong.
    """
    for key in keywords:
        if key not in _KEYS:
            raise ImproperlyConfigured(
                f"the task {path!r} of LEADERLOCK has no setting {key!r}{suggestion(str(key), _KEYS)}"
            )
    try:
        function = import_string(path)
        if not {"name", "path"} & keywords.keys() and callable(function):
            keywords = {**keywords, "name": own_name(function, caller=_settings_file())}
        callbacks = {
            what: _prepared(_imported(keywords[what]), what)
            for what in ("on_elected", "on_resigned")
            if keywords.get(what) is not None
        }
        return ServedTask(function, prepared=_prepared(function), **{**keywords, **callbacks})
    except (ImportError, TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"the task {path!r} of LEADERLOCK: {error}") from error


def _settings_file() -> str:
    module = sys.modules.get(getattr(settings, "SETTINGS_MODULE", ""))
    return os.path.realpath(getattr(module, "__file__", None) or os.curdir)


def _imported(callback: object) -> object:
    """A callback from the settings: imported if given by its dotted path, otherwise unchanged."""
    return import_string(callback) if isinstance(callback, str) else callback


def _prepared(function: Any, what: str = "the task") -> Callable[[Leadership], object]:
    require_task(function, what)

    def run(leadership: Leadership) -> object:
        apps.ready_event.wait()  # a leader may be elected before all apps are ready
        try:
            return function(leadership)
        finally:
            connections.close_all()  # the connections of this thread

    return run
