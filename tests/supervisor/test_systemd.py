"""`leaderlock run` as a service of a real systemd, booted in namespaces of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import PATIENCE
from tests.supervisor.systemd import CHECKOUT, Systemd, why_not

BEATING = Path(__file__).with_name("beating.py")
WATCHDOG_SECONDS = 2

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def unit(options: str, words: str, service: str = "") -> str:
    """A service that runs `beating.py` under `leaderlock run`."""
    return f"""\
[Unit]
DefaultDependencies=no
[Service]
Type=notify
NotifyAccess=main
WatchdogSec={WATCHDOG_SECONDS}
{service}
ExecStart={sys.executable} -m leaderlock run {options} -- {sys.executable} {BEATING} {words}
"""


def test_a_command_that_stops_beating_is_restarted_by_systemd_and_the_journal_says_so(
    systemd: Systemd,
) -> None:
    words = f"say:hang-up send:READY=1 beat:{2.5 * WATCHDOG_SECONDS} say:hang-silent hang"
    systemd.add("hang.service", unit("", words, "Restart=on-failure\nRestartSec=0"))
    systemd.systemctl("start", "hang.service")
    systemd.until_journal("^hang-up$")
    systemd.until_journal("^hang-silent$")  # so its beats, which we passed on, have kept it alive
    assert systemd.show("hang.service", "NRestarts") == "0"
    systemd.until_journal(r"^hang.service: Watchdog timeout \(limit 2s\)!")
    systemd.until_journal("^hang.service: Failed with result 'watchdog'")
    systemd.until_journal("^hang-up$")
    systemd.systemctl("stop", "hang.service")


@pytest.mark.parametrize(
    ("name", "options"), [("ready", ""), ("ready-locked", "--lock /run/ready.lock")]
)
def test_a_service_counts_as_started_when_the_command_says_that_it_is_ready(
    systemd: Systemd, name: str, options: str
) -> None:
    go = systemd.shared / name
    os.mkfifo(go)
    words = f"send:STATUS=warming wait:/run/shared/{name} send:READY=1,STATUS=serving beat:600"
    systemd.add(f"{name}.service", unit(options, words))
    starting = systemd.start_later(f"{name}.service")
    systemd.until_shown(f"{name}.service", "StatusText", "warming")
    assert systemd.show(f"{name}.service", "ActiveState") == "activating"
    assert starting.poll() is None
    go.write_text("!")
    assert starting.wait(PATIENCE) == 0
    assert systemd.show(f"{name}.service", "ActiveState") == "active"
    assert systemd.show(f"{name}.service", "StatusText") == "serving"
    systemd.systemctl("stop", f"{name}.service")


def test_a_standby_counts_as_started_and_is_beaten_for_until_it_leads(systemd: Systemd) -> None:
    words = "say:{}-leads send:READY=1,STATUS=leading beat:600"
    for name in ("first", "second"):
        systemd.add(f"{name}.service", unit("--lock /run/standby.lock", words.format(name)))
    systemd.systemctl("start", "first.service")
    systemd.until_shown("first.service", "StatusText", "leading")
    systemd.systemctl("start", "second.service")
    assert systemd.show("second.service", "ActiveState") == "active"
    assert systemd.show("second.service", "StatusText") == "standing by for /run/standby.lock"
    time.sleep(2.5 * WATCHDOG_SECONDS)  # nothing is to happen in this time
    assert systemd.show("second.service", "ActiveState") == "active"
    assert systemd.show("second.service", "StatusText") == "standing by for /run/standby.lock"
    systemd.systemctl("kill", "--signal=KILL", "first.service")
    systemd.until_journal("^second-leads$")
    systemd.until_shown("second.service", "StatusText", "leading")
    systemd.systemctl("stop", "second.service")


def test_a_command_that_leaderlock_restarts_does_not_fail_the_service(systemd: Systemd) -> None:
    words = "say:own-up send:READY=1 beat:0.5 say:own-silent hang"
    options = "--watchdog 2 --restart always"
    systemd.add("own.service", unit(options, words, "WatchdogSec=10"))
    systemd.systemctl("start", "own.service")
    systemd.until_journal("^own-silent$")
    systemd.until_journal(
        "^leaderlock: the command seems to hang, so leaderlock stops it: it missed its beat of 2 s"
    )
    systemd.until_journal("^own-up$")
    assert systemd.show("own.service", "ActiveState") == "active"
    assert systemd.show("own.service", "NRestarts") == "0"
    systemd.systemctl("stop", "own.service")


def test_systemctl_stop_ends_the_command_by_the_schedule(systemd: Systemd) -> None:
    words = "say:stop-up send:READY=1 beat:600"
    options = "--verbose --stop USR1/0/TERM/25/KILL"
    systemd.add("stop.service", unit(options, words, "KillMode=mixed"))
    systemd.systemctl("start", "stop.service")
    systemd.until_journal("^stop-up$")
    systemd.systemctl("stop", "stop.service")
    systemd.until_journal("^leaderlock: sending SIGUSR1")
    systemd.until_journal("^leaderlock: the command has ended with status 138")


def who_can_read_the_checkout() -> tuple[str, str]:
    """A user and a group without rights, if the checkout is not hidden from them; else root."""
    see = [sys.executable, "-c", f"import leaderlock; open({str(BEATING)!r})"]
    try:
        seen = subprocess.run(
            see, user="nobody", group="nogroup", extra_groups=[], cwd="/", capture_output=True
        )
    except PermissionError:  # the interpreter itself is hidden
        return "root", "root"
    return ("nobody", "nogroup") if seen.returncode == 0 else ("root", "root")


def test_the_unit_in_contrib_runs_under_its_restrictions(systemd: Systemd) -> None:
    user, group = who_can_read_the_checkout()
    text = (CHECKOUT / "contrib" / "leaderlock.service").read_text()
    systemd.add("contrib.service", text)
    command = f"{sys.executable} {BEATING} say:contrib-up send:READY=1,STATUS=leading beat:600"
    ours = text.replace("/usr/bin/leaderlock", f"{sys.executable} -m leaderlock")
    [start] = [line for line in ours.splitlines() if line.startswith("ExecStart=")]
    systemd.add(
        "contrib.service.d/test.conf",
        f"""\
[Unit]
DefaultDependencies=no
[Service]
User={user}
Group={group}
# The checkout may lie in either place.
ProtectHome=no
PrivateTmp=no
ExecStart=
{start.replace("/usr/bin/myjob", command)}
""",
    )
    systemd.systemctl("start", "contrib.service")
    systemd.until_journal("^contrib-up$")
    systemd.until_shown("contrib.service", "StatusText", "leading")
    assert systemd.show("contrib.service", "NRestarts") == "0"
    directory = Path(f"/proc/{systemd.pid}/root/run/myjob")
    assert (directory / "myjob.lock").exists()
    systemd.systemctl("stop", "contrib.service")
    assert systemd.show("contrib.service", "Result") == "success"
    assert (directory / "myjob.lock").exists(), "a deleted lock file can make two leaders"


def test_a_command_that_says_that_it_stops_and_is_restarted_does_not_stop_the_unit(
    systemd: Systemd,
) -> None:
    words = "say:again-up send:READY=1 beat:0.2 send:STOPPING=1"
    systemd.add("again.service", unit("--restart always", words))
    systemd.systemctl("start", "again.service")
    for _ in range(2):
        systemd.until_journal("^again-up$")
    # Between two starts leaderlock beats for the command, and the unit is what it was.
    assert systemd.show("again.service", "ActiveState") == "active"
    assert systemd.show("again.service", "SubState") == "running"
    systemd.systemctl("stop", "again.service")
    assert systemd.show("again.service", "NRestarts") == "0"


def test_a_longer_interval_that_the_command_asks_for_is_the_managers_too(systemd: Systemd) -> None:
    words = "send:READY=1,WATCHDOG_USEC=600000000 say:long-up hang"
    systemd.add("long.service", unit("", words))
    systemd.systemctl("start", "long.service")
    systemd.until_journal("^long-up$")
    time.sleep(1.5 * WATCHDOG_SECONDS)  # nothing is to happen in this time
    assert systemd.show("long.service", "ActiveState") == "active"
    assert systemd.show("long.service", "NRestarts") == "0"
    systemd.systemctl("stop", "long.service")
