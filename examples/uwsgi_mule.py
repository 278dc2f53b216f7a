"""A mule with a program of its own, which campaigns by itself; several exclude each other.

uwsgi --ini examples/uwsgi.ini --mule=examples/uwsgi_mule.py --mule=examples/uwsgi_mule.py
"""

import os
import signal
import sys
import time

from leaderlock import Election, Leadership


def report(leadership: Leadership) -> None:
    """What one mule does, every few seconds; put your own work here."""
    with open(os.environ.get("EXAMPLE_LOG", "/dev/stderr"), "ab", buffering=0) as log:

        def say(event: str) -> None:
            log.write(f"{os.getpid()} {leadership.term} {time.monotonic():.6f} {event}\n".encode())

        try:
            say("start")
            for _ in leadership.every(float(os.environ.get("EXAMPLE_SECONDS", "10"))):
                say("tick")
        finally:
            say("stop")


# uWSGI's own handlers end a mule in the midst of whatever it does; Python's let it finish.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda *_: sys.exit())
lock = os.environ.get("EXAMPLE_LOCK")
Election(lock, name=None if lock else "report").run(report)
