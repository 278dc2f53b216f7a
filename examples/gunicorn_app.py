"""The smallest application: it says which worker answers, and whether that one leads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from leaderlock import current_leadership


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    leadership = current_leadership()
    role = f"leads, term {leadership.term}" if leadership else "stands by"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"worker {os.getpid()} {role}\n".encode()]
