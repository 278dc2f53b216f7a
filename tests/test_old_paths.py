"""The import paths that the documents of version 0.1.0 name."""

from __future__ import annotations

import subprocess
import sys

import pytest

OF_VERSION_0_1 = [
    "from leaderlock import Election, Inbox, LeaderLock, Leadership, __version__",
    "from leaderlock import call_once, current_leadership, only_once",
    "from leaderlock.deadman import DeadManSwitch",
    "from leaderlock.errors import LeaderLockError",
    "from leaderlock.fifo import PersistentReader",
    "from leaderlock.health import CheckResult, HealthReporter, checks, sinks",
    "from leaderlock.history import history_of",
    "from leaderlock.inbox import Inbox",
    "from leaderlock.integrations.asgi import every, in_one_worker",
    "from leaderlock.integrations.celery import in_one_worker",
    "from leaderlock.integrations.flask import Leader",
    "from leaderlock.integrations.gunicorn import in_one_worker",
    "from leaderlock.integrations.pytest import once_per_run",
    "from leaderlock.integrations.uwsgi import in_one_mule, in_one_worker",
    "from leaderlock.interop import AsyncFileLock, FileLock, Lock, RLock",
    "from leaderlock.kernel import experiments, filesystem, lock_table",
    "from leaderlock.leading import every",
    "from leaderlock.status import all_locks, status_of",
    "import leaderlock.web; leaderlock.web.asgi, leaderlock.web.wsgi",
    "import leaderlock.health; leaderlock.health.checks.http, leaderlock.health.sinks.file",
]


@pytest.mark.parametrize("statement", OF_VERSION_0_1)
def test_an_import_that_version_0_1_documents_goes_on_working(statement: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", statement], check=True)
