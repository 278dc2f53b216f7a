"""One boot for all tests of this directory, and files and processes for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.nfs.machine import Machine, Process, why_not
from tests.nfs.mounts import LOCAL, VERSIONS, Everywhere

Start = Callable[[str], Process]


@pytest.fixture(scope="session")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if reason := why_not():
        pytest.skip(reason)
    with Machine(tmp_path_factory.mktemp("machine")) as machine:
        for client in ("a", "b"):
            for options in (*VERSIONS, LOCAL):
                machine.tell(f"mount({client!r}, {options!r})")
        yield machine


@pytest.fixture
def machine(booted: Machine) -> Iterator[Machine]:
    """The machine; whatever a test starts in there ends with it."""
    yield booted
    booted.end_processes()


@pytest.fixture
def start(machine: Machine) -> Start:
    """Starts a process in a client, ``"a"`` or ``"b"``, or in the ``"server"``."""

    def start(place: str) -> Process:
        process = machine.start(place)
        process.tell("import fcntl, json, leaderlock.kernel")
        return process

    return start


@pytest.fixture
def everywhere(request: pytest.FixtureRequest) -> Everywhere:
    """A file of the test's own: its path in each place."""
    return Everywhere(request.node.name)
