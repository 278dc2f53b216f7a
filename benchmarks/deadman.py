"""The dead-man switch: what a beat costs, and how long after the lease a process that hangs is gone."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.figure import Figure
from leaderlock.deadman import DeadManSwitch

BEATS = 1000


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    return [_beats(10 if quick else 200), _deaths(0.2 if quick else 1, 3 if quick else 20)]


def _beats(rounds: int) -> Figure:
    figure = Figure(
        "deadman-beat",
        "a beat of the dead-man switch",
        "µs",
        f"means of {BEATS} beats each; one that is not armed, or was armed by the parent, does nothing",
    )
    armed, unarmed = DeadManSwitch(60), DeadManSwitch(60)
    armed.arm()
    contenders = {"armed": armed.beat, "not armed": unarmed.beat}
    for _ in range(rounds):
        for name, beat in random.sample(sorted(contenders.items()), len(contenders)):
            begin = time.perf_counter_ns()
            for _ in range(BEATS):
                beat()
            figure.add(name, (time.perf_counter_ns() - begin) / BEATS / 1000)
    armed.disarm()
    return figure


def _deaths(lease: float, rounds: int) -> Figure:
    figure = Figure(
        "deadman-death",
        "a hung process's death, after the end of its lease",
        "ms",
        f"a lease of {lease:g} s; from its end to the parent's waitpid(2), with the stacks printed "
        f"to nowhere before",
        {name: [] for name in HANGS},
    )
    switch = DeadManSwitch(lease)
    for _ in range(rounds):
        for name, hang in random.sample(sorted(HANGS.items()), len(HANGS)):
            figure.add(name, (_death(switch, hang) - lease) * 1000)
    return figure


def _death(switch: DeadManSwitch, hang: Callable[[], object]) -> float:
    """The seconds from a child's last beat to its end."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            switch.arm()
            beaten = time.monotonic()
            switch.beat()
            os.write(writer, struct.pack("d", beaten))
            hang()
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    ended = time.monotonic()
    [last] = struct.unpack("d", os.read(reader, 8))
    os.close(reader)
    os.close(writer)
    if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
        raise RuntimeError(f"a child that hung ended with status {status}")
    return float(ended - last)


def _deadlock() -> None:
    first, second = threading.Lock(), threading.Lock()
    both = threading.Barrier(2)

    def take(one: threading.Lock, other: threading.Lock) -> None:
        with one:
            both.wait()
            other.acquire()

    threading.Thread(target=take, args=(first, second), daemon=True).start()
    take(second, first)


def _loop() -> None:
    while True:
        pass


HANGS: dict[str, Callable[[], object]] = {
    "loops without beating": _loop,
    "two locks deadlocked": _deadlock,
    "GIL held in C": lambda: ctypes.PyDLL(None).sleep(600),
    "stopped by SIGSTOP": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}
