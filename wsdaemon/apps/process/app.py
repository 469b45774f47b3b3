"""A program for each connection: `app = process`."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from ...core.acceptance import HandshakeRefused, unavailable
from ...core.closing import INTERNAL_ERROR, INVALID_PAYLOAD, NORMAL, ConnectionClosed
from ...core.connection import READY, Connection
from ...core.contract import Acceptance
from ...core.handshake import Handshake
from ...core.rare_lines import LineLog, RareLines
from ...core.waiting import until_done
from .child import OUT_OF_REACH, Child, Launch, outcome_of
from .environment import client_environment
from .framing import Close, Event, Framing, FramingError, RefusedMessage
from .output import ErrorLog, Errors, Sliced


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRules:
    """How the programs of a mount run. `refuse_status` 0: none is asked. `start_timeout` in seconds."""

    mount: str
    launch: Launch
    environment: Mapping[bytes, bytes]
    framing: Callable[[], Framing]
    software: str
    max_processes: int = 100
    refuse_status: int = 0
    start_timeout: float = 2.0
    exit_codes: Mapping[int, int]

    def close_code(self, status: int) -> int:
        """The close code for an exit status, or minus the number of a signal."""
        return self.exit_codes.get(status, NORMAL if status == 0 else INTERNAL_ERROR)


class ProcessApp:
    """Starts the programs of a mount and counts them."""

    keeps_handshake = False

    def __init__(self, rules: ProcessRules, log: LineLog) -> None:
        self.rules = rules
        self.lines = RareLines(log)
        self.errors = ErrorLog(log, rules.mount)
        self._running: set[Program] = set()
        self._out_of_reach: set[Program] = set()
        self._all_gone: asyncio.Future[None] | None = None
        self._numbers = itertools.count(1)
        self._prefix = secrets.token_hex(4)

    def __len__(self) -> int:
        """Programs that run, with those that are ending."""
        return len(self._running)

    def _start_program(self, handshake: Handshake) -> Program:
        program = Program(self, handshake, f"{self._prefix}-{next(self._numbers)}")
        self._running.add(program)
        return program

    async def admit(self, handshake: Handshake) -> Acceptance:
        """Start the client's program before the 101, and let it refuse the client. HandshakeRefused."""
        rules = self.rules
        if len(self._running) >= rules.max_processes:
            self.lines.warn("full", "{mount}: max_processes = {most} programs run", mount=rules.mount, most=rules.max_processes)
            raise unavailable("too many programs run\n")
        try:
            program = self._start_program(handshake)
        except OSError as error:
            self.lines.error(("start", error.errno), "{mount}: the program cannot be started: {error}", mount=rules.mount, error=str(error))
            raise HandshakeRefused(500, "the program cannot be started\n") from None
        if rules.refuse_status:
            try:
                let_in = await program.decision(rules.start_timeout)
            except BaseException:
                program.end()
                raise
            if not let_in:
                program.end()
                raise HandshakeRefused(rules.refuse_status, "refused\n")
        return Acceptance(open=program.open, abandoned=program.end)

    def open(self, connection: Connection, handshake: Handshake) -> ProcessSession:
        """The session of a client that was not asked about before. OSError if its program cannot be started."""
        return self._start_program(handshake).open(connection, handshake)

    def say_program(self, kind: str, program: int, outcome: str) -> None:
        """Log the outcome of a program, once a minute for each outcome."""
        self.lines.info((kind, outcome), "{mount}, program {pid} {outcome}", mount=self.rules.mount, pid=program, outcome=outcome)

    def gone(self, program: Program) -> None:
        """Nothing of a program is left."""
        self._running.discard(program)
        self._out_of_reach.discard(program)
        self._perhaps_all_gone()

    def out_of_reach(self, program: Program, pid: int) -> None:
        """A program cannot be ended. It counts until it ends by itself, but a stop does not wait for it."""
        self.lines.error("out of reach", OUT_OF_REACH, mount=self.rules.mount, pid=pid)
        self._out_of_reach.add(program)
        self._perhaps_all_gone()

    def _perhaps_all_gone(self) -> None:
        if self._running == self._out_of_reach and self._all_gone is not None and not self._all_gone.done():
            self._all_gone.set_result(None)

    async def start(self) -> None:
        """Nothing to start: programs start with their clients."""

    async def stop(self) -> None:
        """Until no program is left, but for those that this user cannot end."""
        for program in list(self._running):
            program.end()
        while self._running != self._out_of_reach:
            self._all_gone = asyncio.get_running_loop().create_future()
            await self._all_gone


class Program:
    """The program of one client, from before its connection is open until nothing of it is left."""

    __slots__ = ("_app", "_child", "_connection", "_errors", "_first_output", "_framing", "_loop", "_sliced", "_status", "_waiting")

    def __init__(self, app: ProcessApp, handshake: Handshake, unique_id: str) -> None:
        rules = app.rules
        self._app = app
        self._loop = loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._framing = rules.framing()
        self._errors = Errors(app.errors)
        self._sliced: Sliced[Event] = Sliced(self._send)
        self._status: int | None = None
        self._waiting = False
        self._first_output: asyncio.Future[bool] | None = None
        environment = {**client_environment(handshake, unique_id, rules.software), **rules.environment}
        self._child = Child(rules.launch, environment, self, loop)

    async def decision(self, seconds: float) -> bool:
        """Whether the client may be let in: the program has written something, has ended with 0, or has run for so long."""
        self._first_output = self._loop.create_future()
        try:
            async with asyncio.timeout(seconds):
                return await self._first_output
        except TimeoutError:
            return True

    def open(self, connection: Connection, handshake: Handshake) -> ProcessSession:
        """The connection is open: output that waits is sent."""
        self._connection = connection
        self._go_on()
        return ProcessSession(connection, self)

    # -- the client's messages

    def write(self, payload: bytes, text: bool) -> asyncio.Future[None] | None:
        """Give a message to the program; done when it has taken it. Raises RefusedMessage."""
        return self._child.write(self._framing.encode(payload, text))

    # -- the program's output

    def output(self, data: bytes) -> None:
        self._tell(True)
        if self._connection is not None and not self._connection.is_open:
            return
        self._sliced.add(self._framing.feed(data))
        self._go_on()

    def errors(self, data: bytes) -> None:
        self._errors.feed(self._child.pid, data)

    def output_ended(self, status: int) -> None:
        self._errors.finish(self._child.pid)
        self._status = status
        self._tell(status == 0)
        if not self._sliced.busy:
            self._sliced.add(self._framing.finish())  # nothing was busy unless the connection closes
        self._go_on()

    def _tell(self, let_in: bool) -> None:
        if self._first_output is not None and not self._first_output.done():
            self._first_output.set_result(let_in)

    def _go_on(self) -> None:
        """Send the messages that wait; then read on, or close when the program has ended."""
        connection = self._connection
        if connection is None or not connection.is_open:
            if connection is None:
                self._child.pause()
            return
        try:
            if not self._sliced.go_on():
                self._child.pause()
                if not self._waiting:
                    self._loop.call_soon(self._go_on)
                return
        except FramingError as error:
            self._broken(connection, str(error))
            return
        if self._status is None:
            self._child.resume()
        else:
            self._close(connection, self._status)

    def _send(self, event: Event) -> bool:
        """Send one message; False if the next one must wait."""
        connection = self._connection
        assert connection is not None
        if isinstance(event, Close):
            connection.close(event.code, event.reason)
            return False
        try:
            writable = connection.send_payload(event.payload, event.text)
        except ConnectionClosed:
            return False
        if writable is READY:
            return True
        # The client is slow: its program is read again when it has caught up.
        self._waiting = True
        asyncio.ensure_future(writable).add_done_callback(self._caught_up)
        return False

    def _caught_up(self, done: asyncio.Future[None]) -> None:
        self._waiting = False
        self._go_on()

    # -- the end

    def _close(self, connection: Connection, status: int) -> None:
        code = self._app.rules.close_code(status)
        if status:
            outcome = outcome_of(status)
            self._app.say_program("ended", self._child.pid, outcome)
        connection.close(code, "" if code == NORMAL else "the program has ended")

    def _broken(self, connection: Connection, problem: str) -> None:
        self._app.say_program("framing", self._child.pid, f"wrote {problem}")
        connection.close(INTERNAL_ERROR, "the program failed")
        self.end()

    def end(self) -> None:
        """The client has gone, or the daemon stops."""
        self._sliced.drop()
        self._child.end()

    def gone(self) -> None:
        self._app.gone(self)

    def out_of_reach(self) -> None:
        self._app.out_of_reach(self, self._child.pid)


class ProcessSession:
    """A client and its program."""

    __slots__ = ("_connection", "_program")

    def __init__(self, connection: Connection, program: Program) -> None:
        self._connection = connection
        self._program = program

    def received_payload(self, payload: bytes, text: bool) -> Awaitable[object] | None:
        try:
            taken = self._program.write(payload, text)
        except RefusedMessage as error:
            self._connection.close(INVALID_PAYLOAD, str(error))
            return None
        return None if taken is None else until_done(taken, self._connection)

    def closed(self, code: int, reason: str) -> None:
        self._program.end()
