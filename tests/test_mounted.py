"""wire/mounted.py: existing Autobahn classes, served unchanged. The traps of stock Autobahn have a test each, named for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from autobahn.exception import Disconnected
from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import WebSocketServerProtocol as Core
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from fakes import READERS, Client, Frame, House, binary, close, closing, frame, house, request, text
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from wsdaemon.wire.factory import make_factory
from wsdaemon.wire.mounted import needs_autobahns_parser


@pytest.fixture(params=READERS)
def made(request: pytest.FixtureRequest) -> Iterator[House]:
    with house(request.param) as made:
        yield made


@pytest.fixture
def one() -> Iterator[House]:
    """With one frame reader: for what has nothing to do with frames."""
    with house() as made:
        yield made


class Recording(WebSocketServerProtocol):
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


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.sendMessage(payload, isBinary)


def denied(client: Client) -> tuple[str, str]:
    """Status line and body of the answer to a handshake that was refused; the connection is then over and its place free."""
    client.loop.settle()
    client.read_head()
    assert client.transport.lost
    assert client.count.now == 0
    assert len(client.wheel) == 0
    assert client.watcher.opened_ones == client.watcher.closed_ones == []
    status, *lines = client.head.split("\r\n")
    headers = dict(line.split(": ") for line in lines if line)
    assert headers["Connection"] == "close"
    body = client.sent
    assert int(headers["Content-Length"]) == len(body)
    return status, body.decode()


# -- unchanged classes


def test_echo(made: House) -> None:
    client = made.make_wire(mounted=Echo)
    client.send(text("grün"), binary(b"\0" * 200_000), text(""), frame(1, b"a", fin=False), frame(0, b"b"))
    assert client.frames() == [Frame(1, "grün".encode()), Frame(2, b"\0" * 200_000), Frame(1, b""), Frame(1, b"ab")]


def test_the_callbacks_in_their_order(made: House) -> None:
    client = made.make_wire(mounted=Recording)
    client.send(text("a"), binary(b"b"), close(3000, "bye"), text("late"))
    client.loop.settle()
    assert client.wire.events == ["connect", "open", (b"a", False), (b"b", True), (True, 3000, "bye")]
    assert client.frames() == [closing(3000, "bye")]
    assert client.ended == (3000, "bye", "client")


def test_a_client_that_vanishes(made: House) -> None:
    client = made.make_wire(mounted=Recording)
    client.vanish()
    assert client.wire.events[-1] == (False, 1006, "connection lost without a Close frame")
    assert client.count.now == 0


def test_a_class_whose_init_calls_its_base(one: House) -> None:
    class Calling(Echo):
        def __init__(self) -> None:
            super().__init__()
            self.greeting = "hello"

        def onOpen(self) -> None:
            self.sendMessage(self.greeting.encode())

    client = one.make_wire(mounted=Calling)
    assert client.frames() == [Frame(1, b"hello")]


def test_a_class_with_mixins_and_class_attributes(one: House) -> None:
    class Greeting:
        greeting = b"hi"

        def greet(self: Any) -> None:
            self.sendMessage(self.greeting)

    class Mixed(Greeting, Echo):
        def onOpen(self) -> None:
            self.greet()

    client = one.make_wire(mounted=Mixed)
    client.send(text("x"))
    assert client.frames() == [Frame(1, b"hi"), Frame(1, b"x")]
    assert isinstance(client.wire, Mixed)
    assert type(client.wire).__name__ == "Mixed"


NAMES = ["session", "connection", "place", "received", "waiting", "handshake", "policy", "name", "user", "id", "room", "count", "timer"]


@pytest.mark.parametrize("name", NAMES)
def test_attribute_names_do_not_clash(one: House, name: str) -> None:
    class Named(Echo):
        def onOpen(self) -> None:
            setattr(self, name, "mine")

    client = one.make_wire(mounted=Named)
    client.send(text("x"))
    assert getattr(client.wire, name) == "mine"
    assert client.frames() == [Frame(1, b"x")]
    client.send(close(1000))
    one.loop.settle()
    assert client.ended == (1000, "", "client")
    assert client.watcher.failures == []


def test_connection_lost_is_called_where_it_is_overridden(one: House) -> None:
    """As in Autobahn's own broadcast example, which takes clients out of its list there."""
    seen: list[Any] = []

    class Old(Recording):
        def connectionMade(self) -> None:
            seen.append("made")
            WebSocketServerProtocol.connectionMade(self)

        def connectionLost(self, reason: Failure) -> None:
            WebSocketServerProtocol.connectionLost(self, reason)
            seen.append(type(reason.value).__name__)

    client = one.make_wire(mounted=Old)
    assert client.head.startswith("HTTP/1.1 101 ")
    client.send(text("x"))
    client.vanish()
    assert seen == ["made", "ConnectionDone"]
    assert client.wire.events[-1] == (False, 1006, "connection lost without a Close frame")
    assert client.count.now == 0


def test_a_connection_lost_that_does_not_call_its_base_or_raises(one: House) -> None:
    class Rude(Recording):
        def connectionLost(self, reason: Failure) -> None:
            raise RuntimeError("mine")

    client = one.make_wire(mounted=Rude)
    client.vanish()
    assert client.wire.events[-1] == (False, 1006, "connection lost without a Close frame")
    assert client.count.now == 0
    assert [(doing, str(error)) for doing, error in client.watcher.failures] == [("closing", "mine")]


# -- onConnect


def test_what_on_connect_is_told(one: House) -> None:
    opening = request("/chat?x=1&x=2", origin="https://example.org", sec_websocket_protocol="a, b", cookie="k=v", host="example.org:8080")
    client = one.make_wire(mounted=Recording, opening=opening)
    told = client.wire.request
    assert (told.path, told.params, told.host) == ("/chat", {"x": ["1", "2"]}, "example.org")
    assert (told.origin, told.protocols, told.version) == ("https://example.org", ["a", "b"], 13)
    assert told.headers["cookie"] == "k=v"
    assert told.peer == "tcp4:192.0.2.7:50123"
    assert client.wire.peer == told.peer
    assert client.wire.transport_details.peer == told.peer


def test_no_header_can_be_smuggled_past_the_strict_reader(one: House) -> None:
    """Autobahn cuts lines with str.splitlines(): the last byte of Å in UTF-8 ends a line there."""
    opening = request(x_city="@").replace(b"@", b"\xc3\x85X-Forwarded-For: 10.0.0.1")
    client = one.make_wire(mounted=Recording, opening=opening)
    assert "x-forwarded-for" not in client.wire.request.headers
    assert "x-city" in client.wire.request.headers


ANSWERS: dict[str, tuple[Any, str]] = {
    "nothing": (None, ""),
    "a subprotocol": ("b", "Sec-WebSocket-Protocol: b"),
    "both": (("b", {"X-One": "1"}), "X-One: 1"),
    "headers alone": ((None, {"X-One": "1"}), "X-One: 1"),
    "a header twice": ((None, {"X-Two": ["1", "2"]}), "X-Two: 2"),
    "a tuple of one": (("b",), "Sec-WebSocket-Protocol: b"),
}


@pytest.mark.parametrize("how", ["plain", "deferred", "coroutine"])
@pytest.mark.parametrize("name", ANSWERS)
def test_what_on_connect_may_answer(one: House, name: str, how: str) -> None:
    answer, line = ANSWERS[name]

    class Answering(Echo):
        def onConnect(self, request: ConnectionRequest) -> Any:
            if how == "coroutine":

                async def later() -> Any:
                    return answer

                return later()
            return succeed(answer) if how == "deferred" else answer

    client = one.make_wire(mounted=Answering, opening=request(sec_websocket_protocol="a, b"))
    one.loop.settle()
    client.read_head()
    lines = client.head.split("\r\n")
    assert lines[0] == "HTTP/1.1 101 Switching Protocols"
    assert line in lines
    client.send(text("x"))
    assert client.frames() == [Frame(1, b"x")]
    assert client.wire.websocket_protocol_in_use == ("b" if "Protocol" in line or name == "both" else None)


def test_what_comes_while_on_connect_thinks_is_kept(made: House) -> None:
    thinking: Deferred[None] = Deferred()

    class Thinking(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            return thinking

    client = made.make_wire(mounted=Thinking)
    assert client.head == ""
    client.wire.data_received(text("early") + text("more")[:3])
    client.send(text("more")[3:])
    assert client.wire.events == []
    thinking.callback(None)
    made.loop.settle()
    assert client.wire.events == ["open", (b"early", False), (b"more", False)]


def test_a_client_that_leaves_while_on_connect_thinks(one: House) -> None:
    for outcome in (None, Failure(ConnectionDeny(403, "no"))):
        thinking: Deferred[None] = Deferred()

        class Thinking(Recording):
            def onConnect(self, request: ConnectionRequest, thinking: Any = thinking) -> Any:
                return thinking

        client = one.make_wire(mounted=Thinking)
        client.vanish()
        assert client.count.now == 0
        thinking.callback(None) if outcome is None else thinking.errback(outcome)
        one.loop.settle()
        assert client.wire.events == []
        assert client.transport.writes == []


def test_an_on_connect_that_never_answers(one: House) -> None:
    class Thinking(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            return Deferred()

    client = one.make_wire(mounted=Thinking, handshake_timeout=10.0)
    one.loop.advance(10.1)
    assert client.transport.aborted
    assert client.count.now == 0


@pytest.mark.parametrize("how", ["raised", "deferred", "coroutine"])
def test_on_connect_denies(one: House, how: str) -> None:
    class Denying(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            error = ConnectionDeny(403, "not you")
            if how == "deferred":
                return fail(error)
            if how == "coroutine":

                async def later() -> Any:
                    raise error

                return later()
            raise error

    client = one.make_wire(mounted=Denying)
    assert denied(client) == ("HTTP/1.1 403 not you", "not you\n")
    assert client.watcher.failures == []


def test_a_denial_cannot_break_out_of_its_line(one: House) -> None:
    class Denying(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            raise ConnectionDeny(403, "grün\r\nSet-Cookie: x")

    client = one.make_wire(mounted=Denying)
    assert denied(client) == ("HTTP/1.1 403 gr?n Set-Cookie: x", "grün Set-Cookie: x\n")


def test_an_exception_in_on_connect_is_told_to_the_operator_and_not_to_the_client(one: House) -> None:
    class Failing(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            raise RuntimeError("password is 1234")

    client = one.make_wire(mounted=Failing)
    status, body = denied(client)
    assert status == "HTTP/1.1 500 internal error"
    assert "1234" not in body
    assert [(doing, str(error)) for doing, error in client.watcher.failures] == [("opening", "password is 1234")]


@pytest.mark.parametrize("answer", ["other", 5, (), ("b", {}, 3), (None, None), (None, "headers"), (None, {"X": "a\r\nb"})])
def test_a_subprotocol_the_client_did_not_offer_gives_500_and_no_hang(one: House, answer: Any) -> None:
    """Nor does anything else that onConnect cannot answer; in stock Autobahn such a handshake hangs."""

    class Answering(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            return answer

    client = one.make_wire(mounted=Answering, opening=request(sec_websocket_protocol="a, b"))
    if answer in ((), (None, None)):
        assert client.head.startswith("HTTP/1.1 101 ")
        return
    assert denied(client)[0].startswith("HTTP/1.1 500 ")
    assert [doing for doing, _ in client.watcher.failures] == ["opening"]


# -- callbacks that fail or wait


def test_async_def_on_message_is_awaited(made: House) -> None:
    class Slow(Recording):
        async def onMessage(self, payload: bytes, isBinary: bool) -> None:
            self.events.append(payload)
            await asyncio.sleep(1)
            self.sendMessage(payload)

    client = made.make_wire(mounted=Slow)
    client.send(text("1"), text("2"))
    made.loop.settle()
    assert client.wire.events[2:] == [b"1"]
    made.loop.advance(1)
    assert client.frames() == [Frame(1, b"1")]
    assert client.wire.events[2:] == [b"1", b"2"]
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


def test_a_deferred_from_on_message_is_awaited(made: House) -> None:
    waiting: Deferred[None] = Deferred()

    class Slow(Recording):
        def onMessage(self, payload: bytes, isBinary: bool) -> Any:
            self.events.append(payload)
            return waiting if payload == b"1" else None

    client = made.make_wire(mounted=Slow)
    client.send(text("1"), text("2"))
    assert client.wire.events[2:] == [b"1"]
    waiting.callback(None)
    made.loop.settle()
    assert client.wire.events[2:] == [b"1", b"2"]


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
    assert client.wire.events[-1] == (True, 1011, "internal error")
    assert client.count.now == 0


@pytest.mark.parametrize("how", ["plain", "async"])
def test_the_count_does_not_leak_when_on_close_raises(one: House, how: str) -> None:
    class Failing(Recording):
        def onClose(self, wasClean: bool, code: int, reason: str) -> Any:
            async def later() -> None:
                raise RuntimeError("mine")

            if how == "async":
                return later()
            raise RuntimeError("mine")

    client = one.make_wire(mounted=Failing)
    client.vanish()
    one.loop.settle()
    assert client.count.now == 0
    assert [(doing, str(error)) for doing, error in client.watcher.failures] == [("closing", "mine")]


def test_an_init_that_raises_is_the_callers_to_see(one: House) -> None:
    """Before a place is taken: see the gate."""

    class Failing(Recording):
        def __init__(self) -> None:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        one.make_class(None, mounted=Failing).make()


# -- sending


@pytest.mark.parametrize("code", [None, 1000, 1001, 1011, 1012, 3000, 4999])
def test_send_close_works_with_every_code_that_may_be_sent(made: House, code: int | None) -> None:
    client = made.make_wire(mounted=Recording)
    client.wire.sendClose(code, None if code is None else "grün")
    made.loop.settle()
    assert client.frames() == [Frame(8, b"") if code is None else closing(code, "grün")]
    client.send(close(code))
    made.loop.settle()
    assert client.wire.events[-1][:2] == (True, 1005 if code is None else code)


@pytest.mark.parametrize(("code", "reason"), [(1005, None), (1006, None), (2999, None), (None, "reason"), ("1000", None)])
def test_send_close_refuses_what_stock_refuses(one: House, code: Any, reason: Any) -> None:
    client = one.make_wire(mounted=Recording)
    with pytest.raises(Exception, match=r"close code|close reason|invalid|not supported"):
        client.wire.sendClose(code, reason)
    assert client.wire.live


def test_send_message_after_close_raises_disconnected(made: House) -> None:
    client = made.make_wire(mounted=Recording)
    client.wire.sendClose(1000)
    for arguments in ({}, {"fragmentSize": 1}, {"doNotCompress": True}):
        with pytest.raises(Disconnected):
            client.wire.sendMessage(b"late", **arguments)
    client.answer_close()
    with pytest.raises(Disconnected):
        client.wire.sendMessage(b"late")


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
    assert client.wire.events[-1][:2] == (False, 1006)


@pytest.mark.parametrize("payload", ["text", bytearray(b"x"), None])
def test_send_message_takes_bytes(one: House, payload: Any) -> None:
    client = one.make_wire(mounted=Recording)
    with pytest.raises(TypeError, match=r"sendMessage\(\) takes bytes, not "):
        client.wire.sendMessage(payload)


def test_fragments_frames_pings_and_prepared_messages(made: House) -> None:
    client = made.make_wire(mounted=Recording)
    wire = client.wire
    wire.sendMessage(b"abc", fragmentSize=2)
    wire.sendPing(b"?")
    wire.sendPong(b"!")
    wire.sendPreparedMessage(wire.factory.prepareMessage(b"all", isBinary=True))
    wire.beginMessage(isBinary=True)
    wire.beginMessageFrame(3)
    wire.sendMessageFrameData(b"x")
    wire.sendMessageFrameData(b"yz")
    wire.endMessage()
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
    assert client.wire.events[2:] == [("ping", b"1"), ("pong", b"2")]
    assert client.frames() == [Frame(10, b"1")]


# -- the streaming API


class Streaming(WebSocketServerProtocol):
    def __init__(self) -> None:
        self.events: list[Any] = []

    def onMessageBegin(self, isBinary: bool) -> None:
        super().onMessageBegin(isBinary)
        self.events.append("begin")

    def onMessageFrameBegin(self, length: int) -> None:
        super().onMessageFrameBegin(length)
        self.events.append(length)

    def onMessageFrameData(self, payload: bytes) -> None:
        self.events.append(payload)

    def onMessageFrameEnd(self) -> None:
        self.events.append("frame end")

    def onMessageEnd(self) -> None:
        self.events.append("end")


def test_a_streaming_class_sees_every_frame(made: House) -> None:
    client = made.make_wire(mounted=Streaming)
    data = text("whole") + frame(2, b"ab", fin=False) + frame(0, b"cd")
    client.send(data[:8], data[8:])
    assert client.wire.events == [
        "begin", 5, b"whole", "frame end", "end", "begin", 2, b"ab", "frame end", 2, b"cd", "frame end", "end",
    ]  # fmt: skip
    client.send(data[:8])
    assert client.wire.events[-1] == b"wh", "it is given what there is of a frame"


def test_which_classes_take_part_in_parsing() -> None:
    assert not needs_autobahns_parser(WebSocketServerProtocol)
    assert not needs_autobahns_parser(Recording)
    assert needs_autobahns_parser(Streaming)


def test_the_frame_reader_serves_a_class_that_does_not_stream(one: House) -> None:
    assert one.make_wire(mounted=Echo).wire.fast
    assert not one.make_wire(mounted=Streaming).wire.fast


# -- what the class finds around it


def test_the_transport(one: House) -> None:
    client = one.make_wire(mounted=Recording)
    transport = client.wire.transport
    peer, here = transport.getPeer(), transport.getHost()
    assert (peer.type, peer.host, peer.port) == ("TCP", "192.0.2.7", 50123)
    assert (here.host, here.port) == ("192.0.2.1", 8080)
    transport.loseConnection()
    one.loop.settle()
    assert client.wire.events[-1][:2] == (False, 1006)


def test_the_factory(one: House) -> None:
    client = one.make_wire(mounted=Recording)
    assert client.wire.factory.isServer
    assert isinstance(client.wire, client.wire.factory.protocol)


@implementer(IPushProducer)
class Producer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


def test_a_producer_is_paused_while_the_client_is_slow(one: House) -> None:
    client = one.make_wire(mounted=Recording)
    producer = Producer()
    client.wire.registerProducer(producer, True)
    client.transport.stuck = True
    client.wire.sendMessage(bytes(200_000))
    one.loop.settle()
    assert producer.calls == ["pause"]
    client.transport.drain()
    assert producer.calls == ["pause", "resume"]
    client.wire.unregisterProducer()
    client.vanish()


# -- what is set up


def test_fail_by_drop_and_web_status_are_off(one: House) -> None:
    """With them on, a client sees a reset without a close code, and anybody an open redirect."""
    wire = one.make_wire(mounted=Recording).wire
    assert wire.failByDrop is False
    assert wire.webStatus is False
    factory = make_factory(wire.wire_policy, None)
    defaults = {name for name in Core.CONFIG_ATTRS if not hasattr(factory, name)}
    assert defaults <= {"logOctets", "logFrames", "trackTimings", "allowedOriginsPatterns"}


def test_limits_hold_for_mounted_classes(made: House) -> None:
    for mounted in (Recording, Streaming):
        client = made.make_wire(mounted=mounted, max_message=1000)
        client.send(binary(bytes(1001)))
        assert client.frames()[0].code == 1009
        client = made.make_wire(mounted=mounted)
        client.send(frame(1, b"\xff" * 4))
        assert client.frames()[0].code == 1007
