"""The record in the lock file: the leader, the time of its election, and the term.

The term must survive any crash. The file holds the same record twice. One pwrite(2) writes both copies,
the first copy first, so an interrupted write leaves at least one copy whole; a term is used only after
both copies are written. So if one copy is damaged, the larger term of the whole copies is at least the
last term used. The next term is that number plus one: it never repeats and never goes back.
"""

from __future__ import annotations

import os
from binascii import crc32

from leaderlock.errors import CorruptLockFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COPY_SIZE = 256
SIZE = 2 * COPY_SIZE
_HEAD = b"leaderlock 1 %08x"
_TITLE_END = _HEAD.index(b"%")
_CRC_END = len(_HEAD % 0)
_TEXT = b' {"term":%d,"pid":%d,"since":%b.%b,%b}'
_BODY = b"%%-%db\n" % (COPY_SIZE - _CRC_END - 1)
_TERM_START = _CRC_END + len(b' {"term":')
_FORM = ("term", "pid", "since", "host", "name")
_FORM_OF_MORE = ("waited", "lease")
_LAST_TERM = 2**64 - 1
"""The greatest term of a record: enough for 584 years at a thousand million terms a second."""
_LAST_PID = 2**31 - 1
_LAST_MOMENT = 253402300799
"""The last second of the year 9999: Python has no date after it."""
_HOST_LENGTH = 66
"""Bytes that the host's name may take in JSON: the kernel allows 64."""
_NAMES_LENGTH = 104
"""Bytes that the host's name and the lock's name may take together: longer names are cut."""


class Record:
    """The holder of a lock, for display: code must not base decisions on it.

    Attributes:
        pid: the holder's process ID, as the kernel shows it to the asking process.
        term: the fencing token of the acquisition; None if the holder wrote no record (as flock(1)), or
            a record that leaderlock does not write.
        since: time of the acquisition, in seconds since the epoch; None if `term` is None.
        host: the holder's host name; in a container, the container's.
        name: the lock's name, or the file's name without its suffix.
    """

    __slots__ = ("host", "name", "pid", "since", "term")

    def __init__(
        self, pid: int, term: int | None, since: float | None, host: str | None, name: str | None
    ) -> None:
        self.pid = pid
        self.term = term
        self.since = since
        self.host = host
        self.name = name

    def _fields(self) -> tuple[object, ...]:
        return (self.pid, self.term, self.since, self.host, self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        return (
            f"Record(pid={self.pid}, term={self.term}, since={self.since}, "
            f"host={self.host!r}, name={self.name!r})"
        )


def encode(
    term: int,
    since: int,
    label: bytes,
    waited: float | None = None,
    lease: float | None = None,
    pid: int = 0,
) -> bytes:
    """The content of the file for this process.

    Args:
        term: as in a `Record`.
        since: the time of the acquisition in nanoseconds since the epoch, later than its first second.
        label: from `host_and_name`.
        waited: seconds for which this process waited for the lock; None if it did not wait.
        lease: seconds; None without a lease.
        pid: this process's ID, if the caller knows it.
    """
    if lease is not None:
        label = b'"lease":%g,%b' % (lease, label)
    if waited is not None:
        label = b'"waited":%.3f,%b' % (waited, label)
    # For speed: see "How it is built". An integer's digits take a third of the time of a float's.
    digits = b"%d" % since
    body = _BODY % (_TEXT % (term, pid or os.getpid(), digits[:-9], digits[-9:-3], label))
    return (_HEAD % crc32(body) + body) * 2


def host_and_name(name: str) -> bytes:
    """The part of a record that stays the same for a lock's life; made once, before any failover."""
    host = _json_string(os.uname().nodename, _HOST_LENGTH)
    label = f'"host":{host},"name":{_json_string(name, _NAMES_LENGTH - len(host))}'
    return label.encode("ascii")


def last_term(content: bytes, path: str, known: int = 0) -> int:
    """The last term that was used; 0 for an empty file, and for one that was cut short.

    Args:
        known: the greatest term that the caller has seen in this file; with 0, the term of a file that
            was cut short is unknown, and the error is raised.

    Raises:
        CorruptLockFile: no copy of the record is whole.
    """
    if not content:
        return 0
    term = greatest_term(content)
    if term < 1 and not (known and _was_cut_short(content)):
        raise CorruptLockFile(
            f"{path} does not contain a leaderlock record, so the next term is unknown. "
            f"If the file was never a lock, choose another path; if it was, stop every process that "
            f"uses it, put a copy of the file back, or remove it (terms then start at 1 again)"
        )
    return term


def greatest_term(content: bytes) -> int:
    """The greater term of the copies that are whole; 0 if none is."""
    first, second = content[:COPY_SIZE], content[COPY_SIZE:]
    term = term_of(first)
    return term if first == second else max(term, term_of(second))


def _was_cut_short(content: bytes) -> bool:
    """Whether truncate(2) may have left this content: the beginning of a record, and then a hole."""
    rest = content.rstrip(b"\0")
    return len(rest) < COPY_SIZE and rest[:_TITLE_END] == _HEAD[: min(len(rest), _TITLE_END)]


def decode(content: bytes) -> dict[str, Any] | None:
    """The fields of the newest whole copy; None if no copy is whole, or a field is odd (`oddity`)."""
    fields = _newest(content)
    return fields if fields and not _odd_fields(fields) else None


def oddity(content: bytes) -> str | None:
    """The odd fields, if a whole copy is no record of ours; None if it is one, or no copy is whole.

    Any process that may write to the file can write any content with a right checksum.
    """
    fields = _newest(content)
    if fields is None:
        return None
    return ", ".join(_odd_fields(fields)) or None


def is_moment(value: object) -> bool:
    """Whether the value is a time that has a date, in seconds since the epoch, or a duration."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= _LAST_MOMENT  # type: ignore[operator]  # not so for NaN


def moment_or_none(value: object) -> float | None:
    """The value, if it is a time or a duration by `is_moment`, as a float."""
    return float(value) if is_moment(value) else None  # type: ignore[arg-type]


def _newest(content: bytes) -> dict[str, Any] | None:
    """The contents of the newest whole copy, by the record's field names; None if no copy is whole."""
    newest = max(content[:COPY_SIZE], content[COPY_SIZE:], key=term_of)
    if not (term := term_of(newest)):
        return None
    fields = _plain_fields(newest[_CRC_END:])
    if fields is None:
        # 8 ms for json; leaderlock's own records seldom need it
        from leaderlock.kernel.foreign_json import parsed  # noqa: PLC0415

        try:
            fields = parsed(newest[_CRC_END:])
        except ValueError:
            fields = None
    if not isinstance(fields, dict) or fields.get("term") != term:  # a field may stand there twice
        return {}
    return {key: fields[key] for key in (*_FORM, *_FORM_OF_MORE) if key in fields}


def _plain_fields(text: bytes) -> dict[str, Any] | None:
    """The fields of a record written by `encode`, without escapes; None for an unusual record.

    A leader that has dropped its rights, or whose Python was replaced, may not be able to import json.
    """
    fields: dict[str, Any] = {}
    rest = text.strip()
    if not (rest.startswith(b"{") and rest.endswith(b"}") and rest.isascii()) or b"\\" in rest:
        return None
    rest = rest[1:-1] + b","
    while rest:
        quote, _, rest = rest.partition(b'"')
        name, _, rest = rest.partition(b'":')
        if rest.startswith(b'"'):
            value, end, rest = rest[1:].partition(b'",')
            fields[name.decode()] = value.decode()
            unusual = not end or b'"' in value or not value.decode().isprintable()
        else:
            value, end, rest = rest.partition(b",")
            whole, point, fraction = value.partition(b".")
            unusual = not (end and whole.isdigit() and (fraction.isdigit() or not point))
            unusual = unusual or (len(whole) > 1 and whole.startswith(b"0"))  # JSON forbids it
            if not unusual:
                fields[name.decode()] = float(value) if point else int(value)
        if quote or unusual:
            return None
    return fields


def _odd_fields(fields: dict[str, Any]) -> list[str]:
    """The names of the fields that are missing, or whose values leaderlock never writes."""
    return [
        name
        for name in (*_FORM, *(more for more in _FORM_OF_MORE if more in fields))
        if not _is_ours(name, fields.get(name))
    ]


def _is_ours(name: str, value: object) -> bool:
    if name in ("host", "name"):
        return isinstance(value, str)
    if name == "term":
        return type(value) is int and 1 <= value <= _LAST_TERM
    if name == "pid":
        return type(value) is int and 1 <= value <= _LAST_PID
    return is_moment(value)


def whole_copy(content: bytes, term: int) -> bytes | None:
    """The whole copy of the record of that term; None if there is none."""
    copies = (content[:COPY_SIZE], content[COPY_SIZE:])
    return next((copy for copy in copies if term_of(copy) == term), None)


def term_of(copy: bytes) -> int:
    """The term of one copy; 0 if the copy is not whole."""
    if len(copy) != COPY_SIZE or copy[:_CRC_END] != _HEAD % crc32(copy[_CRC_END:]):
        return 0
    try:
        term = int(copy[_TERM_START : copy.index(b",", _TERM_START)])
    except ValueError:  # no record, though its checksum is right
        return 0
    return term if 0 < term <= _LAST_TERM else 0


def _json_string(text: str, longest: int) -> str:
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text[: longest - 2]}"'
    import json  # noqa: PLC0415

    while len(json.dumps(text)) > longest:
        text = text[:-1]
    return json.dumps(text)
