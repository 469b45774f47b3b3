"""Autobahn classes as users write them, for the tests of mounted classes."""

from __future__ import annotations

from typing import Any

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.types import ConnectionRequest


class Recording(WebSocketServerProtocol):  # type: ignore[misc]
    """An Autobahn class as users write them: no __init__ of the base is called, and attributes come as they are needed."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def onConnect(self, request: ConnectionRequest) -> Any:
        self.events.append("connect")
        self.request = request

    def onOpen(self) -> None:
        self.events.append("open")

    def onMessage(self, payload: bytes, isBinary: bool) -> Any:
        self.events.append((payload, isBinary))

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        self.events.append((wasClean, code, reason))


class Echo(WebSocketServerProtocol):  # type: ignore[misc]
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.sendMessage(payload, isBinary)
