"""gunicorn with a job in one of its workers: copy this, and put your own job in.

    gunicorn -c gunicorn.conf.py myapp:app

At any time one worker runs the job. When it dies, another one takes over within milliseconds; when it
ends in good order (reload, max_requests), the job is asked to stop first, and has 5 seconds for that.
"""

import logging

from leaderlock import Leadership
from leaderlock.integrations.gunicorn import in_one_worker

workers = 4

# The job may need the application. Import that inside the function, and not up here, so that gunicorn
# still loads it where it should: in the workers, or in the arbiter with preload_app.
# With on_return="hold" (the default) a job that returns is done for as long as this worker lives.


def job(leadership: Leadership) -> None:
    """What must run once."""
    for _ in leadership.every(60):  # seconds; ends when the job is to stop
        logging.getLogger("gunicorn.error").info("term %d: the job goes on", leadership.term)


post_fork = in_one_worker(
    job,
    # By default the lock's name is made of the function's name and this file's path. Two servers that
    # share this file then share one leader: give each a name of its own if each is to have one. Give
    # a name as well if each release lies in a directory of its own, or old and new would not exclude
    # each other during an upgrade (USR2).
    #   name="myapp-job",
    #
    # Or a path. Take this if gunicorn starts as root and `user` is set below: the file is made while
    # the rights are still there, and then belongs to that user. The directory must exist, and should
    # be one that no cleaner visits: /run/myapp (RuntimeDirectory=myapp in a systemd unit), not /tmp.
    #   path="/run/myapp/job.lock",
    #
    # If you have a post_fork hook already, it is called first:
    #   chain=my_post_fork,
    #
    # A worker whose job hangs is killed by the kernel, with its requests, when the job has not beaten
    # for so many seconds; then another one runs the job. every() beats at each tick, and so this is to
    # be three times the tick: docs/health.md.
    #   lease=180,
)

# A job that is asked to stop needs the worker to end in good order: leave it the time.
# graceful_timeout = 30

# A worker that hangs in a request is killed after this, and the job moves on. (gthread, gevent and
# asynchronous workers go on being healthy to gunicorn while a single request hangs.)
# timeout = 30

# user = "www-data"
# group = "www-data"

# `preload_app = True` works as well as False: the job starts in the workers, never in the arbiter.
# With the gevent worker a job runs in a thread of its own beside the event loop. Threads that the job
# starts there are green, and run only while the job itself waits by gevent (gevent.sleep).
# uvicorn's workers do not notice when the arbiter is killed with -9; the leader among them leads on.
