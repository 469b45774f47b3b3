"""wire/deflate/compressor.py: each message takes a bounded time, and the client can read it however much of it was stored.

The processor's clock is a fake one here: each look at it makes it later, so that a piece takes as long as the test says.
"""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate as Peer
from websockets.frames import Frame as PeerFrame
from websockets.frames import Opcode

from tests.support.deflate import parameters
from wsdaemon.wire.deflate.compressor import (
    MESSAGE_SECONDS,
    MOST_SPARE_SECONDS,
    PIECE_BYTES,
    SLOW_PIECE_BYTES,
    SPARE_SHARE,
    Compressor,
    DeflateBudget,
)
from wsdaemon.wire.deflate.negotiation import DeflateParameters
from wsdaemon.wire.deflate.streams import Deflate

OURS = parameters(server_bits=11, memory_level=4)
TEXT = b"".join(b'{"id": %d, "price": %d},' % (number, number * 7919 % 1000) for number in range(60_000))[: 1 << 20]


class Clocks:
    """Both clocks of a budget. Each look at the processor's takes `piece` seconds of work."""

    def __init__(self, piece: float = 0.0) -> None:
        self.piece = piece
        self.time = self.worked = 0.0
        self.looks = 0
        self.budget = DeflateBudget(lambda: self.time, self.work)

    def work(self) -> float:
        self.looks += 1
        self.worked += self.piece
        return self.worked

    def without_spare(self) -> Clocks:
        self.budget.charge(MESSAGE_SECONDS + MOST_SPARE_SECONDS)
        return self


def inflated(payload: bytes, bits: int = 15) -> bytes:
    return zlib.decompressobj(-bits).decompress(payload + b"\x00\x00\xff\xff")


def whole(payload: bytes, agreed: DeflateParameters) -> bytes:
    """The message as zlib makes it in one go."""
    stream = zlib.compressobj(agreed.level, zlib.DEFLATED, -agreed.server_window_bits, agreed.memory_level)
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


# -- one message


@pytest.mark.parametrize("bits", [9, 11, 15])
@pytest.mark.parametrize("level", [1, 6, 9])
def test_a_message_within_its_time_is_what_zlib_makes_of_it_in_one_go(bits: int, level: int) -> None:
    agreed = parameters(server_bits=bits, level=level, memory_level=4)
    for size in (1, SLOW_PIECE_BYTES, PIECE_BYTES, PIECE_BYTES + 1, 200_000):
        assert Compressor(agreed, Clocks().budget).message(TEXT[:size]) == whole(TEXT[:size], agreed)


@pytest.mark.parametrize(("level", "piece"), [(6, PIECE_BYTES), (8, SLOW_PIECE_BYTES)])
def test_the_rest_of_a_message_is_stored_once_its_time_is_used_up(level: int, piece: int) -> None:
    clocks = Clocks(MESSAGE_SECONDS / 4).without_spare()
    compressor = Compressor(parameters(server_bits=11, level=level), clocks.budget)
    payload = compressor.message(TEXT)
    assert compressor.cut and clocks.looks <= 7
    deflated = whole(TEXT[: 5 * piece], parameters(server_bits=11, level=level))
    stored = len(TEXT) - 5 * piece
    assert len(payload) == len(deflated) + 4 + stored + 5 * -(-stored // 65535) + 1, "five pieces are compressed"
    assert inflated(payload, 11) == TEXT


def test_a_short_message_costs_no_look_at_the_clock() -> None:
    clocks = Clocks(1.0)
    assert Compressor(OURS, clocks.budget).message(TEXT[:PIECE_BYTES]) == whole(TEXT[:PIECE_BYTES], OURS)
    assert clocks.looks == 0


def test_the_empty_message() -> None:
    assert Compressor(OURS, Clocks().budget).message(b"") == b"\x00"


# -- time beyond that of one message


def test_spare_time_is_used_up_and_comes_back() -> None:
    clocks = Clocks(0.001)

    def pieces() -> int:
        """Pieces of a long message that are compressed now."""
        before = clocks.looks
        compressor = Compressor(OURS, clocks.budget)
        assert inflated(compressor.message(TEXT), 11) == TEXT
        assert compressor.cut
        return clocks.looks - before - 1

    own, spare = round(MESSAGE_SECONDS * 1000), round(MOST_SPARE_SECONDS * 1000)
    assert own + spare <= pieces() <= own + spare + 2
    assert own <= pieces() <= own + 2
    assert own <= pieces() <= own + 2
    clocks.time += spare / 1000 / 2 / SPARE_SHARE
    assert own + spare / 2 - 3 <= pieces() <= own + spare / 2 + 2
    clocks.time += 3600.0
    assert own + spare <= pieces() <= own + spare + 2


def test_other_windows_share_the_time_of_the_message() -> None:
    clocks = Clocks(0.001)
    compressor = Compressor(OURS, clocks.budget)
    assert inflated(compressor.message(TEXT, taken=0.003), 11) == TEXT
    assert compressor.cut and 2 <= clocks.looks <= 5
    assert clocks.budget.left(MESSAGE_SECONDS) <= 0


# -- a connection: whatever was stored, the client's window is what the next message refers to

steps = st.lists(
    st.tuples(
        st.sampled_from(["whole", "pieces", "foreign", "rest"]),
        st.one_of(st.integers(0, 3000), st.integers(0, 60_000)), st.sampled_from([0.0, MESSAGE_SECONDS / 3, MESSAGE_SECONDS * 2]),
    ), min_size=1, max_size=8,
)  # fmt: skip


@given(steps=steps, bits=st.integers(9, 15), level=st.sampled_from([1, 6, 9]), takeover=st.booleans(), seed=st.integers(0, 99))
def test_the_client_reads_every_message(steps: list[tuple[str, int, float]], bits: int, level: int, takeover: bool, seed: int) -> None:
    clocks, chance = Clocks().without_spare(), random.Random(seed)
    agreed = parameters(server_bits=bits, level=level, takeover=takeover, memory_level=chance.randrange(1, 10))
    ours, peer, decoder = Deflate(agreed, clocks.budget), Peer(not takeover, False, bits, 15), zlib.decompressobj(-bits)
    for doing, size, clocks.piece in steps:
        start = chance.randrange(10_000)
        message = TEXT[start : start + size] + chance.randbytes(chance.choice([0, 0, 5000]))
        if doing == "rest":
            ours.forget_what_was_sent()
            continue
        if doing == "whole":
            payload = ours.deflate(message)
        elif doing == "foreign":
            payload = Compressor(agreed, clocks.budget).message(message)
            ours.forget_what_was_sent()
        else:
            ours.start_compress_message()
            cut = chance.randrange(len(message) + 1)
            payload = ours.compress_message_data(message[:cut])
            ours.forget_what_was_sent()  # as Resting may, in the middle
            payload += ours.compress_message_data(message[cut:]) + ours.end_compress_message()
        assert bytes(peer.decode(PeerFrame(Opcode.BINARY, payload, True, True)).data) == message
        decoder = decoder if takeover else zlib.decompressobj(-bits)
        assert decoder.decompress(payload + b"\x00\x00\xff\xff") == message


@pytest.mark.parametrize("bits", [11, 15])
def test_a_message_after_one_that_was_cut_refers_to_its_end(bits: int) -> None:
    clocks = Clocks(MESSAGE_SECONDS).without_spare()
    ours, client = Deflate(parameters(server_bits=bits), clocks.budget), zlib.decompressobj(-bits)
    noise = random.Random(1).randbytes(100_000)
    payloads = [ours.deflate(noise), ours.deflate(noise[-1000:]), ours.deflate(noise[-1000:])]
    assert [client.decompress(payload + b"\x00\x00\xff\xff") for payload in payloads] == [noise, noise[-1000:], noise[-1000:]]
    assert len(payloads[0]) > 100_000 and len(payloads[1]) < 50 and len(payloads[2]) < 50
