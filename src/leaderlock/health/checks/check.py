"""Checks: a function with a name and a time limit, and the results that it may return."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from typing import Generic, TypeVar

from leaderlock.errors import Unsupported
from leaderlock.kernel.arguments import names_near_keyword, number, positive_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    Status = Literal["ok", "degraded", "failing"]

Value_co = TypeVar("Value_co", covariant=True)

STATUSES = ("ok", "degraded", "failing")


@dataclass(frozen=True)
class CheckResult:
    """The result of a check that reports a status and an error, and not only a value.

    Attributes:
        value: any JSON value.
        status: ``"ok"``, ``"degraded"`` (still working) or ``"failing"``.
        error: the problem, in one sentence; None if there is none.

    Raises:
        ValueError, TypeError: the status or the error is invalid.
    """

    value: object
    status: Status = "ok"
    error: str | None = None

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}, not {self.status!r}")
        if not (self.error is None or isinstance(self.error, str)):
            raise TypeError(f"error must be a text or None, not {self.error!r}")


class Check(Generic[Value_co]):
    """A function with a name, a time limit and a weight, made by `check`. A call runs the function.

    Attributes:
        name: the check's key in the report.
        timeout: seconds after which the reporter stops waiting; None for the reporter's default.
        critical: whether its failure makes the whole report failing, and not only degraded.
    """

    def __init__(
        self,
        function: Callable[[], Value_co],
        *,
        name: str | None = None,
        timeout: float | None = None,
        critical: bool = False,
    ) -> None:
        if not callable(function):
            raise TypeError(f"a check or sink must be a function, not {function!r}")
        if inspect.iscoroutinefunction(function):
            raise TypeError(
                f"{name_of(function)} is a coroutine function, and checks run in threads: "
                "give a function that calls asyncio.run()"
            )
        given: object = name  # may come from a configuration file
        if given is not None and not (isinstance(given, str) and given):
            wrong = ValueError if given == "" else TypeError
            raise wrong(f"name must be a text that is not empty, not {name!r}")
        if timeout is not None:
            positive_seconds("timeout", timeout)
        self._function = function
        self.name = name or name_of(function)
        self.timeout = timeout
        self.critical = bool(critical)

    def __call__(self) -> Value_co:
        """Run the function in this thread."""
        return self._function()

    def __repr__(self) -> str:
        return f"<leaderlock.health.checks.Check {self.name!r}>"


@names_near_keyword
def check(
    function: Callable[[], Value_co],
    *,
    name: str | None = None,
    timeout: float | None = None,
    critical: bool = False,
) -> Check[Value_co]:
    """Make a check of a function, with a name, a time limit and a weight.

    Args:
        function: takes no arguments. It returns the check's value, which must be a JSON value (or a
            `CheckResult` with a JSON value). If it raises, the check fails.
        name: the check's key in the report; by default the function's own name.
        timeout: seconds after which the report is made without this check's value, and says so. The
            default is the reporter's interval, and at most 5 s.
        critical: whether a failure of this check makes the whole report failing. Any other failing
            check makes the report degraded.

    Raises:
        ValueError, TypeError: an argument is invalid.
    """
    return Check(function, name=name, timeout=timeout, critical=critical)


def as_check(function: Callable[[], object]) -> Check[object]:
    """Return a check unchanged; make a check of a bare function."""
    return function if isinstance(function, Check) else Check(function)


def name_of(function: object) -> str:
    """The name of a check or a sink that was given no name."""
    qualified: str = getattr(function, "__qualname__", type(function).__qualname__)
    return qualified.rpartition("<locals>.")[2]


def rising_shares(**shares: float) -> None:
    """Refuse thresholds unless they are shares of a whole, in ascending order."""
    before = 0.0
    for name, share in shares.items():
        wanted = "a share over 0 and up to 1, such as 0.9"
        if not 0 < number(name, share, wanted) <= 1:
            raise ValueError(f"{name} must be {wanted}, not {share!r}")
        if share < before:
            raise ValueError(f"{' must not be greater than '.join(shares)}: {shares}")
        before = share


def linux_only(name: str) -> None:
    """Refuse a check that needs Linux on any other system."""
    if not os.path.exists("/proc/self/fd"):
        raise Unsupported(f"checks.{name}() needs /proc, and this system has none: leave it out")
