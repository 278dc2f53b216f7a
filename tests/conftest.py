"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.supervisor.systemd import Systemd

# Who starts the tests in the background of a script (`make test &`, nohup, some CI) hands on ignored
# signals, which every program under test would take for its operator's wish.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# Most tests look at processes, and would meet a keeper beside each leader. The tests in tests/native
# have leaders with keepers, and run central tests of the others with them.
os.environ.setdefault("LEADERLOCK_KEEPER", "0")

# For every `@given`: a loaded machine may take its time, for one example and for the making of them;
# hostile input may be large.
settings.register_profile(
    "leaderlock",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("leaderlock")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a lock file that does not exist yet."""
    return tmp_path / "leader.lock"


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, mounted for real."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    mounted = tmp_path / "tiny"
    mounted.mkdir()
    run = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=20", "tmpfs", mounted], capture_output=True
    )
    if run.returncode:
        pytest.skip(f"may not mount: {run.stderr.decode()}")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", mounted], check=True)


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    """One boot for all tests of a file; each has units of its own."""
    with Systemd(tmp_path_factory.mktemp("systemd")) as booted:
        yield booted


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory such as /tmp, which others can reach: pytest's own are private."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o1777)
        yield Path(name)
