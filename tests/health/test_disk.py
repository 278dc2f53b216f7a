"""Room on real file systems: a small one of its own, and those that are there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leaderlock.health import checks
from tests.health.leading import entry_of
from tests.processes import needs_root

FILL = """
import os
from leaderlock.health import checks
check = checks.disk(".", degraded=0.5, failing=0.9)
print(check().status)
with open("file", "wb") as file:
    file.write(bytes(700_000))
print(check().status, check().error.startswith("6"))
try:
    open("file", "wb").write(bytes(2_000_000))
except OSError:
    pass
print(check().status, check().value["free"])
os.unlink("file")
for number in range(60):
    open(str(number), "w").close()
print(check().status, "inodes" in check().error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason=needs_root)
def test_a_file_system_that_fills_up_is_degraded_and_then_failing(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=1m,nr_inodes=100 none "$0" && cd "$0" && exec "$1" -c "$2"'
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, tmp_path, sys.executable, FILL],
        capture_output=True,
        text=True,
    )
    assert run.stdout.splitlines() == ["ok", "degraded True", "failing 0", "degraded True"], run.stderr


def test_the_numbers_are_those_of_the_file_system(tmp_path: Path) -> None:
    value: Any = checks.disk(tmp_path)().value
    room = os.statvfs(tmp_path)
    assert value["path"] == str(tmp_path)
    assert value["total"] == room.f_blocks * room.f_frsize
    assert 0 <= value["free"] <= value["total"]
    assert 0 <= value["used"] <= 1


def test_file_systems_that_count_neither_blocks_nor_inodes_are_ok() -> None:
    result = checks.disk("/proc/self")()
    assert result.status == "ok"
    assert isinstance(result.value, dict)
    assert result.value["used"] is None
    assert result.value["inodes"] is None


def test_a_path_that_is_missing_is_a_failure_of_the_tick_and_not_of_the_start(path: Path) -> None:
    entry = entry_of(path, checks.disk(path.with_name("missing")))
    assert entry["status"] == "failing"
    assert entry["error"].startswith("FileNotFoundError")


@pytest.mark.parametrize(
    ("path", "keywords", "text"),
    [
        ("", {}, "path"),
        ("a\0b", {}, "path"),
        ("/", {"degraded": 0}, "degraded"),
        ("/", {"failing": 95}, "failing"),
        ("/", {"degraded": 0.9, "failing": 0.8}, "degraded must not be greater than failing"),
        ("/", {"timeout": -1}, "timeout"),
    ],
)
def test_bad_arguments_are_refused_when_the_check_is_made(
    path: str, keywords: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        checks.disk(path, **keywords)
