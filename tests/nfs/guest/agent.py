"""Runs in the machine: does what the host tells it, and passes on what it tells to processes.

A line to or from the host is a pair of a process's name and a line for it or from it; the name "" is
the agent's own.
"""

from __future__ import annotations

import ast
import glob
import subprocess
import sys
import threading

from tests.nfs.guest import world

_processes: dict[str, subprocess.Popen[bytes]] = {}
_port = open(glob.glob("/dev/vport*")[0], "r+b", buffering=0)  # noqa: SIM115  (until the end)
_writing = threading.Lock()


def say(name: str, line: str | None) -> None:
    with _writing:
        _port.write(f"{(name, line)!r}\n".encode())


def start(name: str, place: str, *command: str) -> int:
    """Start a process in the server or a client; returns its PID."""
    process = subprocess.Popen(
        [*world.inside(place), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    _processes[name] = process
    threading.Thread(target=_pass_on, args=(name, process), daemon=True).start()
    return process.pid


def _pass_on(name: str, process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        say(name, line.decode().rstrip("\n"))
    process.wait()
    say(name, None)


def kill(name: str, number: int = 9) -> None:
    _processes[name].send_signal(number)


def answer_to(source: str) -> tuple[object, ...]:
    try:
        return ("value", eval(source, vars(world) | {"start": start, "kill": kill}))
    except BaseException as error:  # noqa: BLE001  (it is the answer)
        return ("error", type(error).__name__, str(error))


def main() -> None:
    received = b""
    say("", "ready")
    while True:
        received += _port.read(65536)
        while b"\n" in received:
            message, _, received = received.partition(b"\n")
            name, line = ast.literal_eval(message.decode())
            if name == "":
                say("", repr(answer_to(line)))
            else:
                stdin = _processes[name].stdin
                assert stdin is not None
                try:
                    stdin.write(f"{line}\n".encode())
                    stdin.flush()
                except BrokenPipeError:
                    print(f"{name} has ended", file=sys.stderr)


main()
