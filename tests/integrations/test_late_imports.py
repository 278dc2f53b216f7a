"""A worker of a server imports nothing for its leader once the leader may have dropped its rights."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests import late_imports
from tests.integrations.server import Server
from tests.processes import until

# `ready` notes the worker; from then on nothing may be imported for leaderlock.
HOOK = """
import importlib.util
spec = importlib.util.spec_from_file_location("late_imports", {module!r})
late_imports = importlib.util.module_from_spec(spec)
spec.loader.exec_module(late_imports)
post_fork = in_one_worker(lead, path={lock!r}, backoff=(0.05, 0.2))
def post_worker_init(worker):
    late_imports.forbid({report!r})
    ready(worker)
"""


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent", "uvicorn_worker.UvicornWorker"])
def test_a_worker_of_gunicorn_imports_nothing_after_the_fork(tmp_path: Path, kind: str) -> None:
    lock, report = tmp_path / "leader.lock", tmp_path / "report"
    hook = HOOK.format(module=late_imports.__file__, lock=str(lock), report=str(report))
    with Server(tmp_path, kind, hook) as server:
        first = server.leader()
        os.kill(first.pid, signal.SIGKILL)
        server.leader(not_among=[first.pid])
        os.kill(server.arbiter, signal.SIGTERM)
        until(lambda: not server.processes(), "the server to end")
    assert late_imports.late(str(report)) == []
