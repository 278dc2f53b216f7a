"""The numbers of real child processes, and how they change from look to look."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from leaderlock.health import checks
from leaderlock.health.checks import processes
from tests.processes import Child, settled, until

SPINS = "import time\nwhile True: pass"
HOLDS = (
    "import os, sys, time\nkept = [os.dup(0) for _ in range(20)]\nprint(flush=True)\ntime.sleep(1000)"
)


@pytest.fixture
def arbiter() -> Iterator[Child]:
    """A process whose children are started and ended by what it is told."""
    with Child() as child:
        child.tell("import subprocess; children = []")
        yield child


def start(arbiter: Child, source: str) -> int:
    arbiter.tell(f"children.append(subprocess.Popen([sys.executable, '-c', {source!r}]))")
    return int(arbiter.tell("children[-1].pid"))


def end(arbiter: Child, pid: int) -> None:
    arbiter.tell(f"[(child.kill(), child.wait()) for child in children if child.pid == {pid}] and None")


def described(value: dict[str, Any], pid: int) -> dict[str, Any]:
    (found,) = [process for process in value["processes"] if process["pid"] == pid]
    return dict(found)


def test_processor_time_is_told_from_the_second_look_on(arbiter: Child) -> None:
    busy, idle = start(arbiter, SPINS), start(arbiter, "import time; time.sleep(1000)")
    check = checks.workers(arbiter.pid)
    first = check()
    assert described(first, busy)["cpu"] is described(first, idle)["cpu"] is None
    until_spun(busy)
    assert 0 < described(check(), busy)["cpu"] < 130
    settled(idle)  # it has started by now
    check()
    until_spun(busy)
    later = check()
    assert described(later, idle)["cpu"] < described(later, busy)["cpu"]


def until_spun(pid: int) -> None:
    """Wait until it has used a tenth of a second of a processor."""
    used = psutil.Process(pid).cpu_times().user
    until(lambda: psutil.Process(pid).cpu_times().user > used + 0.1, "it to spin")


def test_open_descriptors_are_counted(arbiter: Child) -> None:
    pid = start(arbiter, HOLDS)
    check = checks.workers(arbiter.pid)
    until(lambda: described(check(), pid)["descriptors"] >= 23, "20 more than the standard three")
    count = described(check(), pid)["descriptors"]
    assert count == len(os.listdir(f"/proc/{pid}/fd"))


def test_a_worker_that_was_replaced_is_a_restart_and_one_more_or_less_is_none(arbiter: Child) -> None:
    sleeper = "import time; time.sleep(1000)"
    first, second = start(arbiter, sleeper), start(arbiter, sleeper)
    check = checks.workers(arbiter.pid)
    assert (check()["alive"], check()["restarts"]) == (2, 0)
    start(arbiter, sleeper)
    assert (check()["alive"], check()["restarts"]) == (3, 0)
    end(arbiter, first)
    assert (check()["alive"], check()["restarts"]) == (2, 1)
    start(arbiter, sleeper)
    end(arbiter, second)
    value = check()
    assert (value["alive"], value["restarts"]) == (2, 2)
    assert value["arbiter"] == arbiter.pid


def test_a_zombie_is_no_worker(arbiter: Child) -> None:
    pid = start(arbiter, "")
    check = checks.workers(arbiter.pid)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert check() == {"arbiter": arbiter.pid, "alive": 0, "restarts": 0, "processes": []}


def test_an_arbiter_that_is_gone_is_an_error_that_names_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with pytest.raises(psutil.NoSuchProcess, match=str(child.pid)):
        checks.workers(child.pid)()


def test_children_that_any_thread_of_the_arbiter_forked_are_found(arbiter: Child) -> None:
    arbiter.tell(
        "started = []; thread = threading.Thread(target=lambda: (started.append("
        "subprocess.Popen(['sleep', '1000']).pid), time.sleep(1000)), daemon=True); thread.start()"
    )
    until(lambda: arbiter.tell("len(started)") == 1)
    pid = arbiter.tell("started[0]")
    assert [process["pid"] for process in checks.workers(arbiter.pid)()["processes"]] == [pid]


def test_proportional_memory_of_a_big_process_is_read_less_often(
    arbiter: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import time; big = bytearray(64_000_000); time.sleep(1000)"
    pid = start(arbiter, source)
    until(lambda: psutil.Process(pid).memory_info().rss > 64_000_000, "it to have grown")
    costs: list[float] = []
    real = psutil.Process.memory_full_info

    def measured(process: psutil.Process) -> Any:
        begin = time.thread_time()
        result = real(process)
        costs.append(time.thread_time() - begin)
        return result

    monkeypatch.setattr(psutil.Process, "memory_full_info", measured)
    check = checks.workers(arbiter.pid)
    began = time.monotonic()
    while time.monotonic() < began + 0.5:
        assert described(check(), pid)["proportional"] > 55_000_000
    elapsed = time.monotonic() - began
    assert 1 <= len(costs) <= 1 + elapsed * processes.PROPORTIONAL_SHARE / min(costs)


@pytest.mark.parametrize("arbiter_id", [0, -1, "1", 1.5])
def test_an_arbiter_that_is_no_process_id_is_refused(arbiter_id: Any) -> None:
    with pytest.raises(ValueError, match="arbiter"):
        checks.workers(arbiter_id)


def test_the_keywords_of_every_check_are_taken(tmp_path: Path) -> None:
    check = checks.workers(name="processes", timeout=3, critical=True)
    assert (check.name, check.timeout, check.critical) == ("processes", 3, True)
    assert repr(check) == "<leaderlock.health.checks.Check 'processes'>"
