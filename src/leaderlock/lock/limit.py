"""The longest wait of an acquisition, from the arguments of `threading.Lock.acquire`."""

from __future__ import annotations

from leaderlock.errors import LockTimeout
from leaderlock.kernel.arguments import number
from leaderlock.kernel.threads import TIMEOUT_MAX


def limit_of(blocking: bool, timeout: float) -> float | None:
    """The longest wait in seconds: None waits without limit, 0 does not wait.

    Raises:
        TypeError, ValueError, OverflowError: for the reasons of `threading.Lock.acquire`.
    """
    if timeout == -1:
        return None if blocking else 0
    if not blocking:
        raise ValueError("can't specify a timeout for a non-blocking call")
    timeout = number("timeout", timeout, "a number of seconds, or -1 to wait without limit")
    if timeout < 0:
        raise ValueError(f"timeout value must be a non-negative number, not {timeout!r}")
    if timeout > TIMEOUT_MAX:
        raise OverflowError(f"timeout value is too large, more than {TIMEOUT_MAX} s")
    return timeout


def timed_out(path: str, limit: float | None) -> LockTimeout:
    """The error of a `with` whose timeout has passed."""
    return LockTimeout(
        f"{path} was not acquired within {limit:g} s: another holder has it (`leaderlock status` shows "
        f"which process); wait for longer, or ask that holder to release"
    )
