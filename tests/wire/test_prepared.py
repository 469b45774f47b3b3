"""wire/prepared.py: a message for many is framed once, and compressed once for each window."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import pytest

from tests.support.deflate import parameters as agreed
from tests.support.fakes import App, frame, house, request
from wsdaemon.wire.deflate.compressor import MESSAGE_SECONDS, PIECE_BYTES, DeflateBudget
from wsdaemon.wire.deflate.negotiation import DeflateOptions, DeflateParameters
from wsdaemon.wire.deflate.streams import deflate_message
from wsdaemon.wire.prepared import Prepared

LONG = b"".join(b'{"id": %d},' % number for number in range(40_000))

OFFER = request(sec_websocket_extensions="permessage-deflate")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Payloads that were compressed for many."""
    made: list[bytes] = []

    def counted(payload: bytes, parameters: DeflateParameters, budget: DeflateBudget, taken: float) -> tuple[bytes, float]:
        made.append(payload)
        return deflate_message(payload, parameters, budget, taken)

    monkeypatch.setattr("wsdaemon.wire.prepared.deflate_message", counted)
    return made


def test_a_prepared_message_is_the_same_for_whoever_has_the_same_window(calls: list[bytes]) -> None:
    """Takeover and threshold do not change how it is compressed."""
    varied: list[dict[str, Any]] = [{}, {"threshold": 5}, {"server_context_takeover": False}, {"level": 1}, {"memory_level": 1}]
    varied += [{"window_bits": 9}]

    def make(opcode: int, payload: bytes, rsv1: bool) -> bytes:
        return frame(opcode, payload, rsv=4 if rsv1 else 0, mask=None)

    with house() as made:
        writers = [made.make_wire(App(), opening=OFFER, deflate=replace(DeflateOptions(), **options)).writer for options in varied]
        message = Prepared("grün ".encode() * 100, True, make, made.turns, key="k")
        assert (message.size, message.key, message.plain[:2]) == (600, "k", b"\x81\x7e")
        parameters = [writer.deflate.parameters for writer in writers]
        frames = [message.compressed(one) for one in parameters]
        assert all(frame is frames[0] for frame in frames[:3])
        assert len(calls) == 4
        assert frames[0][0] == 0xC1
        assert message.compressed(parameters[3]) is frames[3]


def test_all_windows_of_a_message_share_its_time() -> None:
    """Where the first windows have used it up, the others get the message uncompressed; and the turn is charged for all."""
    looks = 0
    with house() as made:

        def work() -> float:
            nonlocal looks
            looks += 1
            made.now += MESSAGE_SECONDS / 4
            return made.now

        made.turns.deflating = DeflateBudget(lambda: 0.0, work)
        made.turns.deflating.charge(1.0)  # nothing is to spare

        def prepare(payload: bytes) -> Prepared:
            return Prepared(payload, True, lambda opcode, data, rsv1: bytes([opcode + 0x40 * rsv1]) + data, made.turns)

        message = prepare(LONG)
        frames = [message.compressed(agreed(server_bits=bits, memory_level=4)) for bits in range(9, 16)]
        assert frames[0][0] == 0x41 and frames[1:] == [message.plain] * 6
        assert looks <= 7
        assert zlib.decompressobj(-9).decompress(frames[0][1:] + b"\x00\x00\xff\xff") == LONG
        assert made.turns.used_up
        again = looks
        assert message.compressed(agreed(server_bits=15, memory_level=4)) is message.plain and looks == again
        short = prepare(LONG[:PIECE_BYTES])
        assert {short.compressed(agreed(server_bits=bits, memory_level=4))[0] for bits in range(9, 16)} == {0x41}, "a frame for each window"
        assert looks == again
