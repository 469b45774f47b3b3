"""wire/autobahn/answers.py and stage.py: the opening handshake of Autobahn classes, and what onConnect may do with it."""

from __future__ import annotations

from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.support.fakes import Client, Frame, House, request, text
from tests.support.mounted_classes import Echo, Recording

pytestmark = pytest.mark.readers()


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


@pytest.mark.readers("python")
def test_what_on_connect_is_told(made: House) -> None:
    opening = request("/chat?x=1&x=2", origin="https://example.org", sec_websocket_protocol="a, b", cookie="k=v", host="example.org:8080")
    client = made.make_wire(mounted=Recording, opening=opening)
    told = client.protocol.request
    assert (told.path, told.params, told.host) == ("/chat", {"x": ["1", "2"]}, "example.org")
    assert (told.origin, told.protocols, told.version) == ("https://example.org", ["a", "b"], 13)
    assert told.headers["cookie"] == "k=v"
    assert told.peer == "tcp4:192.0.2.7:50123"
    assert client.protocol.peer == told.peer
    assert client.protocol.transport_details.peer == told.peer


@pytest.mark.readers("python")
@pytest.mark.parametrize("target", ["/caf%C3%A9%2Fx?q=%20a+b&q=", "/chat;v=1?x=1", "http://localhost/chat?x=%2F", "/chat^", "//chat//x"])
def test_the_target_is_shown_as_autobahn_itself_would_show_it(made: House, target: str) -> None:
    """Raw, not decoded and not routed: the stock protocol reads the same bytes."""
    opening = request(target, host="localhost")
    factory = WebSocketServerFactory("ws://localhost")
    factory.protocol = WebSocketServerProtocol
    stock: Any = factory.buildProtocol(None)
    stock.makeConnection(StringTransport())
    stock.dataReceived(opening)
    told = made.make_wire(mounted=Recording, opening=opening).protocol
    for name in ("http_request_uri", "http_request_path", "http_request_params", "http_request_host"):
        assert getattr(told, name) == getattr(stock, name), name
    assert told.http_request_uri == target


@pytest.mark.readers("python")
def test_no_header_can_be_smuggled_past_the_strict_reader(made: House) -> None:
    """Autobahn cuts lines with str.splitlines(): the last byte of Å in UTF-8 ends a line there."""
    opening = request(x_city="@").replace(b"@", b"\xc3\x85X-Forwarded-For: 10.0.0.1")
    client = made.make_wire(mounted=Recording, opening=opening)
    assert "x-forwarded-for" not in client.protocol.request.headers
    assert "x-city" in client.protocol.request.headers


ANSWERS: dict[str, tuple[Any, str]] = {
    "nothing": (None, ""),
    "a subprotocol": ("b", "Sec-WebSocket-Protocol: b"),
    "both": (("b", {"X-One": "1"}), "X-One: 1"),
    "headers alone": ((None, {"X-One": "1"}), "X-One: 1"),
    "a header twice": ((None, {"X-Two": ["1", "2"]}), "X-Two: 2"),
    "a tuple of one": (("b",), "Sec-WebSocket-Protocol: b"),
}


@pytest.mark.readers("python")
@pytest.mark.parametrize("how", ["plain", "deferred", "coroutine"])
@pytest.mark.parametrize("name", ANSWERS)
def test_what_on_connect_may_answer(made: House, name: str, how: str) -> None:
    answer, line = ANSWERS[name]

    class Answering(Echo):
        def onConnect(self, request: ConnectionRequest) -> Any:
            if how == "coroutine":

                async def later() -> Any:
                    return answer

                return later()
            return succeed(answer) if how == "deferred" else answer

    client = made.make_wire(mounted=Answering, opening=request(sec_websocket_protocol="a, b"))
    made.loop.settle()
    client.read_head()
    lines = client.head.split("\r\n")
    assert lines[0] == "HTTP/1.1 101 Switching Protocols"
    assert line in lines
    client.send(text("x"))
    assert client.frames() == [Frame(1, b"x")]
    assert client.wire.counts().bytes_out == 2 + len("x"), "the answer is not counted"
    assert client.protocol.websocket_protocol_in_use == ("b" if "Protocol" in line or name == "both" else None)


def test_what_comes_while_on_connect_thinks_is_kept(made: House) -> None:
    thinking: Deferred[None] = Deferred()

    class Thinking(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            return thinking

    client = made.make_wire(mounted=Thinking)
    assert client.head == ""
    client.reader.data_received(text("early") + text("more")[:3])
    client.send(text("more")[3:])
    assert client.protocol.events == []
    thinking.callback(None)
    made.loop.settle()
    assert client.protocol.events == ["open", (b"early", False), (b"more", False)]


@pytest.mark.readers("python")
def test_a_client_that_leaves_while_on_connect_thinks(made: House) -> None:
    for outcome in (None, Failure(ConnectionDeny(403, "no"))):
        thinking: Deferred[None] = Deferred()

        class Thinking(Recording):
            def onConnect(self, request: ConnectionRequest, thinking: Any = thinking) -> Any:
                return thinking

        client = made.make_wire(mounted=Thinking)
        client.vanish()
        assert client.count.now == 0
        thinking.callback(None) if outcome is None else thinking.errback(outcome)
        made.loop.settle()
        assert client.protocol.events == []
        assert client.transport.writes == []


@pytest.mark.readers("python")
def test_an_on_connect_that_never_answers(made: House) -> None:
    class Thinking(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            return Deferred()

    client = made.make_wire(mounted=Thinking, handshake_timeout=10.0)
    made.loop.advance(10.1)
    assert client.transport.aborted
    assert client.count.now == 0


@pytest.mark.readers("python")
@pytest.mark.parametrize("how", ["raised", "deferred", "coroutine"])
def test_on_connect_denies(made: House, how: str) -> None:
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

    client = made.make_wire(mounted=Denying)
    assert denied(client) == ("HTTP/1.1 403 not you", "not you\n")
    assert client.watcher.failures == []


@pytest.mark.readers("python")
def test_a_denial_cannot_break_out_of_its_line(made: House) -> None:
    class Denying(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            raise ConnectionDeny(403, "grün\r\nSet-Cookie: x")

    client = made.make_wire(mounted=Denying)
    assert denied(client) == ("HTTP/1.1 403 gr?n Set-Cookie: x", "grün Set-Cookie: x\n")


@pytest.mark.readers("python")
def test_a_denial_without_a_reason(made: House) -> None:
    class Denying(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            raise ConnectionDeny(403)

    client = made.make_wire(mounted=Denying)
    assert denied(client) == ("HTTP/1.1 403 refused", "refused\n")


@pytest.mark.readers("python")
def test_a_denial_with_headers_of_its_own(made: House) -> None:
    class Denying(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            self.failHandshake("not now", 503, [("Retry-After", 5)])

    client = made.make_wire(mounted=Denying)
    made.loop.settle()
    client.read_head()
    assert client.head.startswith("HTTP/1.1 503 not now\r\n") and "\r\nRetry-After: 5\r\n" in client.head
    assert client.watcher.failures == []


@pytest.mark.readers("python")
@pytest.mark.parametrize(
    "header", [("X-One", "1\r\nSet-Cookie: x"), ("X-One", "1\nSet-Cookie: x"), ("X-One\r\nSet-Cookie: x", "1"), ("X-One", "\0")]
)
def test_no_header_of_a_denial_breaks_out_of_its_line(made: House, header: tuple[str, str]) -> None:
    class Denying(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            self.failHandshake("not you", 403, [("X-Good", "1"), header])

    client = made.make_wire(mounted=Denying)
    assert denied(client) == ("HTTP/1.1 500 internal error", "internal error\n")
    assert "X-" not in client.head and "Set-Cookie" not in client.head
    assert [doing for doing, _ in client.watcher.failures] == ["opening"]


@pytest.mark.readers("python")
def test_an_exception_in_on_connect_is_told_to_the_operator_and_not_to_the_client(made: House) -> None:
    class Failing(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            raise RuntimeError("password is 1234")

    client = made.make_wire(mounted=Failing)
    status, body = denied(client)
    assert status == "HTTP/1.1 500 internal error"
    assert "1234" not in body
    assert [(doing, str(error)) for doing, error in client.watcher.failures] == [("opening", "password is 1234")]


@pytest.mark.readers("python")
@pytest.mark.parametrize("answer", ["other", 5, (), ("b", {}, 3), (None, None), (None, "headers"), (None, {"X": "a\r\nb"})])
def test_a_subprotocol_the_client_did_not_offer_gives_500_and_no_hang(made: House, answer: Any) -> None:
    """Nor does anything else that onConnect cannot answer; in stock Autobahn such a handshake hangs."""

    class Answering(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            return answer

    client = made.make_wire(mounted=Answering, opening=request(sec_websocket_protocol="a, b"))
    if answer in ((), (None, None)):
        assert client.head.startswith("HTTP/1.1 101 ")
        return
    assert denied(client)[0].startswith("HTTP/1.1 500 ")
    assert [doing for doing, _ in client.watcher.failures] == ["opening"]
