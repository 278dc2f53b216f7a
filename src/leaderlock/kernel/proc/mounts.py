"""The file system behind a descriptor, from ``/proc/self/mountinfo``."""

from __future__ import annotations

import os

# On these, flock may be local to each client, be lost with the server's lease, or not exist.
_NETWORK = frozenset(
    [
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncp",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "pvfs2",
        "smb3",
        "smbfs",
        "fuse.beegfs",
        "fuse.ceph",
        "fuse.davfs2",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.goofys",
        "fuse.nfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
    ]
)


class Mount:
    """One line of mountinfo (proc_pid_mountinfo(5)).

    Attributes:
        device: major and minor number, as ``/proc/locks`` prints them; on btrfs and overlay, stat(2)
            returns other numbers.
        kind: the file system's type, such as ``ext4`` or ``fuse.sshfs``.
        mount_point: the directory where the file system is mounted.
        source: the device or server.
        root: the mounted part of the file system: ``/``, or a directory in it (a bind mount, a
            subvolume).
        options: the options of the mount, then those of the file system, as mount(8) takes them.
    """

    __slots__ = ("device", "kind", "mount_point", "options", "root", "source")

    def __init__(
        self,
        device: tuple[int, int],
        kind: str,
        mount_point: str,
        source: str,
        root: str = "/",
        options: tuple[str, ...] = (),
    ) -> None:
        self.device = device
        self.kind = kind
        self.mount_point = mount_point
        self.source = source
        self.root = root
        self.options = options

    @property
    def is_network(self) -> bool:
        """Whether several machines can mount this file system."""
        return self.kind in _NETWORK


def mount_of(fd: int, known: dict[bytes, Mount] | None = None) -> Mount | None:
    """The mount through which a descriptor was opened; None where the kernel does not say.

    The kernel does not say where ``/proc`` is missing, and for files without a path, such as a memfd.

    Args:
        known: the result of `mounts_by_id`, for a caller with many descriptors.
    """
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
            mount_id = next((line.split()[1] for line in file if line.startswith(b"mnt_id:")), None)
    except FileNotFoundError:  # no /proc: not Linux, or a bare chroot
        return None
    if mount_id is None:
        return None
    if known is not None:
        return known.get(mount_id)
    of_ours = mount_id + b" "
    return next((_parse(line) for line in _mountinfo() if line.startswith(of_ours)), None)


def place_of(fd: int) -> tuple[tuple[int, int], int]:
    """Device and inode number of a descriptor's file, as ``/proc/locks`` prints them.

    The device is the file system's. On btrfs and overlay, stat(2) returns another device: a subvolume
    has its own, and so has a file in a lower layer on another file system.
    """
    status = os.fstat(fd)
    mount = mount_of(fd)
    device = mount.device if mount else (os.major(status.st_dev), os.minor(status.st_dev))
    return device, status.st_ino


def mounts() -> list[Mount]:
    """Every mount that this process sees, the newest last; empty where ``/proc`` is missing."""
    return [_parse(line) for line in _mountinfo()]


def mounts_by_id() -> dict[bytes, Mount]:
    """Every mount that this process sees, by its ID in ``/proc/PID/fdinfo``."""
    return {line.split(b" ", 1)[0]: _parse(line) for line in _mountinfo()}


def local_devices() -> set[int]:
    """The device (``st_dev``) of every mounted file system that is not a network file system.

    Files on btrfs and some overlays have other devices than their mount: for these, use `mount_of`. The
    function parses only the needed part of a line: a forked worker that makes a lock copies a page for
    every few objects, and each page delays the release at its death.
    """
    found = map(_device_and_kind, _mountinfo())
    return {os.makedev(*device) for device, kind in found if kind not in _NETWORK}


def _mountinfo() -> list[bytes]:
    """The lines of ``/proc/self/mountinfo``; none where ``/proc`` is missing."""
    try:
        fd = os.open("/proc/self/mountinfo", os.O_RDONLY)
    except FileNotFoundError:  # no /proc: not Linux, or a bare chroot
        return []
    try:
        text = b""
        while part := os.read(fd, 4096):
            text += part
        return text.split(b"\n")[:-1]
    finally:
        os.close(fd)


def _device_and_kind(line: bytes) -> tuple[tuple[int, int], str]:
    before, _, after = line.partition(b" - ")
    major, _, minor = before.split(b" ", 3)[2].partition(b":")
    # A FUSE file system chooses a part of its type's name, which may be no UTF-8.
    return (int(major), int(minor)), os.fsdecode(after.split(b" ", 1)[0])


def _parse(line: bytes) -> Mount:
    before, _, after = line.partition(b" - ")
    fields = before.split()
    _, source, *super_options = after.split(b" ")
    options = b",".join([fields[5], *super_options]).strip().split(b",")
    return Mount(
        *_device_and_kind(line),
        _path(fields[4]),
        _path(source),
        _path(fields[3]),
        tuple(map(_path, options)),
    )


def _path(field: bytes) -> str:
    r"""Undo the kernel's escapes: the kernel writes blanks and backslashes as ``\040`` and the like.

    Some file systems write their own options without escapes: other backslashes stay.
    """
    first, *parts = field.split(b"\\")
    return os.fsdecode(first + b"".join(map(_after_backslash, parts)))


def _after_backslash(part: bytes) -> bytes:
    octal = part[:3]
    if len(octal) == 3 and b"000" <= octal <= b"377" and not octal.strip(b"01234567"):
        return bytes([int(octal, 8)]) + part[3:]
    return b"\\" + part


def real_path(path: str) -> str:
    """The path without symlinks (os.path.realpath); the absolute path if a link cannot be read.

    ``/proc/PID/root`` cannot be read where the process has ended, or is another user's.
    """
    try:
        return os.path.realpath(path)
    except OSError:
        return os.path.abspath(path)
