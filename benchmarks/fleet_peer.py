"""A candidate of another library, as a program: stands for election, and tells the witness its terms.

python -m benchmarks.fleet_peer DIRECTORY PEER HOST LEASE

Each peer is used as its documentation shows, with a lease or session of LEASE seconds. Where it tells
its user of a loss, the work stops at once. It runs in a venv of the peers, without leaderlock.
"""

from __future__ import annotations

import base64
import json
import os
import random
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fleet.witness import Witness

TICK = 0.02
NAME = "peers"

Lead = Callable[[Callable[[], bool]], None]
"""Works until the function that it gets says that the leadership is lost."""


def kazoo(lead: Lead, host: str, lease: float) -> None:
    """An election; the connection's listener says when the session may be lost."""
    from kazoo.client import KazooClient, KazooState

    suspended = threading.Event()

    def listen(state: str) -> None:
        if state == KazooState.CONNECTED:
            suspended.clear()
        else:
            suspended.set()

    client = KazooClient(f"{host}:2181", timeout=lease)
    client.add_listener(listen)
    client.start()
    while True:
        client.Election(f"/{NAME}").run(lead, suspended.is_set)


def _tooz(url: str, lead: Lead) -> None:
    from tooz import coordination

    coordinator = coordination.get_coordinator(url, str(os.getpid()).encode())
    coordinator.start(start_heart=True)
    while True:
        lock = coordinator.get_lock(NAME.encode())
        if lock.acquire():
            lead(lambda lock=lock: not lock.acquired)  # type: ignore[misc]


def tooz_etcd(lead: Lead, host: str, lease: float) -> None:
    """A lock; the coordinator's thread of heartbeats renews it."""
    _tooz(f"etcd3+http://{host}:2379?lock_timeout={lease:.0f}&membership_timeout={lease:.0f}", lead)


def tooz_redis(lead: Lead, host: str, lease: float) -> None:
    """See `tooz_etcd`."""
    _tooz(f"redis://{host}:6379?lock_timeout={lease:.0f}&membership_timeout={lease:.0f}", lead)


def redis_py(lead: Lead, host: str, lease: float) -> None:
    """A lock with a timeout, in which a thread renews it three times; any error ends the work."""
    import redis

    client = redis.Redis(host)
    while True:
        lock = client.lock(NAME, timeout=lease, thread_local=False)
        if not lock.acquire():
            continue
        lost = threading.Event()

        def renew(lock: Any = lock, lost: threading.Event = lost) -> None:
            while not lost.wait(lease / 3):
                try:
                    lock.reacquire()
                except redis.exceptions.RedisError:
                    lost.set()

        threading.Thread(target=renew, daemon=True).start()
        lead(lost.is_set)


def python_redis_lock(lead: Lead, host: str, lease: float) -> None:
    """A lock that renews itself; it has nothing that tells its user of a loss."""
    import redis
    import redis_lock

    lock = redis_lock.Lock(redis.Redis(host), NAME, expire=int(lease), auto_renewal=True)
    with lock:
        lead(lambda: False)


def client_go(lead: Lead, host: str, lease: float) -> None:
    """The loop of client-go's leaderelection, with a key of etcd in place of a Lease of Kubernetes.

    Its three times keep the proportions of the defaults: 15 s, 10 s and 2 s.
    """
    deadline, retry = lease * 10 / 15, lease * 2 / 15
    me = f"{os.getpid()}"
    seen: tuple[str, str] = ("", "")
    seen_at = time.monotonic()

    def call(path: str, body: object) -> Any:
        request = urllib.request.Request(f"http://{host}:2379/v3/{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=deadline / 2) as answer:
            return json.load(answer)

    def encode(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    def acquire_or_renew() -> bool:
        nonlocal seen, seen_at
        try:
            found = call("kv/range", {"key": encode(NAME)}).get("kvs", [])
            version = found[0]["mod_revision"] if found else "0"
            holder = base64.b64decode(found[0]["value"]).decode().split()[0] if found else ""
            if (version, holder) != seen:
                seen, seen_at = (version, holder), time.monotonic()
            if holder not in {"", me} and time.monotonic() < seen_at + lease:
                return False
            put = {"key": encode(NAME), "value": encode(f"{me} {time.monotonic()}")}
            compare = {"key": encode(NAME), "target": "MOD", "mod_revision": version}
            step = {"compare": [compare], "success": [{"request_put": put}]}
            return bool(call("kv/txn", step).get("succeeded"))
        except OSError:
            return False

    while not acquire_or_renew():
        time.sleep(retry * random.uniform(1, 2.2))
    lost = threading.Event()

    def work() -> None:
        lead(lost.is_set)
        os._exit(1)  # as client-go's users do when they have lost

    threading.Thread(target=work).start()
    renewed = time.monotonic()
    while time.monotonic() < renewed + deadline:
        time.sleep(retry)
        began = time.monotonic()
        if acquire_or_renew():
            renewed = began
    lost.set()


PEERS: dict[str, Callable[[Lead, str, float], None]] = {
    "kazoo": kazoo,
    "tooz-etcd": tooz_etcd,
    "tooz-redis": tooz_redis,
    "redis-py": redis_py,
    "python-redis-lock": python_redis_lock,
    "client-go": client_go,
}


def main(directory: str, peer: str, host: str, lease: str) -> None:
    witness = Witness(Path(directory))

    def lead(is_lost: Callable[[], bool]) -> None:
        term = time.time_ns() // 1000  # none of the peers has a number that rises
        witness.begin(term)
        while not is_lost():
            witness.work(term)
            time.sleep(TICK)
        witness.end(term)

    witness.ready()
    while True:  # as the program's supervisor would start it again
        try:
            PEERS[peer](lead, host, float(lease))
        except Exception:  # noqa: BLE001  (any error of a library)
            traceback.print_exc()
            time.sleep(0.5)


if __name__ == "__main__":
    main(*sys.argv[1:])
