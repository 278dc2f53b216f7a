"""The judgement on file systems that several machines, or a host and its guests, can mount.

Kinds and options are written as in ``/proc/self/mountinfo``. Sources: flock(2), nfs(5), mount.cifs(8),
mount.lustre(8), gfs2(5), and the kernel's fs/*/file.c.
"""

from __future__ import annotations

from leaderlock.kernel.filesystems.judgement import ACROSS, ALLOW, ELSEWHERE, Judgement

FUSE = Judgement(
    "doubtful",
    "unknown",
    True,
    "A program serves these files. The kernel keeps the lock, for this machine alone, unless the "
    "program has asked to; then flock works only as far as that program does.",
    ELSEWHERE,
)
_GUEST = Judgement(
    "doubtful",
    "kernel",
    True,
    "A directory of the host. The guest's kernel keeps the lock: host and other guests do not see it.",
    "use it for processes of this guest alone, or choose a path in /run",
)


def _of_servers(explanation: str, remedy: str) -> Judgement:
    return Judgement("doubtful", "server", True, explanation, remedy)


CONSTANT = {
    "virtiofs": _GUEST,
    "vboxsf": _GUEST,
    "prl_fs": _GUEST,
    "fuse.vmhgfs-fuse": _GUEST,
    "fuse.grpcfuse": _GUEST,
    "ceph": _of_servers(
        "The metadata server keeps the lock, for all machines. A client that loses its session (60 s "
        "without contact) may lose the lock without being told.",
        f"choose a path in /run; {ACROSS}",
    ),
    "fuse.ceph-fuse": _of_servers("The metadata server keeps the lock, for all machines.", ALLOW),
    "fuse.glusterfs": _of_servers(
        "The bricks keep the lock, for all machines; after a client's crash it stays until its "
        "connection times out.",
        f"choose a path in /run; {ACROSS}",
    ),
    "fuse.sshfs": Judgement(
        "doubtful",
        "kernel",
        True,
        "This machine's kernel keeps the lock: the SSH server and other clients do not see it.",
        ALLOW,
    ),
    **dict.fromkeys(
        ["fuse.s3fs", "fuse.gcsfuse", "fuse.goofys", "fuse.rclone", "fuse.davfs2", "fuse.mount-s3"],
        Judgement(
            "broken",
            "kernel",
            True,
            "An object store dressed as files: other machines do not see the lock, and a file may be "
            "replaced as a whole when it is written, which splits the lock.",
            ELSEWHERE,
        ),
    ),
    "beegfs": Judgement(
        "doubtful",
        "unknown",
        True,
        "This machine's kernel keeps the lock, unless tuneUseGlobalFileLocks is set in the client's "
        "configuration; then the server does, for all machines.",
        ALLOW,
    ),
    "gpfs": _of_servers("The cluster keeps the lock, for all its machines.", ALLOW),
    **dict.fromkeys(
        ["ncp", "ncpfs", "smbfs", "coda", "pvfs2"],
        Judgement(
            "doubtful",
            "unknown",
            True,
            "An old network file system of which little is known.",
            ELSEWHERE,
        ),
    ),
}


def _local_only(what: str) -> Judgement:
    return Judgement(
        "doubtful",
        "kernel",
        True,
        f"{what} This machine's kernel keeps the lock: it excludes the processes of this machine, "
        "and no others.",
        f"{ALLOW}; {ACROSS}",
    )


def _nfs(version: str) -> Judgement:
    if version == "4":
        lost = (
            "If the server is out of reach for longer than its lease (90 s as a rule), it may give the "
            "lock to another machine, and this one finds out only at its next access."
        )
    elif version == "3":
        lost = (
            "If this machine crashes, the server keeps the lock until statd has told it so; if the "
            "lock services do not run, flock waits or fails with ENOLCK."
        )
    else:
        lost = "Which NFS version it is, and so what a crash does, cannot be seen here."
    return Judgement(
        "doubtful",
        "server",
        True,
        f"flock becomes a lock of the whole file that the server keeps, for all machines. {lost}",
        f"choose a path in /run; {ACROSS}",
    )


def _of_nfs(options: frozenset[str], options_known: bool) -> Judgement:
    if options & {"local_lock=flock", "local_lock=all", "nolock"}:
        return _local_only("NFS, mounted with local_lock (or nolock).")
    version = next((o[5:6] for o in options if o.startswith("vers=")), "" if options_known else "?")
    return _nfs(version)


def _of_nfs4(options: frozenset[str], _known: bool) -> Judgement:
    if options & {"local_lock=flock", "local_lock=all"}:
        return _local_only("NFS 4, mounted with local_lock.")
    return _nfs("4")


def _of_cifs(options: frozenset[str], options_known: bool) -> Judgement:
    if "nobrl" in options:
        return _local_only("SMB, mounted with nobrl.")
    if not options_known:
        return Judgement("doubtful", "unknown", True, "SMB; nobrl or not cannot be seen here.", ALLOW)
    return Judgement(
        "doubtful",
        "server",
        True,
        "flock becomes a lock that the SMB server keeps and enforces (since Linux 5.5): while it is "
        "held, others cannot even read who leads. A lost connection may lose the lock.",
        "choose a path in /run, or mount with nobrl for the processes of one machine",
    )


def _of_9p(options: frozenset[str], _known: bool) -> Judgement:
    caches = [o for o in options if o.startswith("cache=")]
    if any(o not in ("cache=none", "cache=mmap", "cache=0", "cache=0x0") for o in caches):
        return Judgement(
            "broken",
            "kernel",
            True,
            f"A directory of the host, mounted with {caches[0]}: what others do to the file is not "
            "seen here, so that a deleted lock file would go unnoticed.",
            "mount it with cache=none, or choose a path in /run",
        )
    return _GUEST


def _of_lustre(options: frozenset[str], options_known: bool) -> Judgement:
    if "localflock" in options:
        return _local_only("Lustre, mounted with localflock.")
    if "flock" in options:
        return _of_servers("Lustre's servers keep the lock, for all machines.", ALLOW)
    if not options_known:
        return Judgement("doubtful", "unknown", True, "Lustre; its options cannot be seen here.", ALLOW)
    return Judgement(
        "broken",
        "nobody",
        True,
        "Lustre, mounted without flock: flock fails with ENOSYS.",
        "mount it with -o flock (or localflock), or choose a path in /run",
    )


def _of_gfs2(options: frozenset[str], _known: bool) -> Judgement:
    if options & {"localflocks", "lockproto=lock_nolock"}:
        return _local_only("GFS2, mounted with localflocks.")
    return _of_servers("The cluster keeps the lock, for all its machines (DLM).", ALLOW)


def _of_ocfs2(options: frozenset[str], _known: bool) -> Judgement:
    if "localflocks" in options:
        return _local_only("OCFS2, mounted with localflocks.")
    return _of_servers("The cluster keeps the lock, for all its machines.", ALLOW)


def _of_afs(options: frozenset[str], _known: bool) -> Judgement:
    if "flock=local" in options:
        return _local_only("AFS, mounted with flock=local.")
    return _of_servers(
        "The server keeps the lock for five minutes at a time; if it cannot be renewed, it is lost.",
        f"choose a path in /run; {ACROSS}",
    )


def _of_orangefs(options: frozenset[str], options_known: bool) -> Judgement:
    if "local_lock" in options or not options_known:
        return _local_only("OrangeFS.")
    return Judgement(
        "broken", "nobody", True, "OrangeFS, mounted without local_lock: flock fails.", ELSEWHERE
    )


BY_OPTION = {
    "nfs": _of_nfs,
    "nfs4": _of_nfs4,
    "cifs": _of_cifs,
    "smb3": _of_cifs,
    "9p": _of_9p,
    "lustre": _of_lustre,
    "gfs2": _of_gfs2,
    "ocfs2": _of_ocfs2,
    "afs": _of_afs,
    "orangefs": _of_orangefs,
}
