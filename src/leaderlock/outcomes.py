"""The file in which `call_once` keeps the outcomes of calls that ran to completion, by key."""

from __future__ import annotations

import json
import os
import stat
import time

from leaderlock.errors import CorruptLockFile, UnsafeLockFile
from leaderlock.lockfile import unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FORMAT = "leaderlock outcomes 1"


def encode(value: object, what: str) -> str:
    """The value in JSON.

    Raises:
        TypeError: JSON cannot hold it.
    """
    try:
        return json.dumps(value, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} must be something that JSON can hold: {error}") from error


class Outcomes:
    """Read by anyone at any time; written by the holder of the lock, whole or not at all."""

    def __init__(self, lock_path: str) -> None:
        self._path = f"{lock_path}.outcomes.json"

    def read(self) -> dict[str, Any]:
        """The outcomes by key.

        Raises:
            CorruptLockFile: the file holds something else.
            UnsafeLockFile: it is a symlink, no regular file, or somebody else's.
            LockFileUnusable: the system refused.
        """
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise unusable(error, "read the outcomes", self._path) from error
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_uid not in (os.geteuid(), 0):
                raise UnsafeLockFile(f"{self._path} is not a regular file of ours: remove it")
            content = file.read()
        try:
            document = json.loads(content)
            if document["format"] == _FORMAT and isinstance(document["outcomes"], dict):
                return document["outcomes"]
        except (ValueError, TypeError, KeyError):  # not JSON, or not a document of ours
            pass
        raise CorruptLockFile(
            f"{self._path} holds something else than outcomes of call_once: put a copy of it back, or "
            f"remove it (the functions then run again)"
        )

    def write(self, key: str, result: object, term: int) -> None:
        """Add one outcome, durably: when this returns, a crash of the machine does not undo it.

        Raises:
            TypeError: JSON cannot hold the result.
            LockFileUnusable: the system refused; nothing that was there is lost.
        """
        result = json.loads(encode(result, "the result of a function under call_once"))
        outcome = {"result": result, "term": term, "pid": os.getpid(), "at": time.time()}
        document = {"format": _FORMAT, "outcomes": {**self.read(), key: outcome}}
        content = json.dumps(document, indent=1).encode()
        try:
            self._replace(content)
        except OSError as error:
            doing = "record that the function ran to completion, so that it will run again,"
            raise unusable(error, doing, self._path) from error

    def _replace(self, content: bytes) -> None:
        # A name of its own is not needed: the lock keeps other writers out. What a killed one left, or
        # others have put there, is removed and not opened: it may be a FIFO.
        temporary = f"{self._path}.tmp"
        _remove(temporary)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            with open(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except OSError:  # ENOSPC: it is not to take what space there is left
            _remove(temporary)
            raise
        directory = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)  # the new name too
        finally:
            os.close(directory)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
