"""`diagnose`: checks whether leaderlock will work on a path; `leaderlock doctor` shows the result."""

from __future__ import annotations

import os
from dataclasses import dataclass

from leaderlock.diagnosis import cleaners, place, system
from leaderlock.diagnosis.finding import Finding
from leaderlock.errors import LeaderLockError, LockFileUnusable
from leaderlock.kernel.filesystems.judgement import Verdict
from leaderlock.kernel.filesystems.mounted import Filesystem, filesystem
from leaderlock.kernel.laboratory.laboratory import Result, experiments
from leaderlock.kernel.proc.mounts import real_path
from leaderlock.lock.directory import lock_directory
from leaderlock.lock.remedies import is_kernels_own

__all__ = ["Diagnosis", "Finding", "diagnose"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SEVERITY: tuple[Verdict, ...] = ("good", "doubtful", "broken")


@dataclass(frozen=True)
class Diagnosis:
    """The results of all checks of a path.

    Attributes:
        path: the checked path, absolute, without symlinks in its directory.
        directory: the directory of the lock file, which need not exist.
        filesystem: the file system behind the path.
        findings: the findings, the worst first.
        experiments: the results of the experiments in the directory; empty if none could run.
    """

    path: str
    directory: str
    filesystem: Filesystem
    findings: tuple[Finding, ...]
    experiments: tuple[Result, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all findings."""
        return max((finding.verdict for finding in self.findings), key=_SEVERITY.index)


def diagnose(path: str | os.PathLike[str] | None = None, also: Sequence[Finding] = ()) -> Diagnosis:
    """Check a path, and try flock in its directory. No file remains there.

    Args:
        path: a lock file, which need not exist, or a directory; by default, the directory of named
            locks (see `LeaderLock`).
        also: findings of the caller, to be included.

    Raises:
        ValueError: the path is empty, or has a NUL byte.
    """
    if path is None:
        try:
            path = lock_directory()
        except LeaderLockError as error:
            return _without_directory(error, also)
    given = os.path.abspath(os.fsdecode(path))
    behind = filesystem(path)
    is_directory = os.path.isdir(given)
    directory = real_path(given if is_directory else os.path.dirname(given))
    file = os.path.join(directory, "leader.lock" if is_directory else os.path.basename(given))
    found = [
        *also,
        place.on_filesystem(behind),
        place.on_directory(directory, behind),
        *([] if is_directory or is_kernels_own(file) else place.on_file(file)),
        *place.on_space(directory),
        cleaners.on_cleaners(file),
        system.on_sharing(behind),
        *system.on_system(),
        *system.on_patching(),
        *system.on_keeper(),
    ]
    can_try = os.path.isdir(directory) and os.access(directory, os.W_OK | os.X_OK)
    results = tuple(experiments(directory)) if can_try else ()
    found += on_experiments(results)
    return Diagnosis(
        directory if is_directory else file,
        directory,
        behind,
        _worst_first(found),
        results,
    )


def on_experiments(results: tuple[Result, ...]) -> list[Finding]:
    """A finding with the worst failed experiment; none if no failure matters to leaderlock."""
    failed = [r for r in results if not r.passed and r.consequence != "good"]
    if not failed:
        return []
    worst = max(failed, key=lambda result: _SEVERITY.index(result.consequence))
    text = f"Experiment '{worst.name}': {worst.outcome} (expected: {worst.expectation})."
    remedy = "choose a path on a local file system, such as /run"
    return [Finding("flock", worst.consequence, f"{text} {worst.explanation}", remedy)]


def _without_directory(error: LeaderLockError, also: Sequence[Finding]) -> Diagnosis:
    """The diagnosis if named locks have no directory: the reason, and the checks that need none."""
    directory = os.environ.get("LEADERLOCK_DIR") or "/run/leaderlock"
    if isinstance(error, LockFileUnusable):
        directory = str(error.filename)
    behind = filesystem(directory)
    found = [
        Finding("directory", "broken", f"Locks by name have no place: {error}."),
        *also,
        place.on_filesystem(behind),
        *system.on_system(),
    ]
    return Diagnosis(directory, directory, behind, _worst_first(found), ())


def _worst_first(found: list[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(found, key=lambda finding: -_SEVERITY.index(finding.verdict)))
