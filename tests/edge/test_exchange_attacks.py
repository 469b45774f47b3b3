"""edge/exchange.py: the same bytes get the same answers from pages and from apps, however they are cut, and every connection ends."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.asgi import Event, Host
from tests.support.fakes import House, Transport, house
from tests.support.sites import SiteServer
from wsdaemon.edge.exchange import HELD_BYTES, SLOW_BYTES
from wsdaemon.edge.request import BadRequest, Head
from wsdaemon.edge.request_body import LINGER_SECONDS
from wsdaemon.edge.site import PlainPage, ReadyPage

TIMEOUT = 10.0
LATE = 0.1
MOST = 100


class Echo:
    """Pages that show the body of the request."""

    def refusal(self, head: Head) -> PlainPage | None:
        return ReadyPage(b"no", "text/plain", (), 403) if head.headers.get("x-early") else None

    def answer(self, head: Head, body: bytes) -> PlainPage | Awaitable[PlainPage]:
        return ReadyPage(b"<" + body + b">", "text/plain", ())

    def problem(self, error: BadRequest) -> PlainPage:
        return ReadyPage(error.detail.encode(), "text/plain", error.headers, error.status)


async def echo(scope: Event, receive: Callable[[], Any], send: Callable[[Event], Any]) -> None:
    """The same as an ASGI application."""
    body, more, status = b"", True, 200
    if any(name == b"x-early" for name, _ in scope["headers"]):
        body, more, status = b"no", False, 403
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        body, more = body + event["body"], event["more_body"]
    body = body if status == 403 else b"<" + body + b">"
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


@dataclass
class Reached:
    """The client's view."""

    made: House
    transport: Transport
    left: Callable[[], int]
    """Clients that still have a place."""

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.transport.receive(piece)
            self.made.loop.settle()

    @property
    def sent(self) -> bytes:
        return b"".join(self.transport.writes)

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.sent)]

    @property
    def over(self) -> bool:
        return self.transport.eof_written or self.transport.closing


def pages(made: House) -> Reached:
    server, transport = SiteServer(made, Echo(), max_body=MOST, timeout=TIMEOUT), Transport(made.loop)
    assert server.connect(transport)
    return Reached(made, transport, lambda: len(server) + len(server.wheel))


def app(made: House) -> Reached:
    host = Host(made, echo, http=True, mount={"max_message": MOST})
    visitor = host.door.arrive()
    return Reached(made, visitor.transport, lambda: len(host.door.arrivals) + host.door.count.now + len(host.door.wheel))


BOTH = pytest.mark.parametrize("reach", [pages, app])


def get(*lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} /chat HTTP/{version}", "Host: example.org", *lines, "", ""]).encode()


def post(body: bytes, *lines: str, length: int | None = None) -> bytes:
    return get(f"Content-Length: {len(body) if length is None else length}", *lines, method="POST") + body


CHUNKED = "Transfer-Encoding: chunked"

STREAMS: dict[str, tuple[bytes, list[int], bool]] = {
    "pipelined": (get() + post(b"one") + get(), [200, 200, 200], False),
    "HEAD between others": (get() + get(method="HEAD") + get(), [200, 200, 200], False),
    "a body longer than its length": (post(b"123456\r\n\r\n789", length=3), [200, 400], True),
    "a head hidden behind a body": (post(b"abcGET /chat HTTP/1.1\r\n", length=3), [200], False),
    "both lengths": (get("Content-Length: 3", CHUNKED, method="POST") + b"0\r\n\r\n" + get(), [400], True),
    "two lengths": (get("Content-Length: 3", "Content-Length: 4", method="POST") + b"abcd", [400], True),
    "another coding": (get("Transfer-Encoding: gzip, chunked", method="POST") + b"0\r\n\r\n", [501], True),
    "chunks": (get(CHUNKED, method="POST") + b"3;x=1\r\nabc\r\n1\r\n!\r\n0\r\n\r\n" + get(), [200, 200], False),
    "a request in a trailer": (get(CHUNKED, method="POST") + b"0\r\nx: 1\r\n\r\n" + get(), [400], True),
    "a chunk with a lone LF": (get(CHUNKED, method="POST") + b"1\nx\r\n0\r\n\r\n" + get(), [400], True),
    "1.0": (get(version="1.0") + get(), [505], True),
    "1.0 kept alive": (get("Connection: keep-alive", version="1.0") + get(), [505], True),
    "close": (get("Connection: close") + get(), [200], True),
    "close in a list": (get("Connection: TE, Close") + get(), [200], True),
    "an upgrade to something else": (get("Connection: Upgrade", "Upgrade: h2c") + get(), [200, 200], False),
    "too long": (post(b"", length=MOST + 1) + get(), [413], True),
    "too long, and asked before": (post(b"", "Expect: 100-continue", length=MOST + 1) + get(), [413], True),
    "refused, and asked before": (post(b"", "Expect: 100-continue", "X-Early: 1", length=3), [403], True),
    "refused before the body": (post(b"a", "X-Early: 1", length=3), [403], True),
    "refused without a body": (get("X-Early: 1") + get(), [403, 200], False),
}  # fmt: skip


def outcome(reach: Callable[[House], Reached], *pieces: bytes) -> tuple[list[int], list[bytes], bool]:
    with house() as made:
        client = reach(made)
        client.send(*pieces)
        bodies = re.findall(rb"<[^>]*>", client.sent)
        found = (client.statuses, bodies, client.over)
        made.loop.advance(3 * TIMEOUT)
        assert client.transport.lost and client.left() == 0, "something of it is left"
        return found


@pytest.mark.parametrize("name", STREAMS)
@BOTH
def test_one_stream_has_one_meaning_wherever_it_is_cut(reach: Callable[[House], Reached], name: str) -> None:
    data, statuses, over = STREAMS[name]
    whole = outcome(reach, data)
    assert (whole[0], whole[2]) == (statuses, over)
    for cut in range(1, len(data)):
        assert outcome(reach, data[:cut], data[cut:]) == whole, cut
    assert outcome(reach, *[data[place : place + 1] for place in range(len(data))]) == whole


@pytest.mark.parametrize("name", STREAMS)
def test_pages_and_apps_agree(name: str) -> None:
    data = STREAMS[name][0]
    first, second = outcome(pages, data), outcome(app, data)
    assert first == second


@BOTH
def test_the_answer_to_head_has_the_length_and_no_body(made: House, reach: Callable[[House], Reached]) -> None:
    client = reach(made)
    client.send(get(method="HEAD"), get())
    head, _, rest = client.sent.partition(b"\r\n\r\n")
    assert b"content-length: 2" in head and rest.startswith(b"HTTP/1.1 200 ") and rest.endswith(b"\r\n\r\n<>")


@BOTH
def test_a_client_is_told_to_go_on_once_and_only_if_its_body_is_wanted(made: House, reach: Callable[[House], Reached]) -> None:
    client = reach(made)
    client.send(post(b"", "Expect: 100-continue", length=3))
    assert client.statuses == [100]
    client.send(b"a", b"bc")
    assert client.statuses == [100, 200] and client.sent.endswith(b"<abc>")


@BOTH
def test_a_byte_now_and_then_keeps_no_place(made: House, reach: Callable[[House], Reached]) -> None:
    client = reach(made)
    client.send(post(b"", length=50))
    for _ in range(4):
        made.loop.advance(TIMEOUT / 4 - LATE)
        client.send(b"x")
    assert client.statuses == []
    made.loop.advance(5 * LATE)
    assert client.statuses == [408] and client.transport.eof_written
    made.loop.advance(LINGER_SECONDS + LATE)
    assert client.transport.lost and client.left() == 0


def test_an_upload_may_take_long_if_it_goes_on(made: House) -> None:
    host = Host(made, echo, http=True)
    client = Reached(made, host.door.arrive().transport, lambda: 0)
    client.send(post(b"", length=4 * SLOW_BYTES))
    for _ in range(4):
        made.loop.advance(TIMEOUT - 1)
        client.send(b"x" * SLOW_BYTES)
    assert client.statuses == [200]


@BOTH
def test_an_early_answer_is_seen_while_the_body_still_comes(made: House, reach: Callable[[House], Reached]) -> None:
    client = reach(made)
    client.send(post(b"ab", "X-Early: 1", length=90))
    assert client.statuses == [403] and client.transport.eof_written and b"connection: close" in client.sent
    for _ in range(3):
        client.send(b"x" * HELD_BYTES)
        assert client.transport.reading and client.transport.incoming == b"", "unread bytes would turn the end into a reset"
    assert client.statuses == [403]
    made.loop.advance(LINGER_SECONDS + LATE)
    assert client.transport.lost and client.left() == 0


@pytest.mark.parametrize("sent", [b"", get()[:20], post(b"a", length=3), get(CHUNKED, method="POST") + b"3\r\nab"])
@BOTH
def test_a_client_that_ends_in_the_middle_is_gone(made: House, reach: Callable[[House], Reached], sent: bytes) -> None:
    client = reach(made)
    client.send(sent)
    assert not client.transport.protocol.eof_received(), "the transport may close"
    client.transport.lose()
    assert client.statuses == [] and client.left() == 0


@BOTH
def test_a_client_that_is_lost_at_any_byte_leaves_nothing(reach: Callable[[House], Reached]) -> None:
    data = get() + post(b"abc") + get(CHUNKED, method="POST") + b"1\r\nx\r\n0\r\n\r\n"
    for cut in range(len(data)):
        with house() as made:
            client = reach(made)
            client.transport.receive(data[:cut])
            client.transport.lose()
            made.loop.settle()
            assert client.left() == 0, cut
