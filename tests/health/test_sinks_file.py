"""`sinks.file`: a reader finds a whole report, whatever becomes of the disk."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from leaderlock.health import sinks
from tests.health.sink_reports import a_check, a_report


def test_on_a_full_disk_the_old_report_stays_whole_and_the_next_one_fits_again(tiny: Path) -> None:
    path = tiny / "health.json"
    write = sinks.file(path)
    first = a_report()
    write(first)
    with open(tiny / "filler", "wb", buffering=0) as filler:
        filler.write(b"x" * (1 << 20))
    with pytest.raises(OSError, match="No space left"):
        write(a_report("failing"))
    assert json.loads(path.read_text()) == first
    assert sorted(os.listdir(tiny)) == ["filler", "health.json"]
    (tiny / "filler").unlink()
    write(a_report("failing"))
    assert json.loads(path.read_text())["status"] == "failing"


def test_a_disk_that_becomes_read_only_is_an_error_that_names_the_file(tiny: Path) -> None:
    path = tiny / "health.json"
    write = sinks.file(path)
    write(a_report())
    subprocess.run(["mount", "-o", "remount,ro", tiny], check=True)
    with pytest.raises(OSError, match=str(path)) as raised:
        write(a_report("failing"))
    assert raised.value.errno == errno.EROFS
    assert json.loads(path.read_text())["status"] == "ok"


def test_a_directory_that_has_gone_is_an_error_and_is_written_to_when_it_is_back(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "run"
    write = sinks.file(directory / "health.json")
    with pytest.raises(FileNotFoundError, match=str(directory)):
        write(a_report())
    directory.mkdir()
    write(a_report())
    assert os.listdir(directory) == ["health.json"]


def test_a_reader_never_sees_half_a_report(tmp_path: Path) -> None:
    path = tmp_path / "health.json"
    write = sinks.file(path)
    write(a_report())
    reports = [a_report(checks={"big": a_check(value="x" * size)}) for size in (10, 100_000)]
    done = threading.Event()

    def rewrite() -> None:
        for count in range(400):
            write(reports[count % 2])
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen = 0
    while not done.is_set() or seen == 0:
        assert json.loads(path.read_text())["version"] == 1
        seen += 1
    writer.join()
