"""The examples of fencing: a table, a file and an object store refuse a leader whose term is over."""

from __future__ import annotations

import itertools
import json
import signal
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import pytest

from leaderlock.engines import Address
from tests.fleet.containers import ROOT
from tests.fleet.object_store import ObjectStore
from tests.fleet.servers import PostgreSQL
from tests.processes import PATIENCE, Child, until

EXAMPLES = ROOT / "examples"
PROGRAM = Path(__file__).with_name("late_leader.py")
# A leader here waits for its values and does not beat meanwhile. Where the timers are on, the lease is
# longer than a busy machine takes from the election to the last value.
SHORT, LONG = 3, 10
_names = itertools.count()


@pytest.fixture
def election(local_postgresql: PostgreSQL) -> str:
    """The URL of an election of its own."""
    return local_postgresql.url(f"fenced{next(_names)}")


class Store(NamedTuple):
    """A receiver, by the name of its example."""

    example: str
    place: str
    server: PostgreSQL
    objects: ObjectStore

    def content(self) -> tuple[str, int]:
        """The value and the term that it has."""
        if self.example == "fencing_table":
            [(value, term)] = self.server.sql("SELECT value, term FROM report")
            return value, term
        kept = self.objects.content if self.example == "fencing_object_store" else None
        found = json.loads(Path(self.place).read_bytes() if kept is None else kept)
        return found["value"], found["term"]


@pytest.fixture(params=["fencing_table", "fencing_file", "fencing_object_store"])
def store(
    request: pytest.FixtureRequest, local_postgresql: PostgreSQL, tmp_path: Path
) -> Iterator[Store]:
    with ObjectStore() as objects:
        places = {
            "fencing_table": Address(local_postgresql.url()).url.partition("#")[0],
            "fencing_file": str(tmp_path / "report.json"),
            "fencing_object_store": objects.url,
        }
        yield Store(request.param, places[request.param], local_postgresql, objects)
    local_postgresql.sql("DROP TABLE IF EXISTS report")


def candidate(store: Store, election: str, variant: str = "") -> Child:
    example = EXAMPLES / f"{store.example}.py"
    lease = SHORT if variant else LONG
    return Child(example, election, store.place, str(lease), variant, program=PROGRAM)


def lead(child: Child) -> int:
    """Wait until it leads; its term."""
    word, term = child.line().split()
    assert word == "leads"
    return int(term)


@pytest.mark.slow
def test_an_old_leader_that_was_stopped_and_goes_on_is_refused(store: Store, election: str) -> None:
    with candidate(store, election, "no dead-man") as old:
        earlier = lead(old)
        old.begin("first")
        assert old.line() == "accepted"
        assert store.content() == ("first", earlier)
        old.signal(signal.SIGSTOP)
        with candidate(store, election, "no dead-man") as new:
            term = lead(new)
            assert term > earlier
            new.begin("second")
            assert new.line() == "accepted"
            old.signal(signal.SIGCONT)
            old.begin("late")
            assert old.line().startswith("refused: ")
            assert store.content() == ("second", term)
            new.begin("third")
            assert new.line() == "accepted"
            assert store.content() == ("third", term)


@pytest.mark.slow
@pytest.mark.parametrize("store", ["fencing_object_store"], indirect=True)
def test_a_write_to_an_object_store_that_arrives_after_its_leaders_death_is_refused(
    store: Store, election: str
) -> None:
    arrived, released = threading.Event(), threading.Event()

    def hold_up(body: bytes) -> None:
        if b"late" in body:
            arrived.set()
            released.wait(PATIENCE)

    store.objects.on_its_way = hold_up
    with candidate(store, election) as old:
        earlier = lead(old)
        old.begin("first")
        assert old.line() == "accepted"
        with candidate(store, election) as new:
            old.begin("late")
            assert arrived.wait(PATIENCE)
            old.kill()
            term = lead(new)
            assert term > earlier
            new.begin("second")
            assert new.line() == "accepted"
            released.set()
            until(lambda: len(store.objects.answers) == 3, "the late write to be answered")
    accepted, refused = HTTPStatus.NO_CONTENT, HTTPStatus.PRECONDITION_FAILED
    assert store.objects.answers == [accepted, accepted, refused]
    assert store.content() == ("second", term)
