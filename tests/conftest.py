"""Fixtures for all tests."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

# Who starts the tests in the background of a script (`make test &`, nohup, some CI) hands on ignored
# signals, which every program under test would take for its operator's wish.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a lock file that does not exist yet."""
    return tmp_path / "leader.lock"
