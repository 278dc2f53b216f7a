"""What the code blocks of the documents assume, and by what program each is run."""

from __future__ import annotations

from dataclasses import dataclass, field

PRELUDE = '''
import os, sys, threading

def told(name):
    """A function of the reader's: it says that it was called."""
    def call(*arguments, **keywords):
        print(" ".join([name, "ran", *keywords]), flush=True)  # whole, in Celery's log too
    call.__name__ = name
    return call

async def do_it_soon(*arguments, **keywords):
    print("do_it ran", flush=True)

do_it, report, handle, push_metrics, measure, job = map(
    told, ["do_it", "report", "handle", "push_metrics", "measure", "job"]
)
fill_cache, update, count_jobs, my_check = map(told, ["fill_cache", "update", "count_jobs", "my_check"])

def app(environ, start_response):
    start_response("200 OK", [])
    return [b""]
'''

STUBS = {
    "backup": "echo backup ran",
    "celery": "echo celery ran",
    "gunicorn": "echo gunicorn ran",
    "vector": "cat",
}
"""Programs of the reader's, by what they do here."""

GUNICORN = "{python} -m gunicorn --no-control-socket --bind unix:http --workers 2"
CONFIGURATION = f"{GUNICORN} -c block.py block:app"
APPLICATION = f"{GUNICORN} block:app"
UVICORN = "{python} -m uvicorn --workers 2 --uds http block:app"
UWSGI = "{scripts}/uwsgi --master --processes 2 --enable-threads --socket http --module block:app"
WAIT = "threading.Event().wait()"
ELECTION = "from leaderlock import Election"
LOCKED = """
from leaderlock import LeaderLock
held = LeaderLock("{}")
held.acquire()
"""
RAN_ONCE = "leaderlock run --lock /run/app/leader.lock -- true"
IN_GUNICORN = "from leaderlock.integrations.gunicorn import in_one_worker"
IN_ASGI = """
from contextlib import asynccontextmanager
from leaderlock.integrations.asgi import in_one_worker
from starlette.applications import Starlette

async def job(leadership):
    print("job ran", flush=True)

@asynccontextmanager
async def open_database():
    yield "database"
"""
A_MINUTE_IS_SHORT = """
from apscheduler.schedulers import background

class InAMoment(background.BackgroundScheduler):
    def add_job(self, function, trigger, minutes=1, seconds=0, kwargs=None):
        super().add_job(function, trigger, seconds=0.1, kwargs=kwargs)

background.BackgroundScheduler = InAMoment
"""
A_FREE_PORT = """
import functools
import waitress
from werkzeug import serving
from werkzeug.serving import is_running_from_reloader
from leaderlock import Election

waitress.serve = functools.partial(waitress.serve, listen="127.0.0.1:0")

def run_simple(host, port, app, use_reloader):
    serving.run_simple(host, 0, app, use_reloader=use_reloader)
"""
DJANGO = """
INSTALLED_APPS.remove(...)
import django
from django.conf import settings
from django.core.management import call_command

settings.configure(INSTALLED_APPS=INSTALLED_APPS, LEADERLOCK=LEADERLOCK)
django.setup()
call_command("leader", "--run", "polls.tasks.report")
"""
PROCESSES = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Process
from leaderlock import Election

multiprocessing.set_start_method("fork")  # the others import this file anew, without a guard
"""


@dataclass(frozen=True)
class Run:
    """How a block is run: what comes before it and after it, beside it, and what it shows.

    One that shows nothing has to end, with one of the statuses.
    """

    names: str = ""
    then: str = ""
    files: dict[str, str] = field(default_factory=dict)
    under: str = "{python} block.py"
    shows: str | None = None
    statuses: tuple[int, ...] = (0,)


# By the document, and words that are in this block of it alone. Others are run as they are.
RUNS = {
    "README.md: @only_once": Run(A_MINUTE_IS_SHORT, under=APPLICATION, shows="one worker reports"),
    "README.md: post_fork = in_one_worker(export": Run(
        under=CONFIGURATION, shows="push_metrics ran term"
    ),
    "README.md: checks.inbox(inbox)": Run(under=CONFIGURATION, shows='{"version"'),
    "README.md: integrations.uwsgi": Run(under=UWSGI, shows="push_metrics ran term"),
    "README.md: integrations.asgi": Run(under=UVICORN, shows="push_metrics ran term"),
    "README.md: @call_once": Run("RELEASE = '1.0'"),
    "README.md: leaderlock health": Run(shows="not healthy"),
    "README.md: leaderlock history": Run(RAN_ONCE, statuses=(0, 1)),  # 1: a doubtful place
    "docs/asgi.md: FastAPI(": Run("do_it = do_it_soon", under=UVICORN, shows="do_it ran"),
    "docs/asgi.md: async def lifespan": Run(
        IN_ASGI, "app = Starlette(lifespan=lifespan)", under=UVICORN, shows="job ran"
    ),
    "docs/asgi.md: lease=30)     # seconds": Run(IN_ASGI),
    "docs/asgi.md: election.lead()": Run(
        "report = do_it_soon", "import asyncio; asyncio.run(main())", shows="do_it ran"
    ),
    "docs/doctor.md: lock_table": Run(LOCKED.format("/srv/app/leader.lock")),
    "docs/election.md: def task": Run(then=WAIT, shows="report ran term"),
    'docs/election.md: thread="native").start': Run(
        f"{ELECTION}; task = told('task')", WAIT, shows="task ran"
    ),
    "docs/election.md: lease=30": Run(f"{ELECTION}; task = told('task')", WAIT, shows="task ran"),
    "docs/explanation/fencing.md: UPDATE": Run(
        "import sqlite3; connection = sqlite3.connect('store', check_same_thread=False)\n"
        "connection.execute('CREATE TABLE report (value, term)')\n"
        "connection.execute('INSERT INTO report VALUES (0, 0)')",
        f"{ELECTION}; Election(name='fenced').run(task)",
        shows="measure ran",
    ),
    "docs/explanation/leases.md: lease=30": Run(then=WAIT, shows="report ran"),
    "docs/frameworks.md: INSTALLED_APPS": Run(
        then=DJANGO,
        files={
            "polls/__init__.py": "",
            "polls/tasks.py": "def report(leadership):\n    print('report ran', flush=True)\n",
        },
        shows="report ran",
    ),
    "docs/frameworks.md: close_old_connections()": Run(
        "close_old_connections = told('close')",
        f"{ELECTION}; Election(name='polls').run(report)",
        shows="do_it ran term",
    ),
    "docs/frameworks.md: Flask(__name__)": Run(under=APPLICATION, shows="do_it ran term"),
    "docs/frameworks.md: web.Application()": Run(
        under=f"{GUNICORN} -k aiohttp.GunicornWebWorker block:app", shows="do_it ran term"
    ),
    "docs/frameworks.md: Sanic(": Run(
        under="{scripts}/sanic --workers 2 --port {port} block:app", shows="do_it ran term"
    ),
    "docs/frameworks.md: # the WSGI script": Run(then=WAIT, shows="do_it ran term"),
    "docs/frameworks.md: dramatiq.Middleware": Run(
        "from dramatiq.brokers import redis, stub; redis.RedisBroker = lambda url: stub.StubBroker()",
        f"dramatiq.Worker(broker).start(); {WAIT}",
        shows="do_it ran term",
    ),
    "docs/frameworks.md: RedisHuey(": Run(
        "import huey; huey.RedisHuey = lambda name: huey.SqliteHuey(filename=name)",
        under="{scripts}/huey_consumer block.huey",
        shows="do_it ran term",
    ),
    "docs/frameworks.md: integrations.celery": Run(
        "from celery import Celery; app = Celery(broker='memory://')",
        under="{python} -m celery -A block:app worker -c 2",
        shows="report ran",
    ),
    "docs/frameworks.md: scheduler = BackgroundScheduler()": Run(
        A_MINUTE_IS_SHORT,
        f"{ELECTION}; Election(name='schedule').run(schedule)",
        shows="do_it ran term",
    ),
    "docs/frameworks.md: multiprocessing.Pool": Run(PROCESSES, shows="report ran"),
    "docs/frameworks.md: waitress.serve": Run(A_FREE_PORT, shows="report ran"),
    "docs/frameworks.md: is_running_from_reloader": Run(A_FREE_PORT, shows="report ran"),
    "docs/gunicorn.md: def job": Run(under=CONFIGURATION, shows="do_it ran term"),
    "docs/gunicorn.md: lease=180": Run(IN_GUNICORN, under=CONFIGURATION, shows="job ran"),
    "docs/health.md: # gunicorn.conf.py": Run(under=CONFIGURATION, shows='{"version"'),
    "docs/health.md: def backlog": Run(
        "count_jobs = lambda: 1001", "print(backlog())", shows="1001 jobs wait"
    ),
    "docs/health.md: prometheus_client": Run(
        "import prometheus_client; from leaderlock.health import sinks"
    ),
    "docs/history.md: leaderlock history": Run(RAN_ONCE),
    "docs/how-to/command.md: import.lock": Run(shows="term 1"),
    "docs/how-to/migration.md: key=lambda": Run(
        "from leaderlock import call_once; RELEASE = '1.0'", "load('alice')"
    ),
    "docs/how-to/migration.md: def migrate": Run(
        "RELEASE = '1.0'; upgrade_schema = lambda: 3", "print(result)", shows="{'tables': 3}"
    ),
    "docs/inbox.md: inbox.send": Run(
        then=f"{ELECTION}; Election(name='reader').run(task)", shows="handle ran"
    ),
    "docs/inbox.md: checks.inbox(inbox)": Run(
        "from leaderlock.inbox import Inbox; inbox = Inbox('/run/app/inbox')"
    ),
    "docs/inbox.md: PersistentReader": Run(
        then=f"{ELECTION}; Election(name='reader').start(task)\n"
        f"print('a line', file=open('/run/app/log.fifo', 'w'), flush=True); {WAIT}",
        shows="handle ran",
    ),
    "docs/interop.md: FileLock(": Run("open('/run/app/data', 'w').close()"),
    "docs/pytest.md: once_per_run": Run(
        "drop_database = told('drop'); create_database = lambda: 'a database'",
        files={
            "conftest.py": "from block import *\n",
            "test_it.py": "def test_it(database):\n    assert database == 'a database'\n",
        },
        under="{python} -m pytest -q -n 2 -p no:cacheprovider test_it.py",
        shows="1 passed",
    ),
    "docs/status.md: $ leaderlock status": Run(RAN_ONCE),
    "docs/status.md: status_of": Run(LOCKED.format("/run/app/leader.lock")),
    "docs/uwsgi.md: in_one_mule": Run(under=f"{UWSGI} --mule --mule", shows="job ran"),
    "docs/uwsgi.md: in_one_worker": Run(under=UWSGI, shows="do_it ran term"),
    "docs/web.md: leaderlock serve": Run(RAN_ONCE, shows="http://127.0.0.1"),
}

NOT_RUN = {
    "docs/fleet.md: db/app#report": "needs a server; tests/fleet has one",
    'docs/fleet.md: within="/run': "needs a server; tests/fleet has one",
    "README.md: make demo": "test_demo.py runs the demo, and `make test` runs this",
    "docs/cli.md: completion bash": "for an interactive shell; test_completion.py runs those",
    "docs/frameworks.md: class LeadingWorker": "needs Redis; integrations/test_rq.py has one",
    "docs/frameworks.md: manage.py leader": "needs a project; integrations/test_django.py has one",
}
"""With the reason."""
