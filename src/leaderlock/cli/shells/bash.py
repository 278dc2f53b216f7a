"""The script for bash."""

from __future__ import annotations

import shlex

from leaderlock.cli.shells import MAIN_OPTIONS, SCHEMES, filled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from leaderlock.cli.command import Command

_BASH = """\
# Completion of leaderlock for bash, written by `leaderlock completion bash`.

_leaderlock_kind() {
    # What there is to offer for the value of an option of a command.
    case $1 in
@KINDS@
    *) return 1 ;;
    esac
}

_leaderlock_words() {
    # bash makes three words of redis://host. Here they are one: in `words`, with the number of the
    # first part in `numbers`. The last one is the current word, in which `colons` is its part up to the
    # last colon: readline replaces what follows.
    local line=$COMP_LINE part gap i
    words=() numbers=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        part=${COMP_WORDS[i]}
        gap=${line%%"$part"*}
        line=${line#*"$part"}
        if ((i > 1)) && [[ -z $gap && ($part == :* || ${words[-1]} == *:) ]]; then
            words[-1]+=$part
        else
            words+=("$part") numbers+=("$i")
        fi
    done
    colons=
    [[ $COMP_WORDBREAKS == *:* && ${words[-1]} == *:* ]] && colons=${words[-1]%:*}:
}

_leaderlock() {
    local command= pending= word candidate kind i after= current colons
    local -a words numbers
    _leaderlock_words
    current=$2
    [[ -n $colons ]] && current=${words[-1]}
    COMPREPLY=()
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        word=${words[i]}
        if [[ -z $command ]]; then
            command=$word
        elif [[ $word == "=" ]]; then # bash makes three words of --stop=TERM
            continue
        elif [[ -n $pending ]]; then
            pending=
        elif [[ $word == -- ]]; then
            after=$((i + 1))
            break
        elif [[ $word == -?* ]]; then
            [[ $word == --* ]] || word=-${word: -1} # of a cluster, the last one may take a value
            _leaderlock_kind "$command $word" >/dev/null && pending=$word
        elif [[ " @RUNNERS@ " == *" $command "* ]]; then
            after=$i
            break
        fi
    done
    [[ $current == "=" ]] && current=
    if [[ -z $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W '@COMMANDS@' -- "$current")
        return
    fi
    if [[ -n $after && " @RUNNERS@ " == *" $command "* ]]; then
        if declare -F _command_offset >/dev/null; then
            _command_offset "${numbers[after]}"
        elif ((${#words[@]} - 1 == after)); then
            mapfile -t COMPREPLY < <(compgen -c -- "$current")
        else
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
        fi
        return
    fi
    if [[ -n $pending ]]; then
        kind=$(_leaderlock_kind "$command $pending")
    elif [[ $current == -* && -z $after ]]; then
        case $command in
@OPTIONS@
        esac
        return
    else
        case $command in
@OPERANDS@
        *) return ;;
        esac
    fi
    _leaderlock_candidates
    if [[ -n $colons ]]; then
        COMPREPLY=("${COMPREPLY[@]#"$colons"}")
    fi
}

_leaderlock_candidates() {
    case $kind in
    name)
        while IFS= read -r candidate; do
            [[ $candidate == "$current"* ]] && COMPREPLY+=("$(printf %q "$candidate")")
        done < <(leaderlock completion --list names 2>/dev/null)
        ;;
    lock)
        while IFS= read -r candidate; do
            [[ $candidate == "$current"* ]] && COMPREPLY+=("$candidate")
        done < <(leaderlock completion --list locks 2>/dev/null)
        ;;&
    lock)
        while IFS= read -r candidate; do
            COMPREPLY+=("$candidate")
        done < <(compgen -f -- "$current")
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W '@SCHEMES@' -- "$current")
        if [[ ${COMPREPLY[0]} == *:// ]]; then # schemes alone: as `filenames` they would be quoted
            compopt -o nospace
        else
            compopt -o filenames # which has readline quote them
        fi
        ((${#COMPREPLY[@]})) || compopt -o default # which knows what ~ is
        ;;
    file)
        compopt -o filenames # which has readline quote them
        while IFS= read -r candidate; do
            COMPREPLY+=("$candidate")
        done < <(compgen -f -- "$current")
        ((${#COMPREPLY[@]})) || compopt -o default # which knows what ~ is
        ;;
    command)
        mapfile -t COMPREPLY < <(compgen -c -- "$current")
        ;;
    words:*)
        mapfile -t COMPREPLY < <(compgen -W "${kind#words:}" -- "$current")
        ;;
    esac
}

complete -F _leaderlock leaderlock
"""


def script(commands: Sequence[Command]) -> str:
    """The script for bash 4.3 or newer, with or without the package bash-completion."""
    kinds = []
    options = []
    operands = []
    for command in commands:
        for option in command.options:
            if option.value:
                names = " | ".join(f"'{command.name} {flag}'" for flag in option.flags)
                kinds.append(f"    {names}) echo {shlex.quote(_kind(option.completes))} ;;")
        flags = " ".join(flag for option in command.options for flag in option.flags)
        options.append(
            f"        {command.name}) mapfile -t COMPREPLY < <(compgen -W '{flags}' -- \"$current\") ;;"
        )
        operands.append(f"        {command.name}) kind={shlex.quote(_kind(command.completes))} ;;")
    first = [command.name for command in commands] + [flag for flag, _ in MAIN_OPTIONS]
    return filled(
        _BASH,
        KINDS="\n".join(kinds),
        OPTIONS="\n".join(options),
        OPERANDS="\n".join(operands),
        COMMANDS=" ".join(first),
        SCHEMES=" ".join(SCHEMES),
        RUNNERS=" ".join(command.name for command in commands if command.runs_a_command),
    )


def _kind(completes: str | Sequence[str]) -> str:
    return completes if isinstance(completes, str) else f"words:{' '.join(completes)}"
