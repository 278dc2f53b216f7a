"""The environment variables that leaderlock reads or sets, and similar names that it does not know."""

from __future__ import annotations

import os

from leaderlock.cli.command import all_commands
from leaderlock.diagnosis.finding import Finding
from leaderlock.wording import suggestion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIX = "LEADERLOCK_"
_OF_NO_OPTION = (
    "LEADERLOCK_DIR",
    "LEADERLOCK_KEEPER",
    "LEADERLOCK_TERM",
    "LEADERLOCK_PATH",
    "LEADERLOCK_FD",
    "LEADERLOCK_SUBREAPER",
    "LEADERLOCK_KILL_PROCESS_GROUP",
    "LEADERLOCK_VERBOSITY",
)
"""docs/cli.md describes each variable."""


def on_variables(environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """A finding for each LEADERLOCK_ variable that nothing reads; empty if there is none.

    The finding is doubtful if a known name is similar: the intended setting has no effect.
    """
    given = [name for name in environment if name.startswith(_PREFIX)]
    if not given:
        return []
    known = [*_OF_NO_OPTION, *_of_options()]
    unknown = [name for name in given if name not in known and not _is_of_service(name, environment)]
    return [_finding(name, suggestion(name, known, prefix=_PREFIX)) for name in sorted(unknown)]


def _finding(name: str, near: str) -> Finding:
    text = f"leaderlock reads no variable {name}"
    if not near:
        return Finding("variable", "good", f"{text}: it has no effect.")
    return Finding("variable", "doubtful", f"{text}{near}", "correct its name, or unset it")


def _of_options() -> list[str]:
    return [
        option.variable(command.name)
        for command in all_commands()
        for option in command.options
        if option.is_setting
    ]


def _is_of_service(name: str, environment: Mapping[str, str]) -> bool:
    """Whether Kubernetes set the variable, for a service whose name begins with ``leaderlock``."""
    hosts = [other for other in environment if other.endswith("_SERVICE_HOST")]
    services = [host.removesuffix("_SERVICE_HOST") for host in hosts]
    return any(name.startswith((f"{s}_SERVICE_", f"{s}_PORT")) for s in services)
