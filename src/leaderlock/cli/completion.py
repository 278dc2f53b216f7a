"""``leaderlock completion``: prints the script that completes leaderlock's command line in a shell."""

from __future__ import annotations

import os

from leaderlock.cli.command import Command, all_commands
from leaderlock.cli.options import HELP, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SHELLS = ("bash", "zsh", "fish")

LIST = Option(
    "--list",
    value="WHAT",
    choices=("locks", "names"),
    help="print the existing values of this kind, one per line, in place of a script",
    is_setting=False,
)

COMMAND = Command(
    "completion",
    "print the script that completes all this in a shell",
    operands="bash|zsh|fish",
    completes=SHELLS,
    text="""\
Prints a script for a shell. With it the Tab key completes commands, options, their
values, and the paths and names of existing locks. Print the script again after an
upgrade of leaderlock, or at each start of the shell.""",
    groups=(("Options", (HELP, LIST)),),
    statuses=(
        ("0", "it is printed"),
        ("2", "wrong usage, such as an unknown shell"),
    ),
    examples=(
        ('eval "$(leaderlock completion bash)"', "In ~/.bashrc."),
        (
            "leaderlock completion bash > ~/.local/share/bash-completion/completions/leaderlock",
            "Or for bash-completion, which reads the file at its first use.",
        ),
        (
            'leaderlock completion zsh > "${fpath[1]}/_leaderlock"',
            "Once. Or in ~/.zshrc, after compinit: source <(leaderlock completion zsh)",
        ),
        ("leaderlock completion fish > ~/.config/fish/completions/leaderlock.fish", "Once."),
    ),
)


def main(words: Sequence[str]) -> int:
    """Print the script or the list, and return the exit status."""
    parsed = COMMAND.parse(words)
    if parsed.get("help"):
        print(COMMAND.help(), end="")
        return 0
    if what := parsed.get("list"):
        if parsed.words:
            raise UsageError(f"{parsed.words[0]!r} is too much beside --list")
        _print_lines(_locks() if what == "locks" else _names())
        return 0
    if len(parsed.words) != 1 or parsed.words[0] not in SHELLS:
        raise UsageError("one shell is needed: bash, zsh or fish")
    from importlib import import_module  # noqa: PLC0415  (--list runs at each Tab)

    shell = import_module(f"leaderlock.cli.shells.{parsed.words[0]}")
    print(shell.script(all_commands()), end="")
    return 0


def _locks() -> list[str]:
    from leaderlock.status.gathering.machine import all_locks  # noqa: PLC0415  (only the list needs it)

    return [path for path in all_locks() if not path.startswith("/proc/")]


def _names() -> list[str]:
    """The names of the locks in this user's directories."""
    from leaderlock.status.gathering.machine import lock_directories  # noqa: PLC0415

    found: set[str] = set()
    for directory in lock_directories():
        try:
            if os.stat(directory).st_uid == os.geteuid():
                found.update(os.listdir(directory))
        except OSError:  # ENOENT, ENOTDIR; EACCES: another user's
            continue
    return sorted(name.removesuffix(".lock") for name in found if name.endswith(".lock"))


def _print_lines(lines: Sequence[str]) -> None:
    for line in lines:
        if line.isprintable():  # a shell would misread other lines, or split them
            print(line)
