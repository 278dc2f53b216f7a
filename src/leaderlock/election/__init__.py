"""Leader election: an election, its candidates, and the leadership that a task receives."""

from __future__ import annotations

from leaderlock.lazy import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.election.candidate import Candidate
    from leaderlock.election.current import current_leadership, is_leader
    from leaderlock.election.election import Election
    from leaderlock.election.leadership import Leadership

__all__ = ["Candidate", "Election", "Leadership", "current_leadership", "is_leader"]

__getattr__, __dir__ = face(
    __name__,
    {
        "Candidate": "candidate",
        "Election": "election",
        "Leadership": "leadership",
        "current_leadership": "current",
        "is_leader": "current",
    },
)
