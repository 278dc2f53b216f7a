"""The status page goes on after the package was replaced on disk, or rights to read it were dropped."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import leaderlock
from leaderlock import LeaderLock
from leaderlock.health import sinks
from tests import late_imports
from tests.health.sink_reports import a_report

PLACES = ["/", "/style.css", "/page.js", "/icon.svg", "/status.json", "/history.json", "/metrics"]

# prometheus_client is an extra, of which nothing is loaded before it is needed.
ASK = """
import asyncio, importlib.util, os, sys
from leaderlock.web import {kind}
spec = importlib.util.spec_from_file_location("late_imports", sys.argv[3])
late_imports = importlib.util.module_from_spec(spec)
spec.loader.exec_module(late_imports)
import prometheus_client.core, prometheus_client.exposition
page = {kind}([sys.argv[1], "redis://127.0.0.1:1/0#x"], sys.argv[2])
late_imports.forbid(sys.argv[4])
if sys.argv[5]:
    os.rename(sys.argv[5], sys.argv[5] + ".gone")

def over_wsgi(path):
    statuses = []
    environ = {{"PATH_INFO": path, "SCRIPT_NAME": "", "REQUEST_METHOD": "GET"}}
    environ["HTTP_HOST"] = "localhost"
    b"".join(page(environ, lambda status, headers: statuses.append(status[:3])))
    return statuses[0]

def over_asgi(path):
    messages = []
    async def send(message):
        messages.append(message)
    async def receive():
        return {{"type": "http.request"}}
    scope = {{"type": "http", "path": path, "method": "GET", "headers": [(b"host", b"localhost")]}}
    asyncio.run(page(scope, receive, send))
    return messages[0]["status"]

for path in sys.argv[6:]:
    print(over_{kind}(path))
"""


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize("removed", [False, True], ids=["forbidden", "removed"])
def test_nothing_is_imported_or_read_from_the_package_to_answer_a_request(
    path: Path, tmp_path: Path, kind: str, removed: bool
) -> None:
    report, health, package = tmp_path / "report", tmp_path / "health.json", ""
    sinks.file(health)(a_report())
    environment = {}
    if removed:
        package = str(tmp_path / "packages" / "leaderlock")
        source = Path(leaderlock.__file__).parent
        shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
        environment["PYTHONPATH"] = str(tmp_path / "packages")
    with LeaderLock(path):
        asked = subprocess.run(
            [
                *(sys.executable, "-B", "-c", ASK.format(kind=kind), str(path), str(health)),
                *(late_imports.__file__, str(report), package, *PLACES),
            ],
            env=environment,
            capture_output=True,
            text=True,
        )
    assert asked.stdout.split() == ["200"] * len(PLACES), (asked.stdout, asked.stderr)
    assert late_imports.late(str(report)) == []
