"""wire/autobahn/fallback.py: what a client may not send, and the close code that it gets for it."""

from __future__ import annotations

import pytest

from tests.support.fakes import App, Frame, House, binary, close, frame, text
from wsdaemon.apps.echo import EchoApp

pytestmark = pytest.mark.readers()


BROKEN = {
    "unmasked": (frame(1, b"x", mask=None), 1002),
    "reserved data opcode": (frame(3, b"x"), 1002),
    "reserved control opcode": (frame(11, b"x"), 1002),
    "RSV1 without an extension": (frame(1, b"x", rsv=4), 1002),
    "RSV2": (frame(1, b"x", rsv=2), 1002),
    "RSV3 on a ping": (frame(9, b"x", rsv=1), 1002),
    "fragmented ping": (frame(9, b"x", fin=False), 1002),
    "long ping": (b"\x89\xfe\x00\x7e" + bytes(4) + bytes(126), 1002),
    "continuation of nothing": (frame(0, b"x"), 1002),
    "message within a message": (frame(1, b"x", fin=False) + frame(1, b"y"), 1002),
    "length in too many bytes": (b"\x82\xfe\x00\x05" + bytes(9), 1002),
    "bad UTF-8": (frame(1, b"a\xffb"), 1007),
    "UTF-8 that ends early": (frame(1, "€".encode()[:2]), 1007),
    "bad UTF-8 in fragments": (frame(1, b"a", fin=False) + frame(0, b"\xc0") + frame(9), 1007),
    "surrogate": (frame(1, b"\xed\xa0\x80"), 1007),
    "too big": (binary(b"x" * 1001), 1009),
    "too big as text": (text("x" * 1001), 1009),
    "too big in fragments": (frame(2, b"x" * 600, fin=False) + frame(0, b"x" * 600), 1009),
    "said to be too big": (b"\x82\xff\x7f" + bytes(6) + b"\xff" + bytes(4), 1009),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("piece", [1, 10_000])
def test_what_is_not_allowed(made: House, name: str, piece: int) -> None:
    data, code = BROKEN[name]
    app = App()
    client = made.make_wire(app, max_message=1000)
    data = text("before") + data + text("after")
    client.send_each(*[data[start : start + piece] for start in range(0, len(data), piece)])
    made.loop.settle()
    closes = [answer for answer in client.frames() if answer.opcode == 8]
    assert [answer.code for answer in closes] == [code]
    client.send(close(code))
    made.loop.advance(10)  # the answer cannot be told from the payload of a frame that says it is huge
    assert client.transport.lost
    assert app.messages == ["before"]
    assert app.ends == [(code, closes[0].reason)]
    assert client.ended[2] == "server"
    assert client.watcher.failures == [], "what a client does wrong is not the app's fault"
    assert client.count.now == 0


def test_the_largest_message_that_is_allowed(made: House) -> None:
    client = made.make_wire(EchoApp(), max_message=1000)
    client.send(binary(b"x" * 1000), frame(2, b"y" * 400, fin=False), frame(0, b"y" * 600))
    assert client.frames() == [Frame(2, b"x" * 1000), Frame(2, b"y" * 1000)]


@pytest.mark.parametrize("size", [500, 100_000])
def test_bad_utf8_is_found_before_the_message_is_whole(made: House, size: int) -> None:
    client = made.make_wire(App())
    data = frame(1, b"a" * 100 + b"\xff" + b"a" * size)
    client.send(data[:100])
    assert client.sent == b""
    client.send(data[100:200])
    assert [answer.code for answer in client.frames()] == [1007]
    client.send(data[200:], close(1007))
    made.loop.settle()
    assert client.transport.lost
    assert client.ended[0] == 1007


@pytest.mark.parametrize("cut", [1, 2])
def test_a_character_may_be_cut_between_pieces_and_fragments(made: House, cut: int) -> None:
    app = App()
    client = made.make_wire(app)
    start, end = "€".encode()[:cut], "€".encode()[cut:]
    data = text("x" * 200 + "€" + "y" * 200)
    middle = data.index(text("x" * 200)[8:]) + 200 + cut
    client.send_each(data[:middle], data[middle:])
    client.send_each(frame(1, start, fin=False), frame(0, end))
    assert app.messages == ["x" * 200 + "€" + "y" * 200, "€"]
