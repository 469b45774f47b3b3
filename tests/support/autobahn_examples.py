"""Classes and factories as Autobahn's own examples have them: broadcast, ping, slowsquare and streaming.

`call_later` stands for the global reactor's, which the examples import.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.defer import Deferred, inlineCallbacks

BATCH_BYTES = 10


def call_later(seconds: float, function: Callable[..., Any], *arguments: Any) -> None:
    asyncio.get_running_loop().call_later(seconds, function, *arguments)


class BroadcastServerProtocol(WebSocketServerProtocol):  # type: ignore[misc]
    def onOpen(self) -> None:
        self.factory.register(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if not isBinary:
            self.factory.broadcast("{} from {}".format(payload.decode("utf8"), self.peer))

    def connectionLost(self, reason: Any) -> None:
        WebSocketServerProtocol.connectionLost(self, reason)
        self.factory.unregister(self)


class BroadcastServerFactory(WebSocketServerFactory):  # type: ignore[misc]
    def __init__(self, url: str) -> None:
        WebSocketServerFactory.__init__(self, url)
        self.clients: list[Any] = []
        self.tickcount = 0
        self.tick()

    def tick(self) -> None:
        self.tickcount += 1
        self.broadcast(f"tick {self.tickcount} from server")
        call_later(1, self.tick)

    def register(self, client: Any) -> None:
        if client not in self.clients:
            self.clients.append(client)

    def unregister(self, client: Any) -> None:
        if client in self.clients:
            self.clients.remove(client)

    def broadcast(self, msg: str) -> None:
        for client in self.clients:
            client.sendMessage(msg.encode("utf8"))


class BroadcastPreparedServerFactory(BroadcastServerFactory):
    def broadcast(self, msg: str) -> None:
        prepared = self.prepareMessage(msg.encode("utf8"))
        for client in self.clients:
            client.sendPreparedMessage(prepared)


class PingServerProtocol(WebSocketServerProtocol):  # type: ignore[misc]
    def doPing(self) -> None:
        if self.run:
            self.sendPing()
            self.factory.pingsSent[self.peer] += 1
            call_later(1, self.doPing)

    def onPong(self, payload: bytes) -> None:
        self.factory.pongsReceived[self.peer] += 1

    def onOpen(self) -> None:
        self.factory.pingsSent[self.peer] = 0
        self.factory.pongsReceived[self.peer] = 0
        self.run = True
        self.doPing()

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        self.run = False


class PingServerFactory(WebSocketServerFactory):  # type: ignore[misc]
    def __init__(self, uri: str) -> None:
        WebSocketServerFactory.__init__(self, uri)
        self.pingsSent: dict[str, int] = {}
        self.pongsReceived: dict[str, int] = {}


class KeepaliveProtocol(WebSocketServerProtocol):  # type: ignore[misc]
    def onAutoPong(self, ping_sent: int, ping_seq: int, pong_received: int, pong_rtt: int, payload: bytes) -> None:
        self.sendMessage(f"pong {ping_seq} {len(payload)}".encode())


class SlowSquareServerProtocol(WebSocketServerProtocol):  # type: ignore[misc]
    @inlineCallbacks
    def slowsquare(self, x: int) -> Any:
        if x > 5:
            raise Exception("number too large")
        pause: Deferred[None] = Deferred()
        call_later(1, pause.callback, None)
        yield pause
        return x * x

    @inlineCallbacks
    def onMessage(self, payload: bytes, isBinary: bool) -> Any:
        if not isBinary:
            x = json.loads(payload.decode("utf8"))
            try:
                res = yield self.slowsquare(x)
            except Exception as error:
                self.sendClose(1000, f"Exception raised: {error}")
            else:
                self.sendMessage(json.dumps(res).encode("utf8"))


class CoroutineSquareServerProtocol(WebSocketServerProtocol):  # type: ignore[misc]
    async def slowsquare(self, x: int) -> int:
        if x > 5:
            raise Exception("number too large")
        await asyncio.sleep(1)
        return x * x

    async def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if not isBinary:
            try:
                res = await self.slowsquare(json.loads(payload.decode("utf8")))
            except Exception as error:
                self.sendClose(1000, f"Exception raised: {error}")
            else:
                self.sendMessage(json.dumps(res).encode("utf8"))


class MessageBasedHashServerProtocol(WebSocketServerProtocol):  # type: ignore[misc]
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.sendMessage(hashlib.sha256(payload).hexdigest().encode("utf8"))


class FrameBasedHashServerProtocol(WebSocketServerProtocol):  # type: ignore[misc]
    def onMessageBegin(self, isBinary: bool) -> None:
        WebSocketServerProtocol.onMessageBegin(self, isBinary)
        self.sha256: Any = hashlib.sha256()

    def onMessageFrame(self, payload: list[bytes]) -> None:
        for data in payload:
            self.sha256.update(data)
        self.sendMessage(self.sha256.hexdigest().encode("utf8"))

    def onMessageEnd(self) -> None:
        self.sha256 = None


class StreamingHashServerProtocol(WebSocketServerProtocol):  # type: ignore[misc]
    def onMessageBegin(self, isBinary: bool) -> None:
        WebSocketServerProtocol.onMessageBegin(self, isBinary)
        self.sha256 = hashlib.sha256()
        self.count = 0
        self.received = 0
        self.next = BATCH_BYTES

    def onMessageFrameBegin(self, length: int) -> None:
        WebSocketServerProtocol.onMessageFrameBegin(self, length)

    def onMessageFrameData(self, payload: bytes) -> None:
        length = len(payload)
        self.received += length
        if self.received >= self.next:
            rest = length - (self.received - self.next)
            self.sha256.update(payload[:rest])
            self.sendMessage(self.sha256.hexdigest().encode("utf8"))
            self.next += BATCH_BYTES
            self.count += 1
            self.sha256.update(payload[rest:])
        else:
            self.sha256.update(payload)

    def onMessageFrameEnd(self) -> None:
        pass

    def onMessageEnd(self) -> None:
        pass
