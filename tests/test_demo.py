from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

DEMO = Path(__file__).parent.parent / "examples" / "demo.py"
PATIENCE = 120.0


def start(tmp_path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, DEMO],
        env={"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_demo_shows_five_takeovers_and_ends_by_itself(tmp_path: Path) -> None:
    with start(tmp_path) as demo:
        output, _ = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 0, output
    takeovers = re.findall(r"^\d\. killed \d+; \d+ leads in term (\d) after \d+\.\d+ ms$", output, re.M)
    assert takeovers == ["2", "3", "4", "5", "6"], output
    assert "post_fork = in_one_worker(" in output
    assert re.search(r"^5 kills, 5 takeovers: median .* ms, worst .* ms$", output, re.M), output
    assert "none while another led" in output
    assert "\x1b" not in output, "escape sequences where there is no terminal"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    with start(tmp_path) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("1. killed"):
                break
        processes = psutil.Process(demo.pid).children(recursive=True)
        assert processes
        demo.send_signal(number)
        output, _ = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 128 + number, output
    assert "Traceback" not in output
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    assert not alive
    assert list(tmp_path.iterdir()) == []
