"""`sinks.fifo`: whole lines into a real FIFO, and never a hang or a signal."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderlock.health import sinks
from tests.health.sink_reports import a_check, a_report
from tests.processes import PATIENCE, descriptors_of, handling


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "reports"
    os.mkfifo(path)
    return path


@pytest.fixture
def sink(path: Path) -> Iterator[sinks.fifo]:
    sink = sinks.fifo(path)
    yield sink
    sink.stop()


def reader_of(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def a_long_report(size: int) -> dict[str, object]:
    return a_report(checks={"big": a_check(value="x" * size)})


def test_each_report_is_a_line_and_the_reader_sees_no_end_between_them(
    path: Path, sink: sinks.fifo
) -> None:
    lines = subprocess.Popen(["head", "-n", "2", path], stdout=subprocess.PIPE)
    sent = [a_report(), a_report("degraded")]
    with open(path, "wb", buffering=0):  # which waits until head has opened it
        sink(sent[0])
    sink(sent[1])  # what the program would miss, had the sink closed the FIFO after the first
    output, _ = lines.communicate(timeout=PATIENCE)
    assert [json.loads(line) for line in output.splitlines()] == sent


def test_without_a_reader_it_is_an_error_at_once_and_works_when_one_comes(
    path: Path, sink: sinks.fifo
) -> None:
    with pytest.raises(OSError, match=f"no process reads it.*{path}") as raised:
        sink(a_report())
    assert raised.value.errno == errno.ENXIO
    reader = reader_of(path)
    sink(a_report())
    assert json.loads(os.read(reader, 65536))["version"] == 1
    os.close(reader)


def test_a_reader_that_goes_is_an_error_and_its_successor_gets_the_next_report(
    path: Path, sink: sinks.fifo
) -> None:
    reader = reader_of(path)
    sink(a_report())
    os.close(reader)
    with pytest.raises(BrokenPipeError, match="its reader has closed it"):
        sink(a_report())
    reader = reader_of(path)
    sink(a_report("degraded"))
    assert json.loads(os.read(reader, 65536))["status"] == "degraded"
    os.close(reader)


def test_a_reader_that_goes_kills_nobody_where_sigpipe_would_kill(path: Path) -> None:
    program = """
import os, signal, sys
from leaderlock.health import sinks
from tests.health.sink_reports import a_report
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
reader = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
sink = sinks.fifo(sys.argv[1])
sink(a_report())
os.close(reader)
try:
    sink(a_report())
except BrokenPipeError:
    print("alive")
assert signal.SIGPIPE not in signal.pthread_sigmask(signal.SIG_BLOCK, []), "still blocked"
os.kill(os.getpid(), signal.SIGPIPE)
print("not reached: ours must still work", flush=True)
"""
    run = subprocess.run(
        [sys.executable, "-u", "-c", program, path], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (run.stdout, run.returncode) == ("alive\n", -signal.SIGPIPE), run.stderr


def test_a_handler_of_sigpipe_is_not_called(path: Path, sink: sinks.fifo) -> None:
    called: list[int] = []
    with handling(signal.SIGPIPE, lambda number, _: called.append(number)):
        reader = reader_of(path)
        sink(a_report())
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            sink(a_report())
    assert called == []


def test_a_full_pipe_is_an_error_and_the_lines_in_it_are_whole(path: Path, sink: sinks.fifo) -> None:
    reader = reader_of(path)
    written = 0

    def write_on() -> None:
        nonlocal written
        for written in range(10_000):  # noqa: B007
            sink(a_report())

    with pytest.raises(BlockingIOError, match="its reader is too slow"):
        write_on()
    content = b""
    while select.select([reader], [], [], 0)[0]:
        content += os.read(reader, 65536)
    assert written > 10
    assert [json.loads(line)["version"] for line in content.splitlines()] == [1] * written
    assert content.endswith(b"\n")
    os.close(reader)


def test_a_report_beyond_pipe_buf_and_beyond_the_pipe_is_written_whole(
    path: Path, sink: sinks.fifo
) -> None:
    reader = reader_of(path)
    report = a_long_report(200_000)
    sink(report)
    content = b""
    while not content.endswith(b"\n"):
        content += os.read(reader, 65536)
    assert json.loads(content) == report
    os.close(reader)


def test_a_long_report_is_not_begun_while_the_reader_is_behind(path: Path, sink: sinks.fifo) -> None:
    reader = reader_of(path)
    sink(a_report())
    with pytest.raises(BlockingIOError, match="its reader is too slow"):
        sink(a_long_report(select.PIPE_BUF))
    assert os.read(reader, 1 << 20).count(b"\n") == 1
    sink(a_long_report(select.PIPE_BUF))
    assert os.read(reader, 1 << 20).endswith(b"\n")
    os.close(reader)


def test_a_report_longer_than_any_pipe_is_refused_by_its_size(path: Path) -> None:
    limit = int(Path("/proc/sys/fs/pipe-max-size").read_text())
    program = """
import os, sys
from leaderlock.health import sinks
from tests.health.sink_reports import a_check, a_report
path, size = sys.argv[1], int(sys.argv[2])
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)  # root may exceed the limit
reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
try:
    sinks.fifo(path)(a_report(checks={"big": a_check(value="x" * size)}))
except OSError as error:
    print(error)
"""
    path.chmod(0o666)
    fd = os.open(path, os.O_RDWR)  # for it, who may not look into the directory
    try:
        run = subprocess.run(
            [sys.executable, "-c", program, f"/proc/self/fd/{fd}", str(limit)],
            capture_output=True,
            text=True,
            pass_fds=[fd],
            timeout=PATIENCE,
        )
    finally:
        os.close(fd)
    assert "is more than it can hold" in run.stdout, run.stderr


@pytest.mark.parametrize(
    ("kind", "told"), [("nothing", "no such FIFO; make it by mkfifo"), ("file", "it is not a FIFO")]
)
def test_what_is_no_fifo_is_an_error_that_says_what_to_do(tmp_path: Path, kind: str, told: str) -> None:
    path = tmp_path / "x"
    if kind == "file":
        path.write_text("precious")
    with pytest.raises(OSError, match=told):
        sinks.fifo(path)(a_report())
    if kind == "file":
        assert path.read_text() == "precious"
    assert str(path) not in descriptors_of()


def test_stop_closes_the_fifo(path: Path, sink: sinks.fifo) -> None:
    reader = reader_of(path)
    sink(a_report())
    os.read(reader, 65536)
    sink.stop()
    assert os.read(reader, 1) == b"", "the end of the file"
    os.close(reader)
