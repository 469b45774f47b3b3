"""The frame fast path: both twins, against each other and against Autobahn's parser, which is the authority.

Partial frames and sending have their tests in test_twin_partial.py, loading in test_choice.py.
"""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import WebSocketServerFactory
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address

from wsdaemon.wire import frames as loader
from wsdaemon.wire.frames import COMPRESSED, RSV1, TEXT, Frames, FramesUnavailable, load

MAXIMUM = 70_000
MANY = 1000
SLICE_SECONDS = 16
"""Bytes given to Autobahn at once; more than the longest header, which it may still hold."""

PYTHON = load("python")
try:
    BOTH = [load("c"), PYTHON]
except FramesUnavailable:
    if os.environ.get("WSDAEMON_BUILD_C") == "require":
        raise
    BOTH = [PYTHON]

both = pytest.mark.parametrize("frames", BOTH, ids=lambda frames: frames.name)
needs_c = pytest.mark.skipif(len(BOTH) == 1, reason="the C module is not built")

MASK = bytes.fromhex("37fa213d")
EURO = "€".encode()
BAD_TEXT = [b"\x80", b"\xc0\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf5", b"\xff"]
BAD_TEXT += [EURO[:2], b"a\xc3("]


def unmasked(payload: bytes, mask: bytes) -> bytes:
    return bytes(byte ^ mask[index & 3] for index, byte in enumerate(payload))


def client(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    reserved: int = 0,
    mask: bytes | None = MASK,
    encoding: int = 0,
    length: int | None = None,
) -> bytes:
    """A frame as a client sends it, with any fault asked for: `encoding` 2 or 8 bytes of length instead of the shortest."""
    length = len(payload) if length is None else length
    encoding = encoding or (0 if length < 126 else 2 if length < 65536 else 8)
    short = length if encoding == 0 else 126 if encoding == 2 else 127
    head = bytes([final << 7 | reserved << 4 | opcode, (mask is not None) << 7 | short & 0x7F])
    head += (length & (1 << 8 * encoding) - 1).to_bytes(encoding, "big") if encoding else b""
    return head + payload if mask is None else head + mask + unmasked(payload, mask)


# -- Autobahn's parser alone, and behind the fast path


class Transport:
    """As much of one as Autobahn asks for; it keeps what was written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.write = self.written.extend

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 1)

    def nothing(self) -> None:
        pass

    loseConnection = abortConnection = unregisterProducer = nothing


class Recorder(WebSocketServerProtocol):
    """Autobahn's stock protocol in the open state; it keeps what an app would see."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, bytes]] = []
        self.factory = WebSocketServerFactory()
        self.factory.isServer = True
        self.factory.setProtocolOptions(
            failByDrop=False, maxMessagePayloadSize=MAXIMUM, openHandshakeTimeout=0, closeHandshakeTimeout=0, autoPingInterval=0
        )
        self.sent = Transport()
        self.transport = self.sent
        self.connectionMade()
        self.state, self.websocket_version = self.STATE_OPEN, 13
        self.inside_message, self.current_frame = False, None

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.seen.append(("binary" if isBinary else "text", payload))

    def onPong(self, payload: bytes) -> None:
        if not self.failedByMe:  # after that Autobahn may still report the very frame it failed for, depending on the cuts
            self.seen.append(("pong", payload))

    def outcome(self) -> tuple[object, ...]:
        """Messages and pongs in order; pongs sent and the Close frame with its reason; the close codes."""
        code = None if self.failedByMe else self.remoteCloseCode
        return self.seen, bytes(self.sent.written), self.localCloseCode, code, self.failedByMe


class Driven:
    """A receiver as the daemon's: the fast path first, Autobahn for what it leaves."""

    def __init__(self, frames: Frames, flags: int = 0) -> None:
        self.frames = frames
        self.flags = flags
        self.autobahn = Recorder()
        self.partial: loader.Partial | None = None
        self.quick = 0

    def receive(self, data: bytes) -> None:
        autobahn, position = self.autobahn, 0
        while position < len(data):
            if self.partial is not None:
                position = self.partial.feed(data, position)
                self._grown(self.partial)
                continue
            if autobahn.state == autobahn.STATE_OPEN and autobahn.current_frame is None and not autobahn.inside_message:
                data, position, autobahn.data = autobahn.data + data[position:], 0, b""
                taken, position = self.frames.take(data, position, MAXIMUM, self.flags, 2)
                for opcode, payload in zip(taken[::2], taken[1::2], strict=True):
                    self._deliver(opcode, payload)
                if taken:
                    continue
                self.partial = self.frames.begin(data, position, MAXIMUM, self.flags)
                if self.partial is not None:
                    return
            autobahn.dataReceived(data[position : position + SLICE_SECONDS])
            position += SLICE_SECONDS

    def _grown(self, partial: loader.Partial) -> None:
        if not partial.valid:
            self.partial = None
            self.autobahn.dataReceived(partial.replay())
        elif not partial.missing:
            self.partial = None
            self._deliver(partial.opcode, partial.message())

    def _deliver(self, opcode: object, payload: Any) -> None:
        self.quick += 1
        if opcode == 9:
            self.autobahn.onPing(payload)
        elif opcode == 10:
            self.autobahn.onPong(payload)
        else:
            assert isinstance(payload, str if opcode == 1 and self.flags & TEXT else bytes)
            self.autobahn.onMessage(payload.encode() if isinstance(payload, str) else payload, opcode == 2)


def parts_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def agree(frames: Frames, parts: list[bytes], flags: int = 0) -> int:
    """Autobahn behind the fast path does with the parts as Autobahn alone with the whole. How many frames were quick."""
    alone, driven = Recorder(), Driven(frames, flags)
    alone.dataReceived(b"".join(parts))
    for part in parts:
        driven.receive(part)
    assert driven.autobahn.outcome() == alone.outcome()
    return driven.quick


# -- frames of all kinds

lengths = st.sampled_from([0, 1, 3, 7, 8, 125, 126, 127, 300, 65535, 65536, MAXIMUM, MAXIMUM + 1])
texts = st.text(max_size=30).map(str.encode)
payloads = st.one_of(st.binary(max_size=30), texts, lengths.map(lambda length: b"x" * length), st.just(EURO * 50))
masks = st.binary(min_size=4, max_size=4)
good_frames = st.one_of(
    st.builds(client, st.just(1), st.one_of(texts, lengths.map(lambda length: b"t" * length)), mask=masks),
    st.builds(client, st.just(2), payloads, mask=masks),
    st.builds(client, st.sampled_from([9, 10]), st.binary(max_size=125), mask=masks),
)
data_frames = st.builds(client, st.sampled_from([1, 2]), payloads, reserved=st.sampled_from([0, 4]), mask=masks)
any_frames = st.builds(
    client,
    st.integers(0, 15),
    st.one_of(payloads, st.sampled_from(BAD_TEXT), st.sampled_from([b"\x03\xe8", b"\x03\xe8bye", b"\x03\xed", b"\x03\xe8\xff"])),
    final=st.booleans(),
    reserved=st.sampled_from([0, 0, 0, 4, 1]),
    mask=st.one_of(masks, masks, st.none()),
    encoding=st.sampled_from([0, 0, 0, 2, 8]),
)
fragments = st.builds(
    lambda opcode, parts: client(opcode, parts[0], final=False)
    + b"".join(client(0, part, final=False) for part in parts[1:])
    + client(9, b"between")
    + client(0, b"end"),
    st.sampled_from([1, 2]),
    st.lists(texts, min_size=1, max_size=3),
)
bad_texts = st.builds(lambda start, bad, end: client(1, start + bad + end), texts, st.sampled_from(BAD_TEXT), texts)
streams = st.lists(st.one_of(good_frames, good_frames, good_frames, fragments, bad_texts, any_frames), max_size=6).map(b"".join)
cut_lists = st.lists(st.integers(0, 1 << 20), max_size=8)
flag_sets = st.sampled_from([0, RSV1, TEXT, RSV1 | TEXT])


@both
@settings(deadline=None)
@given(stream=streams, cuts=cut_lists, flags=st.sampled_from([0, TEXT]))
def test_any_stream_cut_anywhere_is_received_as_by_autobahn(frames: Frames, stream: bytes, cuts: list[int], flags: int) -> None:
    agree(frames, parts_of(stream, cuts), flags)


CLOSE = client(8, b"\x03\xe8bye")
STREAMS = [
    client(1, b"one") + client(2, b"\x00" * 130) + client(9, b"ping") + client(10, b"pong") + client(1) + CLOSE,
    client(1, b"fra", final=False) + client(9) + client(0, b"gment") + client(1, "größer €😀".encode()) + CLOSE,
    client(1, b"x" * 126, encoding=8),
    client(2, b"x" * 5, encoding=2) + client(1, b"never"),
    client(2, b"", length=MAXIMUM + 1),
    client(1, b"no mask", mask=None) + client(1, b"never"),
    client(2, b"rsv", reserved=4),
    client(11, b"?") + client(3, b"?"),
    client(1, b"good") + client(1, b"x" * 20 + b"\xed\xa0\x80" + b"y" * 20) + CLOSE,
    client(1, b"cut" + EURO[:2]) + client(1, b"never"),
    client(9, b"x" * 126) + CLOSE,
    client(8, b"\x03") + client(1, b"never"),
]


@both
@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_cut_at_every_place_is_received_as_by_autobahn(frames: Frames, stream: bytes) -> None:
    for place in range(len(stream) + 1):
        agree(frames, parts_of(stream, [place]))
    agree(frames, [stream[place : place + 1] for place in range(len(stream))], TEXT)


@both
def test_good_frames_never_reach_autobahn(frames: Frames) -> None:
    assert agree(frames, [client(1, b"a") + client(2, b"b" * 300) + client(9, b"c"), client(2, b"d" * MAXIMUM)[:100], b""]) == 3


# -- the twins give the same results


def begun(frames: Frames, parts: list[bytes], flags: int) -> list[object]:
    """Everything that can be seen of a Partial that is made of the first part and fed the others, every second through its room."""
    partial = frames.begin(parts[0], 0, MAXIMUM, flags)
    if partial is None:
        return [None]
    seen: list[object] = []
    for index, part in enumerate(parts[1:]):
        if index % 2:
            with partial.room() as room:
                count = min(len(part), len(room))
                room[:count] = part[:count]
            partial.received(count)
        else:
            seen.append(partial.feed(b"xyz" + part, 3))
        seen += [partial.missing, partial.valid, partial.opcode, partial.replay(), len(partial.room()), len(partial.room(10))]
    if partial.valid and not partial.missing:
        seen.append(partial.message())
    return seen


@needs_c
@settings(deadline=None)
@given(stream=streams, skip=st.integers(0, 20), maximum=st.sampled_from([0, 5, 125, 126, MAXIMUM]), flags=flag_sets, most=st.integers(0, 5))
def test_the_twins_take_alike(stream: bytes, skip: int, maximum: int, flags: int, most: int) -> None:
    position = skip % (len(stream) + 1)
    assert BOTH[0].take(stream, position, maximum, flags, most) == PYTHON.take(stream, position, maximum, flags, most)


@needs_c
@settings(deadline=None)
@given(
    frame=st.one_of(data_frames, bad_texts, any_frames),
    cuts=st.lists(st.integers(0, 1 << 20), min_size=1, max_size=6),
    flags=flag_sets,
)
@example(frame=client(1, "ab€😀".encode()), cuts=list(range(6, 16)), flags=TEXT)
@example(frame=client(1, b"\xed\xa0\x80 surrogate"), cuts=list(range(6, 12)), flags=0)
def test_the_twins_have_like_partials(frame: bytes, cuts: list[int], flags: int) -> None:
    parts = parts_of(frame, cuts)
    assert begun(BOTH[0], parts, flags) == begun(PYTHON, parts, flags)


@needs_c
@settings(deadline=None)
@given(opcode=st.integers(0, 15), length=st.one_of(st.integers(0, 70_000), st.integers(0, sys.maxsize)), rsv1=st.booleans())
def test_the_twins_write_like_headers(opcode: int, length: int, rsv1: bool) -> None:
    assert BOTH[0].header(opcode, length, rsv1) == PYTHON.header(opcode, length, rsv1)


# -- whole


@both
@settings(deadline=None)
@given(stream=streams, maximum=st.sampled_from([0, 5, 125, 126, MAXIMUM]), flags=flag_sets)
@example(stream=client(1, b"x" * 126), maximum=126, flags=TEXT)
@example(stream=client(2, b"x"), maximum=0, flags=0)
def test_whole_gives_one_message_alone_as_take_does(frames: Frames, stream: bytes, maximum: int, flags: int) -> None:
    taken, position = frames.take(stream, 0, maximum, flags, 2)
    alone = position == len(stream) and len(taken) == 2 and taken[0] in (1, 2)
    payload = frames.whole(stream, maximum, flags)
    assert payload == (taken[1] if alone else None)
    if alone:
        assert type(payload) is type(taken[1])
        assert stream[0] == 0x80 | int(str(taken[0]))


@both
def test_whole_takes_a_message_and_nothing_else(frames: Frames) -> None:
    for size in (0, 1, 64, 125, 126, 65_535, 65_536):
        data = client(2, b"x" * size)
        assert frames.whole(data, size, 0) == b"x" * size
        assert frames.whole(data[:-1], size, 0) is None
        assert frames.whole(data + b"\x82", size, 0) is None
        assert size == 0 or frames.whole(data, size - 1, 0) is None
    assert frames.whole(client(1, EURO), 9, TEXT) == "€"
    assert frames.whole(client(1, EURO), 9, 0) == EURO
    for other in (client(9), client(10), client(8), client(0), client(1, b"x", final=False), client(1, b"x", reserved=4), b""):
        assert frames.whole(other, 9, RSV1 | TEXT) is None
    for bad in BAD_TEXT:
        assert frames.whole(client(1, bad), 9, 0) is None
        assert frames.whole(client(1, bad), 9, TEXT) is None


@both
def test_arguments_of_whole(frames: Frames) -> None:
    for wrong in ((bytearray(b"x"), 1, 0), (b"x", "1", 0), (b"x", 1, None)):
        with pytest.raises(TypeError):
            frames.whole(*wrong)
    for outside in ((b"x", -1, 0), (b"x", sys.maxsize + 1, 0), (b"x", 1, 4)):
        with pytest.raises(ValueError):
            frames.whole(*outside)


# -- take


@both
def test_take_gives_opcode_and_payload_in_turn(frames: Frames) -> None:
    data = b"skip" + client(1, b"text") + client(2, b"\xff") + client(9, b"i") + client(10, b"o") + client(8)
    assert frames.take(data, 4, 100, 0, MANY) == ([1, b"text", 2, b"\xff", 9, b"i", 10, b"o"], len(data) - 6)


@both
def test_take_gives_text_as_str_when_asked(frames: Frames) -> None:
    data = b"".join(client(opcode, EURO * size + b"x") for opcode in (1, 2, 9) for size in (0, 1, 20))
    taken, position = frames.take(data, 0, 100, TEXT, MANY)
    assert taken[1:6:2] == ["x", "€x", "€" * 20 + "x"] and taken[7:12:2] == [b"x", EURO + b"x", EURO * 20 + b"x"]
    assert position == len(data)


@both
@pytest.mark.parametrize("size", [*range(34), 125, 126, 1000, 65535, 65536, 70_000])
def test_take_unmasks_any_length(frames: Frames, size: int) -> None:
    payload = bytes(index * 7 & 0xFF for index in range(size))
    assert frames.take(b"?" + client(2, payload), 1, MAXIMUM, 0, 1) == ([2, payload], len(client(2, payload)) + 1)


@both
@pytest.mark.parametrize("flags", [0, TEXT])
@pytest.mark.parametrize("bad", BAD_TEXT)
def test_take_stops_before_text_that_is_not_utf8(frames: Frames, bad: bytes, flags: int) -> None:
    for before in range(20):
        data = client(2, bad) + client(1, b"a" * before + bad)
        assert frames.take(data, 0, 100, flags, MANY) == ([2, bad], len(client(2, bad)))


@both
def test_take_gives_compressed_frames_as_they_came_only_where_agreed(frames: Frames) -> None:
    data = client(1, b"\xff\x00", reserved=4) + client(2, b"\x01", reserved=4)
    assert frames.take(data, 0, 100, RSV1 | TEXT, MANY) == ([1 | COMPRESSED, b"\xff\x00", 2 | COMPRESSED, b"\x01"], len(data))
    assert frames.take(data, 0, 100, TEXT, MANY) == ([], 0)
    for refused in (client(9, reserved=4), client(1, reserved=2), client(1, reserved=6), client(1, reserved=5)):
        assert frames.take(refused, 0, 100, RSV1, MANY) == ([], 0)


@both
@pytest.mark.parametrize(
    "refused",
    [
        client(2, b"x" * 101),
        client(9, b"x" * 126),
        client(2, b"x", final=False),
        client(0, b"x"),
        client(8),
        client(3),
        client(11),
        client(2, b"x", mask=None),
        client(2, b"x", encoding=2),
        client(2, b"x", encoding=8),
        client(2, b"x" * 126, encoding=8),
        client(9, b"x", encoding=2),
        client(2, length=1 << 63),
    ],
    ids=repr,
)
def test_take_and_begin_leave_what_is_not_whole_and_plain(frames: Frames, refused: bytes) -> None:
    for size in range(len(refused) + 1):
        assert frames.take(refused[:size], 0, 100, 0, MANY) == ([], 0)
        assert frames.begin(refused[:size], 0, 100, 0) is None


@both
def test_take_keeps_to_most_and_maximum(frames: Frames) -> None:
    one = client(1, b"x")
    for most in (0, 1, 2, 40, 41):
        count = min(most, 40)
        assert frames.take(one * 40, 0, 1, 0, most) == ([1, b"x"] * count, len(one) * count)
    assert frames.take(one, 0, 0, 0, 1) == ([], 0)
    assert frames.take(client(1) + one, 0, 0, 0, 5) == ([1, b""], 6)
    assert frames.take(one, len(one), 5, 0, 5) == ([], len(one))
