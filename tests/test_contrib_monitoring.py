"""The alerts and the dashboard: read by Prometheus, and compared with what leaderlock exports."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.parser import text_string_to_metric_families

from leaderlock import Election
from leaderlock.health import HealthReporter, checks, sinks
from tests.processes import until
from tests.test_run import line_of, start

CONTRIB = Path(__file__).parent.parent / "contrib"
RULES = CONTRIB / "prometheus" / "leaderlock.rules.yml"
RULES_TEST = CONTRIB / "prometheus" / "leaderlock.rules.test.yml"
DASHBOARD: dict[str, Any] = json.loads((CONTRIB / "grafana" / "leaderlock.json").read_text())

ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
TARGETS: list[dict[str, Any]] = [t for panel in PANELS for t in panel.get("targets", [])]
VARIABLES: list[dict[str, Any]] = DASHBOARD["templating"]["list"]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (prometheus)"
)


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, timeout=120)


@needs_promtool
def test_promtool_understands_every_rule() -> None:
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked.stderr
    assert f"{len(ALERTS)} rules found" in checked.stdout


@needs_promtool
def test_each_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    tested = promtool("test", "rules", RULES_TEST)
    assert tested.returncode == 0, tested.stdout
    for path in (RULES, RULES_TEST):
        shutil.copy(path, tmp_path)
    worse = RULES.read_text().replace("leaderlock_status == 2", "leaderlock_status == 3")
    (tmp_path / RULES.name).write_text(worse)
    assert promtool("test", "rules", tmp_path / RULES_TEST.name).returncode != 0


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    fired = {
        case["alertname"]
        for test in yaml.safe_load(RULES_TEST.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
        if case["exp_alerts"]
    }
    assert fired == {alert["alert"] for alert in ALERTS}


def test_every_alert_says_how_bad_it_is_and_what_to_look_at() -> None:
    for alert in ALERTS:
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"].keys() == {"summary", "description"}


@pytest.fixture(scope="module")
def metrics_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where `leaderlock serve` shows the metrics of a lock with a real reporter in the lead."""
    directory = tmp_path_factory.mktemp("served")
    lock, health = directory / "leader.lock", directory / "health.json"
    reporter = HealthReporter(1, [checks.disk(directory)], [sinks.file(health), sinks.log()])
    candidate = Election(lock).start(reporter)
    try:
        until(health.exists, "a report")
        process = start("serve", "--bind", "127.0.0.1:0", "--health", str(health), str(lock))
        try:
            yield line_of(process).split()[-1] + "metrics"
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
    finally:
        candidate.stop(60)


@pytest.fixture(scope="module")
def exported(metrics_page: str) -> dict[str, set[str]]:
    """The labels of each metric, by its name."""

    def seen() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        with urllib.request.urlopen(metrics_page, timeout=60) as page:
            text = page.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
        return found

    # The first report knows nothing yet of the sinks that it is given to.
    until(lambda: "leaderlock_sink_errors_total" in seen(), "a report of the sinks")
    return seen()


def expressions() -> Iterator[tuple[str, str]]:
    """Each expression, with what is written for people from its labels."""
    for alert in ALERTS:
        yield alert["expr"], " ".join(alert["annotations"].values())
    for target in TARGETS:
        yield target["expr"], target["legendFormat"]
    for variable in VARIABLES:
        if variable["type"] == "query":
            yield variable["query"]["query"], ""
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["expr"], ""


def test_what_they_ask_for_is_exported(exported: dict[str, set[str]]) -> None:
    asked = list(expressions())
    assert len(asked) > 30
    for expression, text in asked:
        names = set(re.findall(r"leaderlock_\w+", expression))
        assert names <= exported.keys(), expression
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\"", expression)) - {"__name__"}
        labels |= set(re.findall(r"\{\{(?:\s*\$labels\.)?(\w+)\s*\}\}", text)) - {"value"}
        known = set.intersection(*(exported[name] for name in names)) | {"instance"}
        if "or" not in expression.split():
            assert labels <= known, expression


def test_everything_that_is_exported_is_on_the_dashboard(exported: dict[str, set[str]]) -> None:
    shown = set(re.findall(r"leaderlock_\w+", json.dumps(PANELS)))
    assert {name for name in exported if name.startswith("leaderlock_")} == shown


def asked_by_grafana(expression: str) -> str:
    """An expression with Grafana's variables filled in."""
    for name, value in {"$__range": "1m", "$__rate_interval": "20s"}.items():
        expression = expression.replace(name, value)
    return re.sub(r"\$\w+", ".*", expression)


@needs_promtool
def test_promtool_understands_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"x:{number}", "expr": asked_by_grafana(target["expr"])}
        for number, target in enumerate(TARGETS)
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    checked = promtool("check", "rules", path)
    assert checked.returncode == 0, checked.stderr


@pytest.fixture
def prometheus(metrics_page: str, tmp_path: Path) -> Iterator[str]:
    """A real Prometheus that scrapes the page each second."""
    target = urllib.parse.urlsplit(metrics_page).netloc
    scrape = {"job_name": "app", "static_configs": [{"targets": [target]}]}
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text(
        yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]})
    )
    with (tmp_path / "log").open("w") as log:
        process = psutil.Popen(
            [
                "prometheus",
                f"--config.file={configuration}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=log,
            stderr=log,
        )
    try:

        def port() -> int:
            assert process.is_running(), (tmp_path / "log").read_text()
            listening = [c for c in process.net_connections("tcp4") if c.status == "LISTEN"]
            return listening[0].laddr.port if listening else 0

        until(lambda: port() != 0, "Prometheus to listen")
        yield f"http://127.0.0.1:{port()}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_a_real_prometheus_has_an_answer_for_every_panel(prometheus: str) -> None:
    def answer(expression: str) -> list[Any]:
        query = urllib.parse.urlencode({"query": asked_by_grafana(expression)})
        try:
            with urllib.request.urlopen(f"{prometheus}/api/v1/query?{query}", timeout=60) as page:
                found: list[Any] = json.load(page)["data"]["result"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it still starts
                return []
            raise
        return found

    for target in TARGETS:
        until(lambda: bool(answer(target["expr"])), f"an answer for {target['expr']}")  # noqa: B023


def lost(before: Any, after: Any, where: str = "") -> Iterator[str]:
    """What of a document has not come through."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key in after:
                yield from lost(value, after[key], f"{where}/{key}")
            else:
                yield f"{where}/{key}"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (value, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(value, other, f"{where}/{number}")
    elif before != after:
        yield where


def not_of_grafana(dashboard: dict[str, Any]) -> list[str]:
    """What Grafana's own types for a dashboard do not know."""
    plugins.register_default_plugins()
    read = Dashboard.from_json(dashboard)
    return list(lost(dashboard, json.loads(JSONEncoder().encode(read))))


def test_grafana_s_own_types_know_every_word_of_the_dashboard() -> None:
    assert not_of_grafana(DASHBOARD) == []
    wrong = json.loads(json.dumps(DASHBOARD))
    wrong["panels"][1]["gridPosition"] = wrong["panels"][1].pop("gridPos")
    assert not_of_grafana(wrong) == ["/panels/1/gridPosition"]


def test_the_panels_lie_side_by_side() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_every_query_goes_to_the_data_source_that_was_chosen() -> None:
    assert VARIABLES[0]["name"] == "datasource"
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for asking in (*TARGETS, *VARIABLES[1:], *DASHBOARD["annotations"]["list"]):
        assert asking["datasource"] == chosen
