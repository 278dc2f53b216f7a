"""``manage.py leader``: shows the leader and the waiting processes; or stands for election itself."""

from __future__ import annotations

import signal

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from leaderlock.errors import LeaderLockError
from leaderlock.integrations.django.tasks import configured, task_of
from leaderlock.status import status_of
from leaderlock.status.gathering.opened import MissingLockFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from typing import Any

    from leaderlock.election.election import Election


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types of its own
    """Show the state of each task in ``settings.LEADERLOCK``, or run one task."""

    help = (
        "Shows which process leads for each task of settings.LEADERLOCK, and who waits; "
        "with --run, stands for election with a task, in this process."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command's options."""
        parser.add_argument(
            "--run",
            metavar="PATH.TO.TASK",
            help="stand for election, beside the workers if LEADERLOCK has the same task, and run it "
            "when this process leads, until it returns; SIGTERM and Ctrl-C ask it to stop",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the command."""
        try:
            if options["run"]:
                self._run(options["run"])
            else:
                self._show()
        except (ImproperlyConfigured, LeaderLockError) as error:
            raise CommandError(str(error)) from error

    def _run(self, path: str) -> None:
        task = task_of(path, configured().get(path, {}))
        election = task.election
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: election.ask_to_stop())
        election.run(task.run)

    def _show(self) -> None:
        tasks = configured()
        if not tasks:
            raise CommandError("settings.LEADERLOCK names no task: add one, or use --run PATH.TO.TASK")
        for path, keywords in tasks.items():
            self.stdout.write(f"{path}: {_state(task_of(path, keywords).election)}")


def _state(election: Election) -> str:
    if election.place.lock is None:
        return f"see `leaderlock status {election.settings.engine.address}`"
    try:
        status = status_of(election.lock.path)
    except MissingLockFile:
        return f"nobody has stood for election yet ({election.lock.path})"
    queue = ", ".join(str(process.pid) for process in status.waiting)
    waits = f"waiting: {queue}" if queue else "nobody waits"
    holder = status.holder
    leads = "nobody leads" if holder is None else f"process {holder.pid} leads, term {holder.term}"
    return f"{leads}; {waits} ({status.path})"
