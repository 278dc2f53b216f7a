"""`Finding`: the result of one check."""

from __future__ import annotations

from dataclasses import dataclass

from leaderlock.kernel.filesystems.judgement import Verdict


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        topic: the subject of the check, in one or two words.
        verdict: ``good``, ``doubtful`` or ``broken``.
        text: the result in words.
        remedy: the action to take; empty if none is needed.
    """

    topic: str
    verdict: Verdict
    text: str
    remedy: str = ""
