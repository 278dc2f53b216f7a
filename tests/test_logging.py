"""What a background thread cannot raise reaches the log, however the application sets logging up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.health.sink_reports import a_report
from tests.processes import PATIENCE

DICT = """
import logging.config
logging.config.dictConfig({
    "version": 1,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
})
"""
FILE = """
import io, logging.config
logging.config.fileConfig(io.StringIO('''
[loggers]
keys=root
[handlers]
keys=console
[formatters]
keys=
[logger_root]
handlers=console
level=INFO
[handler_console]
class=StreamHandler
args=()
'''))
"""
BARE = """
import logging.config
logging.config.dictConfig({"version": 1})
"""
PROGRAM = """
import sys, threading, time, logging
from leaderlock import Election
reached, configured = threading.Event(), threading.Event()
def task(leadership):
    reached.set()
    configured.wait()
    raise ZeroDivisionError("on purpose")
logging.getLogger("leaderlock").info("the logger exists before the configuration")
candidate = Election(sys.argv[1], backoff=(300, 300)).start(task)
reached.wait()
{configure}
configured.set()
while candidate.state == "leading":
    time.sleep(0.01)
assert candidate.stop(60)
"""


@pytest.mark.parametrize(
    "configure", [DICT, FILE, BARE], ids=["dictConfig", "fileConfig", "no handler"]
)
def test_a_tasks_traceback_is_logged_after_a_configuration_that_disables_loggers(
    path: Path, configure: str
) -> None:
    program = PROGRAM.replace("{configure}", configure)
    run = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert run.returncode == 0, run.stderr
    assert "Traceback" in run.stderr
    assert "ZeroDivisionError: on purpose" in run.stderr


def test_a_level_still_silences_it(path: Path) -> None:
    silent = DICT + 'logging.getLogger("leaderlock").setLevel(logging.CRITICAL)\n'
    program = PROGRAM.replace("{configure}", silent)
    run = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_reports_are_logged_after_a_configuration_that_disables_loggers() -> None:
    program = (
        "import sys, json, logging\n"
        "from leaderlock.health import sinks\n"
        "sink, theirs = sinks.log(), sinks.log('theirs')\n"
        f"{DICT}\n"
        "report = json.load(sys.stdin)\n"
        "theirs({'theirs': True}); sink(report)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(a_report()),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert run.stderr.startswith('{"version":')
    assert "theirs" not in run.stderr  # a logger of the application's own is left alone
