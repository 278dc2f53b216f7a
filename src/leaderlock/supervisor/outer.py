"""PID 1 of a container, in front of a supervisor that must be able to die at its deadline.

A leader in an engine is killed by a timer of the kernel, and the kernel does not let PID 1 of a
namespace be killed from inside (pid_namespaces(7)). So PID 1 forks: the child is the supervisor, and
PID 1 does what only it can do. It forwards signals, reaps, and exits with the supervisor's status. It
exits at once when the supervisor has died, and the kernel then kills all that is left in the namespace.
"""

from __future__ import annotations

import os

from leaderlock.kernel.signals import signal
from leaderlock.supervisor import signals
from leaderlock.supervisor.command import FAILED
from leaderlock.supervisor.reaper import exit_status
from leaderlock.supervisor.spawn import take_terminal

_WANTED = signals.FORWARDED | {signal.SIGCHLD}


def fork_supervisor() -> None:
    """Return in a child, which is the supervisor from now on; PID 1 does not return."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    # From before the fork: the kernel keeps a signal to PID 1 that is blocked, and drops one without a
    # handler. The child has those that `kernel.early` has kept.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    supervisor = os.fork()
    if supervisor:
        status = FAILED
        try:
            status = _serve(supervisor)
        finally:
            os._exit(status)  # without the steps of Python's exit: whatever is left ends now
    # In a group of its own, so that a terminal's signals reach the supervisor once. SIGTTOU is blocked.
    os.setpgid(0, 0)
    take_terminal()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(supervisor: int) -> int:
    """Forward signals and reap, until the supervisor has ended; return its exit status."""
    while True:
        number = signal.sigwaitinfo(_WANTED).si_signo
        if number != signal.SIGCHLD:
            signals.send(supervisor, number)
            continue
        pid = -1
        while pid != 0:  # one SIGCHLD may stand for several children
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == supervisor:
                return exit_status(status)
