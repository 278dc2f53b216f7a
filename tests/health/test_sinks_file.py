"""`sinks.file`: a reader finds a whole report, whatever becomes of the disk."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
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


def planted_hard_link(victim: Path, path: Path) -> None:
    os.link(victim, path)


def planted_fifo(_victim: Path, path: Path) -> None:
    os.mkfifo(path)


def planted_link(victim: Path, path: Path) -> None:
    path.symlink_to(victim)


@pytest.mark.parametrize("plant", [planted_hard_link, planted_fifo, planted_link])
@pytest.mark.parametrize("at", ["{path}.{pid}.tmp", "{path}.tmp", "{path}"])
def test_what_another_user_has_planted_is_neither_written_to_nor_waited_for(
    tmp_path: Path, plant: Callable[[Path, Path], None], at: str
) -> None:
    path, victim = tmp_path / "health.prom", tmp_path / "victim"
    victim.write_text("precious")
    planted = Path(at.format(path=path, pid=os.getpid()))
    plant(victim, planted)
    for sink in (sinks.file(path), sinks.prometheus(path)):
        sink(a_report())
        assert path.is_file()
        assert not path.is_symlink()
    assert victim.read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == sorted({"health.prom", "victim", planted.name})


def test_a_writer_that_is_killed_half_way_leaves_nothing_beside_the_report(tmp_path: Path) -> None:
    """SIGXFSZ kills it, at the limit of a file's size: Python ignores that signal otherwise."""
    path = tmp_path / "health.json"
    program = (
        "import resource, signal, sys\n"
        "from leaderlock.kernel.replacement import replace_file\n"
        "replace_file(sys.argv[1], b'x' * 1000, 0o644)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "replace_file(sys.argv[1], b'x' * 1_000_000, 0o644)\n"
    )
    writer = subprocess.run([sys.executable, "-c", program, path])
    assert writer.returncode == -signal.SIGXFSZ
    assert path.stat().st_size == 1000
    assert os.listdir(tmp_path) == ["health.json"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
def test_the_mode_is_as_asked_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    umask = os.umask(0o077)
    try:
        sinks.file(tmp_path / "health.json", mode=mode)(a_report())
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "health.json").stat().st_mode) == mode
