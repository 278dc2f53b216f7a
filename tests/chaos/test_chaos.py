"""A short form of `make chaos`; and the checker catches elections that are not safe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.checker import SECOND, Bounds
from tests.chaos.faults import ARENAS, Schedule, draw, parse
from tests.chaos.machine import Machine, Result
from tests.chaos.programs import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.alone]

STOPS = "100 stop leader 300\n500 stop leader 300\n500 stop leader 300\n500 pause\n"
"""A leader is stopped for longer than the lease of `lease-only`, and goes on."""

FAULTS = {
    "unlinks": "",
    "pidfile": "",
    "record-lock": "",
    "forgets-terms": "",
    "lease-only": STOPS,
    "kept-by-children": "200 fork leader 3000\n50 kill leader\n2000 pause\n",
    "parks-for-good": "100 delete\n20 kill 1\n1500 pause\n",
    "no-dead-man": "200 stop leader 3000\n2500 pause\n",
}
"""For each variant that is not safe, the faults that show it; none: those of a seed."""

EXPECTED = {
    "forgets-terms": "terms",
    "kept-by-children": "leaderless",
    "no-dead-man": "leaderless",
}
"""What is wrong; the others let two lead at a time."""


TRIES = 5


def run(kind: str, script: str, *, drains: bool = False, grow: bool = False) -> Result:
    """A round of candidates of one kind; after 1.5 seconds, nobody leads for too long.

    A slow machine may take longer: `grow` is for elections that are safe. The others let nobody lead
    for longer in any case.
    """
    candidates = [kind] * 3
    if script:
        schedule = Schedule(candidates, "disk", parse(script).faults)
    else:
        schedule = draw(1, "strict", 25, 20)._replace(candidates=candidates, place="disk")
    bounds = Bounds(leaderless=3 * SECOND // 2, grow=grow)
    return Machine(schedule, may_mount=False, bounds=bounds, drains=drains).run()


@pytest.mark.parametrize("arena", ARENAS)
def test_random_faults_break_nothing(arena: str, tmp_path: Path) -> None:
    results = tmp_path / "results"
    command = [sys.executable, "-m", "tests.chaos", "--minutes", "0", "--arena", arena]
    command += ["--faults", "60", "--pace", "20", "--shrink", "0"]
    command += ["--scripts", str(tmp_path), "--results", str(results)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(json.loads(results.read_text())["struck"].values()) > 20


@pytest.mark.parametrize(("variant", "script"), FAULTS.items())
def test_the_checker_catches_an_unsafe_election(variant: str, script: str) -> None:
    wanted = EXPECTED.get(variant, "two at a time")
    results = []
    for _ in range(TRIES):  # a stop may strike a leader that has just left
        results.append(run(variant, script))
        if any(text.startswith(wanted) for text in results[-1].violations):
            return
    pytest.fail(f"never caught: {results}")


def test_a_round_that_fails_is_shrunk_to_a_script_that_fails_as_well(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.chaos", "--minutes", "0"]
    failing = ["--arena", "strict", "--faults", "1", "--variant", "forgets-terms"]
    first = subprocess.run([*command, *failing, "--scripts", str(tmp_path)], cwd=ROOT)
    script = tmp_path / "1-strict-short.txt"
    again = subprocess.run(
        [*command, "--script", str(script)], cwd=ROOT, capture_output=True, text=True
    )
    assert (first.returncode, again.returncode) == (1, 1)
    assert "terms: " in again.stdout
    assert parse(script.read_text()).faults == []  # it needs none


def test_the_checker_catches_a_leak() -> None:
    assert any("leak" in text for text in run("leaks", "400 pause", drains=True).violations)


def test_the_same_faults_do_not_break_the_library() -> None:
    script = "".join(FAULTS[name] for name in ("kept-by-children", "no-dead-man", "parks-for-good"))
    assert run("leased", script, grow=True).violations == []
