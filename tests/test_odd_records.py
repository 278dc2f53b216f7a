"""A stranger's record with the right checksum and odd values: every reader says so, and none breaks."""

from __future__ import annotations

import json
import os
from binascii import crc32, hexlify
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

import leaderlock.web
from leaderlock import CorruptLockFile, LeaderLock
from leaderlock.cli.status_text import json_text, plain_text
from leaderlock.history.reading import history_of
from leaderlock.lock import journal, record
from leaderlock.status import all_locks, status_of
from leaderlock.status.survey import survey_of
from tests.processes import Child
from tests.test_run import run
from tests.web.test_site import get

GOOD = {"term": "5", "since": "1700000000.5", "host": '"h"', "name": '"n"'}
ODD = [
    {"since": "NaN"},
    {"since": "Infinity"},
    {"since": "-Infinity"},
    {"since": "1e308"},
    {"since": "-1e308"},
    {"since": "-1"},
    {"since": "1" + "0" * 80},
    {"since": '"yesterday"'},
    {"since": "null"},
    {"since": "true"},
    {"since": "[" * 60 + "]" * 60},
    {"pid": "true"},
    {"pid": "1" + "0" * 80},
    {"pid": "-1"},
    {"pid": "1.0"},
    {"host": "7"},
    {"host": "{}"},
    {"name": '["n"]'},
    {"name": '"n","since":NaN'},
    {"name": '"n","term":7'},
    {"name": '"n","waited":NaN'},
    {"name": '"n","lease":1e999'},
    {"name": '"n","lease":"long"'},
    {"name": "garbage"},
]


def odd_content(pid: int, fields: dict[str, str]) -> bytes:
    fields = {"term": GOOD["term"], "pid": str(pid), **GOOD, **fields}
    text = ",".join(f'"{name}":{value}' for name, value in fields.items())
    body = f" {{{text}}}".encode().ljust(record.COPY_SIZE - len(b"leaderlock 1 00000000") - 1) + b"\n"
    return (b"leaderlock 1 %08x" % crc32(body) + body) * 2


def strict(text: str | bytes) -> Any:
    """JSON as RFC 8259 has it, without NaN and its like."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def stranger(path: Path) -> Iterator[Callable[[dict[str, str]], Child]]:
    """A process that holds the file's lock, with a record of these fields in it."""
    with Child(path) as child:
        child.tell("import fcntl; fd = os.open(argv[0], os.O_RDWR | os.O_CREAT, 0o644)")
        child.tell("fcntl.flock(fd, fcntl.LOCK_EX)")

        def write(fields: dict[str, str]) -> Child:
            child.tell(f"os.pwrite(fd, {odd_content(child.pid, fields)!r}, 0)")
            return child

        yield write


@pytest.mark.parametrize("fields", ODD, ids=lambda fields: str(fields)[:40])
def test_a_record_that_is_odd_is_told_of_by_every_reader(
    path: Path, stranger: Callable[[dict[str, str]], Child], fields: dict[str, str]
) -> None:
    pid = stranger(fields).pid
    status = status_of(path)
    assert [warning.code for warning in status.warnings] == ["record-odd"]
    assert status.holder is not None
    assert (status.holder.pid, status.holder.term, status.holder.since) == (pid, None, None)
    text = plain_text(survey_of([str(path)]), True)
    assert "unknown: the record is odd" in text
    assert "record-odd: the record is odd: its checksum is right" in text
    assert strict(json_text(survey_of([str(path)]), None))["locks"][0]["holder"]["pid"] == pid
    assert str(path) in all_locks()
    held_by = LeaderLock(path).holder()
    assert held_by is not None
    assert (held_by.pid, held_by.term, held_by.since) == (pid, None, None)
    history = history_of(path)
    assert (history.terms, history.damaged) == ([], 1)
    page = leaderlock.web.wsgi(path)
    assert "the record is odd" in get(page, "/").text
    assert get(page, "/metrics").samples()
    for place in ("/status.json", "/history.json"):
        strict(get(page, place).body)


def test_the_commands_survive_an_odd_record(
    path: Path, stranger: Callable[[dict[str, str]], Child]
) -> None:
    stranger({"since": "NaN"})
    for words in (["status"], ["history"], ["doctor"]):
        for options in ([], ["--json"]):
            result = run(*words, *options, str(path))
            assert result.returncode in (0, 1), result.stderr  # 1: doctor's doubtful place
            assert "Traceback" not in result.stderr
            if options:
                strict(result.stdout)
    assert "the record is odd" in run("status", str(path)).stdout


@pytest.mark.parametrize("name", [r'"\ud800"', r'"\u001b[2J\n\u202eevil"', r'"\u2028\u200b\u0085"'])
def test_names_that_a_terminal_would_act_on_are_shown_as_escapes(
    path: Path, stranger: Callable[[dict[str, str]], Child], name: str
) -> None:
    stranger({"host": name, "name": name})
    for text in (
        plain_text(survey_of([str(path)]), True),
        json_text(survey_of([str(path)]), None),
        run("history", str(path)).stdout,
        get(leaderlock.web.wsgi(path), "/metrics").text,
    ):
        assert all(character.isprintable() for character in text.replace("\n", ""))
        text.encode()


@pytest.mark.parametrize("term", [2**64, 10**40, -5, 0])
def test_a_term_that_nobody_can_have_reached_is_no_term(path: Path, term: int) -> None:
    path.write_bytes(odd_content(os.getpid(), {"term": str(term)}))
    with pytest.raises(CorruptLockFile, match="put a copy of the file back"):
        LeaderLock(path).acquire(blocking=False)
    assert [warning.code for warning in status_of(path).warnings] == ["record-corrupt"]


@pytest.mark.parametrize(
    "tail",
    [
        (float("nan"), 0, 0, 0, b"released"),
        (0, float("inf"), 0, 0, b"released"),
        (0, 0, -1e308, 0, b"released"),
        (0, 0, 0, float("nan"), b"released"),
        (0, 0, 0, 0, b"\x1b[2J"),
        (0, 0, 0, 0, b"\xff"),
    ],
)
def test_an_odd_entry_of_the_history_counts_as_damaged(
    path: Path, tail: tuple[float, float, float, float, bytes]
) -> None:
    lock = LeaderLock(path)
    for _ in range(3):
        with lock:
            pass
    packed = journal._TAIL.pack(*tail)
    whole = hexlify(packed + crc32(packed).to_bytes(4, "little"))
    with path.open("r+b") as file:
        file.seek(journal.place_of(2) + record.COPY_SIZE)
        file.write(whole)
    history = history_of(path)
    assert [term.term for term in history.terms] == [1, 3]
    assert history.damaged == 1
    strict(json.dumps(history.as_json()))
