"""`sinks.systemd` and a real systemd, which is told by a worker that is not the main process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from leaderlock.kernel.proc.processes import pid_in_its_namespace, process_table
from tests.processes import until
from tests.supervisor.systemd import Systemd, why_not

WATCHED = Path(__file__).with_name("watched.py")
WATCHDOG_SECONDS = 2

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def add(systemd: Systemd, name: str) -> Path:
    """A unit; returned is the file that breaks its service."""
    systemd.add(
        f"{name}.service",
        f"""\
[Unit]
DefaultDependencies=no
StartLimitIntervalSec=0
[Service]
Type=notify
NotifyAccess=all
WatchdogSec={WATCHDOG_SECONDS}
Restart=on-failure
RestartSec=0
TimeoutStopSec=5
ExecStart={sys.executable} {WATCHED} /run/{name}.lock /run/shared/{name}.broken
""",
    )
    return systemd.shared / f"{name}.broken"


def leader_of(systemd: Systemd, name: str) -> int:
    """The process that leads, as it is called in there."""
    found = re.match(
        r"process (\d+) leads in term \d+: ok$", systemd.show(f"{name}.service", "StatusText")
    )
    return int(found[1]) if found else 0


def test_it_counts_as_started_when_no_critical_check_fails(systemd: Systemd) -> None:
    broken = add(systemd, "ready")
    broken.touch()
    starting = systemd.start_later("ready.service")
    failing = r"^process \d+ leads in term \d+: failing; failing: works$"
    until(lambda: re.match(failing, systemd.show("ready.service", "StatusText")), "its status")
    assert systemd.show("ready.service", "ActiveState") == "activating"
    assert starting.poll() is None
    broken.unlink()
    assert starting.wait() == 0
    assert systemd.show("ready.service", "ActiveState") == "active"
    until(lambda: leader_of(systemd, "ready"), "its status to be ok")
    assert systemd.show("ready.service", "MainPID") != str(leader_of(systemd, "ready"))
    systemd.systemctl("stop", "ready.service")


def test_it_is_restarted_by_the_watchdog_when_a_critical_check_fails(systemd: Systemd) -> None:
    broken = add(systemd, "broken")
    systemd.systemctl("start", "broken.service")
    time.sleep(2.5 * WATCHDOG_SECONDS)  # nothing is to happen in this time
    assert systemd.show("broken.service", "NRestarts") == "0"
    broken.touch()
    systemd.until_journal(r"^broken.service: Watchdog timeout \(limit 2s\)!")
    systemd.until_journal("^broken.service: Failed with result 'watchdog'")
    broken.unlink()
    systemd.until_shown("broken.service", "ActiveState", "active")
    assert systemd.show("broken.service", "NRestarts") != "0"
    systemd.systemctl("stop", "broken.service")


def test_the_watchdog_does_not_notice_that_the_leadership_passes_on(systemd: Systemd) -> None:
    add(systemd, "passes")
    systemd.systemctl("start", "passes.service")
    until(lambda: leader_of(systemd, "passes"), "a leader")
    first = leader_of(systemd, "passes")
    systemd.systemctl(
        "kill", "--signal=KILL", "--kill-who=all", "passes.service"
    ) if first == 0 else None
    _kill_inside(systemd, first)
    until(lambda: leader_of(systemd, "passes") not in (0, first), "another leader")
    time.sleep(2.5 * WATCHDOG_SECONDS)  # nothing is to happen in this time
    assert systemd.show("passes.service", "NRestarts") == "0"
    assert systemd.show("passes.service", "ActiveState") == "active"
    _kill_inside(systemd, leader_of(systemd, "passes"))  # and now nobody is left
    systemd.until_journal("^passes.service: Watchdog timeout")
    systemd.systemctl("stop", "passes.service")


def _kill_inside(systemd: Systemd, pid: int) -> None:
    """Kill a process by the number that it has in there."""
    namespace = os.readlink(f"/proc/{systemd.pid}/ns/pid")
    for other in process_table():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            inside = os.readlink(f"/proc/{other}/ns/pid") == namespace
            if inside and pid_in_its_namespace(other) == pid:
                os.kill(other, signal.SIGKILL)
                return
    raise AssertionError(f"there is no process {pid} in there")
