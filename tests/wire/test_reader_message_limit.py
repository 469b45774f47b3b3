"""`max_message` to the byte: plain, compressed, whole, in pieces and in fragments, with each way of reading frames.

A message that cannot be compressed grows when it is, so a compressed frame may be longer than `max_message`; what it inflates to may not,
nor may a plain frame beside it.
"""

from __future__ import annotations

import random
import sys
import zlib
from collections.abc import Callable

import pytest

from tests.support.fakes import READERS, App, Client, House, frame, request
from wsdaemon.wire.body import BODY_BYTES
from wsdaemon.wire.deflate.negotiation import DeflateOptions
from wsdaemon.wire.frames import Frames, longest_compressed

NOISE = random.Random(7).randbytes(300_000)
OFFER = request(sec_websocket_extensions="permessage-deflate; client_max_window_bits")
Cut = Callable[[int, bytes, int], list[bytes]]
LIMITS = [1, 125, 300, 3 * BODY_BYTES]


pytestmark = pytest.mark.readers()


def compressed(message: bytes, memory_level: int = 8) -> bytes:
    compressor = zlib.compressobj(6, zlib.DEFLATED, -11, memory_level)
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def whole(opcode: int, payload: bytes, rsv: int) -> list[bytes]:
    return [frame(opcode, payload, rsv=rsv)]


def in_reads(opcode: int, payload: bytes, rsv: int) -> list[bytes]:
    """The header byte by byte, then the payload in five parts."""
    data = frame(opcode, payload, rsv=rsv)
    step = max(1, len(data) // 5)
    head = [data[place : place + 1] for place in range(min(14, len(data)))]
    return head + [data[place : place + step] for place in range(14, len(data), step)]


def in_fragments(opcode: int, payload: bytes, rsv: int) -> list[bytes]:
    third = len(payload) // 3
    return [
        frame(opcode, payload[:third], fin=False, rsv=rsv) + frame(0, payload[third : 2 * third], fin=False),
        frame(0, payload[2 * third :], fin=False),
        frame(0),
    ]


ways = pytest.mark.parametrize("cut", [whole, in_reads, in_fragments])


def opened(made: House, limit: int, deflate: bool) -> tuple[Client, App]:
    app = App()
    options = DeflateOptions(client_context_takeover=False) if deflate else None
    client = made.make_wire(app, opening=OFFER, max_message=limit, deflate=options)
    assert ("permessage-deflate" in client.head) is deflate
    return client, app


def assert_too_big(client: Client, app: App) -> None:
    assert app.messages == []
    [answer] = client.frames()
    assert (answer.opcode, answer.code) == (8, 1009)
    client.answer_close()
    assert client.ended[0] == 1009


@ways
@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "agreed"])
@pytest.mark.parametrize("limit", LIMITS)
def test_plain_messages(made: House, limit: int, deflate: bool, cut: Cut) -> None:
    """Also where compression was agreed: the slack is for compressed frames alone."""
    client, app = opened(made, limit, deflate)
    client.send_each(*cut(2, NOISE[:limit], 0))
    assert app.messages == [NOISE[:limit]]
    app.messages.clear()
    client.send_each(*cut(2, NOISE[: limit + 1], 0))
    assert_too_big(client, app)


@ways
@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "agreed"])
def test_the_limit_of_a_text_counts_bytes_and_not_characters(made: House, deflate: bool, cut: Cut) -> None:
    client, app = opened(made, 300, deflate)
    client.send_each(*cut(1, "é".encode() * 150, 0))
    assert app.messages == ["é" * 150]
    app.messages.clear()
    client.send_each(*cut(1, "é".encode() * 150 + b"x", 0))
    assert_too_big(client, app)


@ways
@pytest.mark.parametrize("memory_level", [1, 8])
@pytest.mark.parametrize("limit", LIMITS)
def test_messages_that_grow_when_compressed(made: House, limit: int, memory_level: int, cut: Cut) -> None:
    payload = compressed(NOISE[:limit], memory_level)
    assert limit < len(payload) <= longest_compressed(limit)
    client, app = opened(made, limit, True)
    client.send_each(*cut(2, payload, 4))
    client.send_each(*cut(2, payload, 4))
    assert app.messages == [NOISE[:limit]] * 2
    app.messages.clear()
    client.send_each(*cut(2, compressed(NOISE[: limit + 1], memory_level), 4))
    assert_too_big(client, app)


@ways
@pytest.mark.parametrize("limit", LIMITS)
def test_messages_that_shrink_when_compressed(made: House, limit: int, cut: Cut) -> None:
    client, app = opened(made, limit, True)
    client.send_each(*cut(1, compressed(b"x" * limit), 4))
    assert app.messages == ["x" * limit]
    app.messages.clear()
    client.send_each(*cut(1, compressed(b"x" * (limit + 1)), 4))
    assert_too_big(client, app)


@ways
def test_a_message_of_both_kinds(made: House, cut: Cut) -> None:
    """Its first half shrinks and its second grows: in between, what is inflated and what is yet to come are more than the limit."""
    message = bytes(1000) + NOISE[:100_000]
    client, app = opened(made, len(message), True)
    client.send_each(*cut(2, compressed(message, 1), 4))
    assert app.messages == [message]
    app.messages.clear()
    client.send_each(*cut(2, compressed(message + b"x", 1), 4))
    assert_too_big(client, app)


@ways
def test_a_plain_message_after_a_compressed_one_and_back(made: House, cut: Cut) -> None:
    client, app = opened(made, 300, True)
    grown, plain = compressed(NOISE[:300]), NOISE[:300]
    client.send_each(*cut(2, grown, 4), *cut(2, plain, 0), *cut(2, grown, 4))
    assert app.messages == [plain] * 3
    app.messages.clear()
    client.send_each(*cut(2, NOISE[:301], 0))
    assert_too_big(client, app)


@ways
def test_a_compressed_frame_beyond_the_slack_is_refused_unread(made: House, cut: Cut) -> None:
    """Empty blocks may go on for ever, and inflate to nothing."""
    client, app = opened(made, 300, True)
    empty_block = b"\x00\x00\x00\xff\xff"
    longest = longest_compressed(300)
    good = empty_block * ((longest - 1) // 5) + b"\x00"
    client.send_each(*cut(2, good, 4))
    assert app.messages == [b""]
    app.messages.clear()
    client.send(frame(2, empty_block * (longest // 5 + 1) + b"\x00", rsv=4))
    assert_too_big(client, app)


# -- the frame readers themselves

both = pytest.mark.parametrize("frames", {id(frames): frames for frames, _ in READERS.values()}.values(), ids=lambda frames: frames.name)


@both
@pytest.mark.parametrize("maximum", [0, 1, 125, 1000, 70_000])
def test_the_slack_is_for_compressed_frames_alone(frames: Frames, maximum: int) -> None:
    longest = longest_compressed(maximum)
    assert longest == maximum + maximum // 8 + 64
    for rsv, most in ((0, maximum), (4, longest)):
        fits, too_long = frame(2, bytes(most), rsv=rsv), frame(2, bytes(most + 1), rsv=rsv)
        assert frames.take(fits, 0, maximum, 1, 9) == ([0x42 if rsv else 2, bytes(most)], len(fits))
        assert frames.take(too_long, 0, maximum, 1, 9) == ([], 0)
        assert frames.begin(too_long[:-1], 0, maximum, 1) is None
        if most:
            assert frames.begin(fits[:-1], 0, maximum, 1) is not None


@both
def test_no_limit_overflows(frames: Frames) -> None:
    assert longest_compressed(sys.maxsize) == longest_compressed(sys.maxsize - 10) == sys.maxsize
    for maximum in (sys.maxsize, sys.maxsize - 10, sys.maxsize // 9 * 8):
        assert frames.take(frame(2, b"x", rsv=4), 0, maximum, 1, 9) == ([0x42, b"x"], 7)
        endless = b"\xc2\xff" + b"\xff" * 8 + bytes(4)
        assert frames.take(endless, 0, maximum, 1, 9) == ([], 0)
        assert frames.begin(endless, 0, maximum, 1) is None
