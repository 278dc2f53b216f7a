"""Reports of the reporter's form, for sinks to be given."""

from __future__ import annotations

import time
from typing import Any

WORKERS = {"alive": 4, "full": False, "note": "fine", "none": None, "load": [0.5, -1.25]}


def a_check(status: str = "ok", value: object = None, **more: Any) -> dict[str, Any]:
    error = more.pop("error", None)
    return {
        "status": status,
        "value": value,
        "duration": 0.25,
        "error": error,
        "critical": False,
        **more,
    }


def a_report(status: str = "ok", **more: Any) -> dict[str, Any]:
    """A report; whole parts of it can be replaced by keyword."""
    now = time.time()
    return {
        "version": 1,
        "time": now,
        "status": status,
        "leader": {"pid": 4711, "term": 7, "since": now - 60, "uptime": 60.0, "failovers": 6},
        "reporter": {
            "interval": 10,
            "tick": 6,
            "lag": 0.001,
            "missed": 2,
            "sinks": {"sinks.file('/x')": {"dropped": 3, "errors": 1, "error": "OSError: full"}},
        },
        "checks": {"workers": a_check(value=WORKERS)},
        **more,
    }


def a_critical_failure() -> dict[str, Any]:
    down = a_check("failing", error="ConnectionRefusedError: nobody\nlistens", critical=True)
    return a_report("failing", checks={"http": down, "workers": a_check(value=WORKERS)})
