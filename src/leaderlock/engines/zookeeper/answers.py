"""What ZooKeeper's answers mean for an election."""

from __future__ import annotations

from kazoo import exceptions as kazoo

from leaderlock.errors import EngineUnreachable, EngineUnusable, LeadershipLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.engines.address import Address

OUTCOMES = (kazoo.BadVersionError, kazoo.NoNodeError, kazoo.NodeExistsError)
"""Errors that are answers, each with a meaning for its request."""

_REFUSALS = (
    kazoo.InvalidACLError,
    kazoo.NoAuthError,
    kazoo.QuotaExceededError,
    kazoo.SessionClosedRequireSaslError,
)
"""Errors that a later try does not change."""

_CONSEQUENCES = (kazoo.RolledBackError, kazoo.RuntimeInconsistency)
"""Errors of a transaction's operations that another operation has caused."""


def raise_failure(answer: object) -> None:
    """Raise the error of the operation that made a transaction fail, if the answer has one."""
    errors = [a for a in answer if isinstance(a, Exception)] if isinstance(answer, list) else []
    if errors:
        raise next((e for e in errors if not isinstance(e, _CONSEQUENCES)), errors[0])


def meaning(error: Exception, address: Address) -> Exception:
    """The error to raise for one of kazoo's that is not among the outcomes."""
    kind = type(error).__name__
    if isinstance(error, kazoo.AuthFailedError):
        return refused_credentials(address)
    if isinstance(
        error, kazoo.ConnectionClosedError
    ):  # kazoo's own word, though it derives from the next
        return EngineUnreachable(f"{address.shown}: the connection to ZooKeeper is closed")
    if isinstance(error, kazoo.SessionExpiredError):
        return LeadershipLost("ZooKeeper has ended the session")
    if isinstance(error, kazoo.NoChildrenForEphemeralsError):
        return EngineUnusable(
            f"{address.shown}: a part of the path {address.path} is the ephemeral node of another "
            f"program, which can have no children: give the election a path of its own"
        )
    if isinstance(error, _REFUSALS):
        user = f"the user {address.user!r}" if address.user else "a client without a user"
        return EngineUnusable(
            f"{address.shown}: ZooKeeper refuses {user} ({kind}): that user needs all rights from "
            f"{address.path} on, and the right to create what is missing of that path (a wrong "
            f"password makes another user)"
        )
    return EngineUnreachable(f"{address.shown}: ZooKeeper has not answered ({kind})")


def refused_credentials(address: Address) -> EngineUnusable:
    """The error of a server that takes no user, or not this one."""
    return EngineUnusable(
        f"{address.shown}: ZooKeeper refuses the credentials of the user {address.user!r}: its "
        f"authentication by digest may be switched off"
    )
