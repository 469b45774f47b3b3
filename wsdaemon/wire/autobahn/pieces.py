"""The pieces of a message under way, few enough that they cost about as much memory as the bytes in them."""

from __future__ import annotations

SMALL_PIECE_BYTES = 4096
"""Smaller pieces are joined. A bytes object costs 33 bytes besides its content, and a place in a list 8."""


def gather(pieces: list[bytes], piece: bytes) -> None:
    """Append a piece. While it is small, it is first joined with those before it that are no longer than it is.

    So each small piece is shorter than the one before it, and n bytes make some log n pieces where fragments are of one size. A byte is
    copied as often, at most: joining everything each time would copy the square of the message.
    """
    while pieces and len(pieces[-1]) <= len(piece) < SMALL_PIECE_BYTES:
        piece = pieces.pop() + piece
    if piece:
        pieces.append(piece)
