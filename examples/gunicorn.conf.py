"""Four workers, one of which reports. See also contrib/gunicorn.conf.py, which says more.

    gunicorn -c examples/gunicorn.conf.py

Then kill the leader (its PID is in the log) with -9, and see another worker take over.
"""

from __future__ import annotations

import sys
from pathlib import Path

from leaderlock import Leadership
from leaderlock.integrations.gunicorn import in_one_worker

sys.path.insert(0, str(Path(__file__).parent))  # where gunicorn_app.py lies

wsgi_app = "gunicorn_app:app"
workers = 4


def report(leadership: Leadership) -> None:
    """Runs in one worker at a time, until that is asked to stop."""
    for tick in leadership.every(10):
        print(f"term {leadership.term}: all is well, for {tick * 10} s", file=sys.stderr, flush=True)


post_fork = in_one_worker(report)
