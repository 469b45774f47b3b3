"""wire/protocol.py and wire/input.py with permessage-deflate agreed (RFC 7692). The codec itself has its tests in test_deflate.py."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol

from tests.support.fakes import App, Client, Frame, House, binary, close, frame, request, text
from wsdaemon.apps.echo import EchoApp
from wsdaemon.wire.deflate.negotiation import DeflateOptions

OFFER = "permessage-deflate; client_max_window_bits"
OPTIONS = DeflateOptions(threshold=10)
LONG = "hello, hello, hello! " * 20
RSV1 = 4


pytestmark = pytest.mark.readers()


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.sendMessage(payload, isBinary)


class Codec:
    """The client's half of permessage-deflate, with its windows kept from message to message."""

    def __init__(self, bits: int = 11) -> None:
        self._out = zlib.compressobj(wbits=-bits)
        self._in = zlib.decompressobj(-15)

    def compress(self, payload: bytes) -> bytes:
        return (self._out.compress(payload) + self._out.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def frame(self, opcode: int, payload: bytes) -> bytes:
        return frame(opcode, self.compress(payload), rsv=RSV1)

    def read(self, answer: Frame) -> tuple[int, bytes]:
        if answer.rsv != RSV1:
            return answer.opcode, answer.payload
        return answer.opcode, self._in.decompress(answer.payload + b"\x00\x00\xff\xff")


def connect(made: House, app: Any = None, offer: str = OFFER, options: DeflateOptions = OPTIONS, **policy: Any) -> Client:
    return made.make_wire(app, opening=request(sec_websocket_extensions=offer), deflate=options, **policy)


@pytest.mark.parametrize("mounted", [None, Echo])
def test_an_echo_in_both_directions(made: House, mounted: Any) -> None:
    client = connect(made, None if mounted else EchoApp(), mounted=mounted)
    assert "\r\nSec-WebSocket-Extensions: permessage-deflate; " in client.head
    codec = Codec()
    messages = [
        (1, LONG.encode()),
        (2, bytes(1000)),
        (1, LONG.encode()),
        (2, b""),
        (1, "kürzer".encode()),
        (2, bytes(range(256)) * 300),
    ]
    client.send(*[codec.frame(opcode, payload) for opcode, payload in messages])
    answers = client.frames()
    assert [codec.read(answer) for answer in answers] == messages
    assert len(answers[2].payload) < len(answers[0].payload), "the window is kept from message to message"
    assert [answer.rsv for answer in answers] == [RSV1, RSV1, RSV1, 0, 0, RSV1], "below the threshold it is not worth it"


def test_what_is_not_compressed_may_come_in_between(made: House) -> None:
    app = App()
    client = connect(made, app)
    codec = Codec()
    client.send(
        text("plain"), codec.frame(1, LONG.encode()), frame(9, b"?"), binary(b"plain"), codec.frame(2, LONG.encode())
    )
    assert app.messages == ["plain", LONG, b"plain", LONG.encode()]
    assert Frame(10, b"?") in client.frames()


def test_without_an_offer_there_is_none(made: House) -> None:
    app = App()
    client = made.make_wire(app, deflate=OPTIONS)
    assert "extensions" not in client.head.lower()
    client.send(Codec().frame(1, LONG.encode()))
    assert client.frames()[0].code == 1002


@pytest.mark.parametrize("piece", [1, 50, 1448])
def test_compressed_frames_in_pieces(made: House, piece: int) -> None:
    app = App()
    client = connect(made, app)
    codec = Codec()
    noise = bytes(zlib.crc32(bytes([number % 251, number % 241])) & 255 for number in range(3000))
    data = codec.frame(1, LONG.encode()) + codec.frame(2, noise) + text("x")
    client.send_each(*[data[start : start + piece] for start in range(0, len(data), piece)])
    assert app.messages == [LONG, noise, "x"]


def test_compressed_messages_in_fragments(made: House) -> None:
    app = App()
    client = connect(made, app)
    codec = Codec()
    for _ in range(2):  # the window is the same whichever way a message comes
        whole = codec.compress(LONG.encode())
        parts = [whole[:5], whole[5:9], whole[9:]]
        client.send(frame(1, parts[0], fin=False, rsv=RSV1), frame(0, parts[1], fin=False), frame(9), frame(0, parts[2]))
        client.send(codec.frame(1, LONG.encode()))
    assert app.messages == [LONG] * 4


def test_an_app_that_wants_to_wait(made: House) -> None:
    waiting: list[Any] = []

    def received(connection: object, message: object) -> Any:
        waiting.append(made.loop.create_future())
        return waiting[-1]

    app = App(received)
    client = connect(made, app)
    codec = Codec()
    client.send(codec.frame(1, LONG.encode()), codec.frame(1, b"two " * 20), codec.frame(1, b"three " * 20))
    assert app.messages == [LONG]
    for count in (2, 3, 3):
        waiting[-1].set_result(None)
        made.loop.settle()
        assert len(app.messages) == count
    assert app.messages[-1] == "three " * 20


def ends_with(client: Client, code: int) -> None:
    client.loop.settle()
    assert [answer.code for answer in client.frames() if answer.opcode == 8] == [code]
    client.send(close(code))
    client.loop.advance(10)
    assert client.transport.lost
    assert client.ended[0] == code
    assert client.count.now == 0


@pytest.mark.parametrize("payloads", [False, True], ids=["str", "payload"])
def test_bad_utf8_gives_1007(made: House, payloads: bool) -> None:
    client = connect(made, EchoApp() if payloads else App())
    client.send(Codec().frame(1, b"a\xff" * 50))
    ends_with(client, 1007)


@pytest.mark.parametrize(
    "data", [b"\x06\x06\x06", b"\xff" * 20, Codec().compress(LONG.encode())[:-8]], ids=["junk", "ones", "cut short"]
)
@pytest.mark.parametrize("fragmented", [False, True])
def test_what_is_no_deflate_data_gives_1007(made: House, data: bytes, fragmented: bool) -> None:
    """A stream that is cut in the middle of a block must not come out as a short message."""
    app = App()
    client = connect(made, app)
    if fragmented:
        client.send(frame(1, data[:2], fin=False, rsv=RSV1), frame(0, data[2:]))
    else:
        client.send(frame(1, data, rsv=RSV1))
    assert app.messages == []
    ends_with(client, 1007)


@pytest.mark.parametrize("size", [1001, 1129, 1132, 2_000_000])
@pytest.mark.parametrize("fragmented", [False, True])
def test_a_message_that_inflates_to_too_much_gives_1009(made: House, size: int, fragmented: bool) -> None:
    """Not cut to the limit without a word, and not inflated far beyond it."""
    app = App()
    client = connect(made, app, max_message=1000)
    compressor = zlib.compressobj(9, wbits=-11)
    data = (compressor.compress(bytes(size)) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4][:900]
    if fragmented:
        client.send(frame(2, data[:3], fin=False, rsv=RSV1), frame(0, data[3:]))
    else:
        client.send(frame(2, data, rsv=RSV1))
    assert app.messages == []
    ends_with(client, 1009)


def test_the_largest_message_that_is_allowed(made: House) -> None:
    app = App()
    client = connect(made, app, max_message=1000)
    codec = Codec()
    client.send(codec.frame(2, bytes(1000)))
    whole = codec.compress(bytes(1000))
    client.send(frame(2, whole[:3], fin=False, rsv=RSV1), frame(0, whole[3:]))
    assert app.messages == [bytes(1000)] * 2


NOT_ALLOWED = {
    "RSV1 on a ping": frame(9, b"x", rsv=RSV1),
    "RSV1 on a continuation": frame(1, b"x", fin=False) + frame(0, b"y", rsv=RSV1),
    "RSV2": frame(1, b"x", rsv=RSV1 | 2),
}


@pytest.mark.parametrize("name", NOT_ALLOWED)
def test_rsv_bits_where_they_may_not_be_give_1002(made: House, name: str) -> None:
    client = connect(made, App())
    client.send(NOT_ALLOWED[name])
    ends_with(client, 1002)


def test_a_message_after_one_that_ended_with_bfinal(made: House) -> None:
    """Legal (RFC 7692 7.2.3.4), and in stock Autobahn every later message was silently empty."""
    app = App()
    client = connect(made, app)
    compressor = zlib.compressobj(wbits=-11)
    client.send(frame(1, compressor.compress(LONG.encode()) + compressor.flush(zlib.Z_FINISH) + b"\x00", rsv=RSV1))
    client.send(Codec().frame(1, b"next " * 20))
    assert app.messages == [LONG, "next " * 20]


def test_memory_is_given_back_at_the_end(made: House) -> None:
    client = connect(made, EchoApp())
    client.send(Codec().frame(1, LONG.encode()))
    deflate = client.protocol._perMessageCompress
    assert deflate._window
    client.vanish()
    assert not deflate._window
    assert deflate._compressor is None


def test_without_context_takeover_every_message_stands_for_itself(made: House) -> None:
    options = DeflateOptions(threshold=10, server_context_takeover=False, client_context_takeover=False)
    client = connect(made, EchoApp(), options=options)
    assert "server_no_context_takeover; client_no_context_takeover" in client.head
    for _ in range(2):
        client.send(Codec().frame(1, LONG.encode()))
    first, second = client.frames()
    assert first == second
    assert Codec().read(second) == (1, LONG.encode())


@pytest.mark.parametrize("call", ["sendMessage", "prepared", "streamed"])
def test_what_mounted_classes_send(made: House, call: str) -> None:
    client = connect(made, None, mounted=Echo)
    protocol, codec = client.protocol, Codec()
    for _ in range(2):
        if call == "sendMessage":
            protocol.sendMessage(LONG.encode())
        elif call == "prepared":
            protocol.sendPreparedMessage(protocol.factory.prepareMessage(LONG.encode()))
        else:
            protocol.sendMessage(LONG.encode(), fragmentSize=1_000_000)
        protocol.sendMessage(LONG.encode(), doNotCompress=True)
    made.loop.settle()
    answers = client.frames()
    assert [codec.read(answer) for answer in answers] == [(1, LONG.encode())] * 4
    assert [answer.rsv for answer in answers] == [RSV1, 0, RSV1, 0]
