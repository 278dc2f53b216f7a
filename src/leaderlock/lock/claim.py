"""The claim of a session in an engine, kept in the locked file for the next holder of the file's lock.

The claim stands behind the history, in one piece with a checksum. A holder reads it once it has the
lock: the flock proves that the process which wrote the claim has ended or has let the lock go.
"""

from __future__ import annotations

import json
import os
import stat
from binascii import crc32

from leaderlock.kernel.foreign_json import parsed
from leaderlock.lock import journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from leaderlock.lock.leader_lock import LeaderLock

_PLACE = (journal.SIZE + 4095) // 4096 * 4096
_SIZE = 1024
"""Bytes. The claim begins with a page, so SIGKILL cannot interrupt the write(2) half way."""


def is_readable_by_strangers(lock: LeaderLock) -> bool:
    """Whether users outside those who compete for a held lock may read its file, and a claim in it.

    A claim can be a password: with that of a ZooKeeper session, anyone can end the session. A group
    that may write to the file competes for the lock, and may know the claim.

    Raises:
        NotHeld: the lock is not held.
    """
    mode = os.fstat(lock.fileno()).st_mode
    return bool(mode & stat.S_IROTH) or mode & (stat.S_IRGRP | stat.S_IWGRP) == stat.S_IRGRP


def write_claim(lock: LeaderLock, proof: Mapping[str, str | int] | None) -> None:
    """Write the proof of a claim into the file of a held lock; None: there is no claim.

    Raises:
        NotHeld: the lock is not held.
        OSError: the file cannot be written.
        ValueError: the proof is too long.
    """
    body = b"" if proof is None else json.dumps(proof).encode()
    content = b"%08x %b" % (crc32(body), body)
    if len(content) > _SIZE:
        raise ValueError(f"the proof of a claim has {len(body)} bytes, more than {_SIZE - 9}")
    os.pwrite(lock.fileno(), content.ljust(_SIZE), _PLACE)


def read_claim(lock: LeaderLock) -> dict[str, str | int] | None:
    """The proof of the last claim in the file of a held lock; None without one.

    Raises:
        NotHeld: the lock is not held.
        OSError: the file cannot be read.
    """
    content = os.pread(lock.fileno(), _SIZE, _PLACE).rstrip()
    checksum, _, body = content.partition(b" ")
    if not body or checksum != b"%08x" % crc32(body):
        return None
    try:
        proof = parsed(body)
    except ValueError:
        return None
    if not isinstance(proof, dict):
        return None
    return {key: value for key, value in proof.items() if isinstance(value, (str, int))}
