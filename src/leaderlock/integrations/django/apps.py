"""The Django app: each serving process stands for election."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.signals import request_started

from leaderlock.election.placement.parents import django_serves
from leaderlock.integrations.django.tasks import configured, task_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.integrations.serving import ServedTask


class LeaderlockConfig(AppConfig):  # type: ignore[misc]  # Django has no types of its own
    """Stands for election for each task of ``settings.LEADERLOCK``, where requests are served.

    These are the workers of gunicorn and uWSGI when they are ready; ``manage.py runserver``, but not
    its autoreloader's parent; and under any other server each process from its first request on. Other
    commands (``migrate``, ``shell``, ``test``) never stand, and test clients never stand.
    """

    name = "leaderlock.integrations.django"
    label = "leaderlock"

    def ready(self) -> None:
        """Stand, or wait for the first request. Django calls this in every process of any kind."""
        self._at_first_request: list[ServedTask] = []
        for path, keywords in configured().items():
            task = task_of(path, keywords)
            if task.stand_in_workers():
                continue
            if django_serves():
                task.stand()
            else:
                self._at_first_request.append(task)
        if self._at_first_request:
            request_started.connect(self._stand, dispatch_uid="leaderlock")

    def _stand(self, sender: type[object], **_: object) -> None:
        from django.core.handlers.asgi import ASGIHandler  # noqa: PLC0415  (the server has imported it)
        from django.core.handlers.wsgi import WSGIHandler  # noqa: PLC0415  (the server has imported it)

        if issubclass(sender, (ASGIHandler, WSGIHandler)):  # no test client
            request_started.disconnect(dispatch_uid="leaderlock")
            for task in self._at_first_request:
                task.stand()
