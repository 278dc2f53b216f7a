"""Parents for one command, to be compared: leaderlock, tini and dumb-init, and none at all."""

from __future__ import annotations

import compileall
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import leaderlock

RUN, INIT = "leaderlock run", "leaderlock init"
LOCKED, BECOME = "leaderlock run --lock", "leaderlock run --lock --exec"
TINI, DUMB_INIT = "tini", "dumb-init"
NONE = "no parent"


class Supervisor(NamedTuple):
    """`words` go before the command's."""

    name: str
    words: list[str]


def supervisors(directory: Path) -> list[Supervisor]:
    """Those that are installed; leaderlock's bytecode is compiled first, as by any installation."""
    compileall.compile_dir(str(Path(leaderlock.__file__).parent), quiet=2)
    ours = str(Path(sys.executable).with_name("leaderlock"))
    lock = str(directory / "supervised.lock")
    found = [
        Supervisor(RUN, [ours, "run", "--"]),
        Supervisor(LOCKED, [ours, "run", "--lock", lock, "--"]),
        Supervisor(BECOME, [ours, "run", "--lock", lock, "--exec", "--"]),
        Supervisor(INIT, [ours, "init", "-s", "--"]),
    ]
    for name, options in ((TINI, ["-s", "--"]), (DUMB_INIT, ["--"])):
        program = shutil.which(name)
        if program is None:
            raise FileNotFoundError(f"{name} is not installed: scripts/debian-packages {name}")
        found.append(Supervisor(name, [program, *options]))
    return found


def versions() -> str:
    """Which tini and which dumb-init."""
    told = [
        subprocess.run([name, "--version"], capture_output=True, text=True, check=True)
        for name in (TINI, DUMB_INIT)
    ]
    return ", ".join((run.stdout or run.stderr).split(" - ")[0].strip() for run in told)


def environment() -> dict[str, str]:
    """Ours, less what makes Python start in another way than a user's."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def time_of(words: list[str], variables: dict[str, str]) -> int:
    """Nanoseconds from the start of a program to its end."""
    begin = time.perf_counter_ns()
    pid = os.posix_spawnp(words[0], words, variables)
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"{words} ended with status {status}")
    return time.perf_counter_ns() - begin


@contextmanager
def running(words: list[str], *arguments: str | int) -> Iterator[subprocess.Popen[bytes]]:
    """A supervised command whose output can be read, until the end of the block."""
    process = subprocess.Popen(
        [*words, *map(str, arguments)], env=environment(), stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()
