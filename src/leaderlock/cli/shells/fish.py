"""The script for fish."""

from __future__ import annotations

from leaderlock.cli.shells import MAIN_OPTIONS, SCHEMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from leaderlock.cli.command import Command

_FISH = """\
# Completion of leaderlock for fish, written by `leaderlock completion fish`.

function __leaderlock_command
    # Whether the command is this one.
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test $words[2] = $argv[1]
end

function __leaderlock_no_command
    test (count (commandline -opc)) -eq 1
end

function __leaderlock_rest
    # The words from that on which is run, if the arguments are the options that take a value.
    set -l words (commandline -opc)
    set -e words[1..2]
    while set -q words[1]
        set -l word $words[1]
        string match -q -- '-*' $word; or break
        set -e words[1]
        test $word = --; and break
        # Of a cluster, the last one may take a value.
        string match -qr -- '^-[^-]' $word; and set word -(string sub -s -1 -- $word)
        contains -- $word $argv; and set -e words[1]
    end
    string escape -- $words
end

function __leaderlock_runs
    # Whether what is run by this command begins before the current word.
    __leaderlock_command $argv[1]; or return
    contains -- -- (commandline -opc); and return
    set -l words (__leaderlock_rest $argv[2..])
    set -q words[1]
end

function __leaderlock_complete_rest
    set -l line (string join ' ' -- (__leaderlock_rest $argv) (commandline -ct))
    complete --do-complete="$line"
end

complete -c leaderlock -f
"""


def script(commands: Sequence[Command]) -> str:
    """The script for fish 3."""
    lines = [_FISH]
    start = "complete -c leaderlock -n __leaderlock_no_command"
    lines += [f"{start} -a {command.name} -d {_fish_quoted(command.does)}\n" for command in commands]
    lines += [f"{start} -l {flag[2:]} -d {_fish_quoted(text)}\n" for flag, text in MAIN_OPTIONS]
    for command in commands:
        taking = " ".join(flag for option in command.options if option.value for flag in option.flags)
        condition = f"__leaderlock_command {command.name}"
        if command.runs_a_command:
            condition += f"; and not __leaderlock_runs {command.name} {taking}"
        start = f"complete -c leaderlock -n '{condition}'"
        lines.append("\n")
        for option in command.options:
            flags = " ".join(
                f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags
            )
            value = f" -r{_fish_candidates(option.completes)}" if option.value else ""
            lines.append(f"{start} {flags}{value} -d {_fish_quoted(option.help)}\n")
        if command.runs_a_command:
            start = f"complete -c leaderlock -n '__leaderlock_command {command.name}'"
            lines.append(f"{start} -a '(__leaderlock_complete_rest {taking})'\n")
        else:
            lines.append(f"{start}{_fish_candidates(command.completes)}\n")
    return "".join(lines)


def _fish_candidates(completes: str | Sequence[str]) -> str:
    if not isinstance(completes, str):
        return f" -f -a {_fish_quoted(' '.join(completes))}"
    candidates = {
        "lock": f" -F -a '(leaderlock completion --list locks 2>/dev/null) {' '.join(SCHEMES)}'",
        "name": " -f -a '(leaderlock completion --list names 2>/dev/null)'",
        "file": " -F",
        "command": " -f -a '(__fish_complete_command)'",
        "": " -f",
    }
    return candidates[completes]


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
