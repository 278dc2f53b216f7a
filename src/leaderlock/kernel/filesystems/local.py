"""The judgement on each kind of file system: the keeper of a lock there, and the consequences.

This module has the local file systems; `shared` has those with a server or a cluster.
`tests/test_kernel_filesystems.py` compares both with the file systems of the running kernel.
"""

from __future__ import annotations

from leaderlock.kernel.filesystems.judgement import ELSEWHERE, Judgement
from leaderlock.kernel.filesystems.shared import BY_OPTION, CONSTANT, FUSE


def judge(kind: str, options: frozenset[str], options_known: bool = True) -> Judgement:
    """The judgement on a kind of file system, mounted with these options."""
    if kind in BY_OPTION:
        return BY_OPTION[kind](options, options_known)
    if kind in _LOCAL:
        return Judgement("good", "kernel", False, f"{_LOCAL[kind]} The kernel itself keeps the lock.")
    if kind in _NO_FILES:
        return Judgement("broken", "nobody", False, _NO_FILES[kind], ELSEWHERE)
    if kind in CONSTANT:
        return CONSTANT[kind]
    if kind.startswith("fuse"):
        return FUSE
    return Judgement(
        "doubtful",
        "unknown",
        False,
        f"leaderlock does not know {kind}; let the experiments tell whether flock works there.",
        ELSEWHERE,
    )


_LOCAL = {
    **dict.fromkeys(
        ["ext2", "ext3", "ext4", "xfs", "f2fs", "jfs", "zfs", "bcachefs", "reiserfs", "nilfs2"],
        "A local disk.",
    ),
    **dict.fromkeys(["vfat", "exfat", "msdos", "ntfs3"], "A local disk, without owners and modes."),
    "btrfs": "A local disk; a lock is seen in all subvolumes' paths to the file.",
    "tmpfs": "Memory: fast, and empty after a reboot, when nobody holds a lock anyway.",
    "ramfs": "Memory: fast, and empty after a reboot, when nobody holds a lock anyway.",
    "devtmpfs": "Memory.",
    "overlay": "A container's layers; locks are seen through this overlay mount alone.",
    "fuse.fuse-overlayfs": "A rootless container's layers; locks are seen through this mount alone.",
    "ecryptfs": "An encrypted view of another directory.",
    "fuseblk": "A local disk, served by a program.",
}

_NO_FILES = {
    **dict.fromkeys(
        (
            "proc",
            "sysfs",
            "cgroup",
            "cgroup2",
            "debugfs",
            "tracefs",
            "securityfs",
            "configfs",
            "bpf",
            "binfmt_misc",
            "devpts",
            "pstore",
            "efivarfs",
            "mqueue",
            "fusectl",
            "selinuxfs",
            "autofs",
        ),
        "The kernel's own: no lock file can be made here.",
    ),
    "hugetlbfs": "Files here cannot be written with write(2), so the lock's record cannot be kept.",
    **dict.fromkeys(
        ["squashfs", "erofs", "iso9660", "udf", "cramfs"],
        "It cannot be written: no lock file can be made.",
    ),
}
