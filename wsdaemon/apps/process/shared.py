"""One program for all connections of a mount: `app = process` with `shared = on`.

It reads and writes one JSON object in a line, with the id of the connection. It is started with the daemon, and again when it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...core.acceptance import unavailable
from ...core.closing import SERVICE_RESTART, TRY_AGAIN_LATER
from ...core.connection import Connection
from ...core.handshake import Handshake
from ...core.rare_lines import LineLog, RareLines
from ...core.waiting import until_done
from ...core.wire_halves import Prepared
from .child import OUT_OF_REACH, Child, Launch, outcome_of
from .environment import hidden_headers
from .framing import Close, FramingError, LineCutter, ProgramMessage, event_of, json_line, json_object, json_size, message_fields
from .output import ErrorLog, Errors, Sliced

ALL = "*"
"""The id that means all connections."""

MAX_UNWRITTEN_BYTES = 16 * 1024 * 1024
"""Bytes that may wait for the program, of all clients together. Beyond that messages wait in their connections, and new clients get 503."""

FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS = 0.5, 30.0
"""Until a program that has ended is started again: the first, and doubled each time up to the last."""

GOOD_RUN_SECONDS = 60.0
"""After a run of so long the delay is the first again."""

Delivery: TypeAlias = tuple[Connection, ProgramMessage | Close | Prepared]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRules:
    """How the program of a mount runs. `max_output`: bytes of its largest message."""

    mount: str
    launch: Launch
    environment: Mapping[bytes, bytes]
    max_output: int


class SharedApp:
    """The program, and the connections that it serves."""

    keeps_handshake = False

    def __init__(self, rules: SharedRules, log: LineLog) -> None:
        self._rules = rules
        self._lines = RareLines(log)
        self._errors = Errors(ErrorLog(log, rules.mount))
        self._clients: dict[str, Connection] = {}
        self._child: Child | None = None
        self._cutter = LineCutter(json_size(rules.max_output))
        self._sliced: Sliced[Delivery] = Sliced(self._deliver)
        self._delay = FIRST_DELAY_SECONDS
        self._began = 0.0
        self._again: asyncio.TimerHandle | None = None
        self._stopping = False
        self._gone: asyncio.Future[None] | None = None
        self._out_of_reach = False

    # -- the program

    async def start(self) -> None:
        """Start the program. OSError if that fails: then the daemon does not start."""
        self._start()

    def _start(self) -> None:
        self._again = None
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        self._cutter = LineCutter(json_size(self._rules.max_output))
        self._child = Child(self._rules.launch, self._rules.environment, self, loop)

    def _start_again(self) -> None:
        try:
            self._start()
        except OSError as error:
            self._lines.error("start", "{mount}: the program cannot be started: {error}", mount=self._rules.mount, error=str(error))
            self._start_later()

    def _start_later(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - self._began > GOOD_RUN_SECONDS:
            self._delay = FIRST_DELAY_SECONDS
        self._again = loop.call_later(self._delay, self._start_again)
        self._delay = min(2 * self._delay, LAST_DELAY_SECONDS)

    async def stop(self) -> None:
        """End the program, and wait until nothing of it is left."""
        self._stopping = True
        if self._again is not None:
            self._again.cancel()
        if self._child is not None and not self._out_of_reach:
            self._gone = asyncio.get_running_loop().create_future()
            self._child.end()
            await self._gone

    # -- its clients

    async def admit(self, handshake: Handshake) -> None:
        """HandshakeRefused while the program does not run, or does not keep up."""
        if self._serving is None:
            raise unavailable("the program is being started again\n")

    @property
    def _serving(self) -> Child | None:
        """The program, if it can take another client."""
        child = self._child
        return child if child is not None and child.status is None and child.unwritten <= MAX_UNWRITTEN_BYTES else None

    def open(self, connection: Connection, handshake: Handshake) -> SharedSession:
        child = self._serving
        if child is None:
            connection.close(TRY_AGAIN_LATER, "the program is being started again")
        else:
            self._clients[connection.id] = connection
            child.write(json_line({"id": connection.id, "open": opening(handshake)}))
        return SharedSession(self, connection)

    def received(self, connection: Connection, payload: bytes, text: bool) -> Awaitable[object] | None:
        """A message of a client; the result is done when the program has taken it."""
        child = self._child
        if child is None or connection.id not in self._clients:
            return None
        if child.unwritten > MAX_UNWRITTEN_BYTES:
            return self._write_later(child, connection, payload, text)
        taken = child.write(json_line({"id": connection.id, **message_fields(payload, text)}))
        return None if taken is None else until_done(taken, connection)

    async def _write_later(self, child: Child, connection: Connection, payload: bytes, text: bool) -> None:
        while child.unwritten > MAX_UNWRITTEN_BYTES and (taken := child.taken()) is not None:
            await until_done(taken, connection)
            if connection.close_code is not None:
                return
        if (more := self.received(connection, payload, text)) is not None:
            await more

    def left(self, connection: Connection, code: int, reason: str) -> None:
        """A client has gone."""
        if self._clients.pop(connection.id, None) is not None and self._child is not None:
            self._child.write(json_line({"id": connection.id, "close": code, "reason": reason}))

    # -- its output

    def output(self, data: bytes) -> None:
        self._sliced.add(self._deliveries(data))
        self._go_on()

    def errors(self, data: bytes) -> None:
        if self._child is not None:
            self._errors.feed(self._child.pid, data)

    def _go_on(self) -> None:
        child = self._child
        if child is None:
            return
        try:
            all_taken = self._sliced.go_on()
        except FramingError as error:
            self._lines.warn(("framing", str(error)), "{mount}: the program wrote {error}", mount=self._rules.mount, error=str(error))
            child.kill()
            return
        if all_taken:
            child.resume()
        else:
            child.pause()
            asyncio.get_running_loop().call_soon(self._go_on)

    def _deliveries(self, data: bytes) -> Iterator[Delivery]:
        for line in self._cutter.feed(data):
            try:
                fields = json_object(line)
                event, id = event_of(fields), fields.get("id")
                if not isinstance(id, str):
                    raise FramingError("a JSON object without an id")
            except FramingError as error:  # the line's own: the program serves others, too
                self._lines.warn(("line", str(error)), "{mount}: the program wrote {error}", mount=self._rules.mount, error=str(error))
                continue
            if id == ALL:
                yield from self._to_all(event)
            elif (connection := self._clients.get(id)) is not None:
                yield connection, event

    def _to_all(self, event: ProgramMessage | Close) -> Iterator[Delivery]:
        message: ProgramMessage | Close | Prepared = event
        for connection in list(self._clients.values()):
            if isinstance(message, ProgramMessage):
                message = connection.prepare(message.payload, message.text)
            yield connection, message

    def _deliver(self, delivery: Delivery) -> bool:
        connection, event = delivery
        if not connection.is_open:
            return True
        if isinstance(event, Close):
            connection.close(event.code, event.reason)
        elif isinstance(event, ProgramMessage):
            connection.send_payload(event.payload, event.text)  # one slow client must not delay the others: its mount's policy is for it
        else:
            connection.send_prepared(event)
        return True

    def output_ended(self, status: int) -> None:
        if self._child is not None:
            self._errors.finish(self._child.pid)
        clients, self._clients = self._clients, {}
        for connection in clients.values():
            connection.close(SERVICE_RESTART, "the program has ended")
        if not self._stopping:
            outcome = outcome_of(status)
            self._lines.warn(("ended", status), "{mount}: the program {outcome}", mount=self._rules.mount, outcome=outcome)

    def gone(self) -> None:
        self._child = None
        if not self._stopping:
            self._start_later()
        self._out_of_reach = False
        self._all_is_over()

    def out_of_reach(self) -> None:
        """A stop does not wait for a program that this user cannot end."""
        assert self._child is not None
        self._lines.error("out of reach", OUT_OF_REACH, mount=self._rules.mount, pid=self._child.pid)
        self._out_of_reach = True
        self._all_is_over()

    def _all_is_over(self) -> None:
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)


class SharedSession:
    """A client of the program."""

    __slots__ = ("_app", "_connection")

    def __init__(self, app: SharedApp, connection: Connection) -> None:
        self._app = app
        self._connection = connection

    def received_payload(self, payload: bytes, text: bool) -> Awaitable[object] | None:
        return self._app.received(self._connection, payload, text)

    def closed(self, code: int, reason: str) -> None:
        self._app.left(self._connection, code, reason)


def opening(handshake: Handshake) -> dict[str, Any]:
    """The part of an opening handshake that the program is told."""
    hidden = hidden_headers(handshake)
    headers: dict[str, str] = {}
    for raw_name, raw_value in handshake.headers.raw:
        if raw_name not in hidden:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return {
        "path": handshake.path,
        "query": handshake.query_string.decode("latin-1"),
        "params": dict(handshake.params),
        "host": handshake.peer.host,
        "port": handshake.peer.port,
        "secure": handshake.secure,
        "user": None if handshake.identity is None else handshake.identity.name,
        "subprotocol": handshake.subprotocol,
        "headers": headers,
    }
