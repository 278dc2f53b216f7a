"""Answers of HTTP that arrive in pieces."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderlock.engines.etcd.response import BadResponse, Response

BODY = b'{"result":{"created":true}}\n{"result":{"events":[1]}}\n{"half'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=x\r\n"
LENGTH = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
UNTIL_END = HEAD + b"\r\n" + BODY


def chunked(sizes: list[int]) -> bytes:
    rest, chunks = BODY, b""
    for size in [*sizes, len(BODY)]:
        part, rest = rest[:size], rest[size:]
        if part:
            chunks += b"%x;extension=1\r\n%b\r\n" % (len(part), part)
    return HEAD + b"transfer-encoding: CHUNKED\r\n\r\n" + chunks + b"0\r\nTrailer: x\r\n\r\n"


def pieces(answer: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(answer), *(cut % len(answer) for cut in cuts)})
    return [answer[a:b] for a, b in itertools.pairwise(places)]


@given(
    st.sampled_from([LENGTH, UNTIL_END]) | st.lists(st.integers(1, 30)).map(chunked),
    st.lists(st.integers(0, 500), max_size=20),
)
def test_an_answer_is_the_same_in_whatever_pieces_it_arrives(answer: bytes, cuts: list[int]) -> None:
    response, lines = Response(), []
    for piece in pieces(answer, cuts):
        response.feed(piece)
        lines += response.take_lines()
    if answer == UNTIL_END:
        assert not response.is_complete
        response.feed(b"")
        lines += response.take_lines()
    assert response.is_complete
    assert (response.status, response.content_type) == (200, "application/json")
    assert lines == BODY.split(b"\n")


@given(st.lists(st.integers(1, 30)).map(chunked) | st.just(LENGTH), st.data())
def test_an_answer_that_ends_half_way_is_none(answer: bytes, data: st.DataObject) -> None:
    end = answer.find(b"0\r\nTrailer") if b"Trailer" in answer else len(answer)
    response = Response()
    part = answer[: data.draw(st.integers(0, end - 1))]
    if part:
        response.feed(part)
    assert not response.is_complete
    with pytest.raises(BadResponse):
        response.feed(b"")


@given(st.binary(min_size=1, max_size=200))
def test_no_bytes_cause_another_error(junk: bytes) -> None:
    for answer in (junk, HEAD + junk, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + junk):
        response = Response()
        try:
            response.feed(answer)
            response.feed(b"")
        except BadResponse:
            pass


def test_an_answer_without_an_end_is_refused() -> None:
    response = Response()
    with pytest.raises(BadResponse, match="head"):
        response.feed(b"x" * 100_000)
    response = Response()
    response.feed(HEAD + b"\r\n")
    with pytest.raises(BadResponse, match="longer than"):
        response.feed(b"x" * 20_000_000)
