"""wire/reader.py: bytes to messages and back, however they are cut, with each way of reading frames.

How a connection closes has its tests in test_wire.py, how it pauses in test_reader_pausing.py.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import ACCEPT, READERS, App, Frame, House, binary, close, closing, frame, house, request, server_frames, text
from wsdaemon.apps.echo import EchoApp
from wsdaemon.core.connection import Connection
from wsdaemon.wire.body import BODY_BYTES
from wsdaemon.wire.reader import MAX_FRAMES_PER_PASS

pytestmark = pytest.mark.readers()


LARGE = random.Random(1).randbytes(200_000)


# -- the opening handshake


def test_the_answer_to_the_opening_handshake(made: House) -> None:
    client = made.make_wire(EchoApp(), response_headers={"X-Served-By": "us"})
    status, *lines = client.head.split("\r\n")[:-2]
    assert status == "HTTP/1.1 101 Switching Protocols"
    assert dict(line.split(": ") for line in lines) == {
        "Server": "wsdaemon",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "X-Served-By": "us",
        "Sec-WebSocket-Accept": ACCEPT,
    }
    assert client.watcher.opened_ones == [client.connection]
    assert client.count.now == 1


def test_the_subprotocol_that_was_chosen(made: House) -> None:
    client = made.make_wire(EchoApp(), opening=request(sec_websocket_protocol="other, chat"), subprotocols=("chat",))
    assert "\r\nSec-WebSocket-Protocol: chat\r\n" in client.head
    assert client.connection.subprotocol == "chat"


def test_nothing_is_said_of_an_extension_that_is_off(made: House) -> None:
    client = made.make_wire(EchoApp(), opening=request(sec_websocket_extensions="permessage-deflate"))
    assert "extensions" not in client.head.lower()


def test_what_an_app_sends_while_it_opens_follows_the_answer(made: House) -> None:
    class Greeter(App):
        def open(self, connection: Connection, handshake: Any) -> Any:
            connection.send("welcome")
            return super().open(connection, handshake)

    client = made.make_wire(Greeter())
    assert len(client.transport.writes) == 1
    assert client.frames() == [Frame(1, b"welcome")]


# -- messages


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 200_000])
def test_echo(made: House, size: int) -> None:
    client = made.make_wire(EchoApp())
    client.send(binary(LARGE[:size]), frame(1, b"x" * size))
    assert client.frames() == [Frame(2, LARGE[:size]), Frame(1, b"x" * size)]
    assert (client.reader.messages_in, client.writer.messages_out) == (2, 2)


def test_text_is_str_and_binary_is_bytes_where_an_app_meets_it(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    client.send(text("grün"), binary(b"gr\xfcn"), text(""), binary(b""))
    assert app.messages == ["grün", b"gr\xfcn", "", b""]
    assert [type(message) for message in app.messages] == [str, bytes, str, bytes]


def test_what_can_be_sent(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    for message in ("é", b"1", bytearray(b"2"), memoryview(b"3")):
        app.connection.send(message)
    app.connection.send_payload("ü".encode(), True)
    made.loop.settle()
    assert client.frames() == [Frame(1, "é".encode()), Frame(2, b"1"), Frame(2, b"2"), Frame(2, b"3"), Frame(1, "ü".encode())]
    with pytest.raises(TypeError, match=r"a message is str \(text\) or bytes \(binary\), not int"):
        app.connection.send(1)  # type: ignore[arg-type]


def test_replies_made_in_one_read_leave_in_one_write(made: House) -> None:
    client = made.make_wire(EchoApp())
    before = len(client.transport.writes)
    client.send(*[text(str(number)) for number in range(300)])
    assert len(client.transport.writes) == before + 1
    assert client.frames() == [Frame(1, str(number).encode()) for number in range(300)]


def test_what_is_sent_outside_a_read_leaves_together_in_the_loops_next_turn(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    before = len(client.transport.writes)
    for number in range(10):
        app.connection.send(str(number))
    assert len(client.transport.writes) == before
    made.loop.settle()
    assert len(client.transport.writes) == before + 1
    assert len(client.frames()) == 10


def test_counters(made: House) -> None:
    client = made.make_wire(EchoApp())
    before = client.writer.bytes_out
    client.send(text("abc"), frame(9, b"?"))
    assert (client.reader.messages_in, client.writer.messages_out) == (1, 1)
    assert client.reader.bytes_in == len(text("abc")) + len(frame(9, b"?"))
    assert client.writer.bytes_out - before == len(client.sent)


STREAM = b"".join(
    [
        text("grün"),
        frame(9, b"a"),
        binary(b""),
        frame(1, "€".encode()[:1], fin=False),
        frame(9, b"b"),
        frame(0, "€".encode()[1:]),
        frame(10, b"unasked"),
        binary(b"x" * 130),
        close(3000, "fin"),
    ]
)
ANSWER = [
    Frame(1, "grün".encode()), Frame(10, b"a"), Frame(2, b""), Frame(10, b"b"), Frame(1, "€".encode()), Frame(2, b"x" * 130),
    closing(3000, "fin"),
]  # fmt: skip


def test_every_cut_of_a_byte_stream_in_two(made: House) -> None:
    for cut in range(1, len(STREAM)):
        client = made.make_wire(EchoApp())
        client.send_each(STREAM[:cut], STREAM[cut:])
        assert client.frames() == ANSWER, f"cut at {cut}"


def test_byte_by_byte(made: House) -> None:
    client = made.make_wire(EchoApp())
    client.send_each(*[STREAM[index : index + 1] for index in range(len(STREAM))])
    assert client.frames() == ANSWER


@given(st.sampled_from(list(READERS)), st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_any_cuts(reader: str, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    with house(reader) as made:
        client = made.make_wire(EchoApp())
        client.send_each(*[STREAM[start:end] for start, end in pairwise(places) if start < end])
        assert client.frames() == ANSWER


# -- frames in pieces


@pytest.mark.parametrize("opcode", [1, 2])
@pytest.mark.parametrize("size", [300, 5_000, BODY_BYTES - 1, BODY_BYTES, BODY_BYTES + 6_000, 200_000])
@pytest.mark.parametrize("piece", [100, 1448, 64 * 1024])
def test_a_frame_in_pieces(made: House, opcode: int, size: int, piece: int) -> None:
    payload = LARGE[:size] if opcode == 2 else ("aä€" * size)[:size].encode()
    data = frame(opcode, payload) + text("next")
    client = made.make_wire(EchoApp())
    client.send_each(*[data[start : start + piece] for start in range(0, len(data), piece)])
    assert client.frames() == [Frame(opcode, payload), Frame(1, b"next")]
    assert client.reader.bytes_in == len(data)
    assert client.transport.protocol is client.reader


def test_fragments_are_one_message(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    start, end = "ä".encode()[:1], "ä".encode()[1:]
    client.send(frame(1, b"a", fin=False), frame(0, start, fin=False), frame(0, b"", fin=False), frame(0, end + b"b"))
    client.send_each(frame(2, b"1", fin=False), frame(0, b"2"))
    client.send(text("whole"))
    assert app.messages == ["aäb", b"12", "whole"]


def test_a_ping_between_fragments_is_answered_at_once(made: House) -> None:
    client = made.make_wire(EchoApp())
    client.send(frame(1, b"a", fin=False), frame(9, b"now"))
    assert client.frames() == [Frame(10, b"now")]
    client.send(frame(0, b"b"))
    assert client.frames() == [Frame(1, b"ab")]


def test_pongs_keep_their_place_among_the_replies(made: House) -> None:
    client = made.make_wire(EchoApp())
    client.send(text("1"), frame(9, b"2"), text("3"), frame(9, b""), frame(9, b"5" * 125))
    assert client.frames() == [Frame(1, b"1"), Frame(10, b"2"), Frame(1, b"3"), Frame(10, b""), Frame(10, b"5" * 125)]


def test_65536_fragments_pass(made: House) -> None:
    """The message of the Autobahn TestSuite's case 9.3.1 must be within the default limit."""
    app = App()
    client = made.make_wire(app)
    client.send(frame(2, b"x", fin=False), frame(0, b"y", fin=False) * 65_534, frame(0, b"z"))
    assert app.messages == [b"x" + b"y" * 65_534 + b"z"]


def test_more_than_max_fragments_do_not_pass(made: House) -> None:
    app = App()
    client = made.make_wire(app, max_fragments=10)
    client.send(frame(2, b"x", fin=False), frame(0, fin=False) * 8, frame(0), text("counted anew"))
    assert app.messages == [b"x", "counted anew"]
    client.send(frame(2, b"x", fin=False), frame(0, fin=False) * 50)
    assert client.frames() == [closing(1009, "message of more than 10 fragments")]
    assert app.messages == [b"x", "counted anew"]


# -- what a long read costs


def test_many_tiny_frames_in_one_long_read_are_not_quadratic(made: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts the bytes that are given to the parsers, not seconds: each sees a byte a bounded number of times."""
    app = App()
    client = made.make_wire(app)
    held: list[int] = []
    given_in = type(client.protocol).processData

    def counted(protocol: Any) -> Any:
        held.append(len(protocol.data))
        return given_in(protocol)

    monkeypatch.setattr(type(client.protocol), "processData", counted)
    fragments = frame(2, b"x", fin=False) + frame(0, b"y", fin=False) * 20_000 + frame(0, b"z")
    client.send(fragments)
    assert len(app.messages) == 1
    assert sum(held) < len(fragments) * 1000, "Autobahn copies what it holds for each frame"
    assert max(held) <= 4096 + 14


def test_a_pass_takes_a_bounded_number_of_frames(made: House) -> None:
    """Each pass gets the data and a position: nothing is copied, and no more than MAX_FRAMES_PER_PASS frames are read ahead of the app."""
    passes: list[tuple[int, int]] = []
    client = made.make_wire(EchoApp())
    policy = client.reader.policy
    take = policy.frames.take

    def counted(data: bytes, position: int, maximum: int, flags: int, most: int) -> tuple[list[Any], int]:
        messages, after = take(data, position, maximum, flags, most)
        passes.append((len(data), len(messages) // 2))
        return messages, after

    client.reader.policy = replace(policy, frames=replace(policy.frames, take=counted))
    data = text("x") * 1000
    client.send(data)
    assert len(client.frames()) == 1000
    assert (
        passes == [(len(data), min(MAX_FRAMES_PER_PASS, 1000 - done)) for done in range(0, 1000, MAX_FRAMES_PER_PASS)]
        if client.fast
        else passes == []
    )


# -- faults of ours


def test_an_error_of_ours_ends_this_connection_only(made: House, monkeypatch: pytest.MonkeyPatch) -> None:
    app = App()
    client, other = made.make_wire(app), made.make_wire(EchoApp())

    def broken(works: Callable[..., None]) -> Callable[..., None]:
        def call(reader: Any, *arguments: Any) -> None:
            if reader is client.reader:
                raise RuntimeError("a bug")
            works(reader, *arguments)

        return call

    for name in ("read", "hand_over"):  # a read of one message and nothing else is handed over without read()
        monkeypatch.setattr(type(client.reader), name, broken(getattr(type(client.reader), name)))
    client.send(text("x"))
    made.loop.settle()
    assert client.transport.aborted
    assert [(doing, str(error)) for doing, error in client.watcher.failures] == [("reading", "a bug")]
    assert app.ends == [(1006, "")]
    assert client.count.now == 0
    other.send(text("y"))
    assert other.frames() == [Frame(1, b"y")]


def test_server_frames_are_not_masked_and_final(made: House) -> None:
    client = made.make_wire(EchoApp())
    client.send(text("x"))
    assert re.fullmatch(rb"\x81\x01x", client.sent)
    assert list(server_frames(client.sent)) == [Frame(1, b"x")]
