"""Central tests of the rest, whose leaders have keepers here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.native.kept import CAN_HAVE_KEEPERS

pytestmark = [
    pytest.mark.skipif(not CAN_HAVE_KEEPERS, reason="needs Linux on x86-64 or aarch64"),
    pytest.mark.slow,
]

ROOT = Path(__file__).parents[2]
FILES = ("tests/test_fork.py", "tests/test_late_imports.py")


@pytest.mark.parametrize("file", FILES)
def test_these_pass_with_keepers_too(file: str, tmp_path: Path) -> None:
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", "--basetemp"]
    run = subprocess.run(
        [sys.executable, *words, str(tmp_path / "inner"), file],
        cwd=ROOT,
        env={**os.environ, "LEADERLOCK_KEEPER": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout
