"""`make demo-fleet` runs to its end, and leaves nothing behind when it is stopped."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fleet.containers import ROOT
from tests.fleet.network import namespaces_of

PATIENCE = 240.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make network namespaces"),
]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """For the demo's files: PostgreSQL, which is not root, may enter it."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@contextlib.contextmanager
def running(temporary: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "examples.demo_fleet"],
        cwd=ROOT,
        env={"TMPDIR": str(temporary), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        yield demo
    assert list(temporary.iterdir()) == []
    assert namespaces_of(demo.pid) == []


def test_the_demo_shows_a_cut_off_leader_die_and_another_container_lead(temporary: Path) -> None:
    with running(temporary) as demo:
        output, _ = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 0, output
    [cut] = re.findall(r"network cable of container (\w) is cut", output)
    [killed] = re.findall(r"killed worker \d+ of container (\w) at the end of its lease", output)
    assert killed == cut
    leaders = re.findall(r"worker \d+ of container (\w).* leads in term (\d+)", output)
    terms = [int(term) for _, term in leaders]
    assert terms == sorted(set(terms))
    assert leaders[2][0] != cut, output
    assert f"container {cut} waits for its turn in PostgreSQL again" in output
    assert leaders[-1][0] == cut, "the container that was cut off leads again at the end"
    assert f"\n{len(leaders)} leaders sent " in output
    assert "\x1b" not in output, "escape sequences where there is no terminal"


@pytest.mark.parametrize("moment", ["PostgreSQL starts", "is cut"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_of_a_fleet_that_is_stopped_leaves_nothing_behind(
    temporary: Path, number: signal.Signals, moment: str
) -> None:
    with running(temporary) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if moment in line:
                break
        processes = psutil.Process(demo.pid).children(recursive=True)
        demo.send_signal(number)
        output, _ = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 128 + number, output
    assert "Traceback" not in output
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    assert not alive
