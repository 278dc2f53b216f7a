"""The file in which `call_once` keeps the outcomes of calls that ran to completion, by key."""

from __future__ import annotations

import json
import os
import time

from leaderlock.errors import CorruptLockFile, UnsafeLockFile
from leaderlock.kernel.foreign_json import parsed, require_shallow
from leaderlock.kernel.found_files import flaw_of
from leaderlock.kernel.replacement import replace_file
from leaderlock.lock.remedies import unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FORMAT = "leaderlock outcomes 1"


def encode(value: object, what: str) -> str:
    """The value in JSON.

    Raises:
        TypeError: JSON cannot hold the value, or the value is nested too deeply.
    """
    try:
        text = json.dumps(value, allow_nan=False, sort_keys=True)
        require_shallow(text)
        return text
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{what} must be something that JSON can hold: {error}") from error


class Outcomes:
    """The file of outcomes. Any process may read it at any time; only the lock's holder writes it.

    A write replaces the whole file, or changes nothing.
    """

    def __init__(self, lock_path: str) -> None:
        self._path = f"{lock_path}.outcomes.json"

    def read(self) -> dict[str, Any]:
        """The outcomes by key.

        Raises:
            CorruptLockFile: the file has other content.
            UnsafeLockFile: the file is a symlink, no regular file, or another user's.
            LockFileUnusable: the system refused.
        """
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise unusable(error, "read the outcomes", self._path) from error
        try:
            if flaw_of(os.fstat(fd)):
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
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptLockFile(
                f"{self._path} does not contain outcomes of call_once: put a copy of it back, "
                f"or remove it (the functions then run again)"
            ) from error

    def require_writable(self) -> None:
        """Write the file unchanged: if that fails, the function would run again at every call.

        The write fails in a directory with the sticky bit, for example, if the file is another user's.

        Raises:
            LockFileUnusable: the system refused.
        """
        self._write(self.read(), "write the outcomes, so the function was not run")

    def write(self, key: str, result: object, term: int) -> None:
        """Add one outcome, durably: after this returns, a crash of the machine does not undo the write.

        Raises:
            TypeError: JSON cannot hold the result.
            LockFileUnusable: the system refused; no earlier outcome is lost.
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
    """The outcomes; content that `write` did not make raises one of the errors that `read` catches."""
    document = parsed(content, unique_names=True)
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
