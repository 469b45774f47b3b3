"""One WebSocket of an ASGI application: its task, `receive()` and `send()`, and the session of its connection.

    +--------+ accept   +-----------+ 101      +------+ close, the application has ended   +--------+
    | ASKED  | -------> | ACCEPTING | -------> | OPEN | ---------------------------------> | CLOSED |
    +--------+          +-----------+          +------+                                    +--------+
        |  close (403)       | no connection after all                                         ^
        |------------------------------------------------------------------------------------>|
        |  http.response.start  +---------+  the last http.response.body                      |
        +---------------------> | DENYING | ------------------------------------------------->|
                                +---------+

An error of the application is a 500 until the connection is open, and 1011 afterwards.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ...core.acceptance import MAX_REFUSAL_BYTES, OF_THE_DAEMON, HandshakeRefused, check_acceptance
from ...core.closing import ABNORMAL, INTERNAL_ERROR, NORMAL, ConnectionClosed
from ...core.connection import Connection, background_of, writer_of
from ...core.contract import Acceptance
from ...core.handshake import Handshake
from ...core.wire_halves import Writer
from .inbox import ClientDisconnected, Event, Inbox
from .starting import start
from .waking import wake

Application = Callable[[Event, Callable[[], Awaitable[Event]], Callable[[Event], Awaitable[None]]], Awaitable[object]]
"""An ASGI 3 application: `await application(scope, receive, send)`."""


class ApplicationError(Exception):
    """An application did not keep to the ASGI specification."""


class Host(Protocol):
    """The app that runs the application."""

    @property
    def application(self) -> Application: ...

    def running(self, task: asyncio.Task[None]) -> None:
        """The application's task for one client."""

    def left(self, task: asyncio.Task[None]) -> None:
        """The client of that task has gone."""

    def failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        """An error of the application, for the log."""

    def failed_without_connection(self, error: BaseException, when: str) -> None:
        """The same at a time when there is no connection."""


class RunPhase(enum.Enum):
    ASKED = "asked"
    ACCEPTING = "accepting"
    DENYING = "denying"
    OPEN = "open"
    CLOSED = "closed"


EXPECTED = {
    RunPhase.ASKED: "websocket.accept, websocket.close or websocket.http.response.start",
    RunPhase.ACCEPTING: "nothing until websocket.accept is done",
    RunPhase.DENYING: "websocket.http.response.body",
    RunPhase.OPEN: "websocket.send or websocket.close",
}


class WebSocketRun:
    """The run of an application for one client, from the opening handshake to the end of the connection."""

    __slots__ = (
        "_connection", "_denial", "_ended_with", "_host", "_inbox", "_offered", "_opened", "_phase", "_task", "_writer", "decision",
        "received",
    )  # fmt: skip

    def __init__(self, host: Host, scope: Event, subprotocols: tuple[str, ...]) -> None:
        """`subprotocols` are those that the client offers. The application begins in the loop's next turn."""
        loop = asyncio.get_running_loop()
        self._host = host
        self._inbox = Inbox(loop)
        self.received = self._inbox.put
        self._offered = subprotocols
        self._phase = RunPhase.ASKED
        self._ended_with: tuple[int, str] | None = None
        self._denial: tuple[int, list[tuple[str, str]], bytearray] | None = None
        self._connection: Connection | None = None
        self._writer: Writer | None = None
        """The connection's, while the phase is OPEN."""
        self._opened: asyncio.Future[None] | None = None
        self.decision: asyncio.Future[Acceptance | None] = loop.create_future()
        """The application's answer to the opening handshake. Cancelled: the client has left, or has waited for too long."""
        self.decision.add_done_callback(self._decided)
        scope["subprotocols"] = list(subprotocols)
        scope["extensions"]["websocket.http.response"] = {}
        self._task = start(loop, self._run(scope), f"asgi websocket {scope['path']}")
        host.running(self._task)

    def _decided(self, decision: asyncio.Future[Acceptance | None]) -> None:
        if decision.cancelled() or decision.exception() is not None:
            self._over()

    def _over(self) -> None:
        """There is no connection, and there will be none."""
        self._phase = RunPhase.CLOSED
        self._inbox.end(ABNORMAL, "")
        self._host.left(self._task)

    # -- the connection

    def open(self, connection: Connection, handshake: Handshake) -> WebSocketRun:
        """The 101 is on its way: this is the session of the connection."""
        self._connection, self._writer, self._phase = connection, writer_of(connection), RunPhase.OPEN
        background_of(connection).add(self._task, connection)
        if self._ended_with is not None:  # it did not wait for its accept
            connection.close(*self._ended_with)
        elif self._opened is not None:
            wake(self._opened, None)
        return self

    def abandoned(self) -> None:
        """The application has accepted, but there is no connection after all."""
        self._over()
        if self._opened is not None:
            wake(self._opened, None)

    def closed(self, code: int, reason: str) -> None:
        """The connection is over. A lost one has no reason that a client gave."""
        self._inbox.end(code, "" if code == ABNORMAL else reason)
        self._host.left(self._task)

    # -- the application

    async def _run(self, scope: Event) -> None:
        """Run the application to its end. Nothing is raised here: the outcome goes to the client and to the log."""
        error: BaseException | None = None
        try:
            result = await self._host.application(scope, self._inbox.receive, self.send)
            if result is not None:
                error = ApplicationError(f"the application returned {result!r}; expected None")
        except ClientDisconnected:
            pass
        except BaseException as raised:
            error = raised
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        """The application has ended."""
        self._ended_with = (NORMAL, "") if error is None else (INTERNAL_ERROR, "internal error")
        connection = self._connection
        if connection is None and not self.decision.done():
            self._refuse(_answerable(error))
        elif error is not None and not (isinstance(error, asyncio.CancelledError) and self._inbox.is_over):
            if connection is None:
                self._host.failed_without_connection(error, "after its client was refused or had left")
            else:
                self._host.failed(connection, "running", error)
        if connection is not None:
            connection.close(*self._ended_with)
            self._phase, self._writer = RunPhase.CLOSED, None

    def _refuse(self, answer: Exception) -> None:
        self._phase = RunPhase.CLOSED
        if not self.decision.done():
            self.decision.set_exception(answer)

    # -- send()

    async def send(self, event: Event) -> None:
        """One event of the application. If the client is slow, this waits; ClientDisconnected once the connection is over.

        RuntimeError for an event that is not expected now, TypeError or ValueError for one that is not well-formed.
        """
        writer = self._writer
        if writer is None or event["type"] != "websocket.send":
            await self._send_other(event)
            return
        if writer.queued or not writer.live:
            await self._wait_for_room(writer)
        payload: Any = event.get("bytes")
        try:
            if payload is None:
                text = event.get("text")
                if text is None:
                    raise ValueError("a websocket.send event has neither text nor bytes")
                writer.send_payload(text.encode(), True)
            else:
                writer.send_payload(payload if type(payload) is bytes else bytes(memoryview(payload)), False)
        except ConnectionClosed:
            raise ClientDisconnected from None

    async def _wait_for_room(self, writer: Writer) -> None:
        connection = self._connection
        assert connection is not None
        while writer.congested and writer.live:
            await connection.writable()
        if not writer.live:
            raise ClientDisconnected

    async def _send_other(self, event: Event) -> None:
        kind, phase = event["type"], self._phase
        if self._inbox.is_over or phase is RunPhase.CLOSED or (self._writer is not None and not self._writer.live):
            raise ClientDisconnected
        if phase is RunPhase.OPEN and kind == "websocket.close":
            self._close(event)
        elif phase is RunPhase.ASKED and kind == "websocket.accept":
            await self._accept(event)
        elif phase is RunPhase.ASKED and kind == "websocket.close":
            self._refuse(HandshakeRefused(403))
        elif phase is RunPhase.ASKED and kind == "websocket.http.response.start":
            self._begin_denial(event)
        elif phase is RunPhase.DENYING and kind == "websocket.http.response.body":
            self._deny(event)
        else:
            raise RuntimeError(f"unexpected ASGI event {kind!r}; expected {EXPECTED[phase]}")

    def _close(self, event: Event) -> None:
        connection = self._connection
        assert connection is not None
        code, reason = event.get("code"), event.get("reason")
        connection.close(NORMAL if code is None else code, reason or "")
        self._phase, self._writer = RunPhase.CLOSED, None

    async def _accept(self, event: Event) -> None:
        headers = [(_text(name), _text(value)) for name, value in event.get("headers") or ()]
        accepted = Acceptance(event.get("subprotocol") or "", headers, self.open, self.abandoned)
        check_acceptance(accepted, self._offered)
        self._phase = RunPhase.ACCEPTING
        # The application goes on in the very turn in which the 101 leaves. Later, another client's task could come first: a message that
        # was sent after the 101 would find that the application has not taken the new client into its table yet.
        self._opened = asyncio.get_running_loop().create_future()
        self.decision.set_result(accepted)
        await self._opened
        if self._connection is None:
            raise ClientDisconnected

    # -- an answer instead of the 101

    def _begin_denial(self, event: Event) -> None:
        headers = [(_text(name), _text(value)) for name, value in event.get("headers") or ()]
        kept = [(name, value) for name, value in headers if name.lower() not in OF_THE_DAEMON]
        status = int(event["status"])
        HandshakeRefused(status, b"", kept)  # raises for what cannot be answered
        self._denial = status, kept, bytearray()
        self._phase = RunPhase.DENYING

    def _deny(self, event: Event) -> None:
        assert self._denial is not None
        status, headers, body = self._denial
        body += event.get("body") or b""
        if len(body) > MAX_REFUSAL_BYTES:
            raise ValueError(f"the body of a refusal has more than {MAX_REFUSAL_BYTES} bytes")
        if not event.get("more_body"):
            self._refuse(HandshakeRefused(status, bytes(body), headers))


def _text(part: bytes) -> str:
    return bytes(part).decode("latin-1")


def _answerable(error: BaseException | None) -> Exception:
    """The reason for a 500, as a future can hold it."""
    if error is None:
        return ApplicationError("the application returned before websocket.accept")
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    answer = ApplicationError(f"the application ended with {error!r} before websocket.accept")
    answer.__cause__ = error
    return answer
