"""The Django app in real servers and commands: whoever serves stands for election, and nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integrations.fleet import BIN, Fleet, edit, free_port, get_page
from tests.processes import until

ADMIN = [sys.executable, "-m", "django"]
GUNICORN = [BIN / "gunicorn", "--no-control-socket", "-b", "127.0.0.1:0", "-w", "4"]
UVICORN = "uvicorn_worker.UvicornWorker"
ASGI = "django.core.asgi:get_asgi_application()"
WSGI = "django.core.wsgi:get_wsgi_application()"
REPORT = "tests.integrations.django_site.report"

MY_SITE = """
from tests.integrations.django_site import *

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"all": {"class": "logging.StreamHandler"}},
    "loggers": {"django.utils.autoreload": {"handlers": ["all"], "level": "DEBUG"}},
}
"""


def site(directory: Path, *commands: list[object], settings: str = "django_site") -> Fleet:
    fleet = Fleet(directory, *commands)
    known = {"django_site": "tests.integrations.django_site"}
    fleet.environment["DJANGO_SETTINGS_MODULE"] = known.get(settings, settings)
    return fleet


def admin(fleet: Fleet, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a management command to its end."""
    return subprocess.run(
        [*ADMIN, *arguments],
        cwd=fleet.directory,
        env={**fleet.environment, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("worker_class", ["sync", "gevent"])
@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["lazy", "preload"])
def test_the_example_in_gunicorn(tmp_path: Path, worker_class: str, preload: list[object]) -> None:
    command = [*GUNICORN, "-k", worker_class, *preload, WSGI]
    with site(tmp_path, command, settings="django_settings") as fleet:
        fleet.check_failover(4, replaced=True)
        assert fleet.until_standing(4) == fleet.workers()


def test_the_example_in_four_development_servers(tmp_path: Path) -> None:
    commands: list[list[object]] = [[*ADMIN, "runserver", free_port()] for _ in range(4)]
    with site(tmp_path, *commands, settings="django_settings") as fleet:
        parents = {fleet.process(number).pid for number in range(4)}
        fleet.check_failover(4)
        assert not parents & {note.pid for note in fleet.notes()}


def test_the_example_in_uwsgi(tmp_path: Path) -> None:
    command = [BIN / "uwsgi", "--http-socket", "127.0.0.1:0", "--master", "--processes", "4"]
    command += ["--need-app", "--die-on-term", "--module", WSGI, "--binary-path", sys.executable]
    with site(tmp_path, command, settings="django_settings") as fleet:
        fleet.check_failover(4, replaced=True)
        assert fleet.until_standing(4) == fleet.workers()


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["lazy", "preload"])
def test_a_worker_that_is_terminated_ends_its_task_first(tmp_path: Path, preload: list[object]) -> None:
    with site(tmp_path, [*GUNICORN, *preload, WSGI]) as fleet:
        fleet.until_standing(4)
        first = fleet.leader()
        os.kill(first.pid, signal.SIGTERM)
        fleet.leader(not_among=[first.pid])
        assert "stop" in {note.event for note in fleet.notes() if note.pid == first.pid}
        fleet.check_one_leader_at_any_time()


def test_the_autoreloaders_parent_never_leads_and_a_reload_ends_the_task_first(
    tmp_path: Path,
) -> None:
    port = free_port()
    own = tmp_path / "my_site.py"
    own.write_text(MY_SITE)
    with site(tmp_path, [*ADMIN, "runserver", port], settings="my_site") as fleet:
        for turn in (1, 2):
            [child] = fleet.until_standing(1)
            assert child in fleet.workers()
            assert get_page(port) == str(child)
            until(lambda turn=turn: looks_at(own, fleet) == turn, "the autoreloader's first look")  # type: ignore[misc]
            edit(own)
            until(lambda child=child: fleet.leaders() - {child}, "a reload")  # type: ignore[misc]
            fleet.leader(not_among=[child])
            assert [note.event for note in fleet.notes() if note.pid == child][-1] == "stop"
        fleet.check_one_leader_at_any_time()


def looks_at(module: Path, fleet: Fleet) -> int:
    """How many autoreloaders have had a first look at a module; an edit before that is none to them."""
    return fleet.output().count(f"File {module} first seen")


def test_without_the_autoreloader_the_process_itself_leads(tmp_path: Path) -> None:
    with site(tmp_path, [*ADMIN, "runserver", "--noreload", free_port()]) as fleet:
        assert fleet.until_standing(1) == {fleet.arbiter}


@pytest.mark.parametrize(
    "arguments",
    [
        ["migrate"],
        ["check"],
        ["test"],
        ["shell", "-c", "from django.test import Client; assert Client().get('/').content"],
        ["runserver", "--help"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_and_test_clients_do_not_stand(tmp_path: Path, arguments: list[str]) -> None:
    fleet = site(tmp_path)
    run = admin(fleet, *arguments)
    # Since Django 5 `test` fails where it finds no tests, from Python 3.12 on.
    assert run.returncode == 0 or "Ran 0 tests" in run.stderr, run.stderr
    assert not fleet.lock.exists()


def test_under_another_server_a_process_stands_at_its_first_request(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--port", port, "--factory"]
    with site(tmp_path, [*command, "django.core.asgi:get_asgi_application"]) as fleet:
        until(lambda: "Uvicorn running" in fleet.output(), "the server")
        assert not fleet.candidates()
        assert get_page(port) == str(fleet.arbiter)
        assert fleet.until_standing(1) == {fleet.arbiter}


def test_the_command_shows_who_leads_and_who_waits(tmp_path: Path) -> None:
    with site(tmp_path, [*GUNICORN, WSGI]) as fleet:
        stand = fleet.until_standing(4)
        leader = fleet.leader()
        run = admin(fleet, "leader")
        assert run.returncode == 0, run.stderr
        first, second = run.stdout.splitlines()
        assert first.startswith(f"{REPORT}: process {leader.pid} leads, term {leader.term}; ")
        waiting = first.partition("; waiting: ")[2].partition(" (")[0].split(", ")
        assert set(waiting) == {str(pid) for pid in stand - {leader.pid}}
        assert first.endswith(f"({fleet.lock})")
        assert second.startswith("tests.integrations.django_site.other: process ")


def test_the_command_shows_where_nobody_has_stood_and_where_nobody_leads(tmp_path: Path) -> None:
    fleet = site(tmp_path)
    first, second = admin(fleet, "leader").stdout.splitlines()
    assert first == f"{REPORT}: nobody has stood for election yet ({fleet.lock})"
    assert "other: nobody has stood" in second
    run = admin(fleet, "leader", "--run", "tests.integrations.django_site.other")
    assert run.returncode == 0, run.stderr
    assert "other: nobody leads; nobody waits" in admin(fleet, "leader").stdout


def test_processes_of_the_command_alone_elect_one(tmp_path: Path) -> None:
    commands: list[list[object]] = [[*ADMIN, "leader", "--run", "django_settings.report"]] * 4
    with site(tmp_path, *commands, settings="django_settings") as fleet:
        fleet.check_failover(4)


def test_the_command_stands_beside_the_workers(tmp_path: Path) -> None:
    with site(tmp_path, [*GUNICORN, WSGI]) as fleet:
        fleet.until_standing(4)
        campaign = fleet.start(*map(str, ADMIN), "leader", "--run", REPORT)
        fleet.arbiter = fleet.process().pid
        fleet.until_standing(5)
        os.kill(fleet.arbiter, signal.SIGTERM)
        assert fleet.leader(among=[campaign.pid]).pid == campaign.pid
        fleet.check_one_leader_at_any_time()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_ends_by_a_signal_when_it_leads_and_when_it_waits(
    tmp_path: Path, number: signal.Signals
) -> None:
    commands: list[list[object]] = [[*ADMIN, "leader", "--run", REPORT]] * 3
    with site(tmp_path, *commands) as fleet:
        processes = {fleet.process(turn).pid: fleet.process(turn) for turn in range(3)}
        fleet.until_standing(3)
        first = fleet.leader()
        waiting = processes.pop(next(iter(processes.keys() - {first.pid})))
        waiting.send_signal(number)
        assert waiting.wait(60) == 0
        assert fleet.leaders() == {first.pid}
        leading = processes.pop(first.pid)
        leading.send_signal(number)
        assert leading.wait(60) == 0
        assert fleet.leader(among=processes).term == first.term + 1
        assert "stop" in {note.event for note in fleet.notes() if note.pid == first.pid}
        assert "Traceback" not in fleet.output()
        fleet.check_one_leader_at_any_time()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("['tasks.report']", "LEADERLOCK must map the dotted path of each task to its settings"),
        ("{'tasks.report': 180}", "LEADERLOCK must map"),
        ("{'no.such.report': {}}", "the task 'no.such.report' of LEADERLOCK: No module named 'no'"),
        ("{'os.nothing': {}}", "the task 'os.nothing' of LEADERLOCK"),
        ("{'os.getpid': {'leese': 9}}", "LEADERLOCK has no setting 'leese'; did you mean lease?"),
        ("{'os.getpid': {'nmae': 'x'}}", "LEADERLOCK has no setting 'nmae'; did you mean name?"),
        ("{'os.getpid': {1: 'x'}}", "LEADERLOCK has no setting 1"),
        ("{'os.environ': {}}", "the task must be a function of one argument"),
        ("{'builtins.print': {'lease': -1}}", "lease"),
    ],
)
def test_a_wrong_setting_is_a_clear_error(tmp_path: Path, setting: str, says: str) -> None:
    (tmp_path / "wrong.py").write_text(
        f"INSTALLED_APPS = ['leaderlock.integrations.django']\nLEADERLOCK = {setting}\n"
    )
    run = admin(site(tmp_path, settings="wrong"), "check")
    assert run.returncode == 1
    assert says in run.stderr.splitlines()[-1]


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text("INSTALLED_APPS = ['leaderlock.integrations.django']\n")
    fleet = site(tmp_path, settings="bare")
    run = admin(fleet, "leader")
    assert (run.returncode, run.stderr) == (
        1,
        "CommandError: settings.LEADERLOCK names no task: add one, or use --run PATH.TO.TASK\n",
    )
    run = admin(fleet, "leader", "--run", "no.such.task")
    assert run.returncode == 1
    assert "CommandError: the task 'no.such.task'" in run.stderr
    run = admin(fleet, "leader", "--run", "os.getpid", LEADERLOCK_DIR="/proc/nothing")
    assert run.returncode == 1
    assert run.stderr.startswith("CommandError: /proc/nothing: cannot make the directory")
