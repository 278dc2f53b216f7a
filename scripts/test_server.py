"""Runs pytest in a fork of a process that has imported it already, for each client of a Unix socket.

    python scripts/test_server.py SOCKET

A client sends pytest's arguments, and gets the exit status. The library and its tests are imported in
the fork alone. A client that goes away ends its run.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys

import psutil  # noqa: F401
import pytest


def run(words: list[str]) -> None:
    """In the fork: run the tests in a session of its own, and end."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    quiet = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(quiet, fd)
    os.close(quiet)
    status = 70
    try:
        status = int(pytest.main(words))
    finally:
        os._exit(status)


def serve(client: socket.socket) -> None:
    """Run the tests for one client."""
    words = client.recv(65536).decode().split("\0")
    pid = os.fork()
    if pid == 0:
        run(words)
    end = os.pidfd_open(pid)
    ready = []
    try:
        ready = select.select([client.fileno(), end], [], [])[0]
    finally:  # also when this server is to end
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        if end not in ready:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(end)
    if end in ready:
        client.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def main(address: str) -> None:
    """Serve one client after the other."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with contextlib.suppress(FileNotFoundError):
        os.unlink(address)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while True:
            client, _ = listener.accept()
            with client:
                serve(client)


if __name__ == "__main__":
    main(sys.argv[1])
