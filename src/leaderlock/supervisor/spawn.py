"""Starting a program as a child: its own process group, default signals, no descriptor of ours."""

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
"""Ignored by Python or by us, and not by who has started us: the command gets their defaults.

Nobody can say whether SIGPIPE and SIGXFSZ were ignored before: Python has set them by now.
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
    the fork and `born`: whatever one raises, the child is known by then.

    Args:
        command: the program and its arguments.
        environment: the whole of it.
        born: called with the process ID.
        stdio: descriptors of ours that it gets as 0, 1 and 2; those not named, it shares with us.
        foreground: whether its group becomes the terminal's foreground group in place of ours, so that
            Ctrl-C and Ctrl-Z reach the command alone, and once.
        in_child: called in the child just before the program takes its place.
        without: inheritable descriptors that it is not to get.

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
    """By posix_spawn(3), which does not copy this process's page tables as fork(2) does: 2 ms less."""
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
        # A child that ends with the status that says so: as if it had found out by itself.
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
            _take_terminal()
        for number, fd in stdio.items():
            os.dup2(fd, number)
        for fd in without:
            try:
                os.close(fd)
            except OSError:  # EBADF: there was none
                pass
        if in_child is not None:
            in_child()
        restore_default_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        replace(command, with_own_pid(dict(environment), os.getppid()))
    except OSError as error:
        status = report_failed_start(command, error)
    except BaseException as error:  # noqa: BLE001  (there is nobody above to raise it to)
        say(f"cannot run {command[0]}: {error}")
    finally:
        os._exit(status)


def replace(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Let the program take the place of this process; OSError if it cannot be started."""
    try:
        os.execvpe(command[0], list(command), dict(environment))
    except OSError as error:
        script = script_without_interpreter(command, error)
        if script is None:
            raise
    os.execve(_SHELL, script, dict(environment))


def script_without_interpreter(command: Sequence[str], error: OSError) -> list[str] | None:
    """The words that run a script which has no ``#!`` line, as execvp(3) and shells run it: by /bin/sh.

    Args:
        command: what could not be started.
        error: why; anything but ENOEXEC gives None.
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
    """Say why the program could not be started, and return the exit status that says so too."""
    missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    say(f"cannot run {command[0]}: {error.strerror}")
    return NOT_FOUND if missing else CANNOT_RUN


def restore_default_signals() -> None:
    """Undo what Python and we have set: a caught signal must not run a handler of ours any more."""
    ours = set(_SET_BY_US)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if callable(signal.getsignal(number)) or number in ours:
            signal.signal(number, signal.SIG_DFL)


def _take_terminal() -> None:
    """In the child: become the terminal's foreground group in place of the parent's."""
    _hand_terminal(os.getpgid(os.getppid()), os.getpid())


def take_terminal_back(child: int) -> None:
    """In the parent: become the foreground group again, if the child's group still is."""
    _hand_terminal(child, os.getpgrp())


def give_terminal(child: int) -> None:
    """In the parent: make the child's group the foreground group, if ours is."""
    _hand_terminal(os.getpgrp(), child)


def shares_terminal() -> bool:
    """Whether we have a terminal, and others stand in our process group: a pipeline's, or a script.

    A command with a group of its own would then take the terminal from them, or could not read it. So
    it stays in our group, as it would under flock(1).
    """
    if not has_terminal():
        return False
    if os.getpgrp() != os.getpid():
        return True
    from leaderlock.kernel.proc.processes import process_table  # noqa: PLC0415  (only at a terminal)

    ours = os.getpid()
    return any(process.group == ours and pid != ours for pid, process in process_table().items())


def end_by_interrupt() -> None:
    """Die of SIGINT, as the command has: by that a shell knows that its script is to end, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.kill(os.getpid(), signal.SIGINT)


def has_terminal() -> bool:
    """Whether we have a terminal, in the foreground or not."""
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
    except OSError:  # EIO: it has been hung up
        return False
    finally:
        os.close(terminal)


def _hand_terminal(old_group: int, new_group: int) -> None:
    # SIGTTOU, by which the kernel stops a background process that does this, is ignored by us and
    # blocked in the child.
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:  # ENXIO or ENOENT: no controlling terminal
        return
    try:
        if os.tcgetpgrp(terminal) == old_group:
            os.tcsetpgrp(terminal, new_group)
    except OSError:  # EIO, ENOTTY: the terminal has been hung up; EPERM: another session's by now
        return
    finally:
        os.close(terminal)
