"""`Finding`: one thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass

from leaderlock.kernel.filesystems.judgement import Verdict


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        topic: one or two words.
        verdict: ``good``, ``doubtful`` or ``broken``.
        text: what was found.
        remedy: what to do; empty if there is nothing to do.
    """

    topic: str
    verdict: Verdict
    text: str
    remedy: str = ""
