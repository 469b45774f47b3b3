"""A client's wire against a server's wire, byte for byte, with each frame reader. tests/client/ has it within a client."""

from __future__ import annotations

import random
from collections.abc import Awaitable
from typing import Any

import pytest

from tests.support.fake_frames import frame
from tests.support.fake_loop import Transport
from tests.support.fakes import READERS, App, House, house, request
from wsdaemon.client.tools import Tools
from wsdaemon.settings.client import client_settings
from wsdaemon.wire.client import ClientWire
from wsdaemon.wire.deflate.negotiation import DeflateOptions
from wsdaemon.wire.deflate.offering import agreed
from wsdaemon.wire.frames import load_client

CLIENT_READERS = [name for name in READERS if name != "off"]
every_reader = pytest.mark.parametrize("reader", CLIENT_READERS)


class Session:
    """Writes down what happens to a client's connection."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.ends: list[tuple[int, str]] = []
        self.errors: list[BaseException] = []
        self.wakes = 0

    def opened(self, wire: ClientWire) -> None:
        self.wire = wire

    def received(self, message: str | bytes) -> Awaitable[object] | None:
        self.messages.append(message)
        return None

    def closed(self, code: int, reason: str) -> None:
        self.ends.append((code, reason))

    def writable(self) -> None:
        self.wakes += 1

    def failed(self, error: BaseException) -> None:
        self.errors.append(error)


class End:
    """A client's wire on a fake transport."""

    def __init__(self, here: House, reader: str, answer: str = "", **options: Any) -> None:
        self.loop = here.loop
        settings = client_settings(options)
        tools = Tools(here.loop, load_client(reader), here.turns)
        self.session = Session()
        self.transport = Transport(here.loop)
        self.wire = tools.wires(settings).open(self.transport, -1, self.session, agreed(answer, DeflateOptions(threshold=20)))
        self._read = 0

    def sent(self) -> bytes:
        """The client's bytes since the last time."""
        self.loop.settle()
        data = b"".join(self.transport.writes)[self._read :]
        self._read += len(data)
        return data


@every_reader
@pytest.mark.parametrize("deflate", [False, True])
def test_a_client_and_a_server_understand_each_other(reader: str, deflate: bool) -> None:
    with house(reader) as here:
        app = App(lambda connection, message: connection.send(message))
        offered = {"sec_websocket_extensions": "permessage-deflate; client_max_window_bits"} if deflate else {}
        server = here.make_wire(
            app, opening=request(**offered), deflate=DeflateOptions(threshold=20) if deflate else None, max_message=1 << 20
        )
        answer = "permessage-deflate; server_max_window_bits=11; client_max_window_bits=11" if deflate else ""
        client = End(here, reader, answer)
        chance = random.Random(7)
        messages: list[str | bytes] = ["", b"", "x", "ä€𝄞" * 30]
        for size in (5, 125, 126, 127, 1000, 16_384, 16_385, 65_535, 65_536, 200_000):
            messages += ["t" * size, chance.randbytes(size)]
        for message in messages:
            client.wire.writer.send_payload(message.encode() if isinstance(message, str) else message, isinstance(message, str))
        to_server = client.sent()
        while to_server:  # in uneven pieces
            size = chance.randint(1, 70_000)
            server.send(to_server[:size])
            to_server = to_server[size:]
            here.loop.settle()
        assert app.messages == messages
        to_client = server.sent
        while to_client:
            size = chance.randint(1, 70_000)
            client.transport.receive(to_client[:size])
            to_client = to_client[size:]
            here.loop.settle()
        assert client.session.messages == messages
        client.wire.close(1000, "bye")
        server.send(client.sent())
        here.loop.settle()
        assert app.ends == [(1000, "bye")]


@every_reader
def test_each_frame_has_a_mask_of_its_own(reader: str) -> None:
    with house(reader) as here:
        client = End(here, reader)
        masks = set()
        for _ in range(200):
            client.wire.writer.send_payload(b"same", True)
            data = client.sent()
            assert data[0:2] == b"\x81\x84"
            masks.add(data[2:6])
        assert len(masks) == 200


@every_reader
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(1, b"masked"), 1002), (frame(2, b"x" * 70_000), 1002), (frame(9, b"masked ping"), 1002), (frame(8, b"\x03\xe8"), 1002),
        (frame(1, b"\xff", mask=None), 1007), (frame(3, b"", mask=None), 1002), (frame(1, b"x", rsv=4, mask=None), 1002),
        (frame(0, b"x", mask=None), 1002), (frame(9, b"x", fin=False, mask=None), 1002), (frame(8, b"\x03", mask=None), 1002),
        (frame(2, b"x" * 2000, mask=None), 1009),
    ],
    ids=lambda value: value[:4].hex() if isinstance(value, bytes) else str(value),
)  # fmt: skip
def test_frames_that_a_server_must_not_send(reader: str, data: bytes, code: int) -> None:
    with house(reader) as here:
        client = End(here, reader, max_message=1000)
        client.transport.receive(data)
        here.loop.settle()
        sent = client.sent()
        assert sent[0] == 0x88
        payload = bytes([byte ^ sent[2 + (index & 3)] for index, byte in enumerate(sent[6:])])
        assert int.from_bytes(payload[:2], "big") == code
        assert client.session.messages == []


@every_reader
def test_fragments_and_pings_between_them(reader: str) -> None:
    with house(reader) as here:
        client = End(here, reader)
        pieces = frame(1, b"a", fin=False, mask=None) + frame(9, b"p", mask=None)
        pieces += frame(0, b"b", fin=False, mask=None) + frame(0, b"c", mask=None)
        for position in range(len(pieces)):
            client.transport.receive(pieces[position : position + 1])
        client.transport.receive(frame(1, b"next", mask=None))
        assert client.session.messages == ["abc", "next"]
        assert client.sent()[0] == 0x8A


def test_the_verdict_names_the_side_that_closed() -> None:
    with house() as here:
        client = End(here, "python")
        client.transport.receive(frame(8, b"\x0f\xa1bye", mask=None))
        client.transport.lose()
        here.loop.settle()
        assert client.session.ends == [(4001, "bye")]
        assert client.wire.connection.closed_by == "server"
        client = End(here, "python")
        client.transport.lose(ConnectionResetError())
        assert client.session.ends == [(1006, "connection lost without a Close frame")]
        assert client.wire.connection.closed_by == "network"


def test_a_session_that_raises_is_told_and_the_connection_goes_on() -> None:
    with house() as here:
        client = End(here, "python")

        def fail(message: str | bytes) -> None:
            raise RuntimeError(str(message))

        client.wire.reader.received = fail
        client.transport.receive(frame(1, b"a", mask=None) + frame(1, b"b", mask=None))
        assert [str(error) for error in client.session.errors] == ["a", "b"]
        assert client.wire.writer.live


def test_the_session_hears_when_the_server_has_caught_up() -> None:
    with house() as here:
        client = End(here, "python")
        client.transport.stuck = True
        client.wire.writer.send_payload(b"x" * 100_000, False)
        client.sent()
        assert client.wire.writer.queued
        client.transport.drain()
        assert client.session.wakes == 1
