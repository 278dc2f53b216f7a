"""A WSGI script of mod_wsgi's, one of whose processes reports; mod_wsgi.conf is Apache's part."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from leaderlock import Election, Leadership, is_leader


def report(leadership: Leadership) -> None:
    for _ in leadership.every(1):
        print(f"process {os.getpid()} leads, term {leadership.term}", file=sys.stderr, flush=True)


Election(name="example").start(report)


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"process {os.getpid()} leads: {is_leader()}".encode()]
