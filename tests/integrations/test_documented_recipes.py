"""The documents' recipes, as they are written, under each kind of server that they name.

Only their intervals are shortened, and the functions that are the reader's note who calls them.
"""

from __future__ import annotations

import concurrent.futures
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blocks import ROOT, blocks_of
from tests.integrations.fleet import BIN, Fleet, free_port, get_page
from tests.processes import until

pytestmark = pytest.mark.slow

WORKERS = 3
GUNICORN: list[object] = [sys.executable, "-m", "gunicorn", "--no-control-socket", "-w", WORKERS]
WITH_EVENTLET = ROOT / ".cache" / "gunicorn-25"
"""The last gunicorn that has such a worker, installed by `make packages`."""

UWSGI: list[object] = [BIN / "uwsgi", "--master", "--processes", WORKERS, "--enable-threads"]
SERVERS: dict[str, list[object]] = {
    "sync": GUNICORN,
    "gthread": [*GUNICORN, "-k", "gthread", "--threads", 4],
    "gevent": [*GUNICORN, "-k", "gevent"],
    "eventlet": [*GUNICORN, "-k", "eventlet"],
    "preload": [*GUNICORN, "--preload"],
    "uwsgi": UWSGI,
}

# The functions and the application that a recipe takes for granted.
NAMES = """
import os
from leaderlock import current_leadership
from tests.integrations.served import note

_terms = set()

def tick(*_, term=None, **__):
    leadership = current_leadership()
    if term is None and leadership is None:
        return  # the last job of a term that is over
    term = leadership.term if term is None else term
    note("tick" if term in _terms else "start", term)
    _terms.add(term)

do_it = push_metrics = close_old_connections = tick
print = tick

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""

DJANGO = {
    "settings.py": "{names}\n{settings}\nINSTALLED_APPS.remove(...)\nSECRET_KEY = 'x'\n"
    "ALLOWED_HOSTS = ['*']\nROOT_URLCONF = 'urls'\n",
    "urls.py": "from django.http import HttpResponse\nfrom django.urls import path\n"
    "urlpatterns = [path('', lambda request: HttpResponse('hello'))]\n",
    "polls/__init__.py": "",
    "polls/tasks.py": "{names}\n{tasks}",
    "app.py": "import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'settings'\n"
    "from django.core.wsgi import get_wsgi_application\napp = get_wsgi_application()\n",
}


def snippet(document: str, words: str) -> str:
    """The one block with these words, whose intervals are a moment."""
    [block] = [block for block in blocks_of(ROOT / document) if words in block.content]
    text = re.sub(r"every\(\d+\)", "every(0.05)", block.content)
    return re.sub(r"(seconds|minutes)=\d+", "seconds=0.05", text)


RECIPES: dict[str, dict[str, tuple[str, str] | None]] = {
    "README, @only_once": {"app.py": ("README.md", "@only_once")},
    "README, gunicorn.conf.py": {
        "gunicorn.conf.py": ("README.md", "post_fork = in_one_worker(export"),
        "app.py": None,
    },
    "README, uWSGI": {"app.py": ("README.md", "integrations.uwsgi import in_one_worker")},
    "docs/frameworks.md, Flask": {"app.py": ("docs/frameworks.md", "app = Flask(__name__)")},
    "docs/frameworks.md, APScheduler": {
        "app.py": ("docs/frameworks.md", "scheduler = BackgroundScheduler()")
    },
    "docs/frameworks.md, Django": {},
}
AT_THE_END = {
    "docs/frameworks.md, Flask": "\n@app.route('/')\ndef index():\n    return 'hello'\n",
    "docs/frameworks.md, APScheduler": "\nfrom leaderlock import Election\n"
    "Election(name='example').start(schedule)\n",
}


def write(recipe: str, directory: Path) -> None:
    """Lay out the files of a recipe."""
    files: dict[str, str] = {}
    for name, place in RECIPES[recipe].items():
        files[name] = f"{NAMES}\n{snippet(*place) if place else ''}{AT_THE_END.get(recipe, '')}"
    if not files:
        settings = snippet("docs/frameworks.md", "INSTALLED_APPS = [")
        tasks = snippet("docs/frameworks.md", "close_old_connections()  ")
        files = {
            name: text.format(names=NAMES, settings=settings, tasks=tasks)
            for name, text in DJANGO.items()
        }
    for name, text in files.items():
        file = directory / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)


def command(kind: str, port: int) -> list[object]:
    address = f"127.0.0.1:{port}"
    if kind == "uwsgi":
        return [*UWSGI, "--http-socket", address, "--wsgi-file", "app.py", "--callable", "app"]
    return [*SERVERS[kind], "-b", address, "app:app"]


def combinations() -> Iterator[tuple[str, str]]:
    for recipe in RECIPES:
        for kind in SERVERS:
            if ("gunicorn.conf" in recipe and kind == "uwsgi") or (
                recipe.endswith("uWSGI") and kind != "uwsgi"
            ):
                continue
            yield recipe, kind


@pytest.mark.parametrize(("recipe", "kind"), [*combinations()])
def test_one_worker_ticks_all_answer_and_another_one_ticks_when_that_is_killed(
    tmp_path: Path, recipe: str, kind: str
) -> None:
    write(recipe, tmp_path)
    port = free_port()
    fleet = Fleet(tmp_path, command(kind, port))
    paths = [str(tmp_path), fleet.environment["PYTHONPATH"]]
    if kind == "eventlet":
        assert WITH_EVENTLET.is_dir(), "it is not installed: `make packages`"
        paths.insert(0, str(WITH_EVENTLET))
    fleet.environment["PYTHONPATH"] = os.pathsep.join(paths)
    with fleet:
        locks = tmp_path / "locks"
        until(lambda: locks.is_dir() and len([*locks.glob("*.lock")]) == 1, "the lock")
        [fleet.lock] = locks.glob("*.lock")
        stood = fleet.until_standing(WORKERS)
        assert stood == fleet.workers()
        first = fleet.leader()
        until(lambda: fleet.leaders() == {first.pid}, "the kernel's table to name the leader alone")
        answer_all(port)
        os.kill(first.pid, 9)
        second = fleet.leader(not_among=[first.pid])
        assert second.term > first.term
        fleet.until_standing(WORKERS)
        answer_all(port)
        fleet.check_one_leader_at_any_time()


def answer_all(port: int) -> None:
    """Many requests at once, so that a worker that hangs would leave one of them unanswered."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(get_page, [port] * 24)) <= {"hello", "hello\n"}
