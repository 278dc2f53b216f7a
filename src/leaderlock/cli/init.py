"""``leaderlock init``: tini's options and exit statuses, to replace tini in a Dockerfile."""

from __future__ import annotations

import os

from leaderlock._version import __version__
from leaderlock.cli.command import Command
from leaderlock.cli.options import HELP, Option, UsageError, exit_status
from leaderlock.cli.run_options import GROUP, PARENT_DEATH_SIGNAL, SUBREAPER, VERBOSE
from leaderlock.supervisor import messages
from leaderlock.supervisor.settings import Settings
from leaderlock.supervisor.supervisor import Supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = Command(
    "init",
    "be PID 1 as tini is, with its options",
    operands="-- COMMAND [ARGUMENT...]",
    completes="command",
    text="""\
Runs a command as a good PID 1 of a container: it forwards signals, reaps orphans, and
exits with the command's status. `leaderlock run` does more: it stops in order, restarts,
and watches. The options are tini's.""",
    groups=(
        (
            "Options",
            (
                SUBREAPER,
                GROUP,
                PARENT_DEATH_SIGNAL,
                Option(
                    "-e",
                    "--expect",
                    value="CODE",
                    convert=exit_status,
                    many=True,
                    help="exit with 0 if the command exits with CODE; repeatable",
                ),
                Option("-w", "--warn", help="log a warning for each orphan that is reaped"),
                VERBOSE,
                Option("-l", "--license", help="show the licence", is_setting=False),
                HELP,
                Option("--version", help="show the version", is_setting=False),
            ),
        ),
    ),
    notes="""\
In the environment, LEADERLOCK_SUBREAPER or TINI_SUBREAPER stands for -s,
LEADERLOCK_KILL_PROCESS_GROUP or TINI_KILL_PROCESS_GROUP for -g, and
LEADERLOCK_VERBOSITY or TINI_VERBOSITY is a number that overrides -v; -v counts from 1.""",
    statuses=(
        ("0-255", "the command's; 0 in place of one that -e names"),
        ("128+N", "signal N ended it"),
        ("127", "the command is not found"),
        ("126", "the command cannot be run"),
        ("1", "leaderlock failed, or wrong usage: as tini"),
    ),
    examples=(
        (
            'ENTRYPOINT ["leaderlock", "init", "--"]',
            "In a Dockerfile, in place of tini: any CMD then has a PID 1 that does its duties.",
        ),
        (
            "leaderlock init -g -e 143 -- java -jar app.jar",
            "Signals reach the whole process group. Java exits with 143 after a SIGTERM; -e makes that "
            "a success.",
        ),
        (
            "leaderlock init -s -p TERM -- ./start.sh",
            "Not as PID 1: leaderlock still reaps orphans, and ends when its own parent ends.",
        ),
    ),
)


def main(words: Sequence[str]) -> int:
    """Run the command, and return the exit status."""
    parsed = COMMAND.parse(words)
    if parsed.get("help"):
        print(COMMAND.help(), end="")
        return 0
    if parsed.get("version"):
        print(f"leaderlock {__version__}")
        return 0
    if parsed.get("license"):
        print("leaderlock is under the MIT licence; see the file LICENSE of its distribution.")
        return 0
    if not parsed.words or not parsed.words[0]:
        raise UsageError("no command is given: leaderlock init [OPTION...] -- COMMAND [ARGUMENT...]")
    settings = Settings(parsed.words)
    settings.schedule = None
    settings.passes_notify = True
    settings.whole_group = parsed.get("group", False) or _in_environment("KILL_PROCESS_GROUP")
    settings.subreaper = parsed.get("subreaper", False) or _in_environment("SUBREAPER")
    settings.parent_death_signal = parsed.get("parent_death_signal", 0)
    settings.expected_statuses = frozenset(parsed.get("expect", []))
    settings.warns_of_orphans = parsed.get("warn", False)
    messages.verbosity = _verbosity(parsed.count("verbose"))
    if os.getpid() != 1 and not settings.subreaper and not _is_subreaper():
        messages.say(
            "this is not PID 1, so leaderlock does not reap orphans: run it as PID 1, or use -s"
        )
    return Supervisor(settings).run()


def _is_subreaper() -> bool:
    """Whether this process already is a subreaper: that survives exec(2)."""
    try:
        from leaderlock.kernel.control import is_subreaper  # noqa: PLC0415  (needs ctypes)
    except (ImportError, AttributeError):  # no ctypes; no prctl
        return False
    return is_subreaper()


def _in_environment(name: str) -> bool:
    return f"LEADERLOCK_{name}" in os.environ or f"TINI_{name}" in os.environ


def _verbosity(wanted: int) -> int:
    """Convert tini's verbosity to that of `messages`: tini's default 1 is 0 there, its 0 is silence."""
    text = os.environ.get("LEADERLOCK_VERBOSITY") or os.environ.get("TINI_VERBOSITY")
    if not text:
        return wanted
    try:
        return int(text) - 1
    except ValueError:
        messages.say(f"the verbosity {text!r} is not a number")
        return wanted
