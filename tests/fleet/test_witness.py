"""The witness sees an earlier leader that can still work, and no other one."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.witness import Resource, Verdict, judge
from tests.processes import until

LEADER = """
import os, pathlib, signal, sys
from tests.fleet.witness import Witness
witness = Witness(pathlib.Path(sys.argv[1]))
witness.ready()
for line in sys.stdin:
    what, term = line.split()
    getattr(witness, what)(int(term))
    print("done", flush=True)
"""


class Leader:
    """A process that tells the witness what it is told to."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", LEADER, directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, what: str, term: int) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(what, term, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "done\n"


class Scene:
    """Two leaders and their witness."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.resource = Resource(directory)
        self.first, self.second = Leader(directory), Leader(directory)

    @property
    def verdict(self) -> Verdict:
        return judge(self._directory, self.resource)

    def close(self) -> None:
        for leader in (self.first, self.second):
            leader.process.kill()
            leader.process.communicate()
        self.resource.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()


def test_a_term_after_the_end_of_another_is_right(scene: Scene) -> None:
    for leader, term in ((scene.first, 1), (scene.second, 2), (scene.first, 3)):
        leader.tell("begin", term)
        leader.tell("work", term)
        leader.tell("end", term)
    until(lambda: len(scene.resource.works) == 3)
    assert scene.verdict.terms == [1, 2, 3]
    assert scene.verdict.faults == []


def test_a_leader_beside_one_that_has_not_ended_is_wrong(scene: Scene) -> None:
    scene.first.tell("begin", 1)
    scene.second.tell("begin", 2)
    (line,) = scene.verdict.overlaps
    assert (line.pid, line.beside) == (scene.second.process.pid, (scene.first.process.pid, 1))
    assert len(scene.verdict.faults) == 1


def test_a_stopped_leader_counts(scene: Scene) -> None:
    scene.first.tell("begin", 1)
    scene.first.process.send_signal(signal.SIGSTOP)
    scene.second.tell("begin", 2)
    assert scene.verdict.faults


def test_a_killed_leader_does_not_count_though_nobody_has_reaped_it(scene: Scene) -> None:
    scene.first.tell("begin", 1)
    scene.first.process.send_signal(signal.SIGKILL)
    scene.second.tell("begin", 2)
    assert scene.verdict.faults == []


def test_a_term_that_does_not_rise_is_wrong(scene: Scene) -> None:
    for leader in (scene.first, scene.second):
        leader.tell("begin", 7)
        leader.tell("end", 7)
    assert scene.verdict.faults == ["term 7 came after term 7"]


def test_a_resource_refuses_an_older_term(scene: Scene) -> None:
    for leader, term in ((scene.first, 1), (scene.second, 2), (scene.first, 1), (scene.second, 2)):
        leader.tell("work", term)
    until(lambda: len(scene.resource.works) == 4)
    assert [work.accepted for work in scene.resource.works] == [True, True, False, True]
    assert scene.verdict.faults == [f"process {scene.first.process.pid} wrote with the old term 1"]
