"""The command line: ``leaderlock run`` and the other commands, each in a module of its own.

Data goes to standard output, messages to standard error. Exit statuses: 2 for wrong usage, 125 if
leaderlock itself fails (for `init` both are 1, as in tini). `run` and `init` return their command's
status, `health` and `resign` return 0 or 1, `doctor` 0, 1 or 2. docs/cli.md has the table.
"""

from __future__ import annotations

import os
import sys

from leaderlock.kernel import early  # first: it keeps signals from here on

early.begin(sys.argv)

from leaderlock._version import __version__  # noqa: E402
from leaderlock.cli.options import UsageError  # noqa: E402
from leaderlock.wording import printable, suggestion  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn, TextIO

FAILED = 125
WRONG_USAGE = 2

_HELP = """\
leaderlock makes exactly one process on a machine run a job.

  leaderlock run --name beat -- celery -A app beat    run a command once on this machine
  leaderlock run --stop TERM/25/KILL -- server        as a container's PID 1
  leaderlock init -- server                           the same, with tini's options
  leaderlock status                                   who leads, and who waits
  leaderlock history /run/app/leader.lock             who led, for how long, and how it ended
  leaderlock doctor /run/app                          will it work here?
  leaderlock resign beat                              ask the leader to step down in good order
  leaderlock serve                                    a web page that shows all this, on 127.0.0.1:8642
  leaderlock health /run/app/health.json              a probe: is the report in this file good?
  leaderlock completion bash                          a script that makes the Tab key complete all this
  leaderlock COMMAND --help                           more about a command, with examples
  leaderlock --version

Every option has an environment variable, such as LEADERLOCK_RUN_STOP for --stop of run.
"""


def entry() -> NoReturn:
    """Run the command line as the program, and exit.

    Skips the interpreter's own shutdown, which takes 2 ms: nothing here depends on it.
    """
    os._exit(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    _open_standard_descriptors()
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = words.pop(0) if words else ""
    failed, wrong_usage = (1, 1) if command == "init" else (FAILED, WRONG_USAGE)  # 1, as in tini
    try:
        status = _dispatch(command, words)
    except UsageError as error:
        _complain(f"leaderlock {command}: {printable(str(error))} (see leaderlock {command} --help)")
        return wrong_usage
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone
        return failed
    except Exception as error:
        from leaderlock.errors import LeaderLockError  # noqa: PLC0415

        if isinstance(error, OSError) and _output_fails():
            return failed
        # OSError: the system refuses something, such as one more descriptor (EMFILE). Under `run` and
        # `init` no command runs yet: the supervisor reports later failures.
        if not isinstance(error, LeaderLockError | OSError):
            raise
        text = str(error)
        if not isinstance(error, LeaderLockError):
            from leaderlock.kernel.limits import explained  # noqa: PLC0415

            text = explained(error) or text
        _complain(f"leaderlock: {printable(text)}")
        return failed
    if _output_fails() and command != "health":  # a probe's status reports the service
        return failed
    return status


def _output_fails() -> bool:
    """Flush the output; return whether that failed, and report the reason."""
    try:
        sys.stdout.flush()  # a failed write has left its text in the buffer: it fails again
    except BrokenPipeError:  # `leaderlock status | head`
        return True
    except OSError as error:  # ENOSPC, EIO, EBADF (open for reading only), EAGAIN, EFBIG
        _complain(f"leaderlock: cannot write to standard output: {error.strerror}")
        return True
    return False


def _complain(line: str) -> None:
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:  # EPIPE, ENOSPC, EIO, EBADF, EAGAIN: only the exit status can report
        pass


_COMMANDS = ("run", "init", "status", "history", "doctor", "resign", "serve", "health", "completion")


def _open_standard_descriptors() -> None:
    """Open /dev/null where 0, 1 or 2 is closed: otherwise a lock file could get that number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # EBADF
            fd = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is `number`
            os.set_inheritable(fd, True)  # otherwise a file of the command could get it
    # Python sets a stream to None if its descriptor was closed at the start.
    output = sys.__stdout__
    if sys.stdout is None:
        sys.stdout = _stream(1, "utf-8", "strict")
    elif output is not None and output is sys.stdout and output.write_through:
        # PYTHONUNBUFFERED removes the buffer, in which `_output_fails` finds unwritten output.
        sys.stdout = _stream(1, output.encoding, output.errors or "strict")
    if sys.stderr is None:
        sys.stderr = _stream(2, "utf-8", "backslashreplace")


def _stream(number: int, encoding: str, errors: str) -> TextIO:
    return open(number, "w", encoding=encoding, errors=errors, closefd=False)


def _dispatch(command: str, words: list[str]) -> int:
    if command in ("", "-h", "--help"):
        if not command:
            _complain(_HELP.rstrip("\n"))
            return WRONG_USAGE
        print(_HELP, end="")
        return 0
    if command == "--version":
        print(f"leaderlock {__version__}")
        return 0
    if command == "run":
        from leaderlock.cli.run import main as run  # noqa: PLC0415  (each imports its own)

        return run(words)
    if command == "init":
        from leaderlock.cli.init import main as init  # noqa: PLC0415

        return init(words)
    if command == "status":
        from leaderlock.cli.status import main as status  # noqa: PLC0415

        return status(words)
    if command == "history":
        from leaderlock.cli.history import main as history  # noqa: PLC0415

        return history(words)
    if command == "doctor":
        from leaderlock.cli.doctor import main as doctor  # noqa: PLC0415

        return doctor(words)
    if command == "resign":
        from leaderlock.cli.resign import main as resign  # noqa: PLC0415

        return resign(words)
    if command == "serve":
        from leaderlock.cli.serve import main as serve  # noqa: PLC0415

        return serve(words)
    if command == "health":
        from leaderlock.cli.health import main as health  # noqa: PLC0415

        return health(words)
    if command == "completion":
        from leaderlock.cli.completion import main as completion  # noqa: PLC0415

        return completion(words)
    near = suggestion(command, _COMMANDS)
    text = f"there is no command {command!r}{near} (see leaderlock --help)"
    _complain(f"leaderlock: {text}")
    return WRONG_USAGE
