"""An unknown keyword, signal or variable is answered with the known one that is near."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from leaderlock import Candidate, Election, Inbox, Leadership, call_once, only_once
from leaderlock.cli.variables import on_variables
from leaderlock.integrations.flask import Leader
from leaderlock.supervisor.schedule import Schedule

HOOKS = [
    ("gunicorn", "in_one_worker"),
    ("uwsgi", "in_one_worker"),
    ("uwsgi", "in_one_mule"),
    ("asgi", "in_one_worker"),
    ("celery", "in_one_worker"),
]


def hook(room: str, name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(
        importlib.import_module(f"leaderlock.integrations.{room}"), name
    )
    return function


def task(leadership: object) -> None:
    raise AssertionError("it must not run")


@pytest.mark.parametrize(("room", "name"), HOOKS, ids=str)
def test_an_unknown_keyword_of_a_hook_names_the_near_one(room: str, name: str) -> None:
    text = rf"^{name}\(\) got an unexpected keyword argument 'nmae'; did you mean name\?$"
    with pytest.raises(TypeError, match=text):
        hook(room, name)(task, nmae="health")


@pytest.mark.parametrize(("room", "name"), HOOKS, ids=str)
def test_a_hook_shows_its_own_parameters(room: str, name: str) -> None:
    parameters = inspect.signature(hook(room, name)).parameters
    assert next(iter(parameters)) == "task"
    assert {"name", "path", "lease", "on_elected"} <= parameters.keys()


@pytest.mark.parametrize(
    ("call", "near"),
    [
        (lambda: Election("/run/x.lock", leese=3), "lease"),  # type: ignore[call-arg]
        (lambda: only_once(pth="/run/x.lock"), "path"),  # type: ignore[call-overload]
        (lambda: call_once(kye="1"), "key"),  # type: ignore[call-arg]
        (lambda: Leader().task(bakcoff=(1, 2)), "backoff"),  # type: ignore[call-overload]
    ],
)
def test_so_does_one_of_an_election(call: Callable[[], object], near: str) -> None:
    with pytest.raises(TypeError, match=rf"; did you mean {near}\?$"):
        call()


@pytest.mark.parametrize(
    ("method", "wrong", "near"),
    [
        (Election.run, "tsak", "task"),
        (Election.start, "taks", "task"),
        (Candidate.stop, "timout", "timeout"),
        (Candidate.wait, "timeuot", "timeout"),
        (Leadership.every, "secs", "seconds"),
        (Leadership.wait, "secnods", "seconds"),
        (Inbox.receive, "leadreship", "leadership"),
    ],
    ids=lambda value: getattr(value, "__qualname__", value),
)
def test_so_does_one_of_a_method(method: Callable[..., object], wrong: str, near: str) -> None:
    text = rf"^{method.__qualname__}\(\) got an unexpected .* '{wrong}'; did you mean {near}\?$"
    with pytest.raises(TypeError, match=text):
        method(None, **{wrong: 1})


def test_a_keyword_near_to_nothing_gets_no_guess() -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'qqqq'$"):
        hook("gunicorn", "in_one_worker")(task, qqqq=1)


@pytest.mark.parametrize(
    ("schedule", "near"),
    [
        ("TRM/25/KILL", "TERM"),
        ("TERM/25/KIL", "KILL"),
        ("SIGTEMR", "SIGTERM"),
        ("trem/5", "TERM"),
        ("RTMINN+3", "RTMIN"),
    ],
)
def test_an_unknown_signal_of_a_schedule_names_the_near_one(schedule: str, near: str) -> None:
    with pytest.raises(ValueError, match=rf"^there is no signal '.*'; did you mean {near}\?$"):
        Schedule(schedule)


@pytest.mark.parametrize("words", ["qqq", "SIGQQQ", "99"])
def test_a_signal_near_to_nothing_gets_no_guess(words: str) -> None:
    with pytest.raises(ValueError, match=f"^there is no signal '{words}'$"):
        Schedule(words if not words.isdecimal() else f"-{words}")


@pytest.mark.parametrize(
    "words",
    [["run", "--stop", "TRM/25/KILL"], ["run", "-p", "TRM"], ["init", "-p", "TRM"]],
    ids=" ".join,
)
def test_so_do_the_options_that_take_a_signal(words: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "leaderlock", *words, "--", "true"], capture_output=True, text=True
    )
    assert run.returncode == (1 if words[0] == "init" else 2)
    assert "there is no signal 'TRM'; did you mean TERM?" in run.stderr
    assert run.stderr.count("\n") == 1


def test_a_variable_that_nothing_reads_is_doubtful_if_a_known_one_is_near() -> None:
    found = on_variables({"LEADERLOCK_DRI": "/x", "LEADERLOCK_RUN_STPO": "1", "HOME": "/"})
    assert [(finding.topic, finding.verdict) for finding in found] == [("variable", "doubtful")] * 2
    assert found[0].text.endswith("LEADERLOCK_DRI; did you mean LEADERLOCK_DIR?")
    assert found[1].text.endswith("LEADERLOCK_RUN_STPO; did you mean LEADERLOCK_RUN_STOP?")


def test_a_variable_near_to_nothing_changes_no_verdict() -> None:
    (finding,) = on_variables({"LEADERLOCK_ZZZZZZZZ": "1"})
    assert finding.verdict == "good"
    assert "did you mean" not in finding.text


@pytest.mark.parametrize(
    "names",
    [
        ["LEADERLOCK_DIR", "LEADERLOCK_RUN_RESTART_LIMIT", "LEADERLOCK_STATUS_JSON"],
        ["LEADERLOCK_TERM", "LEADERLOCK_PATH", "LEADERLOCK_FD"],
        ["LEADERLOCK_SUBREAPER", "LEADERLOCK_KILL_PROCESS_GROUP", "LEADERLOCK_VERBOSITY"],
        ["LEADERLOCK_SERVICE_HOST", "LEADERLOCK_SERVICE_PORT", "LEADERLOCK_PORT_8642_TCP_ADDR"],
        ["LEADERLOCK_RUN_SERVICE_HOST", "LEADERLOCK_RUN_PORT"],
    ],
    ids=lambda names: names[0],
)
def test_variables_of_leaderlock_and_of_a_kubernetes_service_are_no_findings(names: list[str]) -> None:
    assert on_variables(dict.fromkeys(names, "1")) == []


def test_the_doctor_points_out_a_variable(tmp_path: object) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "leaderlock", "doctor", str(tmp_path)],
        env={**os.environ, "LEADERLOCK_DRI": "/x"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "LEADERLOCK_DRI; did you mean LEADERLOCK_DIR?" in " ".join(run.stdout.split())
