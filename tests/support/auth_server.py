"""Shared by the tests of the kind http: a server on a free port, and its client."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

import pytest
import uvloop

from tests.support.auth import Clock, request, settings_with
from wsdaemon.edge.auth.contract import Candidate, Denied, Identity
from wsdaemon.edge.auth.http import HttpAuthenticator

T = TypeVar("T")

OK = b"HTTP/1.1 200 OK\r\nX-Auth-User: ada\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers each request with the next of its answers, the last of them for ever. An answer of None closes the connection."""

    def __init__(self, *answers: bytes | None, context: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers)
        self.heads: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.arrived = asyncio.Semaphore(0)
        self.left = asyncio.Semaphore(0)
        self.held = asyncio.Event()
        self.held.set()
        self._context = context
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        return self

    async def __aexit__(self, *error: object) -> None:
        self.held.set()
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()

    def say(self, data: bytes) -> None:
        """Write an unrequested answer to all connections."""
        for writer in self._writers:
            writer.write(data)

    def hang_up(self, rude: bool) -> None:
        """Close all connections; `rude`: with a reset."""
        for writer in list(self._writers):
            if rude:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            else:
                writer.close()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}/auth?x=1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                self.arrived.release()
                await self.held.wait()
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            self.left.release()
            self._writers.discard(writer)
            writer.close()

    def sent(self, index: int = -1) -> list[tuple[str, str]]:
        """The headers of a request that came."""
        lines = self.heads[index].decode("latin-1").split("\r\n")[1:-2]
        return [(line.partition(":")[0].lower(), line.partition(":")[2].strip()) for line in lines]


def run(test: Callable[[], Awaitable[T]], uv: bool = False) -> T:
    async def wait() -> T:
        return await asyncio.wait_for(test(), 30)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uv else None) as runner:
        return runner.run(wait())


def way(url: str, clock: Clock | None = None, **keys: Any) -> HttpAuthenticator:
    return HttpAuthenticator(settings_with("http", url=url, **keys), clock or Clock())


async def ask(authenticator: HttpAuthenticator, asked: Candidate | None = None) -> Identity:
    return await authenticator.authenticate(asked or request())


async def refused(authenticator: HttpAuthenticator) -> Denied:
    with pytest.raises(Denied) as caught:
        await ask(authenticator)
    return caught.value
