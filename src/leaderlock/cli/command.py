"""A subcommand: its options, its exit statuses, and examples, as its users see them."""

from __future__ import annotations

from leaderlock.cli.options import help_of, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from leaderlock.cli.options import Option, Parsed

NAMES = ("run", "init", "status", "history", "doctor", "resign", "serve", "health", "completion")
"""All subcommands, in the order of the help. Each is a module of that name with a `COMMAND`."""


class Command:
    """One subcommand.

    Args:
        name: the name of the subcommand.
        does: its purpose, in a few words.
        operands: the words after the options, in the notation of the help.
        completes: the completions for these words: ``lock``, ``file``, ``command``, or a list of words.
        text: its description, in a paragraph or two.
        groups: its options, in groups with a heading each.
        notes: further information.
        statuses: each exit status, or its origin, and its meaning.
        examples: command lines, each with its purpose.
    """

    def __init__(
        self,
        name: str,
        does: str,
        *,
        operands: str,
        completes: str | Sequence[str],
        text: str,
        groups: Sequence[tuple[str, Sequence[Option]]],
        statuses: Sequence[tuple[str, str]],
        examples: Sequence[tuple[str, str]],
        notes: str = "",
    ) -> None:
        self.name = name
        self.does = does
        self.operands = operands
        self.completes = completes
        self.text = text
        self.groups = groups
        self.notes = notes
        self.statuses = statuses
        self.examples = examples
        self.options = [option for _, options in groups for option in options]

    @property
    def runs_a_command(self) -> bool:
        """Whether the first word that is no option is a command, which has options of its own."""
        return self.completes == "command"

    def parse(self, words: Sequence[str]) -> Parsed:
        """Read the command line and the environment.

        Raises:
            UsageError: the words or a variable are invalid.
        """
        return parse(self.options, words, to_first_word=self.runs_a_command, command=self.name)

    def help(self) -> str:
        """The output of ``--help``."""
        import textwrap  # noqa: PLC0415  (needs `re`)

        parts = [f"leaderlock {self.name} [OPTION...] {self.operands}", self.text]
        parts += [f"{heading}:\n{help_of(options)}" for heading, options in self.groups]
        if self.notes:
            parts.append(self.notes)
        if setting := next((option for option in self.options if option.is_setting), None):
            flag = f"{max(setting.flags, key=len)} {setting.value}".rstrip()
            variable = f"{setting.variable(self.name)}={setting.value or 1}"
            parts.append(f"Each option has a variable: {variable} stands for {flag}.")
        width = max(len(status) for status, _ in self.statuses)
        hanging = " " * (width + 4)
        parts.append(
            "Exit status:\n"
            + "\n".join(
                textwrap.fill(f"  {status:<{width}}  {meaning}", 90, subsequent_indent=hanging)
                for status, meaning in self.statuses
            )
        )
        parts.append(
            "Examples:\n"
            + "\n".join(
                f"  {line}\n{textwrap.fill(why, 86, initial_indent=' ' * 6, subsequent_indent=' ' * 6)}"
                for line, why in self.examples
            )
        )
        return "\n\n".join(parts) + "\n"


def all_commands() -> list[Command]:
    """Every subcommand; imports all their modules."""
    from importlib import import_module  # noqa: PLC0415  (a running subcommand imports only its own)

    return [import_module(f"leaderlock.cli.{name}").COMMAND for name in NAMES]
