"""Unused compressors are freed within seconds; clients can still read the messages after that."""

from __future__ import annotations

import zlib

from tests.support.fakes import Loop
from wsdaemon.core.wheel import Wheel
from wsdaemon.wire.deflate.compressor import DeflateBudget
from wsdaemon.wire.deflate.negotiation import DeflateOptions, negotiate
from wsdaemon.wire.deflate.resting import LOOK_SECONDS, Resting
from wsdaemon.wire.deflate.streams import Deflate

MESSAGE = b"".join(b"%d:%x;" % (number, number * 2654435761 % 2**32) for number in range(60))


def make_deflate() -> Deflate:
    agreed = negotiate("permessage-deflate", DeflateOptions())
    assert agreed is not None
    return Deflate.server(agreed[0], DeflateBudget())


def fail(item: object, error: Exception) -> None:
    raise error


def test_a_compressor_is_freed_when_it_was_not_used_between_two_looks() -> None:
    with Loop() as loop:
        resting, deflate = Resting(Wheel(loop, fail)), make_deflate()
        decoder = zlib.decompressobj(-15)
        sent = [deflate.deflate(MESSAGE)]
        resting.watch(deflate)
        loop.advance(LOOK_SECONDS + 0.2)
        assert (deflate.watched, len(resting)) == (True, 1)
        sent.append(deflate.deflate(MESSAGE))
        assert len(sent[1]) < len(sent[0]), "a new context was begun too early"
        loop.advance(LOOK_SECONDS + 0.2)
        assert deflate.watched
        loop.advance(LOOK_SECONDS + 0.2)
        assert (deflate.watched, len(resting), resting.due_bucket) == (False, 0, 0)
        sent.append(deflate.deflate(MESSAGE))
        assert sent[2] == sent[0], "the context was not begun anew"
        for payload in sent:
            assert decoder.decompress(payload + b"\x00\x00\xff\xff") == MESSAGE


def test_looks_end_when_nothing_is_watched_and_begin_again() -> None:
    with Loop() as loop:
        resting, deflate = Resting(Wheel(loop, fail)), make_deflate()
        for _ in range(2):
            deflate.deflate(b"x" * 300)
            resting.watch(deflate)
            loop.advance(2 * LOOK_SECONDS + 0.2)
            assert (len(resting), resting.due_bucket) == (0, 0)
