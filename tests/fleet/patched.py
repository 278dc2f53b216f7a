"""A candidate in a process that gevent or eventlet has patched, whose hub runs on."""

from __future__ import annotations

from collections.abc import Callable

from tests.processes import until
from tests.test_native_threads import Program

_PROGRAM = """
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        sleep(0.005)
spawn(tick)

def task(leadership):
    say("leads")
    {body}

candidate = leaderlock.Election(path, lease={lease}).start(task)
say("started")
told()
before = ticks
sleep(0.2)
say(str(ticks > before + 5))
say(str(candidate.stop(60)))
"""

TICKS = "for _ in leadership.every(0.1): pass"
WAITS = "leadership.stopping.wait()"


def green_url(name: Callable[[str], str], library: dict[str, str]) -> str:
    """The URL of an election of one library's own."""
    return name("green" + "".join(filter(str.isalpha, library["hub"]))[:12])


def require_cooperation(
    library: dict[str, str],
    url: str,
    *,
    is_waiting: Callable[[], bool],
    resign: Callable[[], object],
    stand: Callable[[], Callable[[], object]],
    body: str = TICKS,
    lease: float = 60,
) -> None:
    """Have a patched process wait, lead and stop, while its hub runs on.

    Args:
        library: how to patch.
        url: the election, in which another candidate leads.
        is_waiting: whether the process waits.
        resign: lets the process lead.
        stand: begins to wait behind the process; what it returns is true once that candidate leads.
        body: what the task does.
        lease: seconds.
    """
    program_text = _PROGRAM.format(body=body, lease=lease)
    with Program(library, True, program_text, url) as program:
        assert program.line() == "started"
        until(is_waiting, "the process to wait")
        resign()
        assert program.line() == "leads"
        leads = stand()
        program.go_on()
        assert program.line() == "True"
        assert program.line() == "True"
        assert leads()
