"""The control channel: a unix socket, open to root and the daemon's own user, that carries out one operation at a time."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from twisted.logger import Logger

from ..core.rare_lines import RareLines
from ..ops.control import BUSY, DONE, FAILED, MAX_LINE_BYTES, RUNTIME_DIRECTORY, chosen_path, make_directory, peer_of
from ..settings.addresses import UnixAddress
from ..settings.control import AUTO, CONTROL_MODE, NONE
from ..settings.model import Settings
from .parts import StartError
from .sockets import Bound, LeftSocket, ListenError, open_unix

MAX_CLIENTS: Final = 16
"""Connections to the channel at once. One more is closed at once."""

REQUEST_SECONDS: Final = 10.0
"""How long a client may take to send its request, and to read the last of its answer."""

MAX_WAITING_BYTES: Final = 1024 * 1024
"""Unread bytes of an answer. If a client leaves more, its connection is closed; the operation goes on."""

LAST_SECONDS: Final = 1.0
"""How long clients may take to read the last of their answers when the daemon stops."""

BACKLOG: Final = 16

Say = Callable[[str], None]
"""Tells the client of the progress, in one line."""

Operation = Callable[[Mapping[str, Any], Say], Awaitable[Mapping[str, Any]]]
"""Carries out a command; returns what the answer has besides its status, which is 0 if the result names none. OperationFailed."""

log = Logger(namespace="wsdaemon.control")


class OperationFailed(Exception):
    """The operation was not carried out; nothing has changed. `problems` has every reason."""

    def __init__(self, *problems: object) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = [str(problem) for problem in problems]


class Operations:
    """The commands that the channel knows. One is carried out at a time, except for those that only look."""

    def __init__(self, state: Callable[[], str] = lambda: "ready") -> None:
        """`state`: the state of the daemon in one word. Until it is ready, and while it stops, it can only be looked at."""
        self._state = state
        self._table: dict[str, tuple[Operation, bool]] = {}
        self._running: asyncio.Task[Any] | None = None
        self._name = ""

    def add(self, name: str, operation: Operation, *, looks: bool = False) -> None:
        """Have `name` carried out by `operation`. `looks`: it changes nothing and is quick, so that it may run beside others."""
        self._table[name] = (operation, looks)

    def refuse(self, name: str, reason: str) -> None:
        """Answer `name` with the reason for which this daemon never carries it out."""

        async def refused(arguments: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
            raise OperationFailed(reason)

        self.add(name, refused, looks=True)

    def knows(self, name: str) -> bool:
        """Whether there is such a command."""
        return name in self._table

    @property
    def running(self) -> str:
        """The name of the operation under way; empty if there is none."""
        return self._name if self._running is not None else ""

    async def run(self, name: str, arguments: Mapping[str, Any], say: Say) -> dict[str, Any]:
        """Carry out an operation; the whole answer. An exception of the operation is logged and answered as a failure."""
        operation, looks = self._table.get(name, (None, True))
        if operation is None:
            return _answer(FAILED, f"there is no command {name!r}; expected one of {', '.join(sorted(self._table))}")
        if not looks:
            if self._running is not None:
                return _answer(BUSY, f"busy: {self._name} is under way")
            if self._state() not in ("ready", "drained"):
                return _answer(BUSY, f"busy: the daemon is {self._state()}")
        task = asyncio.ensure_future(_carried_out(operation, arguments, say))
        if not looks:
            self.occupy(name, task)
        try:
            result = dict(await asyncio.shield(task))
        except OperationFailed as failed:
            return _answer(FAILED, *failed.problems)
        except asyncio.CancelledError:
            if not task.done():  # the task that asks was cancelled, and not the operation
                raise
            return _answer(FAILED, "the daemon stops")
        except Exception as error:
            log.failure("{command} failed", command=name)
            return _answer(FAILED, f"{type(error).__name__}: {error}")
        else:
            return {"status": DONE, "problems": [], **result}

    async def until_free(self) -> None:
        """Until no operation is under way."""
        while self._running is not None:
            await asyncio.wait([self._running])

    def occupy(self, name: str, task: asyncio.Task[Any]) -> None:
        """Until `task` ends, other operations are refused as busy. It may be one that the program before has begun."""
        self._running, self._name = task, name
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[Any]) -> None:
        if self._running is task:
            self._running = None

    def end(self) -> None:
        """The daemon stops soon: end the operation under way."""
        if self._running is not None:
            self._running.cancel()

    async def cancel(self) -> None:
        """The daemon stops: end the operation under way, and wait until it has undone its work."""
        self.end()
        if self._running is not None:
            await asyncio.wait([self._running])


async def _carried_out(operation: Operation, arguments: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
    return await operation(arguments, say)


def _answer(status: int, *problems: str) -> dict[str, Any]:
    return {"status": status, "problems": list(problems)}


class ControlChannel:
    """The listening socket and its clients: a part of the daemon."""

    name = "control"

    def __init__(self, take: Callable[[], Bound | None], operations: Operations, loop: asyncio.AbstractEventLoop) -> None:
        """`take` gives the listening socket, whose file stop() removes; None: there is no channel. StartError."""
        self.operations = operations
        self._take = take
        self._loop = loop
        self._bound: Bound | None = None
        self._server: asyncio.AbstractServer | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._asking: asyncio.StreamWriter | None = None
        self._lines = RareLines(log)

    @property
    def left(self) -> LeftSocket | None:
        """The listening socket, for the program that takes this process over."""
        bound = self._bound
        return None if bound is None else LeftSocket(address="", path=bound.path, file=bound.file)

    @property
    def asker(self) -> int:
        """The descriptor of the connection that asked for the operation under way; -1 if no connection did."""
        return -1 if self._asking is None else int(self._asking.get_extra_info("socket").fileno())

    @property
    def descriptor(self) -> int:
        """The descriptor of the listening socket; -1 without one."""
        return -1 if self._bound is None else self._bound.sock.fileno()

    def open(self) -> None:
        """Take the socket, while there are privileges. StartError."""
        self._bound = self._take()

    async def start(self) -> None:
        """Answer from now on."""
        if self._bound is not None:
            self._server = await asyncio.start_unix_server(self._serve, sock=self._bound.sock, backlog=BACKLOG, limit=MAX_LINE_BYTES)

    async def stop(self) -> None:
        """Answer no more; the clients get the answers that were written."""
        self.close()
        if self._clients:
            _, late = await asyncio.wait(self._clients, timeout=LAST_SECONDS)
            for client in late:
                client.cancel()

    def close(self) -> None:
        """Listen no more, whether it was started or not."""
        if self._bound is not None:
            self._bound.release()
            if self._server is not None:
                self._server.close()
            self._bound.close()
            self._bound = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if self._allowed(writer) and len(self._clients) < MAX_CLIENTS:
                self._clients.add(task)
                await self._answer(reader, writer)
        except (OSError, ValueError, TimeoutError) as error:  # it has gone, is slow, or its line is too long
            log.debug("a client of the control channel: {problem}", problem=str(error) or type(error).__name__)
        finally:
            self._clients.discard(task)
            writer.close()

    def _allowed(self, writer: asyncio.StreamWriter) -> bool:
        """Whether the other end is a process of root or of the daemon's own user (unix(7), SO_PEERCRED)."""
        process, user = peer_of(writer.get_extra_info("socket"))
        if user in (0, os.geteuid()):
            return True
        self._lines.warn(str(user), "process {process} of user {user} may not control this daemon", process=process, user=user)
        return False

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(REQUEST_SECONDS):
            line = await reader.readline()
        if not line.endswith(b"\n"):
            return
        try:
            request = json.loads(line)
            command = request.pop("command")
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            _write(writer, _answer(FAILED, 'expected one JSON object with "command" in it'))
        else:
            if not self.operations.running:
                self._asking = writer
            try:
                answer = await self.operations.run(str(command), request, lambda line: _write(writer, {"line": line}))
            finally:
                self._asking = None if self._asking is writer else self._asking
            _write(writer, answer)
        async with asyncio.timeout(REQUEST_SECONDS):
            await writer.drain()
            writer.close()
            await writer.wait_closed()


def _write(writer: asyncio.StreamWriter, message: Mapping[str, Any]) -> None:
    if writer.transport.get_write_buffer_size() > MAX_WAITING_BYTES:
        writer.transport.abort()
    if not writer.is_closing():
        writer.write(json.dumps(message, default=str).encode() + b"\n")


def take_socket(settings: Settings, directory: Path, environ: Mapping[str, str] = os.environ, user: int | None = None) -> Bound | None:
    """The listening socket of the channel that `[daemon] control` asks for; None if there is none. `directory`: where the daemon started.

    `user`: the one that this process becomes (`--uid`). It owns the socket's file then, and the directory if the daemon has chosen it, so
    that its commands may connect, and so that the daemon can remove the file at its end.

    With `auto` a path that cannot be used is a warning, because the daemon serves without the channel; with an address a StartError.
    """
    chosen = settings.daemon.control
    if isinstance(chosen, UnixAddress):
        try:
            return _open(chosen.path, user)
        except (ListenError, OSError) as error:
            raise StartError(settings.problem("daemon", str(error), "control", str(chosen))) from error
    if chosen == NONE:
        return None
    assert chosen == AUTO
    path, own = chosen_path(directory / settings.source, environ, os.geteuid()), not environ.get(RUNTIME_DIRECTORY)
    bound: Bound | None = None
    try:
        if own:
            make_directory(path.parent, os.geteuid())
        try:
            bound = _open(str(path), user)
        finally:
            if own:  # also if a running daemon has the socket: its user must still get to it
                _give(str(path.parent), user)
    except (ListenError, OSError) as error:
        if bound is not None:
            bound.close()
        log.warn("there is no control channel at {path}: {problem}; [daemon] control chooses another path", path=str(path), problem=error)
        return None
    return bound


def _open(path: str, user: int | None) -> Bound:
    bound = open_unix(UnixAddress(path, CONTROL_MODE), BACKLOG)
    try:
        _give(path, user)
    except OSError:
        bound.close()
        raise
    return bound


def _give(path: str, user: int | None) -> None:
    """Make `user` the owner of a file, if this is root and the process becomes that user. A link is not followed."""
    if user is not None and os.geteuid() == 0:
        os.chown(path, user, -1, follow_symlinks=False)
