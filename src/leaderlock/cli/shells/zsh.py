"""The script for zsh."""

from __future__ import annotations

import shlex

from leaderlock.cli.shells import MAIN_OPTIONS, SCHEMES, filled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from leaderlock.cli.command import Command
    from leaderlock.cli.options import Option

_ZSH = """\
#compdef leaderlock
# Completion of leaderlock for zsh, written by `leaderlock completion zsh`.

_leaderlock_locks() {
    local -a locks=("${(@f)$(leaderlock completion --list locks 2>/dev/null)}")
    (( $#locks[1] )) && compadd "$@" -f -a locks
    compadd "$@" -S '' -- @SCHEMES@
    _files "$@"
}

_leaderlock_names() {
    local -a names=("${(@f)$(leaderlock completion --list names 2>/dev/null)}")
    (( $#names[1] )) && compadd "$@" -a names
}

_leaderlock() {
    local curcontext=$curcontext command=$words[2]
    if (( CURRENT == 2 )); then
        local -a commands=(
@COMMANDS@
        )
        _describe -t commands 'command' commands
        _arguments @MAIN@
        return
    fi
    shift words
    (( CURRENT-- ))
    case $command in
@CASES@
    esac
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _leaderlock "$@"
else
    compdef _leaderlock leaderlock
fi
"""


def script(commands: Sequence[Command]) -> str:
    """The script for zsh 5: source it, or save it as a file `_leaderlock` in ``$fpath``."""
    cases = []
    for command in commands:
        specs = [_zsh_option(option) for option in command.options]
        if command.runs_a_command:
            specs += ["'(-)1:command: _command_names -e'", "'*::argument: _normal'"]
        else:
            specs.append(
                shlex.quote(f"*:{command.operands.strip('[.]')}:{_zsh_action(command.completes)}")
            )
        lines = " \\\n".join(f"            {spec}" for spec in specs)
        cases.append(f"    {command.name})\n        _arguments -s -S \\\n{lines}\n        ;;")
    return filled(
        _ZSH,
        COMMANDS="\n".join(" " * 12 + shlex.quote(f"{c.name}:{c.does}") for c in commands),
        MAIN=" ".join(shlex.quote(f"{flag}[{text}]") for flag, text in MAIN_OPTIONS),
        CASES="\n".join(cases),
        SCHEMES=" ".join(SCHEMES),
    )


def _zsh_option(option: Option) -> str:
    text = option.help.replace("[", r"\[").replace("]", r"\]")
    exclusive = "*" if option.many else f"({' '.join(option.flags)})"
    # "+": the value may be in the same word; "=": or after an equals sign.
    signs = ("=", "+") if option.value else ("", "")
    names = ",".join(flag + signs[len(flag) == 2] for flag in option.flags)
    rest = f"[{text}]"
    if option.value:
        rest += f":{option.value}:{_zsh_action(option.completes)}"
    return (
        shlex.quote(exclusive)
        + (f"{{{names}}}" if len(option.flags) > 1 else names)
        + shlex.quote(rest)
    )


def _zsh_action(completes: str | Sequence[str]) -> str:
    if not isinstance(completes, str):
        return f"({' '.join(completes)})"
    actions = {
        "lock": "_leaderlock_locks",
        "name": "_leaderlock_names",
        "file": "_files",
        "command": "_command_names -e",
        "": " ",
    }
    return actions[completes]
