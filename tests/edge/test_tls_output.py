"""edge/tls_output.py: what is written is cut into pieces for OpenSSL."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.edge.tls_output import MAX_WRITE, chunks

SIZES = st.lists(st.integers(0, 20) | st.integers(MAX_WRITE - 2, MAX_WRITE + 2) | st.integers(0, 3 * MAX_WRITE), max_size=8)


@given(SIZES)
def test_the_same_bytes_in_the_fewest_pieces(sizes: list[int]) -> None:
    data = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    pieces = list(chunks(data))
    assert b"".join(pieces) == b"".join(data)
    assert all(len(piece) == MAX_WRITE for piece in pieces[:-1])
    assert all(0 < len(piece) <= MAX_WRITE for piece in pieces)


def test_a_large_message_is_not_copied() -> None:
    large = bytes(3 * MAX_WRITE)
    pieces = list(chunks([large]))
    assert len(pieces) == 3
    assert all(isinstance(piece, memoryview) and piece.obj is large for piece in pieces)


def test_nothing_makes_no_piece() -> None:
    assert list(chunks([])) == list(chunks([b"", b""])) == []
