"""A client for tests: it can read slowly, or vanish, and knows how its connection ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from ..client import ClientClosed, WebSocketClient
from ..client.client import transport_of
from ..core.closing import ABNORMAL, NORMAL, ConnectionClosed
from ..core.handshake import Headers


class AppClient:
    """One open connection to an AppServer. `close_code` and `close_reason` are None and empty until it is over."""

    def __init__(self, unix: Path, path: str, options: Mapping[str, Any]) -> None:
        """`options` are those of WebSocketClient."""
        self.close_code: int | None = None
        self.close_reason = ""
        self._client = WebSocketClient(f"ws://localhost{path}", unix=unix, reconnect="off", on_close=self._closed, **options)

    def _closed(self, client: WebSocketClient, code: int, reason: str) -> None:
        self.close_code, self.close_reason = code, reason

    async def open(self) -> Self:
        """Connect. OpeningRefused, with `status` and `body`, if the server answers with another status than 101."""
        await self._client.connect()
        return self

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that both sides agreed on."""
        return self._client.subprotocol

    @property
    def headers(self) -> Headers | None:
        """The headers of the server's answer."""
        return self._client.response_headers

    # -- messages

    async def send(self, message: str | bytes) -> None:
        """Send a message. ConnectionClosed if the connection is over."""
        try:
            self._client.send(message)
        except ClientClosed:
            raise self._over() from None

    async def receive(self) -> str | bytes:
        """The next message. ConnectionClosed, with `code` and `reason`, after the last one."""
        try:
            return await self._client.receive()
        except (ClientClosed, ConnectionClosed):
            raise self._over() from None

    async def send_json(self, value: object) -> None:
        """Send a value as JSON text."""
        await self.send(json.dumps(value))

    async def receive_json(self) -> Any:
        """The value of the next message, which is JSON. ValueError if it is not."""
        return json.loads(await self.receive())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        """The next message, until the connection is over."""
        try:
            return await self.receive()
        except ConnectionClosed:
            raise StopAsyncIteration from None

    def _over(self) -> ConnectionClosed:
        return ConnectionClosed(ABNORMAL if self.close_code is None else self.close_code, self.close_reason)

    # -- the end, and worse

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """The closing handshake. Nothing happens on a connection that is over."""
        self._client.close(code, reason)
        await self._client.wait_closed()

    async def wait_closed(self) -> int:
        """Wait until the server has ended the connection; the close code."""
        await self._client.wait_closed()
        return self._over().code

    def stop_reading(self) -> None:
        """Be a slow client: read nothing more from the socket, so that the server's data piles up."""
        self._transport.pause_reading()

    def read_again(self) -> None:
        """Be no slow client any more."""
        self._transport.resume_reading()

    async def vanish(self) -> None:
        """Be gone without a Close frame, as a client whose network is lost."""
        self._transport.abort()
        await self._client.wait_closed()

    @property
    def _transport(self) -> asyncio.Transport:
        transport: asyncio.Transport | None = transport_of(self._client)
        if transport is None:
            raise self._over()
        return transport
