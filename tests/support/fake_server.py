"""The far end of a client in memory: a network without sockets, and the server's end of each connection that is made on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.fake_frames import Frame, frame
from tests.support.fake_loop import Loop, Transport
from wsdaemon.client.client import WebSocketClient
from wsdaemon.client.target import Target
from wsdaemon.wire.answer import answer

Outcome = Exception | Callable[["ServerEnd"], object] | None
"""A failure to connect; a function that is called with the server's end when the request has come; or nothing: the test answers."""


class ServerEnd:
    """The server's end of one connection."""

    def __init__(self, loop: Loop, target: Target) -> None:
        self.loop = loop
        self.target = target
        self.transport = Transport(loop)
        self._read = 0

    @property
    def _sent(self) -> bytes:
        return b"".join(self.transport.writes)

    @property
    def head(self) -> str:
        """The client's request."""
        return self._sent.partition(b"\r\n\r\n")[0].decode("latin-1")

    def header(self, name: str) -> str | None:
        """A header of the request."""
        for line in self.head.split("\r\n")[1:]:
            found, _, value = line.partition(": ")
            if found.lower() == name.lower():
                return value
        return None

    def accept(self, subprotocol: str | None = None, extensions: str = "", also: bytes = b"", **headers: str) -> None:
        """Answer 101, and send `also` in the same read. Header names have underscores for hyphens."""
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        if subprotocol is not None:
            lines["Sec-WebSocket-Protocol"] = subprotocol
        if extensions:
            lines["Sec-WebSocket-Extensions"] = extensions
        key = self.header("Sec-WebSocket-Key")
        assert key is not None
        self.transport.receive(answer(key, lines) + also)
        self._settle()

    def refuse(self, status: int, phrase: str = "No", body: bytes = b"", **headers: str) -> None:
        """Answer another status, and end the connection."""
        lines = "".join([f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()])
        self.transport.receive(f"HTTP/1.1 {status} {phrase}\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body)
        self.transport.lose()
        self._settle()

    def send(self, *messages: str | bytes) -> None:
        """Send messages, each in a frame, all in one read."""
        self.give(b"".join([frame(1, m.encode(), mask=None) if isinstance(m, str) else frame(2, m, mask=None) for m in messages]))

    def give(self, data: bytes) -> None:
        """Send bytes."""
        self.transport.receive(data)
        self._settle()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake, and end the connection once the client has answered."""
        self.give(frame(8, code.to_bytes(2, "big") + reason.encode(), mask=None))
        self.lose()

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone."""
        self.transport.lose(error)
        self._settle()

    def _settle(self) -> None:
        """An outcome is called by the loop itself."""
        if not self.loop.is_running():
            self.loop.settle()

    def frames(self) -> list[Frame]:
        """The client's frames since the last time, unmasked."""
        start = self._sent.index(b"\r\n\r\n") + 4
        data = self._sent[start + self._read :]
        self._read += len(data)
        return list(client_frames(data))

    def messages(self) -> list[str | bytes]:
        """The client's messages since the last time."""
        return [each.payload.decode() if each.opcode == 1 else each.payload for each in self.frames() if each.opcode in (1, 2)]


def client_frames(data: bytes) -> Iterator[Frame]:
    """The frames in what a client sent; each is masked, and nothing may be left over."""
    position = 0
    while position < len(data):
        first, length = data[position], data[position + 1]
        assert length >= 128, "a client masks everything"
        length -= 128
        position += 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(data[position : position + size], "big")
            position += size
        mask = data[position : position + 4]
        position += 4
        assert position + length <= len(data), "a frame is not whole"
        payload = bytes([byte ^ mask[index & 3] for index, byte in enumerate(data[position : position + length])])
        yield Frame(first & 15, payload, bool(first & 128), first >> 4 & 7)
        position += length


class Network:
    """Takes the place of a client's Dialer. Each attempt takes the next of `outcomes`; without one the test answers by itself."""

    def __init__(self, loop: Loop, *outcomes: Outcome) -> None:
        self.loop = loop
        self.outcomes = list(outcomes)
        self.ends: list[ServerEnd] = []
        self.attempts: list[float] = []

    async def __call__(self, target: Target, protocol: asyncio.Protocol, /) -> int:
        self.attempts.append(self.loop.time())
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        end = ServerEnd(self.loop, target)
        self.ends.append(end)
        end.transport.protocol = protocol
        protocol.connection_made(end.transport)  # type: ignore[arg-type]
        if outcome is not None:
            self.loop.call_soon(outcome, end)
        return -1

    @property
    def end(self) -> ServerEnd:
        """The server's end of the last connection."""
        return self.ends[-1]


class Heard:
    """Writes down the callbacks of a client."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []
        self.messages: list[str | bytes] = []
        self.errors: list[BaseException] = []
        self.delays: list[float] = []

    @property
    def callbacks(self) -> dict[str, Any]:
        return {
            "on_open": lambda client: self.events.append(("open",)),
            "on_message": lambda client, message: self.messages.append(message),
            "on_close": lambda client, code, reason: self.events.append(("close", code, reason)),
            "on_reconnect": self._reconnect,
            "on_error": lambda client, error: self.errors.append(error),
        }

    def _reconnect(self, client: WebSocketClient, attempt: int, delay: float) -> None:
        self.events.append(("reconnect", attempt))
        self.delays.append(delay)


class Story:
    """One client on a fake network, and what it was told."""

    def __init__(self, loop: Loop, *outcomes: Outcome, url: str = "ws://server.example/path", **options: Any) -> None:
        self.loop = loop
        self.network = Network(loop, *outcomes)
        self.heard = Heard()
        self.client = WebSocketClient(url, **{**self.heard.callbacks, **options})
        self.client._opener.dial = self.network

    def begin(self) -> ServerEnd:
        """Start the client; the server's end of its first connection."""
        self.client.begin()
        self.loop.settle()
        return self.network.end

    def open(self, subprotocol: str | None = None, extensions: str = "") -> ServerEnd:
        """Start the client and accept its first connection."""
        end = self.begin()
        end.accept(subprotocol, extensions)
        assert self.client.is_open
        return end

    @property
    def end(self) -> ServerEnd:
        return self.network.end

    def next_end(self, subprotocol: str | None = None) -> ServerEnd:
        """Let time pass until the client connects again, and accept it."""
        self.wait_for_end()
        self.end.accept(subprotocol)
        return self.end

    def wait_for_end(self) -> ServerEnd:
        """Let time pass until the client connects again."""
        before = len(self.network.ends)
        for _ in range(610):
            if len(self.network.ends) > before:
                return self.end
            self.loop.advance(0.1)
        raise AssertionError(f"the client does not connect again: {self.heard.errors}")


@contextmanager
def story(*outcomes: Outcome, **options: Any) -> Iterator[Story]:
    """A story on a loop of its own. An error that is not handled fails the test."""
    with Loop() as loop:
        made = Story(loop, *outcomes, **options)
        yield made
        made.client.close()
        loop.advance(10.0)
        assert made.client.state.value in ("new", "closed")
        assert loop.problems == []
