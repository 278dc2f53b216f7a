"""From kill(2) on a parent to the signal's arrival in its command."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.stamps import STAMP, read_stamp
from benchmarks.supervisors import BECOME, NONE, Supervisor, running, supervisors

# Waits in the kernel, so that only its own wakeup is added to the parent's work.
COMMAND = f"""\
import os, signal, struct, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
stamp = struct.Struct({STAMP.format!r})
os.write(1, stamp.pack(os.getpid(), 0))
while True:
    signal.sigwait([signal.SIGUSR1])
    os.write(1, stamp.pack(os.getpid(), time.monotonic_ns()))
"""


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    contenders = [one for one in supervisors(directory) if one.name != BECOME]
    contenders.append(Supervisor(NONE, []))
    figure = Figure(
        "supervised-signals",
        "a signal's way through the parent to the command",
        "µs",
        "from before kill(2) to the clock's reading in the command, which waits in sigwait(3); without "
        "a parent, the signal is sent to the command itself",
        {name: [] for name, _ in contenders},
    )
    with ExitStack() as stack:
        processes = {}
        for name, words in contenders:
            process = stack.enter_context(running(words, sys.executable, "-I", "-c", COMMAND))
            assert process.stdout is not None
            processes[name] = (process.pid, process.stdout.fileno())
            read_stamp(process.stdout.fileno())  # it is ready
        for _ in range(20 if quick else 400):
            for name in random.sample(sorted(processes), len(processes)):
                pid, output = processes[name]
                time.sleep(0.002)
                before = time.monotonic_ns()
                os.kill(pid, signal.SIGUSR1)
                _, after = read_stamp(output)
                figure.add(name, (after - before) / 1000)
    return [figure]
