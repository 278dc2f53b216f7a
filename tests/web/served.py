"""The status page, as servers under test load it; what it shows comes by the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.validate import validator

import leaderlock.web
from leaderlock.web import over_asgi, over_wsgi

for module in (over_asgi, over_wsgi):
    if "LONGEST" in os.environ:
        vars(module)["LONGEST"] = float(os.environ["LONGEST"])
    if "HEARTBEAT" in os.environ:
        vars(module)["HEARTBEAT"] = float(os.environ["HEARTBEAT"])

SETTINGS: dict[str, Any] = {
    "paths": [os.environ["LOCK"]],
    "health": os.environ.get("HEALTH"),
    "streams": int(os.environ.get("STREAMS", "32")),
}
wsgi = leaderlock.web.wsgi(**SETTINGS)
asgi = leaderlock.web.asgi(**SETTINGS)
validated = validator(wsgi)


def mounted(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Below /ops/leader, as frameworks and servers mount an application."""
    place, path = "/ops/leader", environ["PATH_INFO"]
    assert path.startswith(place)
    environ["SCRIPT_NAME"] += place
    environ["PATH_INFO"] = path[len(place) :]
    return wsgi(environ, start_response)
