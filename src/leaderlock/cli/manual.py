"""The manual pages, written from the tables that the help uses: `make man`.

python -m leaderlock.cli.manual docs/man
"""

from __future__ import annotations

import os
import sys
import textwrap

from leaderlock.cli.command import Command, all_commands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from leaderlock.cli.options import Option

ABOUT = """\
leaderlock makes exactly one process on a machine run a job, and moves the job within milliseconds when
that process dies: with a lock that the kernel keeps, no server, no polling and no PID file. The
processes stand for election on a lock file; the one that holds the lock leads, and the others wait in
the kernel's queue."""

VARIABLES = """\
Each option of each command has a variable: LEADERLOCK_, the command, the option's long name, in
capitals and with underscores, as LEADERLOCK_RUN_STOP for --stop of leaderlock run. The command line
goes before it. A switch is set by 1, yes, true or on, and not by 0, no, false or off; one that is
counted takes a number. An option that may be repeated takes a value on each line. An empty variable is
none. What asks for something instead of setting it (--help, --version, --license, --list) has none.

A command takes the variables of its own options out of its environment, so that what it runs, and a
leaderlock run in there, does not get them."""

LEADERLOCK_DIR = "The directory of the locks that have a name; 0700, and this user's."


def pages() -> Mapping[str, str]:
    """Each manual page, by its file name."""
    commands = all_commands()
    return {
        "leaderlock.1": _main_page(commands),
        **{f"leaderlock-{command.name}.1": _page(command) for command in commands},
    }


def _main_page(commands: Sequence[Command]) -> str:
    parts = [
        _heading("leaderlock", "make one process on a machine run a job"),
        ".SH SYNOPSIS\n.B leaderlock\n.I COMMAND\n.RI [ OPTION ...]\n.RI [ OPERAND ...]",
        f".SH DESCRIPTION\n{_text(ABOUT)}",
        ".SH COMMANDS\n"
        + "\n".join(f".TP\n.BR leaderlock\\-{c.name} (1)\n{_text(c.does)}" for c in commands),
        ".SH OPTIONS\n.TP\n.BR \\-h ,\\  \\-\\-help\nshow what there is\n"
        ".TP\n.B \\-\\-version\nshow the version",
        ".SH EXIT STATUS\n"
        + _table([("125", "leaderlock failed"), ("2", "wrong usage")])
        + "\n.PP\nThe commands' own are in their pages.",
        f".SH ENVIRONMENT\n{_text(VARIABLES)}\n" + _table([("LEADERLOCK_DIR", LEADERLOCK_DIR)]),
        ".SH SEE ALSO\n" + _see_also([f"leaderlock\\-{c.name}" for c in commands]),
    ]
    return "\n".join(parts) + "\n"


def _page(command: Command) -> str:
    parts = [
        _heading(f"leaderlock-{command.name}", command.does),
        f".SH SYNOPSIS\n.B leaderlock {command.name}\n.RI [ OPTION ...]\n{_text(command.operands)}",
        f".SH DESCRIPTION\n{_text(command.text)}",
        ".SH OPTIONS",
    ]
    for heading, options in command.groups:
        if len(command.groups) > 1:
            parts.append(f".SS {_escaped(heading)}")
        parts += [_option(option, command.name) for option in options]
    if command.notes:
        parts.append(f".SH NOTES\n{_text(command.notes)}")
    parts.append(f".SH EXIT STATUS\n{_table(command.statuses)}")
    parts.append(
        ".SH ENVIRONMENT\nThe variable of each option is named with it;\n"
        ".BR leaderlock (1)\nhas the rule."
    )
    parts.append(
        ".SH EXAMPLES\n"
        + "\n".join(f".TP\n{_literal(line)}\n{_text(why)}" for line, why in command.examples)
    )
    parts.append(".SH SEE ALSO\n.BR leaderlock (1)")
    return "\n".join(parts) + "\n"


def _heading(name: str, does: str) -> str:
    # No date and no version, so that a page changes only when its content changes.
    return (
        f'.\\" Written by python -m leaderlock.cli.manual: do not edit.\n'
        f'.TH {name.upper()} 1 "" leaderlock\n.SH NAME\n{_escaped(name)} \\-\n{_text(does)}'
    )


def _option(option: Option, command: str) -> str:
    value = f"\\ \\fI{_escaped(option.value)}\\fR" if option.value else ""
    flags = ", ".join(f"\\fB{_escaped(flag)}\\fR" for flag in option.flags)
    lines = [".TP", flags + value, _text(option.help)]
    if option.is_setting:
        lines.append(f".RB ( \\%{option.variable(command)} )")
    return "\n".join(lines)


def _table(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f".TP\n{_literal(left)}\n{_text(right)}" for left, right in rows)


def _literal(text: str) -> str:
    return f"\\fB{_escaped(text)}\\fR"


def _see_also(names: Sequence[str]) -> str:
    return ",\n".join(f".BR {name} (1)" for name in names)


def _text(text: str) -> str:
    """Paragraphs in short lines, none of which groff takes for a request."""
    paragraphs = []
    for paragraph in text.strip().split("\n\n"):
        lines = textwrap.wrap(
            paragraph, 70, break_long_words=False, break_on_hyphens=False, expand_tabs=False
        )
        paragraphs.append("\n".join(map(_line, lines)))
    return "\n.PP\n".join(paragraphs)


def _line(text: str) -> str:
    escaped = _escaped(text).replace("LEADERLOCK_", "\\%LEADERLOCK_")  # prevents hyphenation
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _escaped(text: str) -> str:
    escapes = {
        "\\": "\\e",
        "-": "\\-",
        "'": "\\(aq",
        '"': "\\(dq",
        "`": "\\(ga",
        "^": "\\(ha",
        "~": "\\(ti",
    }
    return "".join(escapes.get(c, c if c.isascii() else f"\\[u{ord(c):04X}]") for c in text)


def main(directory: str) -> None:
    """Write every page into this directory, and remove pages that no longer exist."""
    os.makedirs(directory, exist_ok=True)
    written = pages()
    for name in os.listdir(directory):
        if name.endswith(".1") and name not in written:
            os.unlink(os.path.join(directory, name))
    for name, text in written.items():
        with open(os.path.join(directory, name), "w", encoding="ascii") as file:
            file.write(text)


if __name__ == "__main__":
    main(sys.argv[1])
