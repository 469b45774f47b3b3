"""One HTTP request of an ASGI application: its task, `receive()` and `send()`."""

from __future__ import annotations

import asyncio
import enum
from typing import Any

from ...core.contract import PlainAnswer
from .inbox import ClientDisconnected, Event
from .starting import start
from .waking import wake
from .websocket import ApplicationError, Host


class HttpPhase(enum.Enum):
    ASKED = "asked"
    ANSWERING = "answering"
    ANSWERED = "answered"


class HttpRun:
    """The run of an application for one request.

    Receive: the body as it comes, then one disconnect after the answer, or when the client leaves. An error of the application is a 500
    until the answer has begun, and afterwards its end in the middle.
    """

    __slots__ = ("_answer", "_body", "_host", "_more", "_over", "_phase", "_received", "_waiters", "work")

    def __init__(self, host: Host, scope: Event, answer: PlainAnswer) -> None:
        """The application begins in the loop's next turn."""
        loop = asyncio.get_running_loop()
        self._host = host
        self._answer = answer
        self._body = bytearray()
        self._more = True
        self._received = False
        """Whether the end of the body was received."""
        self._over = False
        self._phase = HttpPhase.ASKED
        self._waiters: list[asyncio.Future[None]] = []
        self.work = start(loop, self._run(scope), f"asgi {scope['method']} {scope['path']}")
        host.running(self.work)

    # -- from the client

    def body(self, data: bytes, more: bool) -> None:
        """A piece of the request's body."""
        self._body += data
        self._more = more
        self._wake()

    def closed(self) -> None:
        """The answer is complete, or the client has gone."""
        self._over = True
        self._host.left(self.work)
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            wake(waiter, None)

    # -- the application

    async def _run(self, scope: Event) -> None:
        error: BaseException | None = None
        try:
            result = await self._host.application(scope, self.receive, self.send)
            if result is not None:
                error = ApplicationError(f"the application returned {result!r}; expected None")
            elif self._phase is not HttpPhase.ANSWERED and not self._over:
                error = ApplicationError("the application returned before its response was complete")
        except ClientDisconnected:
            pass
        except BaseException as raised:
            error = raised
        if error is not None and not (self._over and isinstance(error, asyncio.CancelledError)):
            self._host.failed_without_connection(error, "while answering a request")
            self._answer.fail()

    async def receive(self) -> Event:
        """The next event. ClientDisconnected after the disconnect event."""
        while True:
            if self._body or (not self._more and not self._received):
                data, self._body = bytes(self._body), bytearray()
                self._received = not self._more
                return {"type": "http.request", "body": data, "more_body": self._more}
            if self._over or self._phase is HttpPhase.ANSWERED:
                return {"type": "http.disconnect"}
            if self._more:
                self._answer.read_on()
            waiter: asyncio.Future[None] = self.work.get_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    async def send(self, event: Event) -> None:
        """One event of the application. If the client is slow, this waits; ClientDisconnected once it has gone.

        RuntimeError for an event that is not expected now, TypeError or ValueError for one that is not well-formed.
        """
        kind, phase = event["type"], self._phase
        if self._over and phase is not HttpPhase.ANSWERED:
            raise ClientDisconnected
        try:
            if phase is HttpPhase.ASKED and kind == "http.response.start":
                headers: Any = event.get("headers") or ()
                self._answer.begin(int(event["status"]), [(bytes(name), bytes(value)) for name, value in headers])
                self._phase = HttpPhase.ANSWERING
            elif phase is HttpPhase.ANSWERING and kind == "http.response.body":
                more = bool(event.get("more_body"))
                waiting = self._answer.send(bytes(event.get("body") or b""), more)
                if not more:  # not before: send() may refuse the body, and an application may go on after that
                    self._phase = HttpPhase.ANSWERED
                if waiting is not None:
                    await waiting
            else:
                raise RuntimeError(f"unexpected ASGI event {kind!r}; expected {_EXPECTED[phase]}")
        except ConnectionAbortedError:
            raise ClientDisconnected from None


_EXPECTED = {
    HttpPhase.ASKED: "http.response.start",
    HttpPhase.ANSWERING: "http.response.body",
    HttpPhase.ANSWERED: "nothing after the whole response",
}
