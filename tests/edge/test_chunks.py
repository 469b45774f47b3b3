"""edge/chunks.py: bodies in chunks end exactly where they end."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.edge.chunks import CHUNKS_AT_ONCE, Chunks
from wsdaemon.edge.request import BadRequest


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.binary(max_size=30), st.lists(st.integers(1, 40), max_size=8))
def test_however_it_is_cut(pieces: list[bytes], after: bytes, cuts: list[int]) -> None:
    stream = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n" + after
    chunks, got, more = Chunks(), b"", True
    for cut in [*cuts, len(stream)]:
        data, stream = stream[:cut], stream[cut:]
        if more:
            piece, more = chunks.feed(data)
            got += piece
        else:
            chunks.rest += data
    assert got == b"".join(pieces)
    assert not more
    assert chunks.rest == after, "a next request is left to our own reader"


@pytest.mark.parametrize(
    "stream", [b"x\r\n", b"-1\r\n", b"2\r\nabc\r\n", b"1" * 30 + b"\r\n", b"0\r\nbad header\r\n\r\n", b"1\na\r\n", b"1\r\na\n"]
)
def test_chunks_that_are_not_well_formed(stream: bytes) -> None:
    with pytest.raises(BadRequest) as raised:
        Chunks().feed(stream)
    assert (raised.value.status, raised.value.reason) == (400, "body")


def test_nothing_of_a_refused_body_stays_in_a_cycle() -> None:
    class Owned(Chunks):
        """As Chunks, with weak references."""

    chunks = Owned()
    gone = weakref.ref(chunks)
    gc.disable()
    try:
        with pytest.raises(BadRequest):
            chunks.feed(b"x\r\n")
        del chunks
        assert gone() is None
    finally:
        gc.enable()


def test_what_waits_for_the_end_of_a_line_has_a_bound() -> None:
    with pytest.raises(BadRequest):
        Chunks().feed(b"1;" + b"a" * 100_000)


@pytest.mark.parametrize("end", [b"0\r\n\n", b"0\r\nX: a\n\n", b"0\r\nX: a\r\n\n", b"0\r\nX: a\n\r\n", b"0\r\nX: a\r\n\r\n"])
@pytest.mark.parametrize("after", [b"", b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_body_ends_with_an_empty_line_and_nothing_else(end: bytes, after: bytes, at_once: bool) -> None:
    stream, chunks = b"1\r\na\r\n" + end + after, Chunks()
    pieces = [stream] if at_once else [stream[at : at + 1] for at in range(len(stream))]
    with pytest.raises(BadRequest) as raised:
        all(chunks.feed(piece)[1] for piece in pieces)
    assert (raised.value.status, raised.value.reason) == (400, "body")


def test_many_small_chunks_are_read_in_slices() -> None:
    chunks = Chunks()
    assert chunks.feed(b"1\r\na\r\n" * (2 * CHUNKS_AT_ONCE + 1)) == (b"a" * CHUNKS_AT_ONCE, True)
    assert chunks.waiting
    chunks.hold(b"0\r\n\r\nrest")
    assert chunks.go_on() == (b"a" * CHUNKS_AT_ONCE, True)
    assert chunks.go_on() == (b"a", False)
    assert not chunks.waiting and chunks.rest == b"rest"
    chunks = Chunks()
    chunks.feed(b"1\r\na\r\n" * (CHUNKS_AT_ONCE + 1) + b"0\r\n\n")
    chunks.hold(b"\r\n\r\n")
    with pytest.raises(BadRequest):
        chunks.go_on()
