"""apps/asgi/http.py: what an application sees and sends for one HTTP request, and what its client gets. In memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import h11
import pytest

from tests.support.admission import Visitor
from tests.support.asgi import Event, Host, echo
from tests.support.fakes import PEER, Frame, House, request, text
from wsdaemon.apps.asgi.inbox import ClientDisconnected
from wsdaemon.edge.exchange import HELD_BYTES
from wsdaemon.edge.limits import AddressLimits

Receive = Callable[[], Any]
Send = Callable[[Event], Any]

GET = b"GET /chat?a=1 HTTP/1.1\r\nHost: example.org\r\nX-One: 1\r\nx-one: 2\r\n\r\n"


def post(body: bytes = b"", head: str = "", length: int | None = None) -> bytes:
    lines = f"POST /chat HTTP/1.1\r\nHost: example.org\r\nContent-Length: {len(body) if length is None else length}\r\n{head}\r\n"
    return lines.encode() + body


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end
    return b"POST /chat HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n" + body


def answers(visitor: Visitor, *methods: str) -> list[tuple[int, dict[str, str], bytes]]:
    """The answers that a client reads to requests with these methods, one GET by default."""
    client, found = h11.Connection(h11.CLIENT), []
    client.receive_data(visitor.answer.encode("latin-1"))
    for method in methods or ("GET",):
        client.send(h11.Request(method=method, target="/", headers=[("host", "h")]))
        client.send(h11.EndOfMessage())
        response = client.next_event()
        while isinstance(response, h11.InformationalResponse):
            response = client.next_event()
        assert isinstance(response, h11.Response), response
        body = b""
        while isinstance(event := client.next_event(), h11.Data):
            body += bytes(event.data)
        assert isinstance(event, h11.EndOfMessage), event
        found.append((response.status_code, {name.decode(): value.decode("latin-1") for name, value in response.headers}, body))
        if client.their_state is h11.MUST_CLOSE:
            break
        client.start_next_cycle()
    return found


def hosted(made: House, app: Any, **options: Any) -> Host:
    return Host(made, app, http=True, **options)


def answering(status: int = 200, body: bytes = b"hello", headers: Any = (), pieces: Any = None) -> Any:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for piece in pieces or ():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": body})

    return app


async def length(scope: Event, receive: Receive, send: Send) -> None:
    """Answers with the number of bytes in the body."""
    count, more = 0, True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        count, more = count + len(event["body"]), event["more_body"]
    await answering(body=str(count).encode())(scope, receive, send)


# -- the request


def test_the_scope(made: House) -> None:
    scopes: list[Event] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        await answering()(scope, receive, send)

    hosted(made, app).connect(GET)
    [scope] = scopes
    assert (scope["type"], scope["method"], scope["scheme"]) == ("http", "GET", "http")
    assert (scope["path"], scope["query_string"]) == ("/chat", b"a=1")
    assert scope["headers"] == [(b"host", b"example.org"), (b"x-one", b"1"), (b"x-one", b"2")]
    assert "websocket.http.response" not in scope["extensions"] and "subprotocols" not in scope


@pytest.mark.parametrize("size", [1, 1000, 200_000])
@pytest.mark.parametrize("encode", [post, chunked])
def test_a_body_comes_whole_however_it_is_cut(made: House, encode: Any, size: int) -> None:
    host = hosted(made, length)
    visitor = host.connect()
    visitor = host.door.arrive()
    data = encode(bytes(size))
    for start in range(0, len(data), 50_001):
        visitor.transport.receive(data[start : start + 50_001])
        made.loop.settle()
    assert answers(visitor, "POST") == [(200, answers(visitor, "POST")[0][1], str(size).encode())]


def test_a_body_is_not_read_faster_than_the_application_receives(made: House) -> None:
    go_on = made.loop.create_future()

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await go_on
        await length(scope, receive, send)

    visitor = hosted(made, app).connect(post(length=1_000_000))
    for _ in range(20):
        visitor.transport.receive(bytes(50_000))
    assert not visitor.transport.reading
    assert len(visitor.transport.incoming) >= 1_000_000 - HELD_BYTES - 50_000
    go_on.set_result(None)
    made.loop.settle()
    assert answers(visitor, "POST")[0][2] == b"1000000"


@pytest.mark.parametrize("data", [post(length=1_048_577), post(length=2_000_000_000_000)])
def test_a_body_that_is_too_long_is_a_413_before_it_is_read(made: House, data: bytes) -> None:
    host = hosted(made, length)
    visitor = host.connect(data)
    assert visitor.status == 413 and host.door.gate.refused == {"body": 1}


def test_a_body_in_chunks_that_becomes_too_long_is_a_413(made: House) -> None:
    host = hosted(made, length, mount={"max_message": 1000})
    visitor = host.connect(chunked(bytes(600), bytes(600)))
    assert visitor.status == 413
    assert host.lines.lines == [], "the application just sees a client that has gone"
    visitor.transport.lose()
    made.loop.advance(5)
    assert host.door.count.now == 0


BAD = {
    "chunks that are none": (chunked(end=b"zz\r\n"), 400),
    "a chunk without its end": (chunked(end=b"1\r\nxx\r\n"), 400),
    "both lengths": (chunked().replace(b"Host", b"Content-Length: 5\r\nHost", 1), 400),
    "two lengths": (post(b"hello", "Content-Length: 5\r\n"), 400),
    "another coding": (chunked().replace(b"chunked", b"gzip, chunked", 1), 501),
    "two codings": (chunked().replace(b"chunked\r\n", b"chunked\r\nTransfer-Encoding: chunked\r\n", 1), 501),
    "a header that is none": (GET.replace(b"X-One", b"X One"), 400),
    "a smuggled header": (GET.replace(b"1\r\n", b"1\x0bX-Secret: a\r\n", 1), 400),
    "another byte": (GET.replace(b"x-one: 2", b"x-one: \x85"), 400),
    "no HTTP": (b"hello\r\n\r\n", 400),
    "HTTP/1.0": (GET.replace(b"1.1", b"1.0", 1), 505),
    "a head that is too long": (GET.replace(b"One: 1", b"One: " + b"1" * 20_000, 1), 431),
}


@pytest.mark.parametrize("name", BAD)
def test_requests_that_our_strict_reader_refuses(made: House, name: str) -> None:
    data, status = BAD[name]
    visitor = hosted(made, length).connect(data)
    assert visitor.status == status
    assert "connection: close" in visitor.answer.lower()


def test_a_body_that_stops_coming_is_a_408(made: House) -> None:
    host = hosted(made, length)
    visitor = host.connect(post(b"half", length=100))
    made.loop.advance(9)
    visitor.transport.receive(b"more")
    assert visitor.answer == ""
    made.loop.advance(2)
    assert visitor.status == 408
    made.loop.advance(5)
    assert visitor.transport.lost and host.door.count.now == 0 and len(host.door.wheel) == 0


def test_an_application_may_take_its_time(made: House) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await asyncio.sleep(600)
        await answering()(scope, receive, send)

    visitor = hosted(made, app).connect(GET)
    made.loop.advance(601)
    assert visitor.status == 200


@pytest.mark.parametrize("consume", [True, False])
def test_100_continue_is_sent_when_the_application_wants_the_body(made: House, consume: bool) -> None:
    visitor = hosted(made, length if consume else answering(403)).connect(post(head="Expect: 100-continue\r\n", length=5))
    if not consume:
        assert visitor.status == 403 and "100 Continue" not in visitor.answer
        return
    assert visitor.answer == "HTTP/1.1 100 Continue\r\n\r\n"
    visitor.transport.receive(b"hello")
    made.loop.settle()
    assert answers(visitor, "POST")[0][2] == b"5"


def test_a_client_that_leaves_is_one_disconnect(made: House) -> None:
    events: list[Event] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        events.append(await receive())
        events.append(await receive())
        with pytest.raises(OSError):
            await send({"type": "http.response.start", "status": 200})

    host = hosted(made, app)
    host.connect(GET).transport.lose()
    made.loop.settle()
    assert events[1] == {"type": "http.disconnect"}
    assert host.lines.lines == [] and host.door.count.now == 0


# -- the answer


def test_a_small_answer_is_one_write_with_its_length(made: House) -> None:
    headers = [(b"Content-Type", b"text/x"), (b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=caf\xe9")]
    visitor = hosted(made, answering(201, headers=headers)).connect(GET)
    assert len(visitor.transport.writes) == 1
    head, _, body = visitor.answer.partition("\r\n\r\n")
    status, server, date, *lines = head.split("\r\n")
    assert (status, server, date[:6]) == ("HTTP/1.1 201 Created", "server: wsdaemon", "date: ")
    assert lines == ["Content-Type: text/x", "Set-Cookie: a=1", "Set-Cookie: b=caf\xe9", "content-length: 5"]
    assert body == "hello"


def test_a_stream_is_in_chunks(made: House) -> None:
    visitor = hosted(made, answering(body=b"", pieces=[b"one", b"", b"two"])).connect(GET)
    [(status, headers, body)] = answers(visitor)
    assert (status, headers["transfer-encoding"], body) == (200, "chunked", b"onetwo")


def test_the_head_does_not_wait_for_the_body(made: House) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await asyncio.sleep(60)
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await asyncio.sleep(60)
        await send({"type": "http.response.body"})

    visitor = hosted(made, app).connect(GET)
    assert visitor.answer.endswith("transfer-encoding: chunked\r\n\r\n")
    made.loop.advance(61)
    assert visitor.answer.endswith("9\r\ndata: 1\n\n\r\n")
    made.loop.advance(60)
    assert answers(visitor)[0][2] == b"data: 1\n\n"


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [(204, [], None), (304, [(b"content-length", b"9")], "9"), (304, [], None)],
)
def test_answers_without_a_body(made: House, status: int, headers: Any, expected: str | None) -> None:
    visitor = hosted(made, answering(status, b"dropped", headers)).connect(GET + GET)
    [first, second] = answers(visitor, "GET", "GET")
    assert (first[0], first[1].get("content-length"), first[2]) == (status, expected, b"") and second[0] == status
    assert "transfer-encoding" not in first[1]


@pytest.mark.parametrize("headers", [[(b"content-length", b"5")], []])
def test_head_has_the_length_and_no_body(made: House, headers: Any) -> None:
    visitor = hosted(made, answering(headers=headers)).connect(GET.replace(b"GET", b"HEAD", 1))
    head, _, body = visitor.answer.partition("\r\n\r\n")
    assert body == ""
    assert head.count("content-length: ") == head.count("content-length: 5") == 1


def test_the_application_ends_the_connection(made: House) -> None:
    own = [(b"Connection", b"close"), (b"Keep-Alive", b"5"), (b"Transfer-Encoding", b"chunked")]
    visitor = hosted(made, answering(headers=own)).connect(GET)
    [(_, headers, body)] = answers(visitor)
    assert (headers["connection"], headers["content-length"], body) == ("close", "5", b"hello")
    assert visitor.transport.eof_written


WRONG: dict[str, tuple[list[Event], int | None, type[BaseException]]] = {
    "no start": ([{"type": "http.response.body", "body": b""}], 500, RuntimeError),
    "a second start": ([{"type": "http.response.start", "status": 200}] * 2, 500, RuntimeError),
    "an invalid status": ([{"type": "http.response.start", "status": 99}], 500, ValueError),
    "a header that breaks out": ([{"type": "http.response.start", "status": 200, "headers": [(b"a", b"b\r\nc: d")]}], 500, ValueError),
    "a name that is none": ([{"type": "http.response.start", "status": 200, "headers": [(b"a b", b"c")]}], 500, ValueError),
    "text in a header": ([{"type": "http.response.start", "status": 200, "headers": [("a", "b")]}], 500, TypeError),
    "a body that is too long": (
        [
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]},
            {"type": "http.response.body", "body": b"22"},
        ],
        500, ValueError,
    ),
    "a body that is too short": (
        [
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]},
            {"type": "http.response.body", "body": b"22"},
        ],
        500, ValueError,
    ),
    "nothing": ([], 500, RuntimeError),
    "half of an answer": (
        [{"type": "http.response.start", "status": 200}, {"type": "http.response.body", "more_body": True, "body": b"a"}], None, OSError,
    ),
    "more after the end": (
        [{"type": "http.response.start", "status": 200}, {"type": "http.response.body"}, {"type": "http.response.body"}], 200, RuntimeError,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_errors_are_a_500_until_the_answer_has_begun_and_then_its_end_in_the_middle(made: House, name: str) -> None:
    events, status, expected = WRONG[name]
    raised: list[BaseException] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        try:
            for event in events:
                await send(event)
        except BaseException as error:
            raised.append(error)
            raise

    host = hosted(made, app)
    visitor = host.connect(GET)
    assert host.lines.lines == ["/chat failed while answering a request"]
    assert [type(error) for error in raised] in ([expected], [])
    if status is None:
        assert visitor.transport.aborted
        assert not visitor.answer.endswith("0\r\n\r\n"), "the client notices that the answer is not whole"
    else:
        assert visitor.status == status


def test_send_waits_for_a_slow_client_and_raises_when_it_leaves(made: House) -> None:
    sent, errors = [], []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(50_000), "more_body": True})
                sent.append(1)
        except ClientDisconnected as error:
            errors.append(error)
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"

    host = hosted(made, app)
    visitor = host.door.arrive(GET)
    visitor.transport.stuck = True
    made.loop.settle()
    assert len(sent) <= 1 and visitor.transport.unsent < 110_000
    visitor.transport.drain()
    visitor.transport.stuck = True
    made.loop.settle()
    assert 1 <= len(sent) <= 3
    made.loop.advance(61)
    assert visitor.transport.aborted, "it has taken nothing for send_backlog_age"
    made.loop.settle()
    assert len(errors) == 1 and host.lines.lines == [] and host.door.count.now == 0


# -- the connection


def test_requests_one_after_the_other_and_a_websocket_at_last(made: House) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await (echo if scope["type"] == "websocket" else length)(scope, receive, send)

    host = hosted(made, app)
    visitor = host.connect(post(b"1"))
    for size in (2, 3):
        visitor.transport.receive(post(bytes(size)))
        made.loop.settle()
    assert [body for _, _, body in answers(visitor, "POST", "POST", "POST")] == [b"1", b"2", b"3"]
    assert host.door.count.now == 1
    visitor.transport.writes.clear()
    visitor.transport.receive(request("/chat") + text("hello"))
    made.loop.settle()
    assert visitor.frames == [Frame(1, b"hello")]
    assert host.door.count.now == 1
    visitor.transport.lose()
    assert host.door.count.now == 0


def test_pipelined_requests_are_answered_in_order(made: House) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await asyncio.sleep(1.0 if scope["query_string"] == b"slow" else 0.0)
        await answering(body=scope["query_string"])(scope, receive, send)

    def get(query: str) -> bytes:
        return f"GET /chat?{query} HTTP/1.1\r\nHost: h\r\n\r\n".encode()

    visitor = hosted(made, app).connect(get("slow") + get("b") + get("c"))
    made.loop.advance(2)
    assert [body for _, _, body in answers(visitor, "GET", "GET", "GET")] == [b"slow", b"b", b"c"]


def test_early_requests_are_bounded(made: House) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await asyncio.sleep(1)
        await answering()(scope, receive, send)

    visitor = hosted(made, app).connect(GET)
    for _ in range(100):
        visitor.transport.receive(GET * 20)
    assert not visitor.transport.reading
    made.loop.advance(2)
    assert visitor.transport.reading or visitor.transport.incoming


def test_a_connection_that_asks_nothing_more_is_dropped_without_a_word(made: House) -> None:
    host = hosted(made, answering())
    visitor = host.connect(GET)
    made.loop.advance(9)
    assert not visitor.transport.closing and host.door.count.now == 1
    made.loop.advance(2)
    assert visitor.transport.lost and host.door.count.now == 0 and host.door.gate.refused == {}
    assert len(answers(visitor)) == 1 and visitor.answer.count("HTTP/1.1") == 1


def test_connection_close_is_heeded(made: House) -> None:
    visitor = hosted(made, answering()).connect(GET.replace(b"X-One: 1", b"Connection: x, Close"))
    assert answers(visitor)[0][1]["connection"] == "close"
    made.loop.advance(2)
    assert visitor.transport.lost


def test_an_answer_before_the_whole_body_ends_the_connection(made: House) -> None:
    visitor = hosted(made, answering(403)).connect(post(b"half", length=100))
    assert answers(visitor, "POST")[0][1]["connection"] == "close"
    visitor.transport.receive(b"more that is not looked at")
    made.loop.advance(2)
    assert visitor.transport.lost


def test_a_full_mount_is_a_503_and_a_connection_that_waits_keeps_its_place(made: House) -> None:
    host = hosted(made, answering(), most=1)
    first = host.connect(GET)
    assert host.connect(GET).status == 503
    first.transport.receive(GET)
    made.loop.settle()
    assert [status for status, _, _ in answers(first, "GET", "GET")] == [200, 200]


def test_while_the_daemon_stops(made: House) -> None:
    host = hosted(made, answering())
    visitor = host.door.arrive(GET)
    host.door.draining = True
    made.loop.settle()
    assert answers(visitor)[0][1]["connection"] == "close", "a request under way is finished"
    assert host.connect(GET).status == 503
    assert len(made.background) == 0


def test_with_http_off_there_is_a_426(made: House) -> None:
    for data in (GET, GET.replace(b"GET", b"POST", 1)):
        assert Host(made, echo).connect(data).status in (426, 405)
    assert Host(made, echo).connect(GET).status == 426
    assert Host(made, echo).connect(post(b"hello")).status == 400


def test_an_opening_handshake_has_no_body_here_either(made: House) -> None:
    assert hosted(made, echo).connect(request("/chat", content_length="5")).status == 400
    assert hosted(made, echo).connect(request("/chat", transfer_encoding="chunked")).status == 400


def test_another_upgrade_is_an_ordinary_request(made: House) -> None:
    data = GET.replace(b"X-One: 1", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA")
    assert answers(hosted(made, answering()).connect(data))[0][0] == 200


WHO: ContextVar[str] = ContextVar("who", default="")


def test_requests_on_one_connection_have_contexts_of_their_own(made: House) -> None:
    seen: list[str] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        seen.append(WHO.get())
        WHO.set("earlier")
        await answering()(scope, receive, send)

    hosted(made, app).connect(GET + GET + GET)
    assert seen == ["", "", ""]


def test_work_after_the_answer_goes_on(made: House) -> None:
    story: list[str] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await answering()(scope, receive, send)
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        await asyncio.sleep(30)
        story.append("done")

    visitor = hosted(made, app).connect(GET)
    assert answers(visitor)[0][2] == b"hello"
    visitor.transport.lose()
    made.loop.advance(31)
    assert story == ["done"]


def test_two_tasks_of_the_application_may_wait(made: House) -> None:
    events: list[Event] = []

    async def listen(receive: Receive) -> None:
        events.append(await receive())

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await receive()
        tasks = [asyncio.ensure_future(listen(receive)) for _ in range(2)]
        await asyncio.sleep(1)
        await answering()(scope, receive, send)
        await asyncio.gather(*tasks)

    hosted(made, app).connect(GET)
    made.loop.advance(2)
    assert [event["type"] for event in events] == ["http.disconnect"] * 2




def test_a_connection_counts_for_its_address_with_each_request_and_between_them(made: House) -> None:
    limits = AddressLimits(max_connections=5, max_handshakes=5, per_second=0)
    host = hosted(made, answering(), limits=limits)
    visitor = host.connect(GET)
    key = limits.key(PEER)
    assert key is not None
    for _ in range(3):
        assert (limits.connections.count(key), limits.handshakes.count(key)) == (1, 1)
        visitor.transport.receive(GET)
        made.loop.settle()
    visitor.transport.lose()
    assert (limits.connections.count(key), limits.handshakes.count(key)) == (0, 0)


def test_an_application_that_catches_its_own_short_body_is_a_500(made: House) -> None:
    async def short(scope: Event, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        with pytest.raises(ValueError, match="shorter"):
            await send({"type": "http.response.body", "body": b"hello"})

    host = hosted(made, short)
    assert host.connect(GET).status == 500
    assert host.lines.lines == ["/chat failed while answering a request"]
