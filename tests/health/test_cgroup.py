"""The control group's numbers: of real groups where root can make them, else of trees of files.

The machine under test decides which hierarchies are real. The version 1 layout is tested in real
groups where the controllers are mounted as such; memory and cpu of version 2 are tested in real groups
where that has them, and always on file trees that were written after the kernel's documentation.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from leaderlock.errors import Unsupported
from leaderlock.health import checks
from leaderlock.health.checks.hierarchy import Group, groups_of_this_process
from tests.processes import Child, needs_root, until

MIB = 1 << 20


def directory_of(group: Group) -> Path:
    return Path(group._path)


@contextlib.contextmanager
def real_group(what: str, limits: dict[int, dict[str, str]]) -> Iterator[Child]:
    """A child in a control group of its own below ours, with limits by version of the hierarchy."""
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    above = groups_of_this_process().get(what)
    if above is None:
        pytest.skip(f"no hierarchy with {what} is mounted")
    path = directory_of(above) / f"leaderlock-test-{os.getpid()}"
    try:
        path.mkdir()
    except OSError as error:  # EROFS, EACCES: a container that may only look
        pytest.skip(f"no control group can be made here: {error}")
    try:
        for file, text in limits[above.version].items():
            if not (path / file).exists():
                pytest.skip(f"{what} is not handed on to groups below ours")
            (path / file).write_text(text)
        with Child() as child:
            (path / "cgroup.procs").write_text(str(child.pid))
            child.tell("from leaderlock.health import checks")
            child.tell("check = checks.cgroup(); subprocess = __import__('subprocess')")
            yield child
    finally:
        until(lambda: not (path / "cgroup.procs").read_text(), "the group to be empty")
        path.rmdir()


MEMORY = {
    1: {"memory.limit_in_bytes": str(100 * MIB)},
    2: {"memory.max": str(100 * MIB)},
}
CPU = {
    1: {"cpu.cfs_period_us": "10000", "cpu.cfs_quota_us": "1000"},
    2: {"cpu.max": "1000 10000"},
}


def test_real_memory_of_a_real_group_against_its_limit() -> None:
    with real_group("memory", MEMORY) as child:
        memory = child.tell("check().value['memory']")
        assert memory["limit"] == 100 * MIB
        assert 0 < memory["working_set"] <= memory["current"] < 70 * MIB
        assert memory["used"] == pytest.approx(memory["working_set"] / memory["limit"], abs=0.001)
        assert memory["oom_kills"] == 0
        child.tell("kept = bytearray(os.urandom(MIB)) * 86".replace("MIB", str(MIB)))
        status, error = child.tell("(lambda result: (result.status, result.error))(check())")
        assert status in ("degraded", "failing")
        assert "of the 104857600 bytes of memory are used" in error


def test_a_real_kill_for_want_of_memory_is_counted_and_degrades_one_report() -> None:
    with real_group("memory", MEMORY) as child:
        assert child.tell("check().status") == "ok"
        greedy = "open('/proc/self/oom_score_adj', 'w').write('1000'); kept = bytearray(b'x') * 10**9"
        status = child.tell(f"subprocess.run([sys.executable, '-c', {greedy!r}]).returncode")
        assert status == -9
        result = child.tell("(lambda r: (r.status, r.error, r.value['memory']['oom_kills']))(check())")
        assert result == ("degraded", "killed for want of memory since the last report: 1", 1)
        assert child.tell("(lambda r: (r.status, r.value['memory']['oom_kills']))(check())") == (
            "ok",
            1,
        )


def test_real_throttling_of_a_real_group() -> None:
    with real_group("cpu", CPU) as child:
        cpu = child.tell("check().value['cpu']")
        assert cpu["limit"] == 0.1
        assert cpu["throttled"] is None
        child.tell("end = time.process_time() + 0.02")
        child.tell("[None for _ in iter(lambda: time.process_time() < end, False)] and None")
        result = child.tell("(lambda r: (r.status, r.error, r.value['cpu']))(check())")
        assert result[0] == "degraded"
        assert result[1].startswith("throttled in ")
        assert 0.25 <= result[2]["throttled"] <= 1
        assert result[2]["throttled_seconds"] > 0


def test_real_pressure_of_a_real_group() -> None:
    with real_group("unified", {2: {}}) as child:
        pressure = child.tell("check().value['pressure']")
        if pressure is None:
            pytest.skip("this kernel accounts no pressure")
        assert set(pressure) == {"cpu", "memory", "io"}
        assert 0 <= pressure["memory"]["full"] <= pressure["memory"]["some"] <= 100


Tree = Callable[[dict[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes files below a directory that stands for the root."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path

    return write


V2 = "sys/fs/cgroup"
V2_MOUNT = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V2_FILES = {
    "proc/self/cgroup": "0::/app.slice/app.service\n",
    "proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + V2_MOUNT,
    f"{V2}/cgroup.controllers": "cpu memory\n",
    f"{V2}/cpu.stat": "usage_usec 1\n",
    f"{V2}/app.slice/memory.current": "900000\n",
    f"{V2}/app.slice/memory.max": "1000000\n",
    f"{V2}/app.slice/memory.stat": "anon 500000\ninactive_file 400000\n",
    f"{V2}/app.slice/memory.events": "oom_kill 9\n",
    f"{V2}/app.slice/app.service/memory.current": "400000\n",
    f"{V2}/app.slice/app.service/memory.max": "max\n",
    f"{V2}/app.slice/app.service/memory.stat": "anon 300000\ninactive_file 100000\n",
    f"{V2}/app.slice/app.service/memory.events": "low 0\nmax 3\noom 1\noom_kill 1\n",
    f"{V2}/app.slice/app.service/cpu.max": "150000 100000\n",
    f"{V2}/app.slice/app.service/cpu.stat": (
        "usage_usec 9\nnr_periods 100\nnr_throttled 10\nthrottled_usec 2500000\n"
    ),
    f"{V2}/app.slice/app.service/memory.pressure": (
        "some avg10=1.50 avg60=0.10 avg300=0.00 total=7\n"
        "full avg10=0.50 avg60=0.00 avg300=0.00 total=3\n"
    ),
}
"""After Documentation/admin-guide/cgroup-v2.rst of Linux."""


def test_version_2_from_a_tree_of_files(tree: Tree) -> None:
    root = tree(V2_FILES)
    check = checks.cgroup(root=root)
    result = check()
    # The limit is that of the slice above, which holds the page cache of others as well.
    assert result.value == {
        "memory": {
            "version": 2,
            "current": 900000,
            "working_set": 500000,
            "limit": 1000000,
            "used": 0.5,
            "oom_kills": 1,
        },
        "cpu": {"version": 2, "limit": 1.5, "throttled": None, "throttled_seconds": 2.5},
        "pressure": {"memory": {"some": 1.5, "full": 0.5}},
    }
    assert (result.status, result.error) == ("ok", None)
    service = f"{V2}/app.slice/app.service"
    tree(
        {
            f"{service}/cpu.stat": "nr_periods 200\nnr_throttled 60\nthrottled_usec 3000000\n",
            f"{service}/memory.max": "310000\n",
            f"{service}/memory.events": "oom_kill 3\n",
        }
    )
    result = check()
    assert result.status == "failing"
    assert result.error == (
        "96.8% of the 310000 bytes of memory are used; "
        "killed for want of memory since the last report: 2; "
        "throttled in 50% of the periods since the last report"
    )


V1_FILES = {
    "proc/self/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n",
    "proc/self/mountinfo": (
        "30 22 0:27 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
        r"31 22 0:28 / /sys/fs/cgroup/cpu\040and\040more ro master:3 - cgroup cgroup rw,cpu,cpuacct"
        "\n"
    ),
    # The container's own group is mounted as the top.
    f"{V2}/memory/memory.usage_in_bytes": "600\n",
    f"{V2}/memory/memory.limit_in_bytes": "1000\n",
    f"{V2}/memory/memory.stat": "cache 100\ninactive_file 5\ntotal_inactive_file 100\n",
    f"{V2}/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    f"{V2}/cpu and more/docker/abc/cpu.cfs_quota_us": "-1\n",
    f"{V2}/cpu and more/docker/abc/cpu.cfs_period_us": "100000\n",
    f"{V2}/cpu and more/docker/abc/cpu.stat": "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n",
}


def test_version_1_in_a_container_from_a_tree_of_files(tree: Tree) -> None:
    result = checks.cgroup(root=tree(V1_FILES), degraded=0.5, failing=0.6)()
    assert result.value == {
        "memory": {
            "version": 1,
            "current": 600,
            "working_set": 500,
            "limit": 1000,
            "used": 0.5,
            "oom_kills": 2,
        },
        "cpu": {"version": 1, "limit": None, "throttled": None, "throttled_seconds": 0.0},
        "pressure": None,
    }
    assert result.status == "degraded"
    tree({f"{V2}/memory/memory.limit_in_bytes": "9223372036854771712\n"})
    result = checks.cgroup(root=tree({}))()
    assert isinstance(result.value, dict)
    assert result.value["memory"]["limit"] is None
    assert result.status == "ok"


def test_where_nothing_is_mounted_nothing_is_told(tree: Tree) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n",
    }
    result = checks.cgroup(root=tree(files))()
    assert result.value == {"memory": None, "cpu": None, "pressure": None}
    assert result.status == "ok"


def test_a_group_outside_of_what_is_mounted_is_taken_for_the_mounted_one(tree: Tree) -> None:
    files = {**V2_FILES, "proc/self/cgroup": "0::/../other\n", f"{V2}/memory.current": "7\n"}
    files[f"{V2}/memory.max"] = "max\n"
    result = checks.cgroup(root=tree(files))()
    assert isinstance(result.value, dict)
    assert result.value["memory"]["current"] == 7


def test_the_group_of_this_very_process_can_be_looked_at() -> None:
    result = checks.cgroup()()
    assert result.status in ("ok", "degraded", "failing")


@pytest.mark.parametrize("keyword", ["degraded", "failing", "throttled", "timeout"])
def test_bad_thresholds_are_refused_when_the_check_is_made(keyword: str) -> None:
    keywords: dict[str, Any] = {keyword: -1}
    with pytest.raises(ValueError, match=keyword):
        checks.cgroup(**keywords)


def test_a_system_without_control_groups_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="leave the check out"):
        checks.cgroup(root=tmp_path)
