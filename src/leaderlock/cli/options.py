"""Options of a subcommand, as a table.

The table serves to read the command line and the environment, and to write the help, the shell
completions and the manual pages.

`argparse` takes 6 ms to import, longer than all other work of `leaderlock run` before its command
starts, and it cannot stop at the command's name as flock(1) does.
"""

from __future__ import annotations

import os

from leaderlock.kernel.arguments import whole_number
from leaderlock.wording import suggestion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class UsageError(Exception):
    """The command line is invalid: exit status 2."""


class Option:
    """One option.

    Args:
        flags: its names, ``-w`` and ``--wait``.
        help: one line of description.
        value: the name of its value in the help; an option without a value is a switch.
        many: whether the option may be repeated: then its value is a list, and a switch is counted.
        convert: converts the text of the value; raises ValueError with a reason.
        choices: the only valid values.
        completes: the completions for its value: ``lock``, ``name``, ``file``, ``command``, or a list
            of words.
        instead_of: the names of options that mean the opposite or the same: if this option is on the
            command line, their variables are ignored.
        is_setting: whether a variable may set this option; False for options that ask for an action,
            such as ``--help``.
    """

    def __init__(
        self,
        *flags: str,
        help: str,
        value: str = "",
        convert: Callable[[str], Any] = str,
        choices: Sequence[str] = (),
        many: bool = False,
        completes: str | Sequence[str] = "",
        instead_of: Sequence[str] = (),
        is_setting: bool = True,
    ) -> None:
        self.flags = flags
        self.help = help
        self.value = value
        self.convert = one_of(*choices) if choices else convert
        self.many = many
        self.completes = choices or completes
        self.instead_of = instead_of
        self.is_setting = is_setting
        self.name = max(flags, key=len).lstrip("-").replace("-", "_")

    def variable(self, command: str) -> str:
        """The environment variable that sets this option: ``LEADERLOCK_RUN_STOP``."""
        return f"LEADERLOCK_{command}_{self.name}".upper()


HELP = Option("-h", "--help", help="show this", is_setting=False)


class Parsed:
    """The result: values by option name, and the words that are no options."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.words: list[str] = []
        self.sources: dict[str, str] = {}
        """The flag or the variable that set each value."""
        self._counts: dict[str, int] = {}

    def get(self, name: str, default: Any = None) -> Any:
        """The value of an option, or the default if the option was not given."""
        return self.values.get(name, default)

    def count(self, name: str) -> int:
        """How many times a switch was given."""
        return self._counts.get(name, 0)

    def add(self, option: Option, value: Any, source: str, times: int = 1) -> None:
        """Store an option's value."""
        self.sources[option.name] = source
        self._counts[option.name] = self.count(option.name) + times
        if option.many:
            self.values.setdefault(option.name, []).append(value)
        else:
            self.values[option.name] = value


def parse(
    options: Sequence[Option], arguments: Sequence[str], *, to_first_word: bool, command: str = ""
) -> Parsed:
    """Read the arguments. ``--`` ends the options; so does the first word, if `to_first_word`.

    If `command` is given, the environment sets the options that are not on the command line. Their
    variables are removed from the environment, so that a child process does not apply them again.

    Raises:
        UsageError: an option is unknown, lacks its value, or has an invalid value.
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
    if command and "help" not in parsed.values:  # --help must work even with an invalid variable
        _take_from_environment(parsed, options, command)
    return parsed


def _take_from_environment(parsed: Parsed, options: Sequence[Option], command: str) -> None:
    given = set(parsed.values)
    settled = given.union(*(option.instead_of for option in options if option.name in given))
    for option in options:
        if not option.is_setting:
            continue
        variable = option.variable(command)
        text = os.environ.pop(variable, "")
        if not text or option.name in settled:
            continue
        try:
            if not option.value:
                if times := _times(text, option.many):
                    parsed.add(option, True, variable, times)
            else:
                for line in text.splitlines() if option.many else [text]:
                    if line.strip():
                        parsed.add(option, option.convert(line), variable)
        except ValueError as error:
            raise UsageError(f"{variable}={text}: {error}") from None


def _times(text: str, many: bool) -> int:
    """How often a switch was given, from the text of its variable."""
    if many and text.isascii() and text.isdecimal() and len(text) < 4:
        return int(text)
    if text.lower() in ("1", "yes", "true", "on"):
        return 1
    if text.lower() in ("0", "no", "false", "off"):
        return 0
    raise ValueError("1 or 0 is needed (or yes and no, true and false, on and off)")


def _take_short(parsed: Parsed, by_flag: dict[str, Option], argument: str, rest: list[str]) -> None:
    """Read a cluster such as ``-nE`` or ``-w10``: switches, the last of which may take a value."""
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
        raise UsageError(f"unknown option {flag}{suggestion(flag, by_flag)}")
    if not option.value:
        if text is not None:
            raise UsageError(f"{flag} takes no value")
        parsed.add(option, True, flag)
        return
    if text is None:
        if not rest:
            raise UsageError(f"{flag} needs a value: {flag} {option.value}")
        text = rest.pop(0)
    try:
        parsed.add(option, option.convert(text), flag)
    except ValueError as error:
        raise UsageError(f"{flag} {text}: {error}") from None


def help_of(options: Sequence[Option]) -> str:
    """The table of options in the help."""
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
    status = whole_number(text, 255)
    if status is None:
        raise ValueError("a number from 0 to 255 is needed")
    return status


def one_of(*words: str) -> Callable[[str], str]:
    """A converter that accepts only these words."""

    def convert(text: str) -> str:
        if text not in words:
            near = suggestion(text, words)
            raise ValueError(f"{', '.join(words[:-1])} or {words[-1]} is needed{near}")
        return text

    return convert


def command_words(text: str) -> list[str]:
    """A command in one word, split by the rules of the shell."""
    import shlex  # noqa: PLC0415  (needs `re`)

    words = shlex.split(text)
    if not words:
        raise ValueError("a command is needed")
    return words


def web_address(text: str) -> str:
    """A URL that `ping` accepts."""
    from leaderlock.supervisor.ping import place_of  # noqa: PLC0415  (needs urllib.parse)

    place_of(text)
    return text
