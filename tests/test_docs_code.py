"""Every code block of the documents is run, each by the program that it is for.

`documented.py` says what a block assumes; those that cannot be run are named there, with the reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.blocks import ROOT, Block, blocks_of
from tests.documented import NOT_RUN, PRELUDE, RUNS, STUBS, Run
from tests.integrations.fleet import free_port
from tests.processes import until
from tests.test_contrib import composer, needs_systemd, verified

DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name != "tutorial.md"),
]
BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]


def of(*languages: str) -> pytest.MarkDecorator:
    found = [block for block in BLOCKS if block.language in languages]
    return pytest.mark.parametrize("block", [b for b in found if reason(b) is None], ids=str)


def entry(block: Block, table: dict[str, Run] | dict[str, str]) -> str | None:
    """The key of the table's entry for a block: its document, and words that are in it alone."""
    for key in table:
        document, _, words = key.partition(": ")
        if document == block.document and words in block.content:
            return key
    return None


def reason(block: Block) -> str | None:
    key = entry(block, NOT_RUN)
    return NOT_RUN[key] if key else None


def run_of(block: Block) -> Run:
    key = entry(block, RUNS)
    return RUNS[key] if key else Run()


class Sandbox:
    """A directory that stands for the machine: /run, /var/lib, and programs that only say they ran."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for place in (
            "run/app",
            "run/leader",
            "var/lib/app",
            "var/lib/node_exporter",
            "srv/app",
            "bin",
        ):
            (directory / place).mkdir(parents=True)
        for name, source in STUBS.items():
            stub = directory / "bin" / name
            stub.write_text(f"#!/bin/sh\n{source}\n")
            stub.chmod(0o755)
        programs = f"{directory / 'bin'}:{Path(sys.executable).parent}"
        self.environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "LEADERLOCK_DIR": str(directory / "locks"),
            "PYTHONPATH": str(directory),
            "PYTHONUNBUFFERED": "1",
            # Or a pytest in here would remove what other runs of it have left, which takes its time.
            "PYTEST_DEBUG_TEMPROOT": str(directory),
            "LEADERLOCK_SERVE_BIND": "127.0.0.1:0",
        }

    def here(self, text: str) -> str:
        """The text with its places in here."""
        for place in ("/run/", "/var/lib/", "/srv/"):
            text = text.replace(place, f"{self.directory}{place}")
        return text

    def run(
        self, command: list[str], shows: str | None = None, statuses: tuple[int, ...] = (0,)
    ) -> None:
        """Run a command until it ends well; or, if it is to show something, until it does."""
        output = self.directory / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        try:
            until(
                lambda: process.poll() is not None or (shows and shows in output.read_text()),
                f"{shows or 'its end'} of {command}",
            )
            if shows:
                assert shows in output.read_text(), output.read_text()
            else:
                assert process.returncode in statuses, output.read_text()
        except TimeoutError as error:
            raise AssertionError(f"{error}:\n{output.read_text()}") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


@of("python")
def test_a_block_of_python_runs(block: Block, sandbox: Sandbox) -> None:
    run = run_of(block)
    body = f"{run.names}\n{block.content}"
    program = sandbox.directory / "block.py"
    program.write_text(sandbox.here(f"{PRELUDE}\n{body}\n{run.then}\n"))
    for name, content in run.files.items():
        file = sandbox.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    scripts = sysconfig.get_path("scripts")
    places = {"python": sys.executable, "scripts": scripts, "port": free_port()}
    sandbox.run([word.format(**places) for word in shlex.split(run.under)], run.shows)


def commands_of(block: Block) -> Iterator[str]:
    for line in block.content.splitlines():
        if line.startswith("$ "):
            yield line[2:]


@pytest.mark.parametrize(
    "block",
    [
        block
        for block in BLOCKS
        if block.language in {"console", ""} and any(commands_of(block)) and reason(block) is None
    ],
    ids=str,
)
def test_the_commands_of_a_block_run(block: Block, sandbox: Sandbox) -> None:
    run = run_of(block)
    for name, content in run.files.items():
        (sandbox.directory / name).write_text(content)
    before = f"{run.names}\n" if run.names else ""
    for command in commands_of(block):
        shows = "http://127.0.0.1" if "leaderlock serve" in command else run.shows
        sandbox.run(["sh", "-c", sandbox.here(before + command)], shows, run.statuses)


@of("sh")
def test_a_block_of_shell_runs(block: Block, sandbox: Sandbox) -> None:
    run = run_of(block)
    sandbox.run(["sh", "-eu", "-c", sandbox.here(f"{run.names}\n{block.content}")], run.shows)


@of("json")
def test_a_block_of_json_is_json(block: Block) -> None:
    assert json.loads(block.content)


@of("yaml")
def test_a_block_of_yaml_is_what_it_is_for(block: Block, sandbox: Sandbox) -> None:
    document = yaml.safe_load(block.content)
    if "services" in document and composer() is not None:
        (sandbox.directory / "compose.yaml").write_text(block.content)
        sandbox.run([*(composer() or []), "-f", "compose.yaml", "config", "--quiet"])
    probe = document.get("livenessProbe")
    assert ("services" in document) != (probe is not None)
    if probe:
        words = [sandbox.here(word) for word in probe["exec"]["command"]]
        sandbox.run(words, "not healthy")


@of("dockerfile")
def test_an_image_starts_as_its_instructions_say(block: Block, sandbox: Sandbox) -> None:
    text = block.content.replace("\\\n", " ")
    instructions = dict(line.split(None, 1) for line in text.splitlines() if line.strip())
    if "ENTRYPOINT" in instructions:
        words = json.loads(instructions["ENTRYPOINT"]) + json.loads(instructions["CMD"])
        sandbox.run(words, "gunicorn ran")
    else:
        check = instructions["HEALTHCHECK"]
        words = json.loads(check[check.index("[") :])
        sandbox.run([sandbox.here(word) for word in words], "not healthy")


@needs_systemd
@of("ini")
def test_systemd_understands_a_unit(block: Block, tmp_path: Path) -> None:
    words = ("/opt/app/bin/gunicorn", "/usr/bin/leaderlock", "/usr/bin/myjob")
    unit = block.content
    for word in words:
        unit = unit.replace(word, shutil.which("true") or "/bin/true")
    assert verified(tmp_path, unit) == ""


def test_make_knows_the_targets_that_are_named() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    lines = [line.split() for block in BLOCKS for line in block.content.splitlines()]
    named = {words[1] for words in lines if words[:1] == ["make"]}
    assert {"check", "test"} <= named <= targets


def test_there_is_somebody_to_run_every_block() -> None:
    """What has no language is text: a screen, a usage, a drawing; but for its lines with a prompt."""
    run = {"python", "console", "sh", "json", "yaml", "dockerfile", "ini", "", "text"}
    for block in BLOCKS:
        assert block.language in run or block.language.startswith("{"), block


@pytest.mark.parametrize("key", [*RUNS, *NOT_RUN])
def test_what_is_said_of_a_block_is_said_of_one(key: str) -> None:
    document, _, words = key.partition(": ")
    found = [block for block in BLOCKS if block.document == document and words in block.content]
    assert len(found) == 1, f"{key!r} is in {len(found)} blocks"
