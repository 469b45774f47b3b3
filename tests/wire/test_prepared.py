"""wire/prepared.py: a message for many is framed once, and compressed once for each window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.fakes import App, frame, house, request
from wsdaemon.wire.deflate.negotiation import DeflateOptions, DeflateParameters
from wsdaemon.wire.deflate.streams import deflate_message
from wsdaemon.wire.prepared import Prepared

OFFER = request(sec_websocket_extensions="permessage-deflate")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Payloads that were compressed for many."""
    made: list[bytes] = []

    def counted(payload: bytes, parameters: DeflateParameters) -> bytes:
        made.append(payload)
        return deflate_message(payload, parameters)

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
        message = Prepared("grün ".encode() * 100, True, make, key="k")
        assert (message.size, message.key, message.plain[:2]) == (600, "k", b"\x81\x7e")
        parameters = [writer.deflate.parameters for writer in writers]
        frames = [message.compressed(one) for one in parameters]
        assert all(frame is frames[0] for frame in frames[:3])
        assert len(calls) == 4
        assert frames[0][0] == 0xC1
        assert message.compressed(parameters[3]) is frames[3]
