"""An application for the tests that starts its candidate as it is imported, by whatever process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from leaderlock import current_leadership, only_once
from tests.integrations.served import lead, note


@only_once(name="example", backoff=(0.05, 0.2))
def work() -> None:
    leadership = current_leadership()
    assert leadership is not None
    lead(leadership)


candidate = work()
note(f"loaded:{candidate.state}")


def state() -> str:
    """Who answers, and what the candidate says that was made as the module was imported."""
    assert work() is candidate
    return f"{os.getpid()} {candidate.state} {candidate.is_leader} {candidate.wait(0)}"


def application(_environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    body = state().encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
