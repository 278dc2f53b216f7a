"""A signal handler that raises at random instants leaves nothing held, no descriptor and no thread."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HITS = {
    "with": 1500,
    "acquire": 1500,
    "acquire-timeout": 1500,
    "contended": 1000,
    "run": 100,
    "async-with": 200,
}


@pytest.mark.slow
@pytest.mark.parametrize("surface", HITS)
def test_a_handler_that_raises_at_any_instant_leaves_nothing_behind(surface: str) -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.interrupts",
            "--only",
            surface,
            "--hits",
            str(HITS[surface]),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{surface}: {HITS[surface]} hits, held afterwards 0, descriptors left 0" in run.stdout
