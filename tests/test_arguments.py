"""A wrong argument is refused at once, by an error that names the argument and what it must be."""

from __future__ import annotations

import inspect
import os
import pickle
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from leaderlock import Election, Inbox, LeaderLock, Leadership, call_once, is_leader, only_once
from leaderlock.deadman import DeadManSwitch
from leaderlock.health import HealthReporter, checks, sinks
from leaderlock.integrations import asgi, celery, gunicorn
from leaderlock.integrations.flask import Leader
from leaderlock.web import asgi as web_asgi
from leaderlock.web import wsgi as web_wsgi
from tests.processes import run_task

AT = "/run/x.lock"


def led(lock: LeaderLock, call: Callable[[Leadership], object]) -> None:
    """Make the call as the leader."""
    run_task(Election(lock, on_return="resign"), call)


def task(leadership: object) -> None:
    raise AssertionError("it must not run")


MAKERS: dict[str, Callable[..., Any]] = {
    "LeaderLock": LeaderLock,
    "anonymous": LeaderLock.anonymous,
    "Election": Election,
    "only_once": lambda **settings: only_once(**settings)(task),
    "call_once": lambda **settings: call_once(**settings)(lambda: 1),
    "gunicorn": lambda **settings: gunicorn.in_one_worker(task, **settings),
    "asgi": lambda **settings: asgi.in_one_worker(task, **settings),
    "celery": lambda **settings: celery.in_one_worker(task, **settings),
    "Leader": Leader,
    "is_leader": is_leader,
    "Leader.task": lambda **settings: Leader().task(**settings)(task),
    "Inbox": Inbox,
    "DeadManSwitch": DeadManSwitch,
    "HealthReporter": HealthReporter,
    "check": lambda **settings: checks.check(lambda: 1, **settings),
    "cgroup": checks.cgroup,
    "disk": checks.disk,
    "checks.http": checks.http,
    "tcp": checks.tcp,
    "listen_queue": checks.listen_queue,
    "workers": checks.workers,
    "file": sinks.file,
    "fifo": sinks.fifo,
    "sinks.http": sinks.http,
    "healthchecks": sinks.healthchecks,
    "log": sinks.log,
    "statsd": sinks.statsd,
    "prometheus": sinks.prometheus,
    "prometheus_collector": sinks.prometheus_collector,
    "opentelemetry": sinks.opentelemetry,
    "web.asgi": web_asgi,
    "web.wsgi": web_wsgi,
}

ELECTING = ["Election", "only_once", "gunicorn", "asgi", "celery", "Leader.task"]

NEAR = [
    ("LeaderLock", "nmae", "name"),
    ("LeaderLock", "timout", "timeout"),
    ("anonymous", "nmae", "name"),
    *((maker, "leese", "lease") for maker in ELECTING),
    ("call_once", "pth", "path"),
    ("Leader", "ap", "app"),
    ("Inbox", "capcity", "capacity"),
    ("DeadManSwitch", "leas", "lease"),
    ("HealthReporter", "intervall", "interval"),
    ("check", "critcal", "critical"),
    ("cgroup", "throtled", "throttled"),
    ("disk", "fialing", "failing"),
    ("checks.http", "header", "headers"),
    ("tcp", "adress", "address"),
    ("listen_queue", "degrated", "degraded"),
    ("workers", "arbitr", "arbiter"),
    ("file", "mod", "mode"),
    ("fifo", "pth", "path"),
    ("sinks.http", "timout", "timeout"),
    ("healthchecks", "evry", "every"),
    ("log", "loger", "logger"),
    ("statsd", "prefx", "prefix"),
    ("prometheus", "pth", "path"),
    ("prometheus_collector", "pth", "path"),
    ("opentelemetry", "meter_providr", "meter_provider"),
    ("web.asgi", "heath", "health"),
    ("web.wsgi", "strems", "streams"),
]

SECONDS = "must be a positive number of seconds, not"
PAUSES = "backoff must be two numbers of seconds, the first pause and the longest one"
BITS = "mode must be permission bits such as 0o600, not"
WAIT = "timeout must be a number of seconds, or -1 to wait without limit, not"
NETWORK = "on_network_filesystem must be 'refuse', 'warn' or 'allow', not"
LIST = "must be a list of functions, not"

WRONG_SETTINGS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"lease": "x"}, TypeError, f"lease {SECONDS} 'x'"),
    ({"lease": True}, TypeError, f"lease {SECONDS} True"),
    ({"lease": -1}, ValueError, f"lease {SECONDS} -1"),
    ({"lease": float("nan")}, ValueError, f"lease {SECONDS} nan"),
    ({"backoff": "ab"}, TypeError, "each number of backoff must be seconds, not 'a'"),
    ({"backoff": 3}, TypeError, f"{PAUSES}, not 3"),
    ({"backoff": (1, None)}, TypeError, "each number of backoff must be seconds, not None"),
    ({"backoff": (1, 2, 3)}, TypeError, f"{PAUSES}, not (1, 2, 3)"),
    ({"backoff": (2, 1)}, ValueError, PAUSES),
    ({"on_return": "rezign"}, ValueError, "'rezign'; did you mean resign?"),
    ({"on_return": None}, ValueError, "on_return must be 'hold' or 'resign', not None"),
    ({"on_elected": "x"}, TypeError, "on_elected must be a function of one argument, not 'x'"),
    ({"on_resigned": 3}, TypeError, "on_resigned must be a function of one argument, not 3"),
    ({"thread": "natve"}, ValueError, "'natve'; did you mean native?"),
]

WRONG: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("LeaderLock", {}, TypeError, "a lock takes a path or name=, one of the two"),
    ("LeaderLock", {"path": 3}, TypeError, "path must be text or an os.PathLike, not 3"),
    ("LeaderLock", {"path": ""}, ValueError, "path must name a file, not ''"),
    ("LeaderLock", {"name": 3}, TypeError, "name must be text, not 3"),
    ("LeaderLock", {"path": AT, "mode": "x"}, TypeError, f"{BITS} 'x'"),
    ("LeaderLock", {"path": AT, "mode": 1.5}, TypeError, f"{BITS} 1.5"),
    ("LeaderLock", {"path": AT, "mode": True}, TypeError, f"{BITS} True"),
    ("LeaderLock", {"path": AT, "mode": 0o1777}, ValueError, f"{BITS} 1023"),
    ("LeaderLock", {"path": AT, "on_network_filesystem": "alow"}, ValueError, f"{NETWORK} 'alow'"),
    ("LeaderLock", {"path": AT, "on_network_filesystem": []}, ValueError, f"{NETWORK} []"),
    ("LeaderLock", {"path": AT, "timeout": "a"}, TypeError, f"{WAIT} 'a'"),
    ("LeaderLock", {"path": AT, "timeout": None}, TypeError, f"{WAIT} None"),
    ("LeaderLock", {"path": AT, "timeout": True}, TypeError, f"{WAIT} True"),
    ("LeaderLock", {"path": AT, "timeout": float("nan")}, ValueError, f"{WAIT} nan"),
    ("anonymous", {"name": 3}, TypeError, "name must be text, not 3"),
    *(
        (maker, settings | {"lock" if maker == "Election" else "path": AT}, error, text)
        for maker in ELECTING
        for settings, error, text in WRONG_SETTINGS
    ),
    *((maker, {"name": 3}, TypeError, "name must be text, not 3") for maker in ELECTING),
    ("Election", {"lock": 3}, TypeError, "path must be text or an os.PathLike, not 3"),
    ("call_once", {"key": "1", "name": 3}, TypeError, "name must be text, not 3"),
    ("call_once", {"key": "1", "path": 3}, TypeError, "path must be text or an os.PathLike, not 3"),
    ("asgi", {"app": 3}, TypeError, "app must be an ASGI application, not 3"),
    ("gunicorn", {"chain": 3}, TypeError, "chain must be another post_fork hook, not 3"),
    ("Leader", {"app": 3}, TypeError, "app must be a Flask application, not 3"),
    ("is_leader", {"name": 3}, TypeError, "name must be text or an os.PathLike, not 3"),
    ("Inbox", {"path": 3}, TypeError, "path must be text or an os.PathLike, not 3"),
    ("Inbox", {"path": AT, "mode": "x"}, TypeError, f"{BITS} 'x'"),
    ("Inbox", {"path": AT, "capacity": "x"}, TypeError, "capacity must be a number of bytes, not 'x'"),
    ("DeadManSwitch", {"lease": "x"}, TypeError, f"lease {SECONDS} 'x'"),
    ("HealthReporter", {"interval": "x"}, TypeError, f"interval {SECONDS} 'x'"),
    ("HealthReporter", {"interval": None}, TypeError, f"interval {SECONDS} None"),
    ("HealthReporter", {"checks": 3}, TypeError, f"checks {LIST} 3"),
    ("HealthReporter", {"checks": task}, TypeError, f"checks {LIST} <function"),
    ("HealthReporter", {"sinks": "x"}, TypeError, f"sinks {LIST} 'x'"),
    ("check", {"timeout": "x"}, TypeError, f"timeout {SECONDS} 'x'"),
    ("disk", {"path": 3}, TypeError, "path must be text or an os.PathLike, not 3"),
    ("disk", {"path": "/", "failing": "x"}, TypeError, "failing must be a share over 0 and up to 1"),
    ("file", {"path": 3}, TypeError, "path must be text or an os.PathLike, not 3"),
    ("file", {"path": AT, "mode": "x"}, TypeError, f"{BITS} 'x'"),
    ("fifo", {"path": 3}, TypeError, "path must be text or an os.PathLike, not 3"),
    ("sinks.http", {"url": "http://a/", "timeout": "x"}, TypeError, f"timeout {SECONDS} 'x'"),
    (
        "healthchecks",
        {"url": "http://a/", "every": "x"},
        TypeError,
        "every must be a number of seconds",
    ),
    ("prometheus", {"path": "/x.prom", "mode": "x"}, TypeError, f"{BITS} 'x'"),
    ("web.asgi", {"streams": "x"}, TypeError, "streams must be a number, not 'x'"),
    ("web.wsgi", {"hosts": "localhost"}, TypeError, "hosts must be a list of host names"),
    ("web.wsgi", {"paths": [3]}, TypeError, "a path must be text or an os.PathLike, not 3"),
]


@pytest.mark.parametrize(("maker", "keyword", "near"), NEAR)
def test_an_unknown_keyword_is_answered_with_the_near_one(maker: str, keyword: str, near: str) -> None:
    text = rf"got an unexpected keyword argument '{keyword}'; did you mean {near}\?$"
    with pytest.raises(TypeError, match=text) as caught:
        MAKERS[maker](**{keyword: 3})
    assert "__init__" not in str(caught.value)


@pytest.mark.parametrize(
    ("maker", "settings", "error", "text"),
    WRONG,
    ids=[f"{maker}-{list(given)[-1:]}-{number}" for number, (maker, given, *_) in enumerate(WRONG)],
)
def test_a_wrong_argument_is_named_where_the_object_is_made(
    maker: str, settings: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        MAKERS[maker](**settings)
    assert type(caught.value) is error
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda lock, wrong: lock.acquire(timeout=wrong), f"{WAIT} '1'"),
        (lambda lock, wrong: Election(lock).run(wrong), "the task must be a function of one argument"),
        (
            lambda lock, wrong: Election(lock).start(wrong),
            "the task must be a function of one argument",
        ),
        (lambda lock, wrong: only_once(wrong), "only_once decorates a function, not '1'"),
        (lambda lock, wrong: led(lock, lambda term: term.every(wrong)), f"seconds {SECONDS} '1'"),
        (lambda lock, wrong: led(lock, lambda term: term.wait(wrong)), "seconds must be a number of"),
    ],
    ids=["acquire", "run", "start", "only_once", "every", "wait"],
)
def test_a_wrong_argument_of_a_call_is_named(
    path: Path, call: Callable[[LeaderLock, Any], object], text: str
) -> None:
    lock = LeaderLock(path)
    with pytest.raises(TypeError) as caught:
        call(lock, "1")
    assert str(caught.value).startswith(text)
    assert not lock.locked()


def test_a_candidate_names_a_wrong_timeout_and_goes_on(path: Path) -> None:
    candidate = Election(path).start(lambda leadership: None)
    try:
        for call in (candidate.wait, candidate.stop):
            with pytest.raises(
                TypeError, match=r"^timeout must be a number of seconds, or None, not 'x'"
            ):
                call("x")  # type: ignore[arg-type]
        assert candidate.wait(60)
    finally:
        assert candidate.stop(60)


def test_any_real_number_is_taken_as_seconds(path: Path) -> None:
    lock = LeaderLock(path, timeout=Decimal(60))  # type: ignore[arg-type]
    with lock, LeaderLock(Path(f"{path}.other"), timeout=60) as other:
        assert other.locked()
        assert not LeaderLock(path).acquire(timeout=Decimal("0.01"))  # type: ignore[arg-type]


def test_a_lock_shows_its_parameters_and_is_pickled_as_before() -> None:
    assert list(inspect.signature(LeaderLock).parameters)[:2] == ["path", "name"]
    lock = pickle.loads(pickle.dumps(LeaderLock(AT, timeout=3)))
    assert (lock.path, os.path.basename(lock.path)) == (AT, "x.lock")
