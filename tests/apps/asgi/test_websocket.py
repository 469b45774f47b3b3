"""apps/asgi/websocket.py: what an application sees and sends, from the opening handshake to the one disconnect. In memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from tests.support.asgi import Event, Host, Script, echo
from tests.support.fakes import Frame, House, binary, close, closing, request, text
from wsdaemon.apps.asgi.inbox import ClientDisconnected
from wsdaemon.apps.asgi.websocket import ApplicationError
from wsdaemon.core.acceptance import MAX_REFUSAL_BYTES
from wsdaemon.core.contract import READ_AHEAD, READ_AHEAD_BYTES

Receive = Callable[[], Any]
Send = Callable[[Event], Any]


# -- before the 101


def test_nothing_is_answered_before_the_application_accepts(made: House) -> None:
    go_on = made.loop.create_future()

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        assert await receive() == {"type": "websocket.connect"}
        await go_on
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"

    visitor = Host(made, app).connect()
    assert visitor.answer == ""
    go_on.set_result(None)
    made.loop.settle()
    assert visitor.status == 101
    visitor.transport.lose()


def test_the_application_goes_on_in_the_turn_in_which_the_101_leaves(made: House) -> None:
    members: list[Send] = []

    async def chat(scope: Event, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        members.append(send)
        await receive()

    host = Host(made, chat)
    visitor = host.door.arrive(request("/chat"))
    while not visitor.answer:
        made.loop.turn()
    assert len(members) == 1, "a client that has its 101 is not yet a member"


def test_the_application_chooses_subprotocol_and_headers(made: House) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        assert scope["subprotocols"] == ["a", "b"]
        headers = [(b"Set-Cookie", b"a=1"), (b"x-name", b"caf\xe9"), (b"Set-Cookie", b"b=2")]
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": headers})
        await receive()

    visitor = Host(made, app, subprotocols=("a",)).connect(request("/chat", sec_websocket_protocol="a, b"))
    assert "\r\nSec-WebSocket-Protocol: b\r\n" in visitor.answer
    assert "\r\nSet-Cookie: a=1\r\nx-name: caf\xe9\r\nSet-Cookie: b=2\r\n" in visitor.answer


def test_without_a_subprotocol_in_accept_there_is_none(made: House) -> None:
    visitor = Host(made, echo, subprotocols=("a",)).connect(request("/chat", sec_websocket_protocol="a"))
    assert visitor.status == 101
    assert "Sec-WebSocket-Protocol" not in visitor.answer


def test_a_close_before_accept_is_a_403_and_one_disconnect(made: House) -> None:
    events: list[Event] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 4000})
        events.append(await receive())
        with pytest.raises(OSError):
            await receive()
        with pytest.raises(OSError):
            await send({"type": "websocket.accept"})

    host = Host(made, app)
    visitor = host.connect()
    assert visitor.status == 403
    assert events == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
    assert host.lines.lines == [] and host.failures == []
    assert host.door.gate.refused == {"app": 1}


def test_a_denial_response_in_pieces(made: House) -> None:
    events: list[Event] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        assert scope["extensions"]["websocket.http.response"] == {}
        await receive()
        headers = [(b"content-length", b"9"), (b"X-One", b"1"), (b"x-one", b"2"), (b"content-type", b"text/x"), (b"connection", b"x")]
        await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"good", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"bye"})
        events.append(await receive())

    visitor = Host(made, app).connect()
    head, _, body = visitor.answer.partition("\r\n\r\n")
    assert head.split("\r\n") == [
        "HTTP/1.1 401 Unauthorized", "Server: wsdaemon", "X-One: 1", "x-one: 2", "content-type: text/x", "Content-Length: 7",
        "Connection: close",
    ]  # fmt: skip
    assert body == "goodbye"
    assert events == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


def test_a_denial_without_a_body_event_is_a_500(made: House) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 404})

    assert Host(made, app).connect().status == 500


def test_a_second_start_of_a_denial_is_refused(made: House) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 404})
        with pytest.raises(RuntimeError, match=r"unexpected ASGI event 'websocket.http.response.start'; expected .*response.body"):
            await send({"type": "websocket.http.response.start", "status": 405})
        await send({"type": "websocket.http.response.body", "body": b""})

    assert Host(made, app).connect().status == 404


ERRORS: dict[str, tuple[Any, type[BaseException]]] = {
    "an invalid status": ({"type": "websocket.http.response.start", "status": 101}, ValueError),
    "a header that breaks out": ({"type": "websocket.accept", "headers": [(b"x", b"a\r\nb: c")]}, ValueError),
    "a name that is none": ({"type": "websocket.accept", "headers": [(b"x y", b"a")]}, ValueError),
    "a header of the daemon's": ({"type": "websocket.accept", "headers": [(b"sec-websocket-protocol", b"a")]}, ValueError),
    "a subprotocol that was not offered": ({"type": "websocket.accept", "subprotocol": "z"}, ValueError),
    "a message before accept": ({"type": "websocket.send", "text": "a"}, RuntimeError),
    "a body without a start": ({"type": "websocket.http.response.body", "body": b""}, RuntimeError),
    "an unknown event": ({"type": "websocket.hello"}, RuntimeError),
    "no type": ({}, KeyError),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_event_that_is_not_allowed_before_accept_raises_and_is_a_500(made: House, name: str, failures: list[BaseException]) -> None:
    event, expected = ERRORS[name]

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send(event)

    visitor = Host(made, app).connect()
    assert visitor.status == 500
    assert [type(error) for error in failures] == [expected]


def test_the_body_of_a_denial_has_a_bound(made: House, failures: list[BaseException]) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 404})
        for _ in range(MAX_REFUSAL_BYTES // 65536 + 1):
            await send({"type": "websocket.http.response.body", "body": bytes(65536), "more_body": True})

    assert Host(made, app).connect().status == 500
    assert [str(error) for error in failures] == [f"the body of a refusal has more than {MAX_REFUSAL_BYTES} bytes"]


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """The errors that ended an opening handshake."""
    found: list[BaseException] = []
    monkeypatch.setattr("wsdaemon.edge.gate.Gate.broken", lambda gate, failure, peer: found.append(failure.value))
    return found


class Mine(Exception):
    """An application's own."""


@pytest.mark.parametrize("error", [Mine(), SystemExit(3), asyncio.CancelledError(), StopIteration(), None])
def test_an_application_that_ends_before_accept_is_a_500(made: House, error: Any, failures: list[BaseException]) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        if error is not None:
            raise error

    assert Host(made, app).connect().status == 500
    assert [type(failure) for failure in failures] == [Mine if isinstance(error, Mine) else failures[0].__class__]
    assert isinstance(failures[0], (Mine, ApplicationError, RuntimeError))


def test_a_client_that_leaves_before_accept_is_one_disconnect(made: House) -> None:
    script = Script()

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        script.events += [await receive(), await receive()]
        with pytest.raises(OSError):
            await send({"type": "websocket.accept"})

    host = Host(made, app)
    visitor = host.connect()
    visitor.transport.lose()
    made.loop.settle()
    assert script.events == [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006, "reason": ""}]
    assert host.door.count.now == 0


def test_an_application_that_never_accepts(made: House) -> None:
    script = Script()

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        script.events += [await receive(), await receive()]

    visitor = Host(made, app).connect()
    made.loop.advance(10.1)
    assert visitor.status == 503
    assert script.events[1:] == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


def test_an_error_after_the_client_has_left_is_logged_and_nothing_else(made: House) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        raise Mine

    host = Host(made, app)
    host.connect().transport.lose()
    made.loop.settle()
    assert host.lines.lines == ["/chat failed after its client was refused or had left"]


def test_a_daemon_that_stops_while_the_application_accepts(made: House) -> None:
    script = Script()

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await send({"type": "websocket.accept"})
        except OSError as error:
            script.errors.append(error)
        script.events.append(await receive())

    host = Host(made, app)
    visitor = host.door.arrive(request("/chat"))
    host.door.draining = True
    made.loop.settle()
    assert visitor.status == 503
    assert [type(error) for error in script.errors] == [ClientDisconnected]
    assert script.events == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


def test_an_application_that_returns_before_its_accept_is_done(made: House) -> None:
    tasks: list[Any] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        tasks.append(asyncio.ensure_future(send({"type": "websocket.accept"})))
        await asyncio.sleep(0)

    visitor = Host(made, app).connect()
    assert visitor.status == 101
    assert visitor.frames[-1] == closing(1000, "")


# -- messages


def test_text_and_binary_both_ways(made: House) -> None:
    script = Script()
    visitor = Host(made, script).connect()
    visitor.transport.receive(text("é") + binary(b"\0\xff") + text(""))
    assert script.events[1:] == [
        {"type": "websocket.receive", "text": "é"},
        {"type": "websocket.receive", "bytes": b"\0\xff"},
        {"type": "websocket.receive", "text": ""},
    ]
    sent: list[Event] = [{"text": "é"}, {"bytes": b"\0\xff"}, {"bytes": bytearray(b"a")}, {"bytes": None, "text": ""}]
    for event in [*sent, {"bytes": b"b", "text": None}]:
        made.loop.create_task(script.send({"type": "websocket.send", **event}))
    made.loop.settle()
    assert visitor.frames == [Frame(1, "é".encode()), Frame(2, b"\0\xff"), Frame(2, b"a"), Frame(1, b""), Frame(2, b"b")]


@pytest.mark.parametrize("event", [{}, {"text": None, "bytes": None}])
def test_a_message_without_a_payload(made: House, event: Event) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        with pytest.raises(ValueError, match="neither text nor bytes"):
            await send({"type": "websocket.send", **event})
        await receive()

    host = Host(made, app)
    host.connect()
    assert host.failures == []


def test_answers_to_one_read_leave_in_one_write_within_the_read(made: House) -> None:
    visitor = Host(made, echo).connect()
    before = len(visitor.transport.writes)
    visitor.transport.receive(text("a") + text("b") + text("c"))
    assert visitor.frames == [Frame(1, b"a"), Frame(1, b"b"), Frame(1, b"c")], "the loop has not turned yet"
    assert len(visitor.transport.writes) == before + 1


def test_messages_that_come_with_the_request_and_before_the_accept(made: House) -> None:
    visitor = Host(made, echo).connect(request("/chat") + text("early"))
    assert visitor.frames == [Frame(1, b"early")]


@pytest.mark.parametrize(("message", "count"), [(text("x"), READ_AHEAD), (text("x" * 100_000), READ_AHEAD_BYTES // 100_000 + 1)])
def test_a_client_is_not_read_further_than_the_application_receives(made: House, message: bytes, count: int) -> None:
    go_on = made.loop.create_future()
    received: list[Event] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await go_on
        while (event := await receive())["type"] == "websocket.receive":
            received.append(event)

    visitor = Host(made, app).connect()
    for _ in range(count + 20):
        visitor.transport.receive(message)
    made.loop.settle()
    assert not visitor.transport.reading
    assert len(visitor.transport.incoming) >= 19 * len(message)
    go_on.set_result(None)
    made.loop.settle()
    assert len(received) == count + 20
    assert visitor.transport.reading


def test_messages_before_a_close_are_received_before_the_disconnect(made: House) -> None:
    go_on = made.loop.create_future()
    events: list[Event] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await go_on
        while not events or events[-1]["type"] != "websocket.disconnect":
            events.append(await receive())

    visitor = Host(made, app).connect()
    visitor.transport.receive(b"".join(binary(b"abc") for _ in range(READ_AHEAD + 5)) + close(1001, "bye"))
    made.loop.settle()
    go_on.set_result(None)
    made.loop.settle()
    visitor.transport.lose()
    made.loop.settle()
    assert [event.get("bytes") for event in events[:-1]] == [b"abc"] * (READ_AHEAD + 5)
    assert events[-1] == {"type": "websocket.disconnect", "code": 1001, "reason": "bye"}


def test_send_waits_for_a_slow_client_and_raises_after_the_end(made: House) -> None:
    sent, errors = [], []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        try:
            while True:
                await send({"type": "websocket.send", "bytes": bytes(60_000)})
                sent.append(1)
        except OSError as error:
            errors.append(error)
        assert (await receive())["type"] == "websocket.connect"
        assert (await receive())["code"] == 1006

    host = Host(made, app)
    visitor = host.door.arrive(request("/chat"))
    visitor.transport.stuck = True
    made.loop.settle()
    assert visitor.transport.unsent < 256 * 1024, "no more waits than the high-water mark and one message"
    waiting = len(sent)
    assert 2 <= waiting < 8
    visitor.transport.drain()
    visitor.transport.stuck = True
    made.loop.settle()
    assert len(sent) > waiting
    visitor.transport.lose()
    made.loop.settle()
    assert len(errors) == 1
    assert host.failures == [] and host.lines.lines == []


# -- the end


def test_close_by_the_client(made: House) -> None:
    script = Script()
    visitor = Host(made, script).connect()
    visitor.transport.receive(close(4001, "custom reason"))
    made.loop.settle()
    visitor.transport.lose()
    assert script.events[-1] == {"type": "websocket.disconnect", "code": 4001, "reason": "custom reason"}
    assert [event["type"] for event in script.events].count("websocket.disconnect") == 1
    assert script.errors == []


def test_close_by_the_client_without_a_code_is_1005(made: House) -> None:
    script = Script()
    visitor = Host(made, script).connect()
    visitor.transport.receive(close(None))
    made.loop.settle()
    visitor.transport.lose()
    assert script.events[1:] == [{"type": "websocket.disconnect", "code": 1005, "reason": ""}]


def test_a_lost_connection_is_1006(made: House) -> None:
    script = Script()
    visitor = Host(made, script).connect()
    visitor.transport.lose(ConnectionResetError())
    assert script.events[1:] == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


def test_a_restart_is_1012(made: House) -> None:
    script = Script()
    host = Host(made, script)
    visitor = host.connect()
    [connection] = host.door.watcher.opened_ones
    connection.close(1012, "restart; retry=3")
    made.loop.settle()
    assert visitor.frames[-1] == closing(1012, "restart; retry=3")
    visitor.transport.receive(close(1012))
    made.loop.settle()
    visitor.transport.lose()
    assert script.events[1:] == [{"type": "websocket.disconnect", "code": 1012, "reason": "restart; retry=3"}]


@pytest.mark.parametrize("code", [None, 1000, 1001, 3000, 4999])
@pytest.mark.parametrize("reason", [None, "test", False])
def test_close_by_the_application(made: House, code: int | None, reason: Any) -> None:
    event: Event = {"type": "websocket.close"}
    event |= {} if code is None else {"code": code}
    event |= {} if reason is False else {"reason": reason}
    ends: list[Event] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send(event)
        with pytest.raises(OSError):
            await send({"type": "websocket.send", "text": "late"})
        ends.append(await receive())
        with pytest.raises(OSError):
            await receive()

    host = Host(made, app)
    visitor = host.connect()
    expected = code or 1000, reason or ""
    assert visitor.frames[-1] == closing(*expected)
    visitor.transport.receive(text("dropped") + close(expected[0]))
    made.loop.settle()
    visitor.transport.lose()
    made.loop.settle()
    assert ends == [{"type": "websocket.disconnect", "code": expected[0], "reason": expected[1]}]
    assert host.failures == []


@pytest.mark.parametrize("code", [1005, 1006, 999, 5000])
def test_a_close_code_that_may_not_be_sent(made: House, code: int) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        with pytest.raises(ValueError):
            await send({"type": "websocket.close", "code": code})

    assert Host(made, app).connect().frames[-1] == closing(1000, "")


def test_an_application_that_returns_closes_with_1000(made: House) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    assert Host(made, app).connect().frames[-1] == closing(1000, "")


def failing(error: BaseException | None, event: Event | None = None) -> Any:
    async def app(scope: Event, receive: Receive, send: Send) -> Any:
        await send({"type": "websocket.accept"})
        if event is not None:
            await send(event)
        if error is not None:
            raise error
        return 123

    return app


AFTER = {
    "an exception": (failing(Mine()), Mine),
    "an exit": (failing(SystemExit()), SystemExit),
    "a cancellation of its own": (failing(asyncio.CancelledError()), asyncio.CancelledError),
    "a value": (failing(None), ApplicationError),
    "a second accept": (failing(None, {"type": "websocket.accept"}), RuntimeError),
    "an unknown event": (failing(None, {"type": "websocket.hello"}), RuntimeError),
    "a denial": (failing(None, {"type": "websocket.http.response.start", "status": 404}), RuntimeError),
}


@pytest.mark.parametrize("name", AFTER)
def test_an_error_after_accept_is_1011_and_in_the_log(made: House, name: str) -> None:
    app, expected = AFTER[name]
    host = Host(made, app)
    visitor = host.connect()
    assert visitor.status == 101
    assert visitor.frames[-1] == closing(1011, "internal error")
    assert [type(error) for error in host.failures] == [expected]


def test_a_send_that_comes_too_late_is_no_failure(made: House) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        while True:
            await receive()
            await asyncio.sleep(1)
            await send({"type": "websocket.send", "text": "late"})

    host = Host(made, app)
    visitor = host.connect()
    made.loop.advance(1.5)
    visitor.transport.receive(text("a") + close(1000))
    made.loop.settle()
    visitor.transport.lose()
    made.loop.advance(3)
    assert host.failures == []


# -- tasks and contexts

WHO: ContextVar[str] = ContextVar("who", default="nobody yet")


def test_each_client_has_a_context_of_its_own_that_lasts(made: House) -> None:
    seen: list[str] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        WHO.set(scope["query_string"].decode())
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            seen.append(WHO.get())

    host = Host(made, app)
    one, other = host.connect(request("/chat?ann")), host.connect(request("/chat?bob"))
    for visitor in (one, other, one):
        visitor.transport.receive(text("x"))
    assert seen == ["ann", "bob", "ann"]
    assert WHO.get() == "nobody yet"


def test_the_task_goes_on_after_the_client_has_gone_and_is_cancelled_with_the_daemon(made: House) -> None:
    story: list[str] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            story.append("cancelled")
            raise

    host = Host(made, app)
    host.connect().transport.lose()
    made.loop.advance(600)
    assert story == []
    stopping = made.loop.create_task(host.app.stop())
    made.loop.settle()
    assert story == ["cancelled"]
    assert stopping.done()
    assert host.failures == []


def test_receive_with_a_time_limit_loses_no_message(made: House) -> None:
    story: list[Any] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(3):
            try:
                story.append((await asyncio.wait_for(receive(), 1.0)).get("text"))
            except TimeoutError:
                story.append("nothing")

    visitor = Host(made, app).connect()
    made.loop.advance(1.5)
    visitor.transport.receive(text("a"))
    made.loop.settle()
    assert story == ["nothing", "a"]
    made.loop.advance(1.5)
    assert story == ["nothing", "a", "nothing"]
