"""The tools of the tests of permessage-deflate: the codec with its parameters, compressed messages, and both ways to receive them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import pytest

from wsdaemon.wire.deflate.compressor import DeflateBudget
from wsdaemon.wire.deflate.negotiation import DeflateParameters
from wsdaemon.wire.deflate.streams import Deflate

HELLO = bytes.fromhex("f248cdc9c90700")
HELLO_FINAL = bytes.fromhex("f348cdc9c9070000")


def parameters(*, bits: int = 15, server_bits: int = 15, takeover: bool = True, level: int = 6, memory_level: int = 8) -> DeflateParameters:
    return DeflateParameters(level, server_bits, bits, memory_level, not takeover, not takeover, 0)


def deflate(**wanted: Any) -> Deflate:
    return Deflate.server(parameters(**wanted), DeflateBudget())


def sync_flushed(*messages: bytes, bits: int = 15, level: int = 6) -> list[bytes]:
    """The payloads that a client sends for these messages, with one window for all."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -bits)
    return [(compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4] for message in messages]


def final(message: bytes, window: bytes = b"") -> bytes:
    """A message flushed with BFINAL=1, as in RFC 7692 7.2.3.4."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15, 8, 0, window) if window else zlib.compressobj(6, zlib.DEFLATED, -15)
    return compressor.compress(message) + compressor.flush(zlib.Z_FINISH) + b"\x00"


def in_pieces(pmce: Any, pieces: list[bytes], limit: int | None = None) -> bytes:
    """Receive a message as Autobahn's parser does."""
    pmce.start_decompress_message()
    received = b""
    for piece in pieces:
        received += pmce.decompress_message_data(piece, None if limit is None else limit - len(received))
    pmce.end_decompress_message()
    return received


def whole(pmce: Deflate, pieces: list[bytes], limit: int | None = None) -> bytes:
    return pmce.inflate(b"".join(pieces), limit or 0)


both_ways = pytest.mark.parametrize("receive", [whole, in_pieces])
Receive = Callable[[Deflate, list[bytes], int | None], bytes]
