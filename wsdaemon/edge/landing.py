"""A transport for the socket of a connection that was opened in another process."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from ..wire.writer import Native
from .opening import open_transport


class Landing(asyncio.Protocol):
    """The protocol of the transport until the connection goes on: it keeps the bytes that are read by then.

    uvloop reads as soon as a transport is made, also if `connection_made` has paused it.
    """

    __slots__ = ("_landed", "early", "lost", "native", "why_lost")

    def __init__(self, landed: asyncio.Future[None]) -> None:
        self._landed = landed
        self.native: Native
        self.early = b""
        self.lost = False
        self.why_lost: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        native: Any = transport
        native.pause_reading()
        self.native = native
        if self._landed.done():  # given up meanwhile
            native.abort()
        else:
            self._landed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.early += data
        self.native.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost, self.why_lost = True, exc

    def failed(self, error: BaseException) -> None:
        if not self._landed.done():
            self._landed.set_exception(error)


async def land(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> Landing:
    """A paused transport for a connected socket. OSError if there is none; the socket is then closed."""
    landed: asyncio.Future[None] = loop.create_future()
    landing = Landing(landed)
    sock.setblocking(False)
    open_transport(loop, landing, sock, landing.failed)
    try:
        await landed
    except OSError:
        sock.close()
        raise
    if not landing.lost:
        landing.native.pause_reading()
    return landing
