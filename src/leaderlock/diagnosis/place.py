"""Checks of the lock's place: file system, directory, existing lock file, free space."""

from __future__ import annotations

import os
import shlex
import stat

from leaderlock.diagnosis.finding import Finding
from leaderlock.kernel.filesystems.mounted import Filesystem
from leaderlock.kernel.found_files import flaw_of, is_ours
from leaderlock.kernel.proc.surroundings import setting
from leaderlock.lock import record


def on_filesystem(behind: Filesystem) -> Finding:
    """The file system and its mount."""
    where = f" on {behind.mount_point}" if behind.mount_point else ""
    return Finding(
        "file system", behind.verdict, f"{behind.kind}{where}. {behind.explanation}", behind.remedy
    )


def on_directory(directory: str, behind: Filesystem) -> Finding:
    """The directory's owner, and other users with write permission: all can delete the lock file."""
    topic = "directory"
    try:
        status = os.stat(directory)
        above = {place: os.stat(place) for place in _above(directory)}
    except (FileNotFoundError, NotADirectoryError):
        return Finding(
            topic,
            "broken",
            f"{directory} does not exist.",
            behind.remedy
            if behind.verdict == "broken"
            else f"make it: mkdir -p -m 0700 {shlex.quote(directory)}",
        )
    except OSError as error:  # EACCES; ESTALE, ENOTCONN: the server is gone
        return Finding(
            topic, "broken", f"{directory} cannot be looked at: {error.strerror}.", behind.remedy
        )
    if not stat.S_ISDIR(status.st_mode):
        return Finding(
            topic, "broken", f"{directory} is not a directory.", "give the path of a file in one"
        )
    mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
    if not behind.read_only and not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        text = f"User {os.geteuid()} may not write in {directory} ({_owner(status)}, {mode})."
        remedy = "choose a directory that this user owns, or change its owner"
        if behind.verdict == "broken":
            remedy = behind.remedy
        return Finding(topic, "broken", text, remedy)
    if problem := _exposed(directory, status):
        return problem
    for place, its_status in above.items():
        if problem := _exposed(place, its_status, parent=True):
            return problem
    return Finding(topic, "good", f"{_owner(status)}, {mode}: nobody else can delete the lock file.")


def _exposed(directory: str, status: os.stat_result, parent: bool = False) -> Finding | None:
    topic = "directory"
    what = f"{directory}, above it," if parent else directory
    private = "choose a directory of your own with mode 0700, such as /run/leaderlock"
    if not is_ours(status.st_uid):
        text = f"{what} belongs to user {status.st_uid}, who can delete the lock file."
        return Finding(topic, "doubtful", text, private)
    others = "anyone" if status.st_mode & stat.S_IWOTH else f"group {status.st_gid}"
    if not status.st_mode & (stat.S_IWOTH | stat.S_IWGRP):
        return None
    if not status.st_mode & stat.S_ISVTX:
        text = f"{what} can be written by {others}, who can delete the lock file."
        return Finding(topic, "doubtful", text, f"{private}, or: chmod go-w {shlex.quote(directory)}")
    if parent:  # the sticky bit keeps others from renaming our directory
        return None
    protected = setting("fs/protected_regular")
    text = (
        f"{directory} is open to {others}. The sticky bit keeps others from deleting our lock file, "
        f"but they can make one of its name first: leaderlock then refuses to use it, and nobody leads."
    )
    if protected in ("1", "2"):
        text += (
            f" (fs.protected_regular={protected} does not matter: leaderlock opens without O_CREAT.)"
        )
    return Finding(topic, "doubtful", text, private)


def _owner(status: os.stat_result) -> str:
    if status.st_uid == os.geteuid():
        return "root's" if status.st_uid == 0 else "yours"
    return "root's" if status.st_uid == 0 else f"user {status.st_uid}'s"


def _above(directory: str) -> list[str]:
    found = []
    while directory != (directory := os.path.dirname(directory)):
        found.append(directory)
    return found


def on_file(file: str) -> list[Finding]:
    """Whether leaderlock will accept the lock file; no finding if the file cannot be made there."""
    topic = "lock file"
    try:
        status = os.lstat(file)
    except FileNotFoundError:
        if not os.access(os.path.dirname(file), os.W_OK | os.X_OK, effective_ids=True):
            return []
        return [Finding(topic, "good", f"{file} will be made at the first use.")]
    except OSError:  # `on_directory` reports the reason
        return []
    flaw = flaw_of(status)
    if flaw and flaw != "owner":
        kind = "a symlink" if flaw == "symlink" else "no regular file"
        return [
            Finding(
                topic, "broken", f"{file} is {kind}, which leaderlock refuses.", "choose another path"
            )
        ]
    if flaw:
        text = f"{file} belongs to user {status.st_uid}: leaderlock refuses it for user {os.geteuid()}."
        return [
            Finding(topic, "broken", text, "run as that user, change the owner, or choose another path")
        ]
    if not os.access(file, os.R_OK | os.W_OK, effective_ids=True):
        text = f"User {os.geteuid()} may not read and write {file}."
        return [Finding(topic, "broken", text, "change its owner or mode, or choose another path")]
    if status.st_nlink > 1:
        text = (
            f"{file} has {status.st_nlink} names (hard links): all of them are one and the same lock."
        )
        return [Finding(topic, "doubtful", text, "use one name alone")]
    if _holds_something_else(file):
        text = f"{file} holds something else than a leaderlock record, so no candidate can lead."
        remedy = (
            "choose another path if it was never a lock; otherwise put a copy of it back, or stop all "
            "who use it and remove it (terms start at 1 again)"
        )
        return [Finding(topic, "broken", text, remedy)]
    if status.st_mode & stat.S_IROTH and _is_reachable(os.path.dirname(file)):
        text = f"Every user may read {file}: that is enough to lock it, and so to keep everybody out."
        return [Finding(topic, "doubtful", text, f"chmod o-r {shlex.quote(file)}")]
    return [Finding(topic, "good", f"{_owner(status)}, mode {stat.S_IMODE(status.st_mode):04o}.")]


def _is_reachable(directory: str) -> bool:
    """Whether every user may pass through the directory and all directories above it."""
    try:
        while os.stat(directory).st_mode & stat.S_IXOTH:
            if directory == "/":
                return True
            directory = os.path.dirname(directory)
    except OSError:  # removed meanwhile
        return False
    return False


def on_space(directory: str) -> list[Finding]:
    """Whether a block and an inode are free for the lock file; no finding if both are."""
    try:
        space = os.statvfs(directory)
    except OSError:  # `on_directory` reports the reason
        return []
    free = space.f_bfree if os.geteuid() == 0 else space.f_bavail
    if (
        space.f_flag & os.ST_RDONLY
        or not space.f_blocks
        or (free and (space.f_favail or not space.f_files))
    ):
        return []
    what = "inode" if free else "block"
    text = f"The file system is full: no {what} is free for the lock file."
    return [Finding("space", "broken", text, "free some space, or choose another file system")]


def _holds_something_else(file: str) -> bool:
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # the file was replaced or deleted since lstat(2)
        return False
    try:
        content = os.pread(fd, record.SIZE, 0)
    except OSError:  # EIO, ESTALE: a broken file system; ESPIPE: a FIFO has replaced the file
        return False
    finally:
        os.close(fd)
    return bool(content) and record.greatest_term(content) < 1
