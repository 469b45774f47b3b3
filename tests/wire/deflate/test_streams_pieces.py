"""wire/deflate.py: streams of any kind, cut anywhere, and those of another implementation."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate as Peer
from websockets.frames import Frame, Opcode

from tests.support.deflate import deflate, in_pieces, sync_flushed, whole
from wsdaemon.wire.deflate.streams import CorruptMessage, MessageTooBig

# -- streams that are cut


class Bits:
    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, count: int) -> int:
        value = 0
        for shift in range(count):
            value |= (self.data[self.position >> 3] >> (self.position & 7) & 1) << shift
            self.position += 1
        return value

    def align(self) -> None:
        self.position = (self.position + 7) & ~7

    def symbol(self, codes: dict[tuple[int, int], int]) -> int:
        code = length = 0
        while (length, code) not in codes:
            code, length = code << 1 | self.take(1), length + 1
        return codes[length, code]


def huffman(lengths: list[int]) -> dict[tuple[int, int], int]:
    """RFC 1951 3.2.2"""
    codes, code = {}, 0
    for length in range(1, 16):
        code <<= 1
        for symbol, wanted in enumerate(lengths):
            if wanted == length:
                codes[length, code] = symbol
                code += 1
    return codes


FIXED = huffman([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8), huffman([5] * 30)
CODE_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)


def dynamic(bits: Bits) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]]:
    """RFC 1951 3.2.7"""
    literals, distances, count = bits.take(5) + 257, bits.take(5) + 1, bits.take(4) + 4
    lengths_of_lengths = [0] * 19
    for place in CODE_ORDER[:count]:
        lengths_of_lengths[place] = bits.take(3)
    codes, lengths = huffman(lengths_of_lengths), list[int]()
    while len(lengths) < literals + distances:
        symbol = bits.symbol(codes)
        if symbol < 16:
            lengths.append(symbol)
        else:
            repeated, extra, least = {16: (lengths[-1:], 2, 3), 17: ([0], 3, 3), 18: ([0], 7, 11)}[symbol]
            lengths += repeated * (least + bits.take(extra))
    return huffman(lengths[:literals]), huffman(lengths[literals:])


def whole_prefixes(payload: bytes) -> set[int]:
    """Lengths at which a message may be cut and still is one: nothing, after the header of a stored block, after a final block."""
    bits, found, size = Bits(payload), {0}, len(payload) * 8
    while bits.position + 3 <= size:
        last, kind = bits.take(1), bits.take(2)
        if kind == 0:
            bits.align()
            found.add(bits.position >> 3)
            if bits.position == size:
                break
            bits.position += 32 + 8 * int.from_bytes(payload[bits.position >> 3 :][:2], "little")
        else:
            codes, distances = FIXED if kind == 1 else dynamic(bits)
            while (symbol := bits.symbol(codes)) != 256:
                if symbol > 256:
                    bits.take(0 if symbol < 265 or symbol == 285 else (symbol - 261) >> 2)
                    distance = bits.symbol(distances)
                    bits.take(max(0, distance // 2 - 1))
        if last:
            bits.align()
            found.add(bits.position >> 3)
    return found


words = st.sampled_from([b"alpha ", b"beta ", b'{"id": 1}', bytes(40), bytes(range(90)), b"a" * 300])
texts = st.one_of(st.binary(max_size=60), st.lists(words, max_size=12).map(b"".join))
flushes = st.sampled_from([zlib.Z_NO_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_BLOCK, zlib.Z_FINISH])
strategies = st.sampled_from([zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A message and one of the many payloads for it."""
    message, payload, compressor = b"", b"", None
    for text, flush in draw(st.lists(st.tuples(texts, flushes), min_size=1, max_size=4)):
        if compressor is None:
            compressor = zlib.compressobj(draw(st.integers(0, 9)), zlib.DEFLATED, -draw(st.integers(9, 15)), 8, draw(strategies))
        message += text
        payload += compressor.compress(text) + compressor.flush(flush)
        if flush == zlib.Z_FINISH:
            compressor = None
    return message, payload + (b"\x00" if compressor is None else compressor.flush(zlib.Z_SYNC_FLUSH)[:-4] or b"\x00")


@example((b"a" * 20, b"\x01\x14\x00\xeb\xff" + b"a" * 20 + b"\x00"))
@given(streams())
def test_a_message_cut_short_never_passes(stream: tuple[bytes, bytes]) -> None:
    message, payload = stream
    assert deflate().inflate(payload, max(1, len(message))) == message
    passes = whole_prefixes(payload)
    assert len(payload) in passes
    for cut in range(len(payload)):
        for receive in (whole, in_pieces):
            if cut in passes:
                assert message.startswith(receive(deflate(), [payload[:cut]]))
            else:
                with pytest.raises(CorruptMessage):
                    receive(deflate(), [payload[:cut]])


@given(st.binary(max_size=80), st.binary(max_size=30))
def test_bytes_that_are_not_deflate_are_an_error_or_a_message_and_the_same_in_pieces(payload: bytes, window: bytes) -> None:
    outcomes = []
    for receive in (whole, in_pieces):
        pmce = deflate()
        pmce.inflate(sync_flushed(window)[0])
        try:
            outcomes.append(receive(pmce, [payload[:9], payload[9:]], 10_000))
        except (CorruptMessage, MessageTooBig):
            outcomes.append(b"failed")
    assert outcomes[0] == outcomes[1]


# -- against another implementation


@given(
    messages=st.lists(st.tuples(texts, st.integers(0, 3)), max_size=8),
    bits=st.integers(9, 15),
    server_bits=st.integers(9, 15),
    level=st.integers(0, 9),
    memory_level=st.integers(1, 9),
    takeover=st.booleans(),
)
def test_round_trips_with_websockets(
    messages: list[tuple[bytes, int]], bits: int, server_bits: int, level: int, memory_level: int, takeover: bool
) -> None:
    """Each message there and back, at random whole or in pieces on either way."""
    ours = deflate(bits=bits, server_bits=server_bits, takeover=takeover, level=level, memory_level=memory_level)
    peer = Peer(not takeover, not takeover, server_bits, bits)
    for message, way in messages:
        middle = len(message) // 2
        if way & 1:
            frames = [peer.encode(Frame(Opcode.BINARY, message[:middle], False)), peer.encode(Frame(Opcode.CONT, message[middle:], True))]
            assert in_pieces(ours, [bytes(frame.data) for frame in frames], len(message)) == message
        else:
            assert ours.inflate(bytes(peer.encode(Frame(Opcode.BINARY, message, True)).data), max(1, len(message))) == message
        if way & 2:
            ours.start_compress_message()
            payload = b"".join(map(ours.compress_message_data, [message[:middle], message[middle:]])) + ours.end_compress_message()
        else:
            payload = ours.deflate(message)
        assert bytes(peer.decode(Frame(Opcode.BINARY, payload, True, True)).data) == message


@pytest.mark.parametrize("bits", [9, 11, 15])
def test_the_window_reaches_back_as_far_as_agreed(bits: int) -> None:
    """The far end of the window is used in a later message, however the earlier ones came."""
    filling = zlib.compress(bytes(1)) + bytes(range(256)) * 160
    early = b"something that is said once and then again later"
    for size in (1 << bits, (1 << bits) - 300, 100):
        messages = [early, filling[: max(0, size - 2 * len(early))], early, filling[:7], early]
        pmce = deflate(bits=bits)
        assert [pmce.inflate(payload) for payload in sync_flushed(*messages, bits=bits)] == messages


def test_a_client_with_a_window_of_8_bits_is_understood() -> None:
    """Old zlib compresses with 9 bits when it is told 8, but never refers back further than 250 bytes then."""
    messages = [bytes(range(200)) * 3, bytes(range(200))]
    pmce = deflate(bits=8)
    assert [pmce.inflate(payload) for payload in sync_flushed(*messages, bits=9)] == messages
