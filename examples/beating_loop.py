"""An event loop that beats from within: if it is stuck, the kernel kills it, and another process leads.

    python examples/beating_loop.py /run/app/loop.lock &
    python examples/beating_loop.py /run/app/loop.lock &    # stands by
    kill -USR1 PID              # of the leader, which it prints: its loop is stuck from then on

A beat from a thread beside the loop would go on while the loop hangs, and say nothing about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
import time

from leaderlock import Election, Leadership

LEASE = 5.0  # seconds: no step of the loop may take longer
BEAT = LEASE / 4


async def work(term: int) -> None:
    """What one process does; put your own coroutines here."""
    for count in itertools.count():
        print(f"{os.getpid()} {term} {count}", flush=True)
        await asyncio.sleep(1)


def block() -> None:
    """What must not be done in an event loop."""
    time.sleep(3600)


async def main(leadership: Leadership) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leadership.stopping.set)
    loop.add_signal_handler(signal.SIGUSR1, block)
    working = asyncio.create_task(work(leadership.term))
    while not (leadership.stopping.is_set() or working.done()):
        leadership.beat()  # raises if the leadership is lost; asyncio.run then cancels the work
        await asyncio.wait({working}, timeout=BEAT)
    if working.done():
        working.result()  # raises what the work has raised: the leadership passes on


# For a standby, which has no loop yet. KeyboardInterrupt ends its wait for the lock.
signal.signal(signal.SIGTERM, signal.default_int_handler)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
with contextlib.suppress(KeyboardInterrupt):
    Election(sys.argv[1], lease=LEASE).run(lambda leadership: asyncio.run(main(leadership)))
