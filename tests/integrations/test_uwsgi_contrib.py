"""contrib/uwsgi.ini is understood by real uWSGI, which starts with it and elects one leader."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integrations.uwsgi_server import EXAMPLES, ROOT, Build, Server, build

__all__ = ["build"]  # a fixture

TEXT = (ROOT / "contrib" / "uwsgi.ini").read_text()
Copied = Callable[[str, int], Server]


@pytest.fixture
def copied(tmp_path: Path, build: Build) -> Iterator[Copied]:
    """Start a server with the file, as somebody has changed it, and an application called myapp."""
    started: list[Server] = []

    def start(text: str, processes: int) -> Server:
        changed = re.sub("^;(plugin|binary-path).*", "", text, flags=re.M)
        changed = changed.replace("127.0.0.1:8000", str(tmp_path / "http"))
        (tmp_path / "uwsgi.ini").write_text(changed)
        source = (
            f"import sys\nsys.path.insert(0, {str(EXAMPLES)!r})\nfrom uwsgi_app import application\n"
        )
        (tmp_path / "myapp.py").write_text(source)
        started.append(Server(tmp_path, build, ["--ini", "uwsgi.ini"], processes))
        return started[-1]

    yield start
    for server in started:
        server.end()
        print(server.log)


def test_one_worker_leads_through_a_kill_a_reload_and_the_end(copied: Copied) -> None:
    server = copied(TEXT, 4)
    server.check_failover()
    workers = server.complete()
    leader = server.leader()
    server.kill(server.process.pid, signal.SIGHUP)
    server.leader(after=leader.term, among=server.complete(without=workers))
    server.kill(server.process.pid, signal.SIGTERM)
    server.process.wait(60)
    assert server.events()[-1].what == "stop"
    server.check_one_at_a_time()


def test_what_is_left_out_works_when_it_is_taken_in(copied: Copied, tmp_path: Path) -> None:
    (tmp_path / "reload").touch()
    text = re.sub("^;(?!plugin|binary-path)", "", TEXT, flags=re.M)
    assert len(re.findall("^;", TEXT, re.M)) == len(re.findall("^;", text, re.M)) + 9
    server = copied(text, 2)
    leader = server.leader()
    server.get()
    os.utime(tmp_path / "reload", (2**31, 2**31))
    server.logs("chain reloading")
    server.leader(after=leader.term)
    server.until_stopped(leader.term)
    server.check_one_at_a_time()


def test_a_misspelt_option_is_an_error(copied: Copied) -> None:
    server = copied(TEXT.replace("need-app", "need-apps"), 4)
    assert server.process.wait(30) != 0
    assert "need-apps" in server.log
