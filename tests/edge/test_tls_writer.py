"""edge/tls_writer.py: the same bytes in pieces for OpenSSL."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.edge.tls_writer import MAX_WRITE, chunks

SIZES = st.one_of(st.integers(0, 50), st.integers(MAX_WRITE - 3, MAX_WRITE + 3), st.integers(0, 5 * MAX_WRITE))


@given(st.lists(SIZES, max_size=8))
def test_the_same_bytes_in_full_pieces_and_a_last_one(sizes: list[int]) -> None:
    data = [bytes([number]) * size for number, size in enumerate(sizes)]
    pieces = list(chunks(data))
    assert b"".join(pieces) == b"".join(data)
    assert all(len(piece) == MAX_WRITE for piece in pieces[:-1])
    assert not pieces or 0 < len(pieces[-1]) <= MAX_WRITE


def test_large_data_is_not_copied() -> None:
    data = bytes(10 * MAX_WRITE)
    pieces = list(chunks([data]))
    assert all(isinstance(piece, memoryview) and piece.obj is data for piece in pieces)
