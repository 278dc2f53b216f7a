"""Replaces a file in one step, also in a directory where other users may create files of any name.

The new content goes into a file without a name (O_TMPFILE, open(2)), so that a killed writer leaves
nothing behind. The new file then gets a random name, and rename(2) puts it in the old file's place: a
file made by another user is never opened, waited for or written to. Where the file system has no
O_TMPFILE (NFS, some FUSE and overlays), the new file has the random name from the start.
"""

from __future__ import annotations

import errno
import os

_WRITE = os.O_WRONLY | os.O_CLOEXEC
_NAMELESS = getattr(os, "O_TMPFILE", 0)
_UNKNOWN = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
"""Errors of open(2) where the file system, or the kernel, has no O_TMPFILE."""


def replace_file(target: str, content: bytes, mode: int, *, durable: bool = False) -> None:
    """Replace a file by one with new content, wholly or not at all.

    Args:
        target: the file's absolute path.
        content: the new content.
        mode: the permissions of the new file, regardless of the umask.
        durable: whether the new file must survive a crash of the machine.

    Raises:
        OSError: the new file could not be written; the old file is unchanged.
    """
    directory_path, name = os.path.split(target)
    temporary = f"{name}.{os.urandom(8).hex()}.tmp"
    try:
        # Only fsync(2) needs the right to read the directory.
        access = os.O_RDONLY if durable else getattr(os, "O_PATH", os.O_RDONLY)
        directory = os.open(directory_path, access | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _write(directory, temporary, content, mode, durable)
            try:
                os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            except OSError:  # EPERM: the old file is another user's, in a directory with the sticky bit
                os.unlink(temporary, dir_fd=directory)
                raise
            if durable:
                os.fsync(directory)  # for the new name
        finally:
            os.close(directory)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), target) from error


def _write(directory: int, temporary: str, content: bytes, mode: int, durable: bool) -> None:
    """Make a file of the name `temporary` with the content; after an error there is no such file."""
    fd = _open_without_name(directory)
    has_name = fd < 0
    if has_name:
        flags = _WRITE | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        fd = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fchmod(fd, mode)
        if durable:
            os.fsync(fd)
        if not has_name:
            # Given a directory's descriptor, Python calls linkat(2), which follows the link in /proc.
            os.link(f"/proc/self/fd/{fd}", temporary, dst_dir_fd=directory, follow_symlinks=True)
    except OSError:  # ENOSPC: do not leave half a file on a full disk
        if has_name:
            os.unlink(temporary, dir_fd=directory)
        raise
    finally:
        os.close(fd)


def _open_without_name(directory: int) -> int:
    """Open a new file without a name in the directory; return -1 where the system has no such files."""
    if not _NAMELESS or not os.path.exists("/proc/self/fd"):
        return -1
    try:
        return os.open(".", _NAMELESS | _WRITE, 0o600, dir_fd=directory)
    except OSError as error:
        if error.errno in _UNKNOWN:
            return -1
        raise
