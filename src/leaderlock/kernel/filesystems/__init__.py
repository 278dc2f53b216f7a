"""The file system behind a path, and whether flock can be trusted there."""

from __future__ import annotations

from leaderlock.lazy import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.filesystems.judgement import Judgement
    from leaderlock.kernel.filesystems.mounted import Filesystem, filesystem

__all__ = ["Filesystem", "Judgement", "filesystem"]

__getattr__, __dir__ = face(
    __name__, {"Filesystem": "mounted", "Judgement": "judgement", "filesystem": "mounted"}
)
