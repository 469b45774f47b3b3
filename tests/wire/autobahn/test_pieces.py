"""wire/autobahn/pieces.py: a message that comes in many pieces costs about as much memory as the bytes in it."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import App, House, frame
from wsdaemon.wire.autobahn.pieces import SMALL_PIECE_BYTES, gather


def cost(pieces: list[bytes]) -> int:
    return sys.getsizeof(pieces) + sum(map(sys.getsizeof, pieces))


@given(st.lists(st.one_of(st.integers(0, 9), st.integers(0, 3 * SMALL_PIECE_BYTES)), max_size=300))
def test_no_byte_is_lost_and_small_pieces_are_few(sizes: list[int]) -> None:
    given, pieces = [bytes([number & 0xFF]) * size for number, size in enumerate(sizes)], list[bytes]()
    for piece in given:
        gather(pieces, piece)
    assert b"".join(pieces) == b"".join(given)
    assert cost(pieces) <= 2 * sum(sizes) + 2000
    for large in given:
        if len(large) >= SMALL_PIECE_BYTES:
            assert any(piece is large for piece in pieces), "a large piece is not copied"


@pytest.mark.parametrize("size", [0, 1, 2])
@pytest.mark.readers
def test_a_message_in_tiny_fragments_costs_about_its_bytes(made: House, size: int) -> None:
    client = made.make_wire(app := App())
    client.send(frame(2, b"", fin=False), frame(0, b"ab"[:size], fin=False) * 20_000)
    made.loop.settle()
    assert cost(client.protocol.message_data) <= 2 * 20_000 * size + 2000
    client.send(frame(0, b"end"))
    made.loop.settle()
    assert app.messages == [b"ab"[:size] * 20_000 + b"end"]


@pytest.mark.readers
def test_a_fragment_that_comes_in_tiny_reads_costs_about_its_bytes(made: House) -> None:
    client = made.make_wire(app := App())
    data = frame(2, b"", fin=False) + frame(0, b"ab" * 5000, fin=False)
    client.send_each(*[data[start : start + 2] for start in range(0, len(data) - 2, 2)])
    assert cost(client.protocol.frame_data) <= 2 * 10_000 + 2000
    client.send(data[-2:], frame(0))
    made.loop.settle()
    assert app.messages == [b"ab" * 5000]
