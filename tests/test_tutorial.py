"""docs/tutorial.md does what it says: each block, in its terminal, and what is printed there."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderlock.history.reading import history_of
from tests.blocks import Block, blocks_of
from tests.processes import flocks_of, until

TUTORIAL = Path(__file__).parent.parent / "docs" / "tutorial.md"
PROCESS = re.compile(r"\b47\d\d\b")
# What differs from run to run, and what it may be.
VARIABLE = {
    r"/home/you/tutorial": r".*",
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    r"\b\d+\.\d s\b": r"(?:> )?(?:\d+ min )?[\d.]+ m?s",
    r"\bweb1\b": r"\S+",
    r" +": r" +",
    r"\.\.\.": r".*",
}
_VARIES = re.compile("|".join([PROCESS.pattern, *VARIABLE]))


def pattern_of(line: str, processes: dict[str, str]) -> tuple[str, list[str]]:
    """What a line of the tutorial may look like in truth, and the processes it is the first to name."""
    pattern, end, new = "", 0, []
    for match in _VARIES.finditer(line):
        pattern += re.escape(line[end : match.start()])
        end = match.end()
        if not PROCESS.fullmatch(match[0]):
            pattern += next(by for what, by in VARIABLE.items() if re.fullmatch(what, match[0]))
        elif match[0] in processes:
            pattern += processes[match[0]]
        else:
            pattern += r"(\d+)"
            new.append(match[0])
    return f"^{pattern}{re.escape(line[end:])}$", new


class Terminal:
    """A shell that is typed into; what it and its commands print."""

    def __init__(self, directory: Path, number: str) -> None:
        self.output = directory / f"terminal-{number}"
        self.seen = 0
        with self.output.open("wb") as output:
            self.shell = subprocess.Popen(
                ["sh"],
                cwd=directory,
                env={
                    **os.environ,
                    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                    "PYTHONUNBUFFERED": "1",
                },
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def type(self, line: str) -> None:
        assert self.shell.stdin is not None
        self.shell.stdin.write(line.encode() + b"\n")
        self.shell.stdin.flush()

    def shows(self, pattern: str) -> re.Match[str]:
        """Wait for a line, after those that were seen before."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            match = re.compile(pattern, re.M).search(self.output.read_text(), self.seen)
            found[:] = [match] if match else []
            return match is not None

        try:
            until(look, f"{pattern!r} in {self.output.name}")
        except TimeoutError as error:
            raise AssertionError(f"{error}; there is\n{self.output.read_text()}") from None
        self.seen = found[0].end()
        return found[0]

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.shell.pid, signal.SIGKILL)
        self.shell.wait()
        assert self.shell.stdin is not None
        self.shell.stdin.close()


class Reader:
    """Somebody who does what the tutorial says, and looks whether it comes as it says."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.terminals: dict[str, Terminal] = {}
        self.processes: dict[str, str] = {}
        self.commands: list[str] = []

    def do(self, block: Block) -> None:
        if "file" in block.options:
            (self.directory / block.options["file"]).write_text(block.content)
        elif "terminal" in block.options:
            number = block.options["terminal"]
            if number not in self.terminals:
                self.terminals[number] = Terminal(self.directory, number)
            self.watch(self.terminals[number], block)
        else:
            assert block.language == "sh", f"{block}: a file, a terminal, or the installation?"
            self.commands += block.content.splitlines()

    def watch(self, terminal: Terminal, block: Block) -> None:
        printed = []
        for line in block.content.splitlines():
            if line.startswith("$ "):
                terminal.type(PROCESS.sub(lambda match: self.processes[match[0]], line[2:]))
            elif line != "...":
                printed.append(line)
                self.see(terminal, line)
        if "python job.py" in block.content and not printed:
            self.let_it_go_on("leader.lock", standbys=1)
        elif "gunicorn app:app" in block.content:
            self.let_it_go_on("server.lock", standbys=2)

    def let_it_go_on(self, lock: str, standbys: int) -> None:
        """As long as it takes to read the next lines: the others wait, and then the leader beats."""
        path = self.directory / lock
        until(lambda: sum(waits for _, waits in flocks_of(path)) == standbys, f"{standbys} to stand by")
        waiting = time.time()
        until(lambda: (history_of(path).terms[-1].last_beat or 0) > waiting + 1, "the leader to beat")

    def see(self, terminal: Terminal, line: str) -> None:
        pattern, new = pattern_of(line, self.processes)
        self.processes.update(zip(new, terminal.shows(pattern).groups(), strict=True))


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    somebody = Reader(tmp_path)
    try:
        yield somebody
    finally:
        for terminal in somebody.terminals.values():
            terminal.end()


def test_whoever_copies_the_tutorial_sees_what_it_says(reader: Reader) -> None:
    for block in blocks_of(TUTORIAL):
        reader.do(block)
    assert len(reader.terminals) == 3
    assert len(set(reader.processes.values())) == len(reader.processes) == 6
    # The environment of the tests stands for the one that is made here.
    assert reader.commands[-1] == "pip install leaderlock gunicorn"
