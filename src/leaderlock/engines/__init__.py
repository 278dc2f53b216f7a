"""Engines hold elections: a candidate stands in an engine, which tells a leader of the term's end."""

from __future__ import annotations

from leaderlock.lazy import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.engines.address import Address
    from leaderlock.engines.catalogue import engine_of
    from leaderlock.engines.engine import Engine, Tenure
    from leaderlock.engines.leased.engine import LeasedEngine
    from leaderlock.engines.leased.session import Claim, Session, Standing, Traits
    from leaderlock.engines.leased.waiting import CalledOff, Waiting
    from leaderlock.engines.urls import is_url

__all__ = [
    "Address",
    "CalledOff",
    "Claim",
    "Engine",
    "LeasedEngine",
    "Session",
    "Standing",
    "Tenure",
    "Traits",
    "Waiting",
    "engine_of",
    "is_url",
]

_MODULES = {
    "address": ("Address",),
    "catalogue": ("engine_of",),
    "engine": ("Engine", "Tenure"),
    "leased.engine": ("LeasedEngine",),
    "leased.session": ("Claim", "Session", "Standing", "Traits"),
    "leased.waiting": ("CalledOff", "Waiting"),
    "urls": ("is_url",),
}
__getattr__, __dir__ = face(
    __name__, {name: module for module, names in _MODULES.items() for name in names}
)
