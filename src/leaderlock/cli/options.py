"""Options of a subcommand: a table, which is parsed by and which writes the help.

`argparse` takes longer to import (6 ms) than all the rest that `leaderlock run` does before its
command starts, and cannot stop at the command's name as flock(1) does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class UsageError(Exception):
    """The command line cannot be understood: exit status 2."""


class Option:
    """One option.

    Args:
        flags: its names, ``-w`` and ``--wait``.
        help: one line about it.
        value: the name of its value in the help; without one it is a switch.
        many: whether it may be given several times; its value is a list then.
        convert: makes the value of its text; raises ValueError with a reason.
    """

    def __init__(
        self,
        *flags: str,
        help: str,
        value: str = "",
        convert: Callable[[str], Any] = str,
        many: bool = False,
    ) -> None:
        self.flags = flags
        self.help = help
        self.value = value
        self.convert = convert
        self.many = many
        self.name = max(flags, key=len).lstrip("-").replace("-", "_")


class Parsed:
    """What was given: values by option name, and the words that are no options."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.words: list[str] = []
        self._counts: dict[str, int] = {}

    def get(self, name: str, default: Any = None) -> Any:
        """The value of an option, or the default if it was not given."""
        return self.values.get(name, default)

    def count(self, name: str) -> int:
        """How many times a switch was given."""
        return self._counts.get(name, 0)

    def add(self, option: Option, value: Any) -> None:
        """Take note of an option."""
        self._counts[option.name] = self.count(option.name) + 1
        if option.many:
            self.values.setdefault(option.name, []).append(value)
        else:
            self.values[option.name] = value


def parse(options: Sequence[Option], arguments: Sequence[str], *, to_first_word: bool) -> Parsed:
    """Read the arguments; ``--`` ends the options, as does the first word if `to_first_word`.

    Raises:
        UsageError: an option is unknown, or lacks its value, or its value is no good.
    """
    by_flag = {flag: option for option in options for flag in option.flags}
    parsed = Parsed()
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            parsed.words += rest
            break
        if not argument.startswith("-") or argument == "-":
            parsed.words.append(argument)
            if to_first_word:
                parsed.words += rest
                break
            continue
        if argument.startswith("--"):
            flag, equals, text = argument.partition("=")
            _take(parsed, by_flag, flag, text if equals else None, rest)
        else:
            _take_short(parsed, by_flag, argument, rest)
    return parsed


def _take_short(parsed: Parsed, by_flag: dict[str, Option], argument: str, rest: list[str]) -> None:
    """A cluster such as ``-nE`` or ``-w10``: switches, of which the last may take a value."""
    for index in range(1, len(argument)):
        flag = f"-{argument[index]}"
        option = by_flag.get(flag)
        if option is not None and option.value:
            text = argument[index + 1 :]
            _take(parsed, by_flag, flag, text or None, rest)
            return
        _take(parsed, by_flag, flag, None, rest)


def _take(
    parsed: Parsed, by_flag: dict[str, Option], flag: str, text: str | None, rest: list[str]
) -> None:
    option = by_flag.get(flag)
    if option is None:
        raise UsageError(f"unknown option {flag}")
    if not option.value:
        if text is not None:
            raise UsageError(f"{flag} takes no value")
        parsed.add(option, True)
        return
    if text is None:
        if not rest:
            raise UsageError(f"{flag} needs a value: {flag} {option.value}")
        text = rest.pop(0)
    try:
        parsed.add(option, option.convert(text))
    except ValueError as error:
        raise UsageError(f"{flag} {text}: {error}") from None


def help_of(options: Sequence[Option]) -> str:
    """The table of options, for the help."""
    left = [f"{', '.join(o.flags)} {o.value}".rstrip() for o in options]
    width = max(len(text) for text in left)
    lines = [f"  {text:<{width}}  {o.help}" for text, o in zip(left, options, strict=True)]
    return "\n".join(lines)


def seconds(text: str) -> float:
    """A number of seconds, not negative."""
    try:
        number = float(text)
    except ValueError:
        raise ValueError("a number of seconds is needed") from None
    if not 0 <= number < 1e9:
        raise ValueError("a number of seconds, not negative, is needed")
    return number


def exit_status(text: str) -> int:
    """An exit status, 0 to 255."""
    if not text.isdecimal() or int(text) > 255:
        raise ValueError("a number from 0 to 255 is needed")
    return int(text)


def one_of(*words: str) -> Callable[[str], str]:
    """One of some words."""

    def convert(text: str) -> str:
        if text not in words:
            raise ValueError(f"{', '.join(words[:-1])} or {words[-1]} is needed")
        return text

    return convert


def command_words(text: str) -> list[str]:
    """A command in one word of the shell's, split as the shell would split it."""
    import shlex  # noqa: PLC0415  (needs `re`)

    words = shlex.split(text)
    if not words:
        raise ValueError("a command is needed")
    return words
