"""Requests a second and their latency, of each server with a leader among its workers and without one.

The load comes from wrk. Both servers run on one processor, and are asked at the same time from another:
what the machine does meanwhile befalls both. Each request has a connection of its own, so that a worker
does not get more of them than the others for a whole round.
"""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.server import ROOT, WORKERS
from benchmarks.stamps import PATIENCE
from benchmarks.workers import await_queue

CONNECTIONS = 16
ROUNDS, SECONDS = 12, 3
GUNICORN = "gunicorn -c benchmarks/confs/serving.py --no-control-socket -b {address} -w {workers} -k"
UWSGI = (
    "uwsgi --master --enable-threads --die-on-term --disable-logging --need-app "
    "--http-socket {address} -p {workers} --module benchmarks.confs.served --binary-path {python}"
)
SERVERS = {
    "gunicorn, sync": f"{GUNICORN} sync benchmarks.confs.served:wsgi",
    "gunicorn, gthread": f"{GUNICORN} gthread benchmarks.confs.served:wsgi",
    "gunicorn, gevent": f"{GUNICORN} gevent benchmarks.confs.served:wsgi",
    "gunicorn, asgi": f"{GUNICORN} asgi benchmarks.confs.served:plain",
    "gunicorn, uvicorn-worker": (
        f"{GUNICORN} uvicorn_worker.UvicornWorker benchmarks.confs.served:plain"
    ),
    "uWSGI": UWSGI,
    "uvicorn": "uvicorn --host 127.0.0.1 --port {port} --workers {workers} --no-access-log "
    "--log-level warning benchmarks.confs.served:asgi",
    "hypercorn": "hypercorn -b {address} --workers {workers} benchmarks.confs.served:asgi",
    "granian": "granian --interface asgi --host 127.0.0.1 --port {port} --workers {workers} "
    "benchmarks.confs.served:asgi",
}
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    rate = Figure(
        "requests",
        "requests with a leader among the workers",
        "1/s",
        "as wrk counts them, of both at once",
    )
    latency = Figure(
        "latency", "latency of requests, 99th of 100", "ms", "as wrk measures it, in the same runs"
    )
    for name, command in SERVERS.items():
        with ExitStack() as stack:
            lock = str(directory / f"requests-{name}.lock")
            ports = {
                f"{name}, with": stack.enter_context(_serving(command, name, lock)),
                f"{name}, without": stack.enter_context(_serving(command, name, "")),
            }
            for port in ports.values():
                _answer(_ask(port))
            for _ in range(1 if quick else ROUNDS):
                asked = {name: _ask(port) for name, port in random.sample(list(ports.items()), 2)}
                for contender, wrk in asked.items():
                    requests, milliseconds = _answer(wrk)
                    rate.add(contender, requests)
                    latency.add(contender, milliseconds)
    return [rate, latency]


@contextmanager
def _serving(command: str, name: str, lock: str) -> Iterator[int]:
    """The port on which the server answers; its workers all stand for election, if there is a lock."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    words = command.format(
        address=f"127.0.0.1:{port}", port=port, workers=WORKERS, python=sys.executable
    ).split()
    process = subprocess.Popen(
        [*_on(-1), os.path.join(sysconfig.get_path("scripts"), words[0]), *words[1:]],
        cwd=ROOT,
        env={
            **os.environ,
            "LOCK": lock,
            "PYTHONPATH": str(ROOT),
            "HOOK": "uwsgi" if name == "uWSGI" else "asgi",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if lock:
        Path(lock).touch(0o600)
    try:
        _await_answer(port)
        if lock:
            await_queue(lock, WORKERS - 1)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await_answer(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _ask(port: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *_on(0),
            *(
                "wrk",
                "-t1",
                f"-c{CONNECTIONS}",
                f"-d{SECONDS}s",
                "--latency",
                "-H",
                "Connection: close",
            ),
            f"http://127.0.0.1:{port}/",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )


def _answer(wrk: subprocess.Popen[str]) -> tuple[float, float]:
    """Requests a second, and the 99th percentile of their latency in ms."""
    said, _ = wrk.communicate()
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    late = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    assert rate, said
    assert late, said
    return float(rate[1]), float(late[1]) * _UNITS[late[2]]


def _on(number: int) -> list[str]:
    """The beginning of a command line that keeps a program to one processor, if there are two."""
    processors = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(processors[number])] if len(processors) > 1 else []
