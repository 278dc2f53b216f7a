"""Another program's client of ZooKeeper, for tests that change an election's nodes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from kazoo.client import KazooClient

from tests.fleet.servers import ZooKeeper


@contextlib.contextmanager
def other_client(server: ZooKeeper, **options: Any) -> Iterator[KazooClient]:
    """A connected kazoo client, which is closed with its session in the end."""
    client = KazooClient(f"{server.address()}:{server.port}", **options)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.close()
