"""The errors of a server and of libpq, as errors that name the URL, what happened and the remedy."""

from __future__ import annotations

from leaderlock.errors import EngineUnreachable, EngineUnusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.engines.address import Address

MISSING = {"42P01", "3F000"}
"""The table or the schema does not exist."""

NOT_PERMITTED = "42501"

READ_ONLY = "25006"

_OTHER_TABLE = {"42703", "42804", "42809", "42P10", "42883", "23502", "23514", "55000"}
"""A column is missing or has another type, a key or a constraint is not ours, it is a view."""

_TEMPORARY = ("08", "25", "40", "53", "55P03", "55006", "57", "58", "XX")
"""Errors, and classes of errors, that a later try may not meet (PostgreSQL manual, appendix A)."""

_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "pg_hba.conf",
    "does not exist",
    "is not permitted to log in",
    "permission denied",
    "certificate",
    "server does not support SSL",
    "invalid response to SSL negotiation",
    "expected authentication request",
    "authentication method",
)
"""Texts of libpq and of an English server: a connection failure brings no SQLSTATE. An error in another
language is taken for temporary: the candidate tries again, and logs the text."""


class ServerRefuses(EngineUnusable):
    """The server's answer to a statement is an error that a later try meets again."""

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class ServerFails(EngineUnreachable):
    """The server's answer to a statement is an error that a later try may not meet."""


def failure(
    address: Address, sqlstate: str, text: str, *, is_standby: bool
) -> ServerRefuses | ServerFails:
    """The error of a statement."""
    said = (
        f"{address.shown}: the server says: {_tidy(address, text)} (SQLSTATE {sqlstate or 'unknown'})"
    )
    if is_standby or sqlstate == READ_ONLY:
        return ServerFails(
            f"{address.shown}: the server is a standby, or makes sessions read-only: name all "
            f"servers of the cluster in the URL, with target_session_attrs=read-write"
        )
    if not sqlstate or sqlstate.startswith(_TEMPORARY):
        return ServerFails(said)
    if sqlstate in _OTHER_TABLE:
        said += (
            "; the tables in the schema leaderlock belong to another program or version: rename them"
        )
    return ServerRefuses(said, sqlstate)


def connection_failure(address: Address, text: str) -> EngineUnusable:
    """The error of a connection that was not made, from the message of libpq."""
    said = _tidy(address, text)
    if "session is read-only" in said:
        return EngineUnreachable(
            f"{address.shown}: {said}: the server is a standby, or makes sessions read-only: name all "
            f"servers of the cluster in the URL, with target_session_attrs=read-write"
        )
    is_of_url = not said.startswith("connection to server")  # libpq did not get as far as that
    if is_of_url or any(refusal in said for refusal in _REFUSALS):
        return EngineUnusable(
            f"{address.shown}: {said}; correct the URL, or have an administrator allow the connection"
        )
    return EngineUnreachable(f"{address.shown}: {said}")


def _tidy(address: Address, text: str) -> str:
    """A message in one line, without any secret."""
    return address.hide(" ".join(text.split()))
