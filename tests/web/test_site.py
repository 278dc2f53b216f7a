"""What the status page answers: checked by wsgiref's validator, the schemas and Prometheus's parser."""

from __future__ import annotations

import contextlib
import html.parser
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families

import leaderlock
import leaderlock.web
from leaderlock import LeaderLock
from leaderlock.health import sinks
from leaderlock.wording import printable
from tests.health.sink_reports import a_check, a_critical_failure, a_report
from tests.processes import Child, holder, until_parked

PACKAGE = Path(leaderlock.__file__).parent
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x1b[2J\u202e"


class Answer:
    def __init__(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status = int(status.split(maxsplit=1)[0])
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)

    def samples(self) -> dict[tuple[str, ...], float]:
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        }


def get(application: Any, path: str = "/", method: str = "GET", **environ: str) -> Answer:
    """Call the application as a server would; what breaks WSGI's rules raises."""
    asked: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": method, "QUERY_STRING": "", **environ}
    asked.setdefault("SCRIPT_NAME", "")
    setup_testing_defaults(asked)
    errors = asked["wsgi.errors"] = io.StringIO()
    started: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
        started[:] = [status, headers]
        return lambda data: None

    pieces = validator(application)(asked, start)
    try:
        body = b"".join(pieces)
    finally:
        pieces.close()  # type: ignore[attr-defined]
    assert errors.getvalue() == ""
    return Answer(started[0], started[1], body)


class Elements(html.parser.HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def health(tmp_path: Path) -> Path:
    return tmp_path / "health.json"


def test_it_says_who_leads_who_waits_and_how_the_terms_went(path: Path, health: Path) -> None:
    sinks.file(health)(a_critical_failure())
    with LeaderLock(path):
        pass
    with LeaderLock(path):
        page = Elements(get(leaderlock.web.wsgi(path, health)).text)
    for text in (
        str(path),
        f"{os.getpid()} ",
        "2 terms, 1 failover",
        "Waiting: 0",
        "not healthy: failing",
    ):
        assert text in page.text
    assert "released" in page.text
    assert page.text.count("Leader locks") == 2  # the title and the heading


def test_its_documents_are_as_their_schemas_say(path: Path, tmp_path: Path) -> None:
    with LeaderLock(path), holder(tmp_path / "other.lock"):
        application = leaderlock.web.wsgi([path, tmp_path / "other.lock"])
        status, histories = get(application, "/status.json").json(), get(application, "/history.json")
    jsonschema.validate(status, json.loads((PACKAGE / "status" / "status.schema.json").read_text()))
    jsonschema.validate(
        histories.json(), json.loads((PACKAGE / "web" / "history.schema.json").read_text())
    )
    one = json.loads((PACKAGE / "history.schema.json").read_text())
    for history in histories.json()["locks"]:
        jsonschema.validate(history, one)
    assert [lock["path"] for lock in status["locks"]] == [str(path), str(tmp_path / "other.lock")]
    assert [len(history["terms"]) for history in histories.json()["locks"]] == [1, 1]


def test_only_get_and_head_are_answered_and_nothing_is_changed(path: Path) -> None:
    with LeaderLock(path):
        before = path.read_bytes()
        application = leaderlock.web.wsgi(path)
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            for page in ("/", "/status.json", "/events", "/nothing"):
                answer = get(application, page, method)
                assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
        for page in ("/", "/style.css", "/events", "/healthz"):
            assert get(application, page, "HEAD").body == b""
        assert path.read_bytes() == before


def test_every_answer_keeps_the_browser_from_running_loading_and_keeping_anything(path: Path) -> None:
    application = leaderlock.web.wsgi(path)
    for page in ("/", "/style.css", "/page.js", "/events", "/metrics", "/nothing", "/../cli/run.py"):
        headers = get(application, page).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere(path: Path) -> None:
    with LeaderLock(path):
        page = Elements(get(leaderlock.web.wsgi(path)).text)
    tags = [tag for tag, _ in page.found]
    assert "style" not in tags
    assert tags.count("script") == 1
    for tag, attributes in page.found:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src"):
            assert ":" not in (attributes.get(name) or ""), tag
        assert attributes.get("http-equiv") is None


@pytest.mark.parametrize(
    ("server", "host", "status"),
    [
        ("127.0.0.1", "localhost:8642", 200),
        ("127.0.0.1", "127.0.0.1:8642", 200),
        ("127.0.0.1", "LOCALHOST.", 200),
        ("127.0.0.1", "app.localhost", 200),
        ("::1", "[::1]:8642", 200),
        ("127.0.0.1", "evil.example", 421),
        ("127.0.0.1", "evil.example:8642", 421),
        ("127.0.0.1", "127.0.0.1.evil.example", 421),
        ("127.0.0.1", "localhost.evil.example", 421),
        ("127.0.0.1", "", 421),
        ("::1", "[::1", 200),
        ("::1", "[fe80::1]", 421),
        ("localhost", "evil.example", 421),
        ("10.0.0.7", "status.example", 200),
        ("0.0.0.0", "status.example", 200),
    ],
)
def test_on_loopback_only_its_names_are_answered(
    path: Path, server: str, host: str, status: int
) -> None:
    path.touch()
    application = leaderlock.web.wsgi(path)
    assert get(application, SERVER_NAME=server, HTTP_HOST=host).status == status


def test_named_hosts_are_answered_and_no_others(path: Path) -> None:
    path.touch()
    application = leaderlock.web.wsgi(path, hosts=["Status.example"])
    assert get(application, HTTP_HOST="status.example:443", SERVER_NAME="127.0.0.1").status == 200
    assert get(application, HTTP_HOST="127.0.0.1", SERVER_NAME="127.0.0.1").status == 421


def test_healthz_needs_a_leader_and_a_good_report(path: Path, health: Path) -> None:
    path.touch()
    with_report, without = leaderlock.web.wsgi(path, health), leaderlock.web.wsgi(path)

    def answers() -> list[int]:
        both = [get(application, "/healthz") for application in (with_report, without)]
        assert all(answer.text.count("\n") == 1 for answer in both)
        return [answer.status for answer in both]

    sinks.file(health)(a_report())
    assert answers() == [503, 503]  # nobody leads
    with LeaderLock(path):
        assert answers() == [200, 200]
        sinks.file(health)(a_report("degraded"))
        assert answers() == [200, 200]
        sinks.file(health)(a_critical_failure())
        assert answers() == [503, 200]
        sinks.file(health)(a_report(time=time.time() - 1000))
        assert "no leader is reporting" in get(with_report, "/healthz").text
        health.write_text("{")
        assert answers() == [503, 200]
        health.unlink()
        assert answers() == [503, 200]
    path.unlink()
    assert answers() == [503, 503]


def test_without_paths_it_shows_every_lock_that_can_be_seen(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADERLOCK_DIR", str(tmp_path))
    application = leaderlock.web.wsgi()
    with LeaderLock(path), LeaderLock.anonymous(name="nowhere"):
        paths = [lock["path"] for lock in get(application, "/status.json").json()["locks"]]
        assert str(path) in paths
        page = get(application).text
        assert str(path) in page
        assert "memfd:nowhere" in page
        assert get(application, "/healthz").status == 200


def test_the_metrics_are_those_of_the_lock_and_of_the_report(path: Path, health: Path) -> None:
    sinks.file(health)(a_critical_failure())
    application = leaderlock.web.wsgi([path, f"{path}.missing"], health)
    for _ in range(2):
        with LeaderLock(path):
            pass
    with LeaderLock(path):
        led = get(application, "/metrics")
    assert led.headers["content-type"].startswith("text/plain; version=")
    samples, lock = led.samples(), str(path)
    assert samples["leaderlock_lock_led", lock] == 1
    assert samples["leaderlock_lock_term", lock] == 3
    assert samples["leaderlock_lock_failovers_total", lock] == 2
    assert samples["leaderlock_lock_waiters", lock] == 0
    assert samples["leaderlock_lock_leaderless_seconds", lock] == 0
    assert samples["leaderlock_unreadable_locks",] == 1
    assert samples["leaderlock_health_good",] == 0
    assert samples["leaderlock_status",] == 2  # the reporter's own
    free = get(application, "/metrics").samples()
    assert free["leaderlock_lock_led", lock] == 0
    assert free["leaderlock_lock_leaderless_seconds", lock] > 0


def test_without_prometheus_client_the_answer_names_the_extra(path: Path) -> None:
    path.touch()
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from leaderlock.web.site import Request, Site\n"
        "answer = Site(sys.argv[1]).respond(Request('GET', '/metrics', '', '', ''))\n"
        "print(answer.status, answer.body.decode())"
    )
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert run.stdout.startswith("501 ")
    assert "pip install 'leaderlock[prometheus]'" in run.stdout


def test_whatever_a_name_a_command_or_a_report_holds_is_text(tmp_path: Path, health: Path) -> None:
    path = tmp_path / f"{HOSTILE.replace('/', '')}.lock"
    sinks.file(health)(
        a_report("failing", checks={HOSTILE: a_check("failing", [HOSTILE], error=HOSTILE)})
    )
    with LeaderLock(path):
        answer = get(leaderlock.web.wsgi(path, health))
        samples = get(leaderlock.web.wsgi(path, health), "/metrics").samples()
    page = Elements(answer.text)
    tags = [tag for tag, _ in page.found]
    assert (tags.count("script"), tags.count("img")) == (1, 0)
    assert page.text.count("<script>alert(1)</script>") >= 3  # the check's name, value and error
    assert "\x1b" not in answer.text
    assert "\u202e" not in answer.text
    assert samples["leaderlock_lock_led", printable(str(path))] == 1
    assert all(text.isprintable() for labels in samples for text in labels)


@pytest.mark.parametrize(
    "part",
    [
        {"value": {"a": [1e999, None]}},
        {"value": "x" * 100_000},
        {"error": {"not": "text"}, "critical": "yes"},
        {"duration": "long"},
    ],
)
def test_a_report_of_an_odd_form_is_shown_as_far_as_it_goes(
    path: Path, health: Path, part: dict[str, Any]
) -> None:
    report = a_report(
        "failing", checks={"odd": {**a_check("failing"), **part}}, reporter={"interval": 5}
    )
    health.write_text(json.dumps(report))
    with LeaderLock(path):
        application = leaderlock.web.wsgi(path, health)
        page = get(application)
        assert page.status == 200
        assert "odd" in page.text
        assert len(page.body) < 20_000
        assert get(application, "/metrics").samples()["leaderlock_health_good",] == 0


def test_a_lock_that_cannot_be_read_does_not_hide_the_others(path: Path, tmp_path: Path) -> None:
    with LeaderLock(path):
        application = leaderlock.web.wsgi([tmp_path / "missing", tmp_path, path])
        page = Elements(get(application).text)
        assert "missing does not exist" in page.text
        assert "is a directory" in page.text
        assert "1 term, 0 failovers" in page.text
        assert get(application, "/healthz").status == 503


def test_a_page_without_its_slash_leads_to_itself(path: Path) -> None:
    path.touch()
    answer = get(leaderlock.web.wsgi(path), "", SCRIPT_NAME="/ops/a b")
    assert (answer.status, answer.headers["location"]) == (308, "./a%20b/")


@pytest.mark.parametrize("make", [leaderlock.web.wsgi, leaderlock.web.asgi])
def test_settings_that_cannot_be_meant_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="must name a file"):
        make([""])
    with pytest.raises(ValueError, match="must name a file"):
        make(health="a\0b")
    with pytest.raises(ValueError, match="must not be negative"):
        make(streams=-1)


def test_values_are_shown_for_people_and_their_json_when_it_is_opened(path: Path, health: Path) -> None:
    processes = [{"pid": pid, "age": 44.7, "resident": 24862720, "cpu": 0.9} for pid in (9584, 11027)]
    memory = {"current": 289320960, "working_set": 147226624, "limit": None}
    disk = {"path": "/run", "total": 270553174016, "free": 84930830336, "used": 0.2204, "inodes": 7}
    checks = {
        "workers": a_check(value={"alive": 2, "processes": processes}),
        "cgroup": a_check(value={"memory": memory, "pressure": {"cpu": {"some": 7.16}}}),
        "disk": a_check(value=disk),
        "queue": a_check(value={"limit": 2048, "used": 0.0}),
        "plain": a_check(value=3),
    }
    sinks.file(health)(a_report(checks=checks))
    with LeaderLock(path), holder_in_queue(path):
        text = Elements(get(leaderlock.web.wsgi(path, health)).text)
    for shown in (
        "memory.current: 276 MiB",
        "memory.limit: –",
        "pressure.cpu.some: 7.16 %",
        "total: 252 GiB",
        "used: 22.0 %",
        "limit: 2048",
        "23.7 MiB",
        "44.7 s",
        "sleeping",
    ):
        assert shown in text.text, shown
    assert [tag for tag, _ in text.found].count("details") == len(checks) + 1
    assert '"resident": 24862720' in text.text  # in the JSON


@contextlib.contextmanager
def holder_in_queue(path: Path) -> Iterator[None]:
    """A process that waits for the lock."""
    with Child(path) as child:
        child.begin("LeaderLock(argv[0]).acquire()")
        until_parked(path, child.pid)
        yield
