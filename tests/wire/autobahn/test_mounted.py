"""wire/autobahn/mounted.py: existing Autobahn classes, served unchanged. The traps of stock Autobahn have a test each, named for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from autobahn.exception import Disconnected
from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet.defer import Deferred, fail, inlineCallbacks
from twisted.python.failure import Failure

from tests.support.fakes import Frame, House, binary, close, closing, frame, text
from tests.support.mounted_classes import Echo, Recording
from wsdaemon.wire.autobahn.mounted import MAX_COROUTINES

pytestmark = pytest.mark.readers()


# -- unchanged classes


def test_echo(made: House) -> None:
    client = made.make_wire(mounted=Echo)
    client.send(text("grün"), binary(b"\0" * 200_000), text(""), frame(1, b"a", fin=False), frame(0, b"b"))
    assert client.frames() == [Frame(1, "grün".encode()), Frame(2, b"\0" * 200_000), Frame(1, b""), Frame(1, b"ab")]


def test_the_callbacks_in_their_order(made: House) -> None:
    client = made.make_wire(mounted=Recording)
    client.send(text("a"), binary(b"b"), close(3000, "bye"), text("late"))
    client.loop.settle()
    assert client.protocol.events == ["connect", "open", (b"a", False), (b"b", True), (True, 3000, "bye")]
    assert client.frames() == [closing(3000, "bye")]
    assert client.ended == (3000, "bye", "client")


def test_a_client_that_vanishes(made: House) -> None:
    client = made.make_wire(mounted=Recording)
    client.vanish()
    assert client.protocol.events[-1] == (False, 1006, "connection lost without a Close frame")
    assert client.count.now == 0


@pytest.mark.readers("python")
def test_a_class_whose_init_calls_its_base(made: House) -> None:
    class Calling(Echo):
        def __init__(self) -> None:
            super().__init__()
            self.greeting = "hello"

        def onOpen(self) -> None:
            self.sendMessage(self.greeting.encode())

    client = made.make_wire(mounted=Calling)
    assert client.frames() == [Frame(1, b"hello")]


@pytest.mark.readers("python")
def test_a_class_with_mixins_and_class_attributes(made: House) -> None:
    class Greeting:
        greeting = b"hi"

        def greet(self: Any) -> None:
            self.sendMessage(self.greeting)

    class Mixed(Greeting, Echo):
        def onOpen(self) -> None:
            self.greet()

    client = made.make_wire(mounted=Mixed)
    client.send(text("x"))
    assert client.frames() == [Frame(1, b"hi"), Frame(1, b"x")]
    assert isinstance(client.protocol, Mixed)
    assert type(client.protocol).__name__ == "Mixed"


NAMES = ["session", "connection", "place", "received", "waiting", "handshake", "policy", "name", "user", "id", "room", "count", "timer"]


@pytest.mark.readers("python")
@pytest.mark.parametrize("name", NAMES)
def test_attribute_names_do_not_clash(made: House, name: str) -> None:
    class Named(Echo):
        def onOpen(self) -> None:
            setattr(self, name, "mine")

    client = made.make_wire(mounted=Named)
    client.send(text("x"))
    assert getattr(client.protocol, name) == "mine"
    assert client.frames() == [Frame(1, b"x")]
    client.send(close(1000))
    made.loop.settle()
    assert client.ended == (1000, "", "client")
    assert client.watcher.failures == []


@pytest.mark.readers("python")
def test_connection_lost_is_called_where_it_is_overridden(made: House) -> None:
    """As in Autobahn's own broadcast example, which takes clients out of its list there."""
    seen: list[Any] = []

    class Old(Recording):
        def connectionMade(self) -> None:
            seen.append("made")
            WebSocketServerProtocol.connectionMade(self)

        def connectionLost(self, reason: Failure) -> None:
            WebSocketServerProtocol.connectionLost(self, reason)
            seen.append(type(reason.value).__name__)

    client = made.make_wire(mounted=Old)
    assert client.head.startswith("HTTP/1.1 101 ")
    client.send(text("x"))
    client.vanish()
    assert seen == ["made", "ConnectionDone"]
    assert client.protocol.events[-1] == (False, 1006, "connection lost without a Close frame")
    assert client.count.now == 0


@pytest.mark.readers("python")
def test_a_connection_lost_that_does_not_call_its_base_or_raises(made: House) -> None:
    class Rude(Recording):
        def connectionLost(self, reason: Failure) -> None:
            raise RuntimeError("mine")

    client = made.make_wire(mounted=Rude)
    client.vanish()
    assert client.protocol.events[-1] == (False, 1006, "connection lost without a Close frame")
    assert client.count.now == 0
    assert [(doing, str(error)) for doing, error in client.watcher.failures] == [("closing", "mine")]


# -- callbacks that fail or wait


class Slow(Recording):
    """Each message takes a second."""

    async def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.events.append(payload)
        await asyncio.sleep(1)
        self.sendMessage(payload)


def test_coroutines_are_under_way_side_by_side(made: House) -> None:
    """Stock Autobahn never awaits an `async def onMessage`; as with its Deferreds, the next message does not wait for it."""
    client = made.make_wire(mounted=Slow)
    client.send(text("1"), text("2"))
    made.loop.settle()
    assert client.protocol.events[2:] == [b"1", b"2"]
    made.loop.advance(1)
    assert client.frames() == [Frame(1, b"1"), Frame(1, b"2")]


def test_at_most_32_coroutines_of_a_connection_are_under_way(made: House) -> None:
    client = made.make_wire(mounted=Slow)
    client.send(*[text(str(number)) for number in range(MAX_COROUTINES + 5)])
    made.loop.settle()
    assert len(client.protocol.events[2:]) == MAX_COROUTINES == 32
    assert not client.transport.reading
    made.loop.advance(1)
    assert len(client.protocol.events[2:]) == MAX_COROUTINES + 5
    assert client.transport.reading
    made.loop.advance(1)
    assert len(client.frames()) == MAX_COROUTINES + 5


def test_on_close_is_not_kept_waiting_by_coroutines(made: House) -> None:
    """Each of them may be waiting for just that."""

    class Dialog(Recording):
        async def onMessage(self, payload: bytes, isBinary: bool) -> None:
            await self.over

        def onOpen(self) -> None:
            self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def onClose(self, wasClean: bool, code: int, reason: str) -> None:
            super().onClose(wasClean, code, reason)
            self.over.set_result(None)

    client = made.make_wire(mounted=Dialog)
    client.send(*[text("x")] * 40)
    made.loop.settle()
    client.vanish()
    made.loop.settle()
    assert client.protocol.events[-1][:2] == (False, 1006)
    assert client.count.now == 0 and client.watcher.failures == []


def test_in_order_the_next_message_waits_for_the_coroutine(made: House) -> None:
    client = made.make_wire(mounted=Slow, on_message="in_order")
    client.send(text("1"), text("2"))
    made.loop.settle()
    assert client.protocol.events[2:] == [b"1"]
    made.loop.advance(1)
    assert client.frames() == [Frame(1, b"1")]
    assert client.protocol.events[2:] == [b"1", b"2"]
    made.loop.advance(1)
    assert client.frames() == [Frame(1, b"2")]


def test_async_def_on_message_may_await_a_deferred(made: House) -> None:
    inner: Deferred[str] = Deferred()

    class Slow(Recording):
        async def onMessage(self, payload: bytes, isBinary: bool) -> None:
            self.sendMessage((await inner).encode())

    client = made.make_wire(mounted=Slow)
    client.send(text("1"))
    made.loop.settle()
    inner.callback("done")
    made.loop.settle()
    assert client.frames() == [Frame(1, b"done")]


class Deferring(Recording):
    """The first message waits for a Deferred."""

    def onMessage(self, payload: bytes, isBinary: bool) -> Any:
        self.events.append(payload)
        self.waiting: Deferred[None] = getattr(self, "waiting", Deferred())
        return self.waiting if payload == b"1" else None


@pytest.mark.parametrize("mode", ["concurrent", "in_order"])
def test_a_deferred_from_on_message_is_awaited_in_order_only(made: House, mode: str) -> None:
    client = made.make_wire(mounted=Deferring, on_message=mode)
    client.send(text("1"), text("2"))
    assert client.protocol.events[2:] == ([b"1", b"2"] if mode == "concurrent" else [b"1"])
    client.protocol.waiting.callback(None)
    made.loop.settle()
    assert client.protocol.events[2:] == [b"1", b"2"]


def test_a_dialog_whose_on_message_waits_for_the_next_message(made: House) -> None:
    """As in stock: with Deferreds that are awaited, it would wait for ever."""

    class Dialog(WebSocketServerProtocol):
        asked: Deferred[bytes] | None = None

        @inlineCallbacks
        def onMessage(self, payload: bytes, isBinary: bool) -> Any:
            if self.asked is not None:
                asked, self.asked = self.asked, None
                asked.callback(payload)
                return
            self.sendMessage(b"your name?")
            self.asked = Deferred()
            name = yield self.asked
            self.sendMessage(b"hello " + name)

    client = made.make_wire(mounted=Dialog)
    client.send(text("hi"), text("ada"))
    made.loop.settle()
    assert client.frames() == [Frame(1, b"your name?"), Frame(1, b"hello ada")]


@pytest.mark.parametrize("method", ["onOpen", "onMessage"])
@pytest.mark.parametrize("how", ["plain", "async", "deferred"])
def test_an_exception_closes_with_1011_and_does_not_leave_a_silent_socket(made: House, method: str, how: str) -> None:
    def plain(self: Any, *arguments: Any) -> None:
        raise RuntimeError("mine")

    async def later(self: Any, *arguments: Any) -> None:
        await asyncio.sleep(1)
        raise RuntimeError("mine")

    def deferred(self: Any, *arguments: Any) -> Any:
        return fail(RuntimeError("mine"))

    failing = type("Failing", (Recording,), {method: {"plain": plain, "async": later, "deferred": deferred}[how]})
    client = made.make_wire(mounted=failing)
    client.send(text("x"))
    made.loop.advance(1.1)
    assert client.frames() == [closing(1011, "internal error")]
    assert len(client.watcher.failures) == 1
    assert str(client.watcher.failures[0][1]) == "mine"
    client.answer_close()
    assert client.protocol.events[-1] == (True, 1011, "internal error")
    assert client.count.now == 0


@pytest.mark.readers("python")
@pytest.mark.parametrize("how", ["plain", "async"])
def test_the_count_does_not_leak_when_on_close_raises(made: House, how: str) -> None:
    class Failing(Recording):
        def onClose(self, wasClean: bool, code: int, reason: str) -> Any:
            async def later() -> None:
                raise RuntimeError("mine")

            if how == "async":
                return later()
            raise RuntimeError("mine")

    client = made.make_wire(mounted=Failing)
    client.vanish()
    made.loop.settle()
    assert client.count.now == 0
    assert [(doing, str(error)) for doing, error in client.watcher.failures] == [("closing", "mine")]


@pytest.mark.readers("python")
def test_an_init_that_raises_is_the_callers_to_see(made: House) -> None:
    """Before a place is taken: see the gate."""

    class Failing(Recording):
        def __init__(self) -> None:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        made.make_wire(mounted=Failing)


# -- sending


@pytest.mark.parametrize("code", [None, 1000, 1001, 1011, 1012, 3000, 4999])
def test_send_close_works_with_every_code_that_may_be_sent(made: House, code: int | None) -> None:
    client = made.make_wire(mounted=Recording)
    client.protocol.sendClose(code, None if code is None else "grün")
    made.loop.settle()
    assert client.frames() == [Frame(8, b"") if code is None else closing(code, "grün")]
    client.send(close(code))
    made.loop.settle()
    assert client.protocol.events[-1][:2] == (True, 1005 if code is None else code)


@pytest.mark.readers("python")
@pytest.mark.parametrize(("code", "reason"), [(1005, None), (1006, None), (2999, None), (None, "reason"), ("1000", None)])
def test_send_close_refuses_what_stock_refuses(made: House, code: Any, reason: Any) -> None:
    client = made.make_wire(mounted=Recording)
    with pytest.raises(Exception, match=r"close code|close reason|invalid|not supported"):
        client.protocol.sendClose(code, reason)
    assert client.writer.live


def test_send_message_after_close_raises_disconnected(made: House) -> None:
    client = made.make_wire(mounted=Recording)
    client.protocol.sendClose(1000)
    for arguments in ({}, {"fragmentSize": 1}, {"doNotCompress": True}):
        with pytest.raises(Disconnected):
            client.protocol.sendMessage(b"late", **arguments)
    client.answer_close()
    with pytest.raises(Disconnected):
        client.protocol.sendMessage(b"late")


def test_a_disconnected_that_the_class_lets_through_is_no_failure(made: House) -> None:
    class Late(Recording):
        async def onOpen(self) -> None:  # type: ignore[override]
            while True:
                self.sendMessage(b"tick")
                await asyncio.sleep(1)

        async def onMessage(self, payload: bytes, isBinary: bool) -> None:
            await asyncio.sleep(1)
            self.sendMessage(b"late")

    client = made.make_wire(mounted=Late)
    client.send(text("x"))
    client.vanish()
    made.loop.advance(3)
    assert client.watcher.failures == []
    assert client.protocol.events[-1][:2] == (False, 1006)


@pytest.mark.readers("python")
@pytest.mark.parametrize("payload", ["text", bytearray(b"x"), None])
def test_send_message_takes_bytes(made: House, payload: Any) -> None:
    client = made.make_wire(mounted=Recording)
    with pytest.raises(TypeError, match=r"sendMessage\(\) takes bytes, not "):
        client.protocol.sendMessage(payload)


def test_fragments_frames_pings_and_prepared_messages(made: House) -> None:
    client = made.make_wire(mounted=Recording)
    protocol = client.protocol
    protocol.sendMessage(b"abc", fragmentSize=2)
    protocol.sendPing(b"?")
    protocol.sendPong(b"!")
    protocol.sendPreparedMessage(protocol.factory.prepareMessage(b"all", isBinary=True))
    protocol.beginMessage(isBinary=True)
    protocol.beginMessageFrame(3)
    protocol.sendMessageFrameData(b"x")
    protocol.sendMessageFrameData(b"yz")
    protocol.endMessage()
    made.loop.settle()
    assert client.frames() == [
        Frame(1, b"ab", fin=False), Frame(0, b"c"), Frame(9, b"?"), Frame(10, b"!"), Frame(2, b"all"),
        Frame(2, b"xyz", fin=False), Frame(0, b""),
    ]  # fmt: skip


def test_pings_and_pongs_reach_the_class(made: House) -> None:
    class Pinged(Recording):
        def onPing(self, payload: bytes) -> None:
            self.events.append(("ping", payload))
            super().onPing(payload)

        def onPong(self, payload: bytes) -> None:
            self.events.append(("pong", payload))

    client = made.make_wire(mounted=Pinged)
    client.send(frame(9, b"1"), frame(10, b"2"))
    assert client.protocol.events[2:] == [("ping", b"1"), ("pong", b"2")]
    assert client.frames() == [Frame(10, b"1")]
