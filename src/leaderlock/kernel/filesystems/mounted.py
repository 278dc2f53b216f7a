"""`filesystem`: the file system behind a path, and whether flock can be trusted there."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from dataclasses import dataclass, replace

from leaderlock.kernel.filesystems.judgement import Keeper, Verdict
from leaderlock.kernel.filesystems.local import judge
from leaderlock.kernel.proc.mounts import Mount, mount_of, mounts, real_path

_NO_RIGHTS = (errno.EACCES, errno.EPERM)
_VANISHED = (errno.ENOENT, errno.ENOTDIR)

# From statfs(2), where /proc is missing. ext2 to ext4 share one number, FUSE and virtiofs another.
_KIND_OF_MAGIC = {
    0xEF53: "ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0xF2F52010: "f2fs",
    0xCA451A4E: "bcachefs",
    0x2FC12FC1: "zfs",
    0x01021994: "tmpfs",
    0x858458F6: "ramfs",
    0x794C7630: "overlay",
    0xF15F: "ecryptfs",
    0x4D44: "vfat",
    0x2011BAB0: "exfat",
    0x7366746E: "ntfs3",
    0x6969: "nfs",
    0xFF534D42: "cifs",
    0xFE534D42: "smb3",
    0x01021997: "9p",
    0x65735546: "fuse",
    0x0BD00BD0: "lustre",
    0x01161970: "gfs2",
    0x7461636F: "ocfs2",
    0x00C36400: "ceph",
    0x5346414F: "afs",
    0x6B414653: "afs",
    0x786F4256: "vboxsf",
    0x73757245: "coda",
    0x47504653: "gpfs",
    0x19830326: "beegfs",
    0x20030528: "orangefs",
    0x73717368: "squashfs",
    0xE0F5E1E2: "erofs",
    0x9660: "iso9660",
    0x9FA0: "proc",
    0x62656572: "sysfs",
    0x27E0EB: "cgroup",
    0x63677270: "cgroup2",
    0x958458F6: "hugetlbfs",
    0x1CD1: "devpts",
}


@dataclass(frozen=True)
class Filesystem:
    """A file system, and whether flock can be trusted there.

    Attributes:
        path: the examined path: the given one, or the nearest existing directory above it.
        kind: the type, such as ``ext4`` or ``fuse.sshfs``; ``unknown`` if it cannot be determined.
        mount_point: the directory of the mount; None where ``/proc`` is missing.
        source: the device or server; None where ``/proc`` is missing.
        root: the mounted part of the file system: ``/``, or a directory in it (a bind mount, a
            subvolume); None where ``/proc`` is missing.
        options: the options of the mount and of the file system; empty where ``/proc`` is missing.
        read_only: whether the file system is mounted read-only.
        verdict: whether flock serves the processes of one machine: ``good``, ``doubtful``, ``broken``.
        keeper: the keeper of a lock: this machine's ``kernel``, a ``server`` (for other machines too),
            ``nobody`` (flock fails), or ``unknown``.
        shared: whether several machines can have these files.
        explanation: the reason for the verdict, in one or two sentences.
        remedy: the action to take; empty if none is needed.
    """

    path: str
    kind: str
    mount_point: str | None
    source: str | None
    root: str | None
    options: tuple[str, ...]
    read_only: bool
    verdict: Verdict
    keeper: Keeper
    shared: bool
    explanation: str
    remedy: str


def filesystem(path: str | os.PathLike[str]) -> Filesystem:
    """The file system behind a path; behind the nearest existing directory if the path does not exist.

    Nothing is written. If this user may not look up the path, or the path vanishes during the call, the
    answer comes from the mount point above it. On a network file system whose server does not answer,
    the call waits as long as stat(2) on the path would.

    Raises:
        ValueError: the path is empty, or has a NUL byte.
    """
    given = os.fsdecode(path)
    if not given or "\0" in given:
        raise ValueError(f"path must name a file or directory, not {given!r}")
    looked_at = real_path(given)
    while True:
        try:
            # The dot makes autofs mount the file system, which autofs mounts at the first use.
            inside = os.path.join(looked_at, ".") if os.path.isdir(looked_at) else looked_at
            fd = os.open(inside, getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _VANISHED and looked_at != "/":
                looked_at = os.path.dirname(looked_at)
                continue
            return _from_outside(looked_at, error)
        try:
            mount = mount_of(fd)
            kind = mount.kind if mount else _KIND_OF_MAGIC.get(_magic(fd), "unknown")
            read_only = bool(os.fstatvfs(fd).f_flag & os.ST_RDONLY)
        except OSError as error:  # ENOTCONN of FUSE, ESTALE of NFS: the server is gone
            return _from_outside(looked_at, error)
        finally:
            os.close(fd)
        return _judged(looked_at, kind, mount, read_only)


def _judged(path: str, kind: str, mount: Mount | None, read_only: bool) -> Filesystem:
    options = mount.options if mount else ()
    judgement = judge(kind, frozenset(options), options_known=mount is not None)
    verdict, explanation, remedy = judgement.verdict, judgement.explanation, judgement.remedy
    if read_only and verdict != "broken":
        verdict = "broken"
        explanation = f"It is mounted read-only: no lock file can be made or written. {explanation}"
        remedy = "mount it read-write, or choose a path on a writable file system, such as /run"
    return Filesystem(
        path,
        kind,
        mount.mount_point if mount else None,
        mount.source if mount else None,
        mount.root if mount else None,
        options,
        read_only,
        verdict,
        judgement.keeper,
        judgement.shared,
        explanation,
        remedy,
    )


def _from_outside(path: str, error: OSError) -> Filesystem:
    """The judgement by the mount point alone, since the path itself cannot be looked up."""
    inside = [m for m in mounts() if os.path.commonpath([m.mount_point, path]) == m.mount_point]
    # The longest mount point; of several mounts on one directory, the last.
    mount = max(reversed(inside), key=lambda m: len(m.mount_point), default=None)
    kind = mount.kind if mount else "unknown"
    judged = _judged(path, kind, mount, mount is not None and "ro" in mount.options)
    reason = os.strerror(error.errno or 0)
    if error.errno in _NO_RIGHTS:
        remedy = "give this user the right to enter its directories, or choose another path"
    else:
        remedy = "mount it anew, or choose another path"
    return replace(
        judged,
        verdict="broken",
        explanation=f"{path} cannot be looked at: {reason}. {judged.explanation}",
        remedy=remedy,
    )


def _magic(fd: int) -> int:
    """The f_type of statfs(2), its first field, which os.statvfs leaves out; 0 without statfs(2)."""
    try:
        fstatfs = ctypes.CDLL(None, use_errno=True).fstatfs
    except (OSError, AttributeError):  # a C library without fstatfs
        return 0
    buffer = ctypes.create_string_buffer(1024)  # the structure is 120 bytes on 64-bit systems
    if fstatfs(fd, buffer) != 0:
        raise OSError(ctypes.get_errno(), "fstatfs")
    word = ctypes.c_uint32 if platform.machine() == "s390x" else ctypes.c_ulong
    return int(word.from_buffer(buffer).value) & 0xFFFFFFFF
