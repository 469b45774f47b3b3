"""edge/chunks.py: bodies in chunks end exactly where they end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.edge.chunks import Chunks
from wsdaemon.edge.request import BadRequest


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.binary(max_size=30), st.lists(st.integers(1, 40), max_size=8))
def test_however_it_is_cut(pieces: list[bytes], after: bytes, cuts: list[int]) -> None:
    stream = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nTrailer: x\r\n\r\n" + after
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


@pytest.mark.parametrize("stream", [b"x\r\n", b"-1\r\n", b"2\r\nabc\r\n", b"1" * 30 + b"\r\n", b"0\r\nbad header\r\n\r\n"])
def test_chunks_that_are_not_well_formed(stream: bytes) -> None:
    with pytest.raises(BadRequest) as raised:
        Chunks().feed(stream)
    assert (raised.value.status, raised.value.reason) == (400, "body")


def test_what_waits_for_the_end_of_a_line_has_a_bound() -> None:
    with pytest.raises(BadRequest):
        Chunks().feed(b"1;" + b"a" * 100_000)
