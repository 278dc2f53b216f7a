"""The demo's application: says which worker has answered."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable


def app(_environ: object, start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()}\n".encode()]
