"""What gunicorn and uWSGI serve, and the command of `leaderlock run`: they mark their terms."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.chaos.marking import TICK, task_of
from tests.chaos.page import Page

WHO = int(os.environ["CHAOS_WHO"])
page = Page(Path(os.environ["CHAOS_PAGE"]), Path(os.environ["CHAOS_LIBRARY"]))


task = task_of(page, WHO)


def application(
    _environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"\n"]


def command() -> None:
    """Lead as the command of `leaderlock run`, until killed."""
    slot = page.enter(WHO, int(os.environ["LEADERLOCK_TERM"]))
    while True:
        page.stamp(slot)
        time.sleep(TICK)


if os.environ.get("CHAOS_SERVER") == "uwsgi":
    from leaderlock.integrations.uwsgi import in_one_worker

    in_one_worker(task, path=os.environ["CHAOS_LOCK"], backoff=(0.02, 0.1))

if __name__ == "__main__":
    command()
