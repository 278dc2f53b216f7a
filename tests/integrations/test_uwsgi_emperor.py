"""Vassals of uWSGI's emperor: each application has one leader, whatever the emperor does with them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integrations.uwsgi_server import ACCEPTS, EXAMPLES, Build, Server, build
from tests.processes import until

pytestmark = pytest.mark.slow

__all__ = ["build"]  # a fixture


class Empire(Server):
    """An emperor, and the files of its vassals, of two workers each."""

    def __init__(self, directory: Path, build: Build) -> None:
        self._vassals = directory / "vassals"
        self._vassals.mkdir()
        words = ["--emperor", str(self._vassals), "--emperor-freq", "1"]
        # By default that is Python, where uWSGI is a module of it.
        super().__init__(directory, build, [*words, "--emperor-wrapper", str(build.program)], 0)

    def add(self, name: str) -> None:
        option, value = self.build.options
        settings = {
            option.removeprefix("--"): value,
            "master": "true",
            "enable-threads": "true",
            "processes": "2",
            "http-socket": str(self.directory / name),
            "wsgi-file": str(EXAMPLES / "uwsgi_app.py"),
            "hook-accepting": f"print:{ACCEPTS}",
        }
        lines = [f"{option} = {value}" for option, value in settings.items()]
        unfinished = self._vassals / f"{name}.new"
        unfinished.write_text("\n".join(["[uwsgi]", *lines, ""]))
        unfinished.rename(self._vassals / f"{name}.ini")
        self.processes += 2

    def touch(self, name: str) -> None:
        file = self._vassals / f"{name}.ini"
        os.utime(file, (file.stat().st_mtime + 10,) * 2)

    def remove(self, name: str) -> None:
        (self._vassals / f"{name}.ini").unlink()
        self.processes -= 2


@pytest.fixture
def empire(tmp_path: Path, build: Build) -> Iterator[Empire]:
    started = Empire(tmp_path, build)
    started.add("one")
    yield started
    started.end()
    print(started.log)


def test_a_vassal_has_one_leader_through_kills_reloads_and_its_removal(empire: Empire) -> None:
    empire.check_failover()
    workers = empire.complete()
    leader = empire.leader()
    empire.touch("one")
    new = empire.complete(without=workers)
    empire.leader(after=leader.term, among=new)
    empire.until_stopped(leader.term)

    leader = empire.leader()
    empire.remove("one")
    until(lambda: not empire.candidates(), "the vassal to end")
    empire.until_stopped(leader.term)
    empire.add("one")
    empire.leader(after=leader.term, among=empire.complete(without=new))
    empire.check_one_at_a_time()


def test_vassals_of_one_application_have_one_leader_among_them(empire: Empire) -> None:
    first = empire.complete()
    leader = empire.leader()
    empire.add("two")
    both = empire.complete()
    assert first < both
    empire.remove("one")
    second = empire.leader(after=leader.term, among=both - first)
    empire.until_stopped(leader.term)
    assert empire.complete(without=first) == both - first
    assert second.pid in both
    empire.check_one_at_a_time()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_vassals_end_with_their_emperor_and_the_next_one_goes_on(
    empire: Empire, number: signal.Signals
) -> None:
    workers = empire.complete()
    leader = empire.leader()
    empire.kill(empire.process.pid, number)
    empire.process.wait(60)
    until(lambda: not empire.candidates(), "the vassal to end")
    empire.start()
    empire.leader(after=leader.term, among=empire.complete(without=workers))
    empire.check_one_at_a_time()
