"""Starts a program as a child: own process group, default signals, none of our descriptors."""

from __future__ import annotations

import errno
import os

from leaderlock.kernel.signals import signal
from leaderlock.supervisor.environment import named_by_pid, with_own_pid
from leaderlock.supervisor.loop import IGNORED_BY_PYTHON
from leaderlock.supervisor.messages import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn

_SHELL = "/bin/sh"
_SET_BY_US = [
    *IGNORED_BY_PYTHON,
    *(one for one in (signal.SIGTTIN, signal.SIGTTOU) if signal.getsignal(one) != signal.SIG_IGN),
]
"""Ignored by Python or by us, but not by our parent: the command gets the default actions.

Whether SIGPIPE and SIGXFSZ were ignored before cannot be known: Python has already set them.
"""

NOT_FOUND = 127
CANNOT_RUN = 126


def spawn(
    command: Sequence[str],
    environment: Mapping[str, str],
    born: Callable[[int], None],
    *,
    stdio: Mapping[int, int] | None = None,
    foreground: bool = True,
    own_group: bool = True,
    in_child: Callable[[], None] | None = None,
    without: Sequence[int] = (),
) -> None:
    """Start the command, in a process group of its own unless `own_group` is false.

    A command that cannot be started ends with 127 or 126, as in a shell. No signal handler runs between
    the fork and `born`: even if a handler raises, the child is already known.

    Args:
        command: the program and its arguments.
        environment: the child's whole environment.
        born: called with the process ID.
        stdio: our descriptors that the child gets as 0, 1 and 2; it shares those not named with us.
        foreground: whether its group becomes the terminal's foreground group in place of ours, so that
            Ctrl-C and Ctrl-Z reach the command alone, and once.
        in_child: called in the child just before the program replaces it.
        without: inheritable descriptors that the child must not get.

    Raises:
        OSError: EAGAIN, ENOMEM: no process could be started.
    """
    stdio = stdio or {}
    at_once = (
        in_child is None
        and own_group
        and not (foreground and is_foreground())
        and not named_by_pid(environment, os.getpid())
    )
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        if at_once:
            born(_spawn_at_once(command, environment, mask, stdio, without))
        else:
            pid = os.fork()
            if pid == 0:
                _become(command, environment, mask, stdio, foreground, own_group, in_child, without)
            born(pid)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _spawn_at_once(
    command: Sequence[str],
    environment: Mapping[str, str],
    mask: set[int | signal.Signals],
    stdio: Mapping[int, int],
    without: Sequence[int],
) -> int:
    """Use posix_spawn(3): unlike fork(2) it does not copy our page tables, which saves 2 ms."""
    try:
        return os.posix_spawnp(
            command[0],
            list(command),
            dict(environment),
            file_actions=[
                *((os.POSIX_SPAWN_DUP2, fd, number) for number, fd in stdio.items()),
                *((os.POSIX_SPAWN_CLOSE, fd) for fd in without),
            ],
            setpgroup=0,
            setsigmask=mask,
            setsigdef=_SET_BY_US,
        )
    except OSError as error:
        if (script := script_without_interpreter(command, error)) is not None:
            return _spawn_at_once(script, environment, mask, stdio, without)
        # Fork a child that only ends with this status, as if the child had failed to run the program.
        status = report_failed_start(command, error)
        pid = os.fork()
        if pid == 0:
            os._exit(status)
        return pid


def _become(
    command: Sequence[str],
    environment: Mapping[str, str],
    mask: set[int | signal.Signals],
    stdio: Mapping[int, int],
    foreground: bool,
    own_group: bool,
    in_child: Callable[[], None] | None,
    without: Sequence[int],
) -> NoReturn:
    status = CANNOT_RUN
    try:
        signal.set_wakeup_fd(-1)
        if own_group:
            os.setpgid(0, 0)
        if own_group and foreground:
            take_terminal()
        for number, fd in stdio.items():
            os.dup2(fd, number)
        for fd in without:
            try:
                os.close(fd)
            except OSError:  # EBADF: the descriptor is not open
                pass
        if in_child is not None:
            in_child()
        restore_default_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        replace(command, with_own_pid(dict(environment), os.getppid()))
    except OSError as error:
        status = report_failed_start(command, error)
    except BaseException as error:  # noqa: BLE001  (there is no caller to raise it to)
        say(f"cannot run {command[0]}: {error}")
    finally:
        os._exit(status)


def replace(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Replace this process by the program; OSError if the program cannot be started."""
    try:
        os.execvpe(command[0], list(command), dict(environment))
    except OSError as error:
        script = script_without_interpreter(command, error)
        if script is None:
            raise
    os.execve(_SHELL, script, dict(environment))


def script_without_interpreter(command: Sequence[str], error: OSError) -> list[str] | None:
    """The words that run a script without a ``#!`` line by /bin/sh, as execvp(3) and shells do.

    Args:
        command: the command that could not be started.
        error: the reason; the result is None for any other than ENOEXEC.
    """
    if error.errno != errno.ENOEXEC or command[0] == _SHELL:
        return None
    places = [""] if "/" in command[0] else os.get_exec_path()
    for place in places:
        path = os.path.join(place, command[0])
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return [_SHELL, path, *command[1:]]
    return None


def report_failed_start(command: Sequence[str], error: OSError) -> int:
    """Log why the program could not be started, and return the matching exit status."""
    missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    say(f"cannot run {command[0]}: {error.strerror}")
    return NOT_FOUND if missing else CANNOT_RUN


def restore_default_signals() -> None:
    """Undo the dispositions that Python and we have set: the child must not run our handlers."""
    ours = set(_SET_BY_US)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if callable(signal.getsignal(number)) or number in ours:
            signal.signal(number, signal.SIG_DFL)


def take_terminal() -> None:
    """In the child: become the terminal's foreground group in place of the parent's."""
    _hand_terminal(os.getpgid(os.getppid()), os.getpid())


def take_terminal_back(child: int) -> None:
    """In the parent: make our group the foreground group again, if the child's group still is."""
    _hand_terminal(child, os.getpgrp())


def give_terminal(child: int) -> None:
    """In the parent: make the child's group the foreground group, if ours is."""
    _hand_terminal(os.getpgrp(), child)


def shares_terminal() -> bool:
    """Whether we have a terminal and share our process group with others: a pipeline or a script.

    In a group of its own, the command would take the terminal from them, or could not read it. So the
    command stays in our group, as it would under flock(1).
    """
    if not has_terminal():
        return False
    if os.getpgrp() != os.getpid():
        return True
    from leaderlock.kernel.proc.processes import process_table  # noqa: PLC0415  (only at a terminal)

    ours = os.getpid()
    return any(process.group == ours and pid != ours for pid, process in process_table().items())


def end_by_interrupt() -> None:
    """Die of SIGINT, as the command did: a shell then knows that its script must end too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.kill(os.getpid(), signal.SIGINT)


def has_terminal() -> bool:
    """Whether we have a terminal, whether or not we are in its foreground group."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY))
    except OSError:  # ENXIO or ENOENT: no controlling terminal
        return False
    return True


def is_foreground() -> bool:
    """Whether we have a terminal, and our process group is its foreground group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:  # ENXIO or ENOENT: no controlling terminal
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # EIO: the terminal has been hung up
        return False
    finally:
        os.close(terminal)


def _hand_terminal(old_group: int, new_group: int) -> None:
    # The kernel stops a background process that does this with SIGTTOU. We ignore SIGTTOU, and the
    # child blocks it.
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:  # ENXIO or ENOENT: no controlling terminal
        return
    try:
        if os.tcgetpgrp(terminal) == old_group:
            os.tcsetpgrp(terminal, new_group)
    except OSError:  # EIO, ENOTTY: the terminal has been hung up; EPERM: now another session's
        return
    finally:
        os.close(terminal)
