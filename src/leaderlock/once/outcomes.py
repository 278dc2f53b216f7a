"""The file in which `call_once` keeps the outcomes of calls that ran to completion, by key."""

from __future__ import annotations

import json
import os
import stat
import time

from leaderlock.errors import CorruptLockFile, UnsafeLockFile
from leaderlock.kernel.replacement import replace_file
from leaderlock.lock.remedies import unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FORMAT = "leaderlock outcomes 1"


_DEEPEST = 100
"""Lists and dicts within each other that a key or a result may have: JSON's readers recurse."""


def encode(value: object, what: str) -> str:
    """The value in JSON.

    Raises:
        TypeError: JSON cannot hold it, or it is nested too deeply.
    """
    try:
        text = json.dumps(value, allow_nan=False, sort_keys=True)
        if _depth_of(text) > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")
        return text
    except (TypeError, ValueError, RecursionError) as error:
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
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_uid not in (os.geteuid(), 0):
                raise UnsafeLockFile(
                    f"{self._path} is not a regular file of ours, so the outcomes in it may be another "
                    f"user's: remove it, or give call_once a path= in a directory of this user's own"
                )
            content = b""
            while piece := os.read(fd, 1 << 20):
                content += piece
        except OSError as error:  # EIO
            raise unusable(error, "read the outcomes", self._path) from error
        finally:
            os.close(fd)
        try:
            return _parse(content)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CorruptLockFile(
                f"{self._path} does not contain outcomes of call_once: put a copy of it back, "
                f"or remove it (the functions then run again)"
            ) from error

    def require_writable(self) -> None:
        """Write the file once as it is: where that fails, the function would run at every call.

        So it does in a directory with the sticky bit, where the file is another user's.

        Raises:
            LockFileUnusable: the system refused.
        """
        self._write(self.read(), "write the outcomes, so the function was not run")

    def write(self, key: str, result: object, term: int) -> None:
        """Add one outcome, durably: when this returns, a crash of the machine does not undo it.

        Raises:
            TypeError: JSON cannot hold the result.
            LockFileUnusable: the system refused; nothing that was there is lost.
        """
        result = json.loads(encode(result, "the result of a function under call_once"))
        outcome = {"result": result, "term": term, "pid": os.getpid(), "at": time.time()}
        doing = "record that the function ran to completion, so that it will run again,"
        self._write({**self.read(), key: outcome}, doing)

    def _write(self, outcomes: dict[str, Any], doing: str) -> None:
        content = json.dumps({"format": _FORMAT, "outcomes": outcomes}, indent=1).encode()
        try:
            replace_file(self._path, content, 0o600, durable=True)
        except OSError as error:
            raise unusable(error, doing, self._path) from error


def _parse(content: bytes) -> dict[str, Any]:
    """The outcomes; what anybody but `write` made raises one of four errors."""
    document = json.loads(content, object_pairs_hook=_without_repeats, parse_constant=_refuse)
    if document["format"] != _FORMAT:
        raise ValueError("another format")
    outcomes: object = document["outcomes"]
    if not isinstance(outcomes, dict):
        raise TypeError("no outcomes")
    for outcome in outcomes.values():
        if not isinstance(outcome, dict) or "result" not in outcome:
            raise ValueError("no outcome")
        if type(outcome["term"]) is not int or type(outcome["pid"]) is not int:
            raise ValueError("no number")
        if type(outcome["at"]) not in (int, float):
            raise ValueError("no moment")
    return outcomes


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _depth_of(text: str) -> int:
    """How deep JSON's brackets are within each other, those inside of strings left out."""
    depth = deepest = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "[{":
            deepest = max(deepest, depth := depth + 1)
        elif character in "]}":
            depth -= 1
    return deepest
