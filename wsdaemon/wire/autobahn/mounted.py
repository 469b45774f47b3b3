"""A `WebSocketServerProtocol` subclass of the user's, served unchanged on this project's transports and limits."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from typing import Any

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import WebSocketProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from ..waits import Wait
from .stage import Stage

PARSER_METHODS = (
    "dataReceived", "_dataReceived", "consumeData", "processData", "onFrameBegin", "onFrameData", "onFrameEnd", "onMessageBegin",
    "onMessageFrameBegin", "onMessageFrameData", "onMessageFrameEnd", "onMessageFrame", "onMessageEnd", "processControlFrame",
)  # fmt: skip

MAX_COROUTINES = 32
"""Coroutines of one connection that may be under way before its client is read no further."""


def needs_autobahns_parser(protocol: type[WebSocketServerProtocol]) -> bool:
    """Whether the class takes part in parsing (Autobahn's streaming or frame API), so that it must see every frame."""
    return any(getattr(protocol, name) is not getattr(WebSocketServerProtocol, name) for name in PARSER_METHODS)


def stage_class(mounted: type[WebSocketServerProtocol], options: Mapping[str, Any]) -> type[Stage]:
    """The class (User, Stage), with the mount's options as class attributes: they win over what a factory of the user's sets."""
    bases = (Stage,) if issubclass(Stage, mounted) else (mounted, Stage)
    own = {"__new__": _new, "__module__": mounted.__module__, "__doc__": mounted.__doc__, "onConnect": _reported(mounted.onConnect)}
    return type(mounted.__name__, bases, {**options, **own})


def _new(cls: type[Stage], *arguments: object, **named: object) -> Stage:
    """An object that is right also when the user's __init__ does not call its base's."""
    protocol: Stage = object.__new__(cls)
    WebSocketProtocol.__init__(protocol)
    return protocol


def _reported(on_connect: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A class's onConnect(), whose exceptions are told to the operator; the client learns only that there was one."""

    def onConnect(self: Stage, request: ConnectionRequest) -> Any:
        def fail(failure: Failure) -> Failure:
            if isinstance(failure.value, ConnectionDeny):
                return failure
            assert failure.value is not None
            self._wsdaemon_wire.app_failed("opening", failure.value)
            return Failure(ConnectionDeny(ConnectionDeny.INTERNAL_SERVER_ERROR, "internal error"))

        answer: Deferred[Any] = maybeDeferred(_connect, on_connect, self, request)
        return answer.addErrback(fail)

    return onConnect


def _connect(on_connect: Callable[[Any, Any], Any], protocol: Stage, request: ConnectionRequest) -> Any:
    answer = on_connect(protocol, request)
    return Deferred.fromFuture(asyncio.ensure_future(_of_either_world(answer))) if inspect.iscoroutine(answer) else answer


class MountedSession:
    """The session of a mounted class: its own callbacks.

    As in stock Autobahn, a Deferred that a callback returns is not waited for. A coroutine, which stock never starts, is started; when
    MAX_COROUTINES are under way, the client is read no further. With `in_order` the next message comes when the callback is done with
    this one. An exception closes the connection with 1011, however it comes.
    """

    __slots__ = ("_in_order", "_protocol", "_room", "_under_way")

    def __init__(self, protocol: Stage, in_order: bool) -> None:
        self._protocol = protocol
        self._in_order = in_order
        self._under_way = 0
        self._room: Wait | None = None

    def opened(self) -> None:
        self._call("opening", self._protocol.onOpen)

    def received_payload(self, payload: bytes, text: bool) -> Awaitable[object] | None:
        outcome = self._protocol.onMessage(payload, not text)
        if outcome is None:
            return None
        if self._in_order:
            return _awaitable(outcome)
        self._watch("receiving a message", outcome)
        if self._under_way < MAX_COROUTINES:
            return None
        self._room = Wait()
        return self._room

    def expiring(self, seconds: float) -> None:
        """`onExpiring(seconds)` is no callback of Autobahn's: a class has it that wants to know."""
        on_expiring = getattr(self._protocol, "onExpiring", None)
        if on_expiring is not None:
            self._watch("warning the client", on_expiring(seconds))

    def closed(self, code: int, reason: str) -> None:
        self._watch("closing", self._protocol.onClose(self._protocol.wasClean, code, reason))

    def _call(self, doing: str, callback: Callable[[], object]) -> None:
        try:
            outcome = callback()
        except Exception as error:
            self._protocol._wsdaemon_wire.app_failed(doing, error)
        else:
            self._watch(doing, outcome)

    def _watch(self, doing: str, outcome: object) -> None:
        """See that a failure of what a callback returned is not lost."""
        if isinstance(outcome, Deferred):
            outcome.addErrback(self._deferred_failed, doing)
            if not outcome.called:
                self._keep(_end_of(outcome), own=False)
        elif (waiting := _awaitable(outcome)) is not None:
            future = asyncio.ensure_future(waiting)
            self._under_way += 1
            future.add_done_callback(lambda done: self._done(doing, done))
            self._keep(future, own=future is not waiting)

    def _keep(self, work: asyncio.Future[Any], own: bool) -> None:
        """Let a stopping daemon wait for this."""
        wire = self._protocol._wsdaemon_wire
        wire.policy.background.add(work, wire.connection, own)

    def _deferred_failed(self, failure: Failure, doing: str) -> None:
        assert failure.value is not None
        self._protocol._wsdaemon_wire.app_failed(doing, failure.value)

    def _done(self, doing: str, future: asyncio.Future[Any]) -> None:
        self._under_way -= 1
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
        if not future.cancelled() and (error := future.exception()) is not None:
            self._protocol._wsdaemon_wire.app_failed(doing, error)


def _awaitable(result: Any) -> Awaitable[Any] | None:
    """The result of a callback, if it is awaitable."""
    if inspect.iscoroutine(result):
        return _of_either_world(result)
    return result if inspect.isawaitable(result) or isinstance(result, Deferred) else None


async def _of_either_world(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that may await Twisted's Deferreds and asyncio's futures alike: a task of asyncio alone refuses a Deferred."""
    return await _Either(coroutine)


class _Either:
    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[Any], Any] = self._coroutine.send
        value: Any = None
        while True:
            try:
                awaited = step(value)
            except StopIteration as end:
                return end.value
            try:
                if isinstance(awaited, Deferred):
                    yield from _fired(awaited)
                    value = None
                else:
                    value = yield awaited
                step = self._coroutine.send
            except BaseException as error:  # a cancellation, too, is the coroutine's own
                step, value = self._coroutine.throw, error


def _fired(deferred: Deferred[Any]) -> Generator[Any, Any, None]:
    """Wait until `deferred` has a result; the coroutine that awaits it takes the result from it by itself."""
    yield from _end_of(deferred)


def _end_of(deferred: Deferred[Any]) -> asyncio.Future[None]:
    """Done when `deferred` has a result, which goes on to its next callback."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fired(result: Any) -> Any:
        if not future.done():
            future.set_result(None)
        return result

    deferred.addBoth(fired)
    return future
