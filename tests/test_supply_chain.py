"""`make audit` never takes silence for safety; `make sbom` lists what a user's installation has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SAFE: dict[str, Any] = {"name": "rich", "version": "15.0.0", "vulns": []}
HURT = {**SAFE, "vulns": [{"id": "PYSEC-1", "fix_versions": ["15.0.1"]}]}
UNKNOWN = {"name": "rich", "skip_reason": "Dependency not found on PyPI"}


def audit(place: Path, answer: object, *, reachable: bool = True) -> subprocess.CompletedProcess[str]:
    """The script beside a service that answers in this way."""
    (place / "requests.py").write_text(
        "class RequestException(Exception): pass\n"
        f"def get(address, timeout):\n    if not {reachable}: raise RequestException('no way')\n"
    )
    (place / "pip_audit.py").write_text(f"print({json.dumps(answer)!r})\n")
    words = [sys.executable, str(ROOT / "scripts" / "audit.py"), "osv", "pins.txt"]
    environment = {**os.environ, "PYTHONPATH": str(place)}
    return subprocess.run(words, env=environment, cwd=place, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("found", "status", "text"),
    [
        ([SAFE], 0, "1 packages asked for, 0 with known vulnerabilities"),
        ([SAFE, HURT], 1, "rich 15.0.0: PYSEC-1, mended in 15.0.1"),
        ([SAFE, UNKNOWN], 3, "NOT AUDITED: 1 packages"),
        ([HURT, UNKNOWN], 1, "NOT AUDITED: 1 packages"),
    ],
)
def test_a_package_that_the_service_does_not_know_is_not_called_safe(
    tmp_path: Path, found: list[object], status: int, text: str
) -> None:
    run = audit(tmp_path, {"dependencies": found})
    assert (run.returncode, run.stderr) == (status, "")
    assert text in run.stdout


def test_a_service_that_cannot_be_reached_is_named_and_nothing_is_called_safe(tmp_path: Path) -> None:
    run = audit(tmp_path, {"dependencies": [SAFE]}, reachable=False)
    assert (run.returncode, run.stderr) == (3, "")
    assert "NOT AUDITED: https://api.osv.dev/v1/ cannot be reached from here" in run.stdout
    assert "no way" in run.stdout


def test_an_answer_that_nobody_understands_is_an_error(tmp_path: Path) -> None:
    run = audit(tmp_path, "Service unavailable")
    assert run.returncode == 1
    assert run.stderr.startswith("pip-audit failed with 0")


def test_the_bill_of_materials_has_what_an_installation_has_and_no_tool_of_the_tests() -> None:
    script, pinned = ROOT / "scripts" / "runtime_pins.py", ROOT / "requirements-dev.txt"
    words = [sys.executable, str(script), "all", str(pinned)]
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    names = {line.partition("==")[0] for line in printed.splitlines() if "==" in line}
    assert {"psutil", "rich", "pygments", "redis", "kazoo", "psycopg-binary"} <= names
    assert not names & {"pytest", "mypy", "gunicorn", "django", "leaderlock"}
    assert printed.count("--hash=sha256:") >= len(names)
