"""What all commands have in common: help, exit statuses, where output goes, variables, the manual."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from leaderlock import LeaderLock
from leaderlock.cli import manual
from leaderlock.cli.command import NAMES, Command, all_commands
from leaderlock.cli.options import Option, UsageError
from leaderlock.health import sinks
from tests.health.sink_reports import a_critical_failure, a_report
from tests.test_cli_history import on_a_terminal
from tests.test_run import LEADERLOCK, end_of, line_of, run, start

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "man"
COMMANDS = {command.name: command for command in all_commands()}

every_command = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


class Scenario(NamedTuple):
    """A way to get an exit status."""

    command: str
    row: str
    status: int
    words: Sequence[str]
    data: bool = False
    """Whether there is something on standard output; else there is a message."""
    without: str = ""


SCENARIOS = [
    Scenario("run", "0-255", 7, ["--", "sh", "-c", "echo x; exit 7"], data=True),
    Scenario("run", "128+N", 128 + 9, ["--", "sh", "-c", "echo x; kill -9 $$"], data=True),
    Scenario("run", "127", 127, ["--", "no-such-command"]),
    Scenario("run", "126", 126, ["--", "{directory}"]),
    Scenario("run", "75", 75, ["--lock", "{held}", "-n", "--", "true"]),
    Scenario("run", "125", 125, ["--lock", "{directory}", "--", "true"]),
    Scenario("run", "2", 2, ["--no-such-option"]),
    Scenario("init", "0-255", 7, ["-s", "--", "sh", "-c", "echo x; exit 7"], data=True),
    Scenario("init", "128+N", 128 + 9, ["-s", "--", "sh", "-c", "echo x; kill -9 $$"], data=True),
    Scenario("init", "127", 127, ["-s", "--", "no-such-command"]),
    Scenario("init", "126", 126, ["-s", "--", "{directory}"]),
    Scenario("init", "1", 1, ["--no-such-option"]),
    Scenario("status", "0", 0, ["{held}"], data=True),
    Scenario("status", "125", 125, ["{missing}"]),
    Scenario("status", "2", 2, ["--no-such-option"]),
    Scenario("history", "0", 0, ["{held}"], data=True),
    Scenario("history", "125", 125, ["{missing}"]),
    Scenario("history", "2", 2, []),
    Scenario("doctor", "0", 0, ["{directory}"], data=True),
    Scenario("doctor", "1", 1, ["{open}"], data=True),
    Scenario("doctor", "2", 2, ["{directory}/missing/x.lock"], data=True),
    Scenario("resign", "1", 1, ["{good}"]),
    Scenario("resign", "125", 125, ["{held}"]),
    Scenario("resign", "2", 2, []),
    Scenario("serve", "125", 125, ["--bind", "192.0.2.1:0"]),
    Scenario("serve", "2", 2, ["--bind", "x:y"]),
    Scenario("health", "0", 0, ["{good}"], data=True),
    Scenario("health", "1", 1, ["{bad}"], data=True),
    Scenario("health", "2", 2, []),
    Scenario("completion", "0", 0, ["bash"], data=True),
    Scenario("completion", "2", 2, ["csh"]),
]
ELSEWHERE = {("serve", "0"), ("resign", "0")}
# Below, since it goes on until it is ended; in test_resign.py, since somebody must lead.

# `WITHOUT=rich`: as if that were not installed.
PROGRAM = """\
import os, sys
if missing := os.environ.get("WITHOUT"):
    sys.modules[missing] = None
from leaderlock.cli import entry
entry()
"""


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    directory, opened = tmp_path / "directory", tmp_path / "open"
    directory.mkdir(mode=0o700)
    opened.mkdir()
    opened.chmod(0o777)
    for name, report in (("good", a_report()), ("bad", a_critical_failure())):
        sinks.file(tmp_path / name)(report)
    names = ("directory", "held", "missing", "open", "good", "bad")
    return {name: str(tmp_path / name) for name in names}


def result_of(scenario: Scenario, places: dict[str, str]) -> subprocess.CompletedProcess[str]:
    words = [word.format(**places) if word.startswith("{") else word for word in scenario.words]
    with LeaderLock(places["held"]):
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, scenario.command, *words],
            env={**os.environ, "WITHOUT": scenario.without},
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: f"{s.command}-{s.row}")
def test_a_command_returns_what_the_table_says(scenario: Scenario, places: dict[str, str]) -> None:
    assert result_of(scenario, places).returncode == scenario.status


@pytest.mark.parametrize("words", ["status", "history", "doctor", "health", "run -n --lock"])
def test_a_path_through_a_process_that_has_ended_is_no_traceback(words: str) -> None:
    """Locks in other mount namespaces have such paths; the links of a zombie cannot be read."""
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        path = f"/proc/{ended.pid}/root/run/leader.lock"
        result = run(*words.split(), path, *(["--", "true"] if "run" in words else []))
    assert result.returncode in (1, 2, 125)
    assert path in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: f"{s.command}-{s.row}")
def test_messages_go_to_stderr_and_data_to_stdout(scenario: Scenario, places: dict[str, str]) -> None:
    result = result_of(scenario, places)
    if scenario.data:
        assert result.stdout
        assert result.stderr == ""
    else:
        assert result.stdout == ""
        if scenario.row != "75":  # which says enough
            assert result.stderr.startswith("leaderlock")
            assert "Traceback" not in result.stderr


WITH_DATA = [s for s in SCENARIOS if s.data and s.command not in ("run", "init")]
HELPS = [["--help"], ["--version"], ["run", "--help"], ["status", "--help"]]


def redirected(words: Sequence[str], redirection: str, unbuffered: str) -> tuple[int, str]:
    """The exit status, and what is on standard error."""
    shell = f"{shlex.join([*LEADERLOCK, *words])} {redirection}"
    variables = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(["sh", "-c", shell], env=variables, stderr=subprocess.PIPE, timeout=60)
    return done.returncode, done.stderr.decode()


def words_of(scenario: Scenario, places: dict[str, str]) -> list[str]:
    with LeaderLock(places["held"]):
        pass  # the file is there, and has a history
    return [scenario.command, *(word.format_map(places) for word in scenario.words)]


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    ("redirection", "why"),
    [(">/dev/full", "No space left on device"), ("1</dev/null", "Bad file descriptor")],
)
@pytest.mark.parametrize("scenario", WITH_DATA, ids=lambda s: f"{s.command}-{s.row}")
def test_an_output_that_cannot_be_written_is_one_line(
    scenario: Scenario, places: dict[str, str], redirection: str, why: str, unbuffered: str
) -> None:
    status, said = redirected(words_of(scenario, places), redirection, unbuffered)
    assert said == f"leaderlock: cannot write to standard output: {why}\n"
    assert status == (scenario.status if scenario.command == "health" else 125)


@pytest.mark.parametrize("words", HELPS, ids=" ".join)
def test_a_help_that_cannot_be_written_is_one_line(words: list[str]) -> None:
    status, said = redirected(words, ">/dev/full", "")
    assert said == "leaderlock: cannot write to standard output: No space left on device\n"
    assert status == 125


@pytest.mark.parametrize("redirection", [">&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("scenario", WITH_DATA, ids=lambda s: f"{s.command}-{s.row}")
def test_a_closed_output_costs_no_status(
    scenario: Scenario, places: dict[str, str], redirection: str
) -> None:
    assert redirected(words_of(scenario, places), redirection, "") == (scenario.status, "")


@pytest.mark.parametrize("words", [[], ["nosuch"], ["run", "--nosuch"], ["status", "--nosuch"]])
def test_a_message_that_cannot_be_written_costs_no_status(words: list[str]) -> None:
    assert redirected(words, "2>/dev/full", "")[0] == 2


def test_what_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    with LeaderLock(tmp_path / "x.lock") as lock:
        shell = f"ulimit -n 5; exec {shlex.join([*LEADERLOCK, 'status', str(lock.path)])}"
        done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, timeout=60)
    assert done.stderr.startswith("leaderlock: "), done.stderr
    assert done.stderr.count("\n") == 1
    assert "Too many open files" in done.stderr
    assert "raise `ulimit -n`" in done.stderr
    assert done.returncode == 125


def test_serve_tells_its_address_and_ends_with_0() -> None:
    process = start("serve", "--bind", "127.0.0.1:0")
    assert line_of(process).startswith("leaderlock serves http://127.0.0.1:")
    process.send_signal(signal.SIGTERM)
    assert end_of(process) == 0


def table() -> dict[tuple[str, str], str]:
    """Each filled cell of the table of exit statuses in the document."""
    text = (ROOT / "docs" / "cli.md").read_text().split("## Exit statuses")[1]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    rows = rows[: next(i for i, row in enumerate(rows) if row[0] == "128+N") + 1]
    head, _, *body = rows
    return {
        (c, row[0]): cell for row in body for c, cell in zip(head[1:], row[1:], strict=True) if cell
    }


def test_the_table_the_help_and_the_tests_speak_of_the_same_exit_statuses() -> None:
    told = {(c.name, status) for c in COMMANDS.values() for status, _ in c.statuses}
    assert set(table()) == told
    assert {(s.command, s.row) for s in SCENARIOS} | ELSEWHERE == told


@every_command
def test_help_teaches_with_examples(command: Command) -> None:
    result = run(command.name, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == command.help()
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"leaderlock {command.name} [OPTION...]")
    assert "Exit status:" in lines
    assert "Examples:" in lines
    assert max(map(len, lines)) <= 104
    for option in command.options:
        assert any(line.startswith(f"  {', '.join(option.flags)}") for line in lines)


@every_command
def test_the_examples_are_understood(command: Command) -> None:
    for line, _ in command.examples:
        for words in re.findall(rf"(?:^|\$\()leaderlock {command.name} ([^|>)]*)", line):
            command.parse(shlex.split(words))


def test_every_command_is_in_the_help_and_in_the_document() -> None:
    document = (ROOT / "docs" / "cli.md").read_text()
    for name in NAMES:
        assert f"leaderlock {name} " in run("--help").stdout
        assert f"leaderlock {name} …" in document
        assert COMMANDS[name].does in document


@pytest.mark.parametrize("program", [["status", "{}"], ["history", "{}"], ["doctor", "{}"]])
def test_no_color_takes_the_colours_away(
    program: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coloured = re.compile(r"\x1b\[[\d;]*3\d")
    path = tmp_path / "a.lock"
    with LeaderLock(path):
        words = [word.format(path) for word in program]
        assert coloured.search(on_a_terminal(*words))
        before = "import os; os.environ['NO_COLOR'] = '1'"
        assert not coloured.search(on_a_terminal(*words, before=before))


# A value of each kind, for the variables.
VALUES = {
    "CODE": "7",
    "SECONDS": "3",
    "PATH": "/x",
    "PATH|URL": "/x",
    "NAME": "x",
    "SCHEDULE": "TERM/1/KILL",
    "SIGNAL": "TERM",
    "WHEN": "always",
    "N/SECONDS": "3/4",
    "COMMAND": "a b",
    "WHAT": "ignore",
    "N": "5",
    "FILE": "x.svg",
    "ADDRESS": "[::1]:80",
    "URL": "https://hc-ping.com/UUID",
}
SETTINGS = [(c, o) for c in COMMANDS.values() for o in c.options if o.is_setting]
every_setting = pytest.mark.parametrize(
    ("command", "option"), SETTINGS, ids=[o.variable(c.name) for c, o in SETTINGS]
)


@every_setting
def test_every_option_has_a_variable_that_does_the_same(
    command: Command, option: Option, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = VALUES[option.value] if option.value else "1"
    by_flag = command.parse([option.flags[0], *([value] if option.value else []), "--", "x"])
    monkeypatch.setenv(option.variable(command.name), value)
    by_variable = command.parse(["--", "x"])
    assert repr_of(by_variable.values) == repr_of(by_flag.values) != "{}"
    assert by_variable.count(option.name) == by_flag.count(option.name) == 1
    assert option.variable(command.name) not in os.environ
    monkeypatch.setenv(option.variable(command.name), "")
    assert not command.parse(["--", "x"]).values


def repr_of(values: dict[str, object]) -> str:
    return re.sub(r" at 0x\w+", "", repr(values))


def test_no_variable_stands_for_two_things() -> None:
    variables = [option.variable(command.name) for command, option in SETTINGS]
    assert len(set(variables)) == len(variables)
    others = ["TERM", "PATH", "FD", "DIR", "SUBREAPER", "KILL_PROCESS_GROUP", "VERBOSITY"]
    assert not {f"LEADERLOCK_{name}" for name in others} & set(variables)
    # What Kubernetes sets for a service called leaderlock-run.
    assert not any(re.search(r"_(SERVICE_HOST|SERVICE_PORT\w*|PORT\w*)$", name) for name in variables)


def run_with(variables: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LEADERLOCK, *words],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_command_line_goes_before_the_variables(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with LeaderLock(path):
        words = ("run", "--lock", str(path), "-n", "-E", "3", "--", "true")
        variables = {"LEADERLOCK_RUN_CONFLICT_EXIT_CODE": "4", "LEADERLOCK_RUN_NAME": "x"}
        assert run_with(variables, *words).returncode == 3
    variables = {"LEADERLOCK_RUN_LOCK": str(path), "LEADERLOCK_RUN_NONBLOCK": "yes"}
    with LeaderLock(path):
        assert run_with(variables, "run", "--", "true").returncode == 75
    directory = {"LEADERLOCK_DIR": str(tmp_path / "locks")}
    assert run_with(variables | directory, "run", "--name", "b", "--", "true").returncode == 0


def test_a_wait_on_the_command_line_goes_before_no_wait_in_a_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LEADERLOCK_RUN_NONBLOCK", "1")
    monkeypatch.setenv("LEADERLOCK_RUN_SIDECAR", "c")
    parsed = COMMANDS["run"].parse(["-w", "5", "--sidecar", "a", "--sidecar", "b", "--", "x"])
    assert parsed.values == {"wait": 5.0, "sidecar": [["a"], ["b"]]}


def test_a_variable_has_one_value_on_each_line_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADERLOCK_RUN_SIDECAR", "a 'b c'\n\nd\n")
    monkeypatch.setenv("LEADERLOCK_RUN_VERBOSE", "2")
    monkeypatch.setenv("LEADERLOCK_RUN_GROUP", "off")
    parsed = COMMANDS["run"].parse(["--", "x"])
    assert parsed.get("sidecar") == [["a", "b c"], ["d"]]
    assert parsed.count("verbose") == 2
    assert parsed.get("group") is None


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("LEADERLOCK_RUN_STOP", "NOPE/3", "LEADERLOCK_RUN_STOP=NOPE/3: "),
        ("LEADERLOCK_RUN_GROUP", "maybe", "LEADERLOCK_RUN_GROUP=maybe: 1 or 0 is needed"),
        ("LEADERLOCK_RUN_GROUP", "2", "1 or 0 is needed"),
        ("LEADERLOCK_RUN_VERBOSE", "-1", "1 or 0 is needed"),
        ("LEADERLOCK_RUN_RESTART", "often", "never, on-failure or always is needed"),
        ("LEADERLOCK_RUN_WAIT", "5", "LEADERLOCK_RUN_WAIT: there is no lock to wait for"),
    ],
)
def test_a_variable_that_is_no_good_is_wrong_usage(variable: str, value: str, why: str) -> None:
    result = run_with({variable: value}, "run", "--", "true")
    assert (result.returncode, result.stdout) == (2, "")
    assert why in result.stderr
    assert run_with({variable: value}, "run", "--help").returncode == 0


def test_exec_names_the_variable_that_it_cannot_have(tmp_path: Path) -> None:
    words = ("run", "--lock", str(tmp_path / "a.lock"), "-F", "--", "true")
    result = run_with({"LEADERLOCK_RUN_STOP": "TERM"}, *words)
    assert result.returncode == 2
    assert "as LEADERLOCK_RUN_STOP needs" in result.stderr


@pytest.mark.parametrize("become", [[], ["-F"]], ids=["beside", "exec"])
def test_a_leaderlock_inside_another_one_s_command_does_not_inherit_its_options(
    become: list[str], tmp_path: Path
) -> None:
    inner = f"{shlex.join(LEADERLOCK)} run -- printenv"
    variables = {
        "LEADERLOCK_RUN_LOCK": str(tmp_path / "a.lock"),
        "LEADERLOCK_RUN_NONBLOCK": "1",  # with the lock inherited the inner one would exit with 75
        "LEADERLOCK_STATUS_JSON": "1",
    }
    result = run_with(variables, "run", *become, "--", "sh", "-c", inner)
    assert (result.returncode, result.stderr) == (0, "")
    assert "LEADERLOCK_RUN_" not in result.stdout
    assert "LEADERLOCK_TERM=1" in result.stdout
    assert "LEADERLOCK_STATUS_JSON=1" in result.stdout


def test_a_sidecar_does_not_inherit_them_either(tmp_path: Path) -> None:
    variables = {"LEADERLOCK_RUN_SIDECAR": f"sh -c 'printenv > {tmp_path}/seen'"}
    assert run_with(variables, "run", "--", "true").returncode == 0
    assert "LEADERLOCK_RUN_SIDECAR" not in (tmp_path / "seen").read_text()


def test_a_variable_of_nobody_s_is_left_alone() -> None:
    result = run_with({"LEADERLOCK_RUN_SERVICE_HOST": "10.0.0.1"}, "run", "--", "printenv")
    assert "LEADERLOCK_RUN_SERVICE_HOST=10.0.0.1" in result.stdout


def test_tini_s_variables_stand_beside_init_s_own() -> None:
    command = ("init", "--", "sh", "-c", "exit 3")
    assert run_with({"LEADERLOCK_INIT_SUBREAPER": "1"}, *command).stderr == ""
    assert run_with({"TINI_SUBREAPER": ""}, *command).stderr == ""
    assert "use -s" in run_with({}, *command).stderr


def test_run_starts_without_what_takes_long_to_import() -> None:
    code = (
        "import sys; from leaderlock.cli import main; status = main(['run', '--', 'true'])\n"
        "print(*sys.modules); sys.exit(status)"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"argparse", "ctypes", "importlib.metadata", "json", "logging", "re", "shlex", "subprocess"}
    assert not heavy & set(result.stdout.split())


def test_the_manual_pages_are_those_of_the_tables() -> None:
    kept = {page.name: page.read_text() for page in PAGES.glob("*.1")}
    assert kept == manual.pages(), "run make man"


def checker(name: str, words: list[str]) -> object:
    missing = shutil.which(words[0]) is None
    return pytest.param(words, id=name, marks=pytest.mark.skipif(missing, reason=f"needs {words[0]}"))


@pytest.mark.parametrize(
    "words",
    [
        checker("mandoc", ["mandoc", "-T", "lint", "-W", "style"]),
        checker("groff", ["groff", "-man", "-ww", "-z", "-Tutf8"]),
    ],
)
@pytest.mark.parametrize("page", sorted(manual.pages()))
def test_the_manual_pages_are_well_written(words: list[str], page: str) -> None:
    result = subprocess.run([*words, str(PAGES / page)], capture_output=True, text=True)
    # A date would change with each release, and then every page.
    faults = [
        line for line in (result.stdout + result.stderr).splitlines() if "missing date" not in line
    ]
    assert not faults


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="needs mandoc")
def test_a_manual_page_says_what_the_help_says() -> None:
    for command in COMMANDS.values():
        page = PAGES / f"leaderlock-{command.name}.1"
        shown = subprocess.run(
            ["mandoc", "-T", "ascii", "-O", "width=200", str(page)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        text = re.sub(r".\x08", "", shown)
        for option in command.options:
            assert f"{', '.join(option.flags)} {option.value}".rstrip() in text
            if option.is_setting:
                assert f"({option.variable(command.name)})" in text
        for line, _ in command.examples:
            assert line in text


@pytest.mark.parametrize(
    "refused", [lambda c: c.parse(["--no-such-option"]), lambda c: c.parse(["--help=yes"])]
)
@every_command
def test_an_unknown_option_is_refused(command: Command, refused: Callable[[Command], object]) -> None:
    with pytest.raises(UsageError):
        refused(command)


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("histroy",), "history"),
        (("status", "--wacth"), "--watch"),
        (("run", "--restrat", "always", "--", "true"), "--restart"),
        (("run", "--restart", "allways", "--", "true"), "always"),
        (("serve", "--helth", "x"), "--health"),
    ],
)
def test_what_is_unknown_is_answered_with_what_is_near(words: tuple[str, ...], near: str) -> None:
    result = run(*words)
    assert result.returncode == 2
    assert f"did you mean {near}?" in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_is_near_to_nothing_gets_no_guess() -> None:
    assert "did you mean" not in run("status", "--qqqq").stderr


KERNELS = ["/proc/x.lock", "/proc/1/status", "/sys/x.lock", "/sys/kernel/no/x.lock", "/dev/fd/x.lock"]
READERS = [["status"], ["history"], ["resign"], ["run", "-n", "--lock"]]


@pytest.mark.parametrize("path", [*KERNELS, "/proc/self/x.lock", "/dev/pts/x.lock"])
@pytest.mark.parametrize("words", READERS, ids=lambda words: words[0])
def test_a_path_in_the_kernels_own_file_systems_gets_the_remedy(words: list[str], path: str) -> None:
    result = run(*words, path, *(["--", "true"] if words[0] == "run" else []))
    assert result.returncode == 125
    assert result.stderr == (
        f"leaderlock: {path}: no lock file can be made in the kernel's own file systems: "
        f"choose a path below /run\n"
    )


@pytest.mark.parametrize("path", KERNELS)
def test_the_doctor_has_the_same_remedy_for_each_finding_there(path: str) -> None:
    document = json.loads(run("doctor", "--json", path).stdout)
    broken = {f["remedy"] for f in document["findings"] if f["verdict"] == "broken"}
    assert broken == {"choose a path on a local file system, such as /run"}
    assert "lock file" not in {finding["topic"] for finding in document["findings"]}


@pytest.mark.parametrize("words", READERS, ids=lambda words: words[0])
def test_a_device_gets_the_remedy(words: list[str]) -> None:
    result = run(*words, "/dev/null", *(["--", "true"] if words[0] == "run" else []))
    assert result.returncode == 125
    remedy = "give the path of a regular file, or a path that is free"
    assert result.stderr == f"leaderlock: /dev/null is a device: {remedy}\n"


def test_a_path_through_a_processs_root_is_no_path_of_the_kernels_own(tmp_path: Path) -> None:
    path = f"/proc/{os.getpid()}/root{tmp_path}/x.lock"
    assert "does not exist: nobody has used this lock yet" in run("status", path).stderr
    assert run("run", "-n", "--lock", path, "--", "true").returncode == 0
    assert run("status", path).returncode == 0
