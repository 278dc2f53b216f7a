"""Input as an enemy, a half-written file or another program would leave it."""

from __future__ import annotations

import json
from binascii import crc32

from hypothesis import strategies as st

from leaderlock.lock import journal, record

NASTY = st.sampled_from(
    [
        "",
        "\0",
        "\x1b[2J",
        "\r\nX: y",
        "\u2028",
        "\u202e",
        "\x85",
        "\ud800",
        "\udcff",
        "é" * 50,
        "9" * 30,
        "9" * 5000,
        "-1",
        "1e999",
        "nan",
        "٣",
        "²",
        "%1b%0a",
        "\\777",
        "..",
        "/",
    ]
)
TEXT = st.text(max_size=20) | NASTY | st.lists(NASTY | st.text(max_size=5), max_size=4).map("".join)
NUMBERS = (
    st.integers(-2, 2**70)
    | st.sampled_from([2**31, 2**63, 2**64, 10**400, -(10**400)])
    | st.floats()
    | st.booleans()
)
VALUES = st.recursive(
    st.none() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
DEEP = st.integers(90, 3000).flatmap(
    lambda depth: st.sampled_from(["[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth])
)
"""JSON that is nested so deeply that its readers may give up."""


def json_of(values: st.SearchStrategy[object]) -> st.SearchStrategy[bytes]:
    """Values as JSON, and now and then with a deeply nested one, or an impossible number, inside."""
    texts = values.map(json.dumps)
    inside = DEEP | st.sampled_from(["1e999", "NaN", "-Infinity", "9" * 5000, '"\\ud800"', "1,1"])
    replaced = st.builds(lambda text, new: text.replace("null", new), texts, inside)
    return (texts | replaced | DEEP).map(lambda text: text.encode("utf-8", "surrogatepass"))


def objects(**fields: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    """Objects that have most of these fields, with values that may be of the right form, or not."""
    return st.fixed_dictionaries({}, optional={k: v | VALUES for k, v in fields.items()})


def spoiled(content: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Content of which a part is overwritten, cut off, doubled or left as it was."""

    def spoil(whole: bytes, at: int, junk: bytes, how: int) -> bytes:
        at %= len(whole) + 1
        return (
            whole,
            whole[:at] + junk + whole[at + len(junk) :],
            whole[:at],
            whole[:at] + junk + whole[at:],
            whole[at:] + whole[:at],
        )[how]

    return st.builds(spoil, content, st.integers(0, 100_000), st.binary(max_size=12), st.integers(0, 4))


def signed(text: bytes) -> bytes:
    """One copy of a record with any content and a right checksum."""
    body = b" " + text[: record.COPY_SIZE - record._CRC_END - 2]
    body = body.ljust(record.COPY_SIZE - record._CRC_END - 1) + b"\n"
    return record._HEAD % crc32(body) + body


_TERMS = st.integers(1, 1200) | st.sampled_from([2**63, 2**64 - 1, 2**64])
_MOMENTS = st.floats(0, 3e9) | st.sampled_from(
    [0.0, -1.0, 253402300799.0, 1e300, float("nan"), float("inf")]
)
_FIELDS = objects(
    term=_TERMS,
    pid=st.integers(1, 2**31),
    since=_MOMENTS,
    host=TEXT,
    name=TEXT,
    waited=_MOMENTS,
    lease=_MOMENTS,
)


def _as_record(fields: dict[str, object]) -> bytes:
    return json.dumps({"term": 0, **fields}, separators=(",", ":")).encode()


def _ours(term: int, since: float, name: str, waited: float | None) -> bytes:
    return record.encode(term, int(max(since, 1) * 1e9), record.host_and_name(name), waited)[
        : record.COPY_SIZE
    ]


COPIES = (
    st.builds(_ours, st.integers(1, 2**64 - 1), st.floats(0, 1e10), TEXT, st.none() | st.floats(0, 1e6))
    | _FIELDS.map(_as_record).map(signed)
    | json_of(_FIELDS).map(signed)
    | st.binary(max_size=300).map(signed)
    | st.binary(max_size=record.COPY_SIZE)
)
RECORDS = spoiled(
    st.builds(bytes.__add__, COPIES, COPIES) | COPIES.map(lambda copy: copy * 2)
) | st.binary(max_size=600)


def _slot(copy: bytes, times: tuple[float, float, float, float], ended: bytes) -> bytes:
    slot = journal.slot(copy, *times, ended.decode("latin-1").encode("ascii", "replace").decode())
    return slot.ljust(journal.SLOT_SIZE, b"\0")


SLOTS = st.builds(
    _slot,
    COPIES.map(lambda copy: copy.ljust(record.COPY_SIZE, b"\0")[: record.COPY_SIZE]),
    st.tuples(_MOMENTS, _MOMENTS, _MOMENTS, _MOMENTS),
    st.sampled_from([b"", b"resigned", b"\x1b[2J", b"on request", b"<b>&"]) | st.binary(max_size=16),
) | st.binary(max_size=journal.SLOT_SIZE)


def _lock_file(content: bytes, slots: list[bytes], placed: bool) -> bytes:
    whole = bytearray(content[: record.SIZE].ljust(record.SIZE, b"\0"))
    for number, slot in enumerate(slots):
        term = record.term_of(slot[: record.COPY_SIZE])
        start = journal.place_of(term) if placed and term else record.SIZE + number * journal.SLOT_SIZE
        whole = bytearray(bytes(whole).ljust(start + journal.SLOT_SIZE, b"\0"))
        whole[start : start + len(slot)] = slot
    return bytes(whole)


LOCK_FILES = spoiled(st.builds(_lock_file, RECORDS, st.lists(SLOTS, max_size=5), st.booleans()))
