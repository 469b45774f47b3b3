"""edge/http.py: requests in, answers out, one after the other, and nothing without an end or a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger

from tests.support.auth import logged
from tests.support.fakes import House, Loop, Transport, house, request
from wsdaemon.core.failed_logins import FailedLogins
from wsdaemon.edge.hosts import Hosts
from wsdaemon.edge.http import PlainPage, PlainServer
from wsdaemon.edge.request import BadRequest, Head
from wsdaemon.edge.request_body import LINGER_SECONDS

TIMEOUT = 10.0
CHUNKED = b"POST /page HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET /page HTTP/1.1\r\nHost: here\r\n\r\n"
LATE = 0.1
LOG = Logger("test")


@dataclass
class Text:
    status: int
    body: bytes
    content_type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Pages:
    """A site: it echoes what it was asked. The test decides when a request for /later is answered."""

    asked: list[tuple[str, bytes]] = field(default_factory=list)
    later: list[asyncio.Future[PlainPage]] = field(default_factory=list)

    def refusal(self, head: Head) -> PlainPage | None:
        return Text(401, b"no") if head.path == "/refused" else None

    def answer(self, head: Head, body: bytes) -> PlainPage | Awaitable[PlainPage]:
        self.asked.append((head.path, body))
        if head.path == "/broken":
            raise ZeroDivisionError
        if head.path == "/later":
            self.later.append(asyncio.get_running_loop().create_future())
            return self.later[-1]
        return Text(200, head.path.encode() + b" " + body)

    def problem(self, error: BadRequest) -> PlainPage:
        return Text(error.status, error.reason.encode())


class Far:
    """The far end of one connection."""

    def __init__(self, loop: Loop, server: PlainServer) -> None:
        self.loop = loop
        self.transport = Transport(loop)
        self.protocol = server.protocol()
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)
        self._seen = 0

    def send(self, *pieces: bytes) -> list[str]:
        for piece in pieces:
            self.transport.receive(piece)
        return self.answers()

    def answers(self) -> list[str]:
        """Status and body of each answer since the last time."""
        self.loop.settle()
        data = b"".join(self.transport.writes)[self._seen :]
        self._seen += len(data)
        answers = []
        while data:
            head, _, data = data.partition(b"\r\n\r\n")
            status = head.split(b" ")[1].decode()
            length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
            answers.append(f"{status} {data[:length].decode()}".rstrip())
            data = data[length:]
        return answers


@pytest.fixture
def pages() -> Pages:
    return Pages()


def serve(made: House, pages: Pages, max_connections: int = 10) -> PlainServer:
    return PlainServer(pages, made.wheel(), max_body=100, timeout=TIMEOUT, max_connections=max_connections)


def post(body: bytes, path: bytes = b"/page", *lines: bytes) -> bytes:
    return b"\r\n".join([b"POST " + path + b" HTTP/1.1", b"Host: here", b"Content-Length: %d" % len(body), *lines, b"", body])


def test_requests_are_answered_one_after_the_other(made: House, pages: Pages) -> None:
    far = Far(made.loop, serve(made, pages))
    assert far.send(GET) == ["200 /page"]
    assert far.send(post(b"body")) == ["200 /page body"]
    assert far.send(GET + post(b"1") + GET) == ["200 /page", "200 /page 1", "200 /page"]
    assert not far.transport.eof_written


@given(st.lists(st.integers(1, 60), max_size=12))
def test_however_they_are_cut(cuts: list[int]) -> None:
    with house() as made:
        pages = Pages()
        far = Far(made.loop, serve(made, pages))
        data, answers = GET + post(b"first") + post(b"") + post(b"\r\n\r\n"), []
        for cut in cuts:
            answers += far.send(data[:cut])
            data = data[cut:]
        answers += far.send(data)
        assert answers == ["200 /page", "200 /page first", "200 /page", "200 /page"]
        assert [body for _, body in pages.asked] == [b"", b"first", b"", b"\r\n\r\n"]


def test_what_is_asked_while_an_answer_is_made_waits_unread(made: House, pages: Pages) -> None:
    far = Far(made.loop, serve(made, pages))
    later = GET.replace(b"/page", b"/later")
    assert far.send(later + GET, GET) == []
    assert not far.transport.reading
    pages.later[0].set_result(Text(200, b"done"))
    assert far.answers() == ["200 done", "200 /page", "200 /page"]
    assert far.transport.reading


def test_a_client_that_does_not_read_is_not_read(made: House, pages: Pages) -> None:
    server = serve(made, pages)
    far = Far(made.loop, server)
    far.transport.stuck, far.transport.high = True, 1000
    before = len(far.send(GET * 100))
    assert before == len(pages.asked) < 20
    assert not far.transport.reading
    far.transport.drain()
    assert len(far.answers()) == 100 - before
    assert far.transport.reading


def test_a_client_that_never_reads_is_dropped(made: House, pages: Pages) -> None:
    server = serve(made, pages)
    far = Far(made.loop, server)
    far.transport.stuck, far.transport.high = True, 1000
    far.send(GET * 100)
    made.loop.advance(TIMEOUT + LATE)
    assert far.transport.aborted and len(server) == 0


@pytest.mark.parametrize("line", [b"Connection: close", b"connection: TE, Close"])
def test_a_client_may_ask_for_the_end(made: House, pages: Pages, line: bytes) -> None:
    far = Far(made.loop, serve(made, pages))
    assert far.send(post(b"x", b"/page", line) + GET) == ["200 /page x"]
    assert far.transport.eof_written and far.transport.reading
    made.loop.advance(LINGER_SECONDS + LATE)
    assert far.transport.aborted


def test_a_client_that_has_said_all_gets_its_answer(made: House, pages: Pages) -> None:
    far = Far(made.loop, serve(made, pages))
    far.send(GET.replace(b"/page", b"/later"))
    assert far.protocol.eof_received() is True
    pages.later[0].set_result(Text(200, b"done"))
    assert far.answers() == ["200 done"]
    assert far.transport.eof_written
    assert far.protocol.eof_received() is False


def test_many_small_chunks_and_no_more_get_their_answer(made: House, pages: Pages) -> None:
    server = PlainServer(pages, made.wheel(), max_body=5000, timeout=TIMEOUT, max_connections=10)
    far = Far(made.loop, server)
    far.transport.receive(CHUNKED + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n" + GET)
    assert far.protocol.eof_received() is True
    assert far.answers() == ["200 /page " + "x" * 1000, "200 /page"]
    assert far.transport.eof_written
    far.protocol.resume_writing()
    assert far.answers() == []


def test_chunks_that_stop_halfway_end_the_connection(made: House, pages: Pages) -> None:
    server = PlainServer(pages, made.wheel(), max_body=5000, timeout=TIMEOUT, max_connections=10)
    far = Far(made.loop, server)
    far.transport.receive(CHUNKED + b"1\r\nx\r\n" * 1000)
    assert far.protocol.eof_received() is True
    assert far.answers() == [] and far.transport.eof_written
    made.loop.advance(LINGER_SECONDS + LATE)
    assert len(server) == 0


@pytest.mark.parametrize("rest", [b"", GET[:20]])
def test_requests_that_follow_each_other_and_no_more_are_all_answered(made: House, pages: Pages, rest: bytes) -> None:
    server = serve(made, pages)
    far, later = Far(made.loop, server), GET.replace(b"/page", b"/later")
    far.send(later + later + post(b"1") + rest)
    for _ in range(2):
        assert far.protocol.eof_received() is True
        pages.later[-1].set_result(Text(200, b"at last"))
        assert far.answers() in (["200 at last"], ["200 at last", "200 /page 1"])
    assert pages.asked[-1] == ("/page", b"1")
    assert far.transport.eof_written and far.protocol.eof_received() is False
    made.loop.advance(LINGER_SECONDS + LATE)
    assert len(server) == 0


def test_a_client_that_reads_late_and_sends_no_more_gets_all_answers(made: House, pages: Pages) -> None:
    far = Far(made.loop, serve(made, pages))
    far.protocol.pause_writing()
    far.send(GET)
    assert far.answers() == []
    assert far.protocol.eof_received() is True
    far.protocol.resume_writing()
    assert far.answers() == ["200 /page"] and far.transport.eof_written


def test_a_client_that_sends_no_more_gets_no_websocket(made: House, pages: Pages) -> None:
    server = PlainServer(pages, made.wheel(), max_body=100, timeout=TIMEOUT, max_connections=10, sockets=Door())
    far = Far(made.loop, server)
    far.send(GET.replace(b"/page", b"/later") + request("/live"))
    assert far.protocol.eof_received() is True
    pages.later[0].set_result(Text(200, b"at last"))
    assert far.answers() == ["200 at last"]
    assert far.transport.aborted and len(server) == 0


def test_a_refusal_comes_before_the_body(made: House, pages: Pages) -> None:
    far = Far(made.loop, serve(made, pages))
    assert far.send(post(b"x" * 50, b"/refused")[:-50]) == ["401 no"]
    assert far.transport.eof_written and pages.asked == []
    assert far.send(b"x" * 50) == []
    again = Far(made.loop, serve(made, pages))
    assert again.send(GET.replace(b"/page", b"/refused") + GET) == ["401 no", "200 /page"]


def test_whoever_asks_is_told_to_go_on(made: House, pages: Pages) -> None:
    far = Far(made.loop, serve(made, pages))
    asking = post(b"x" * 50, b"/page", b"Expect: 100-continue")
    assert far.send(asking[:-50]) == ["100"]
    assert far.send(asking[-50:]) == ["200 /page " + "x" * 50]
    assert far.send(asking) == ["200 /page " + "x" * 50]  # the body is there already
    refused = Far(made.loop, serve(made, pages))
    assert refused.send(asking.replace(b"/page", b"/refused")[:-50]) == ["401 no"]


@given(st.lists(st.integers(1, 60), max_size=12))
def test_bodies_in_chunks_however_they_are_cut(cuts: list[int]) -> None:
    with house() as made:
        pages = Pages()
        far = Far(made.loop, serve(made, pages))
        data, answers = CHUNKED + b"4;x=1\r\nbody\r\n1\r\n!\r\n0\r\n\r\n" + GET + CHUNKED + b"0\r\n\r\n", []
        for cut in cuts:
            answers += far.send(data[:cut])
            data = data[cut:]
        answers += far.send(data)
        assert answers == ["200 /page body!", "200 /page", "200 /page"]


def test_many_small_chunks_take_turns_and_stay_in_order(made: House, pages: Pages) -> None:
    server = PlainServer(pages, made.wheel(), max_body=5000, timeout=TIMEOUT, max_connections=10)
    far = Far(made.loop, server)
    far.transport.receive(CHUNKED + b"1\r\nx\r\n" * 4000)
    assert pages.asked == []
    assert far.send(b"1\r\n!\r\n0\r\n\r\n" + GET) == ["200 /page " + "x" * 4000 + "!", "200 /page"]
    assert far.transport.reading


def test_a_client_is_told_to_send_its_chunks(made: House, pages: Pages) -> None:
    far = Far(made.loop, serve(made, pages))
    assert far.send(CHUNKED.replace(b"Host", b"Expect: 100-continue\r\nHost")) == ["100"]
    assert far.send(b"1\r\nx\r\n0\r\n\r\n") == ["200 /page x"]


def test_a_body_in_chunks_must_arrive_in_time(made: House, pages: Pages) -> None:
    far = Far(made.loop, serve(made, pages))
    far.send(CHUNKED + b"5\r\nx")
    made.loop.advance(TIMEOUT + LATE)
    assert far.answers() == ["408 timeout"]


class Shaking:
    """A layer of TLS whose handshake is under way."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_a_tls_handshake_has_a_place_and_an_end(made: House, pages: Pages) -> None:
    made_layers: list[Shaking] = []

    def wrap(upper: asyncio.Protocol, refused: Callable[[str, str], None]) -> Shaking:
        made_layers.append(Shaking())
        uppers.append(upper)
        return made_layers[-1]

    uppers: list[asyncio.Protocol] = []
    server = PlainServer(pages, made.wheel(), max_body=100, timeout=TIMEOUT, max_connections=2, tls=wrap)
    assert [server.protocol() for _ in range(3)] == made_layers
    assert [layer.aborted for layer in made_layers] == [True, False, False] and len(server) == 2
    transport = Transport(made.loop)
    transport.protocol = uppers[2]
    uppers[2].connection_made(transport)  # type: ignore[arg-type]
    uppers[2].data_received(GET)
    assert transport.writes[0].endswith(b"/page ") and len(server) == 2
    made.loop.advance(TIMEOUT + LATE)
    assert made_layers[1].aborted and transport.aborted and len(server) == 0
    assert not made_layers[2].aborted


UPGRADE = request("/live")


@dataclass
class Door:
    """Opens WebSockets."""

    problem: Exception | None = None
    opened: list[tuple[str, bytes]] = field(default_factory=list)

    def open(self, head: Head, native: Any, time_left: float, early: bytes) -> None:
        if self.problem is not None:
            raise self.problem
        assert 0 < time_left < 2 * TIMEOUT  # the wheel counts in steps
        self.opened.append((head.path, early))

    def close(self) -> None:
        """Nothing stays open here."""


@pytest.mark.parametrize(("problem", "answer"), [(BadRequest(404, "no_mount", ""), "404 no_mount"), (ValueError(), "500 internal_error")])
def test_an_opening_handshake_leaves_the_pages_or_is_refused(made: House, pages: Pages, problem: Exception, answer: str) -> None:
    door = Door()
    server = PlainServer(pages, made.wheel(), max_body=100, timeout=TIMEOUT, max_connections=2, sockets=door)
    far = Far(made.loop, server)
    assert far.send(GET + UPGRADE + b"early") == ["200 /page"]
    assert door.opened == [("/live", b"early")] and not far.transport.aborted
    assert len(server) == len(server.wheel) == 0
    door.problem = problem
    assert Far(made.loop, server).send(UPGRADE) == [answer]


def test_head_has_no_body(made: House, pages: Pages) -> None:
    far = Far(made.loop, serve(made, pages))
    far.send(GET.replace(b"GET", b"HEAD"))
    assert far.transport.writes[0].endswith(b"Content-Length: 6\r\n\r\n")


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", "505 version"),
        (b"GET / HTTP/1.1\r\n\r\n", "400 host"),
        (post(b"x" * 101), "413 body"),
        (CHUNKED + b"x\r\n", "400 body"),
        (CHUNKED + b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n", "413 body"),
        (CHUNKED.replace(b"chunked", b"gzip, chunked"), "501 body"),
        (CHUNKED.replace(b"Transfer", b"Content-Length: 3\r\nTransfer"), "400 body"),
        (b"\x16\x03\x01", "400 tls"),
        (b"GET /" + b"x" * 9000, "414 line_size"),
    ],
)
def test_what_is_no_request_is_answered_and_ends(made: House, pages: Pages, sent: bytes, answer: str) -> None:
    far = Far(made.loop, serve(made, pages))
    assert far.send(sent) == [answer]
    assert far.transport.eof_written
    assert far.send(GET) == []


def test_a_page_that_fails_is_a_500(made: House, pages: Pages) -> None:
    assert Far(made.loop, serve(made, pages)).send(GET.replace(b"/page", b"/broken")) == ["500 internal_error"]
    far = Far(made.loop, serve(made, pages))
    far.send(GET.replace(b"/page", b"/later"))
    pages.later[0].set_exception(ZeroDivisionError())
    assert far.answers() == ["500 internal_error"]


def test_an_answer_that_takes_too_long_is_given_up(made: House, pages: Pages) -> None:
    far = Far(made.loop, serve(made, pages))
    far.send(GET.replace(b"/page", b"/later") + GET)
    made.loop.advance(TIMEOUT + LATE)
    assert far.answers() == ["503 timeout"]
    assert pages.later[0].cancelled()
    made.loop.advance(LINGER_SECONDS + LATE)
    assert far.transport.aborted


def test_a_request_must_arrive_in_time(made: House, pages: Pages) -> None:
    far = Far(made.loop, serve(made, pages))
    made.loop.advance(TIMEOUT - 1)
    far.send(GET[:5])  # from here on it counts
    made.loop.advance(TIMEOUT - 1)
    assert far.send(GET[5:10]) == []
    made.loop.advance(1 + LATE)
    assert far.answers() == ["408 timeout"]


def test_an_idle_connection_ends(made: House, pages: Pages) -> None:
    server = serve(made, pages)
    far = Far(made.loop, server)
    made.loop.advance(TIMEOUT - 1)
    far.send(GET)
    made.loop.advance(TIMEOUT - 1)
    assert len(server) == 1
    made.loop.advance(1 + LATE)
    assert far.transport.aborted and len(server) == 0


def test_the_one_that_is_idle_for_longest_makes_room(made: House, pages: Pages) -> None:
    server = serve(made, pages, 3)
    first, second, third = (Far(made.loop, server) for _ in range(3))
    first.send(GET)
    second.send(GET.replace(b"/page", b"/later"))
    fourth = Far(made.loop, server)
    made.loop.settle()
    assert [far.transport.aborted for far in (first, second, third, fourth)] == [False, False, True, False]
    for far in (first, fourth):
        far.send(GET.replace(b"/page", b"/later"))
    with logged() as lines:
        for _ in range(500):
            fifth = Far(made.loop, server)
            made.loop.settle()
            assert fifth.transport.aborted and len(server) == 3
    assert len(lines) == 1 and "3 requests are being answered" in lines[0]


def test_slow_requests_do_not_lock_out_a_health_check(made: House, pages: Pages) -> None:
    server = serve(made, pages, 100)
    with logged() as lines:
        for _ in range(480):
            Far(made.loop, server).send(GET[:9])
            assert Far(made.loop, server).send(GET) == ["200 /page"]
    assert len(server) == 100
    assert len(lines) == 1 and "a slow request to the admin pages makes room for a new one, because 100 connections are open" in lines[0]


def test_a_client_that_leaves_slowly_makes_room(made: House, pages: Pages) -> None:
    server = serve(made, pages, 2)
    leaving, busy = Far(made.loop, server), Far(made.loop, server)
    leaving.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    busy.send(GET.replace(b"/page", b"/later"))
    Far(made.loop, server)
    assert leaving.transport.aborted and not busy.transport.aborted


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("LOCALHOST:9464", 200), ("127.0.0.1:9464", 200), ("[::1]", 200), ("192.0.2.9", 200), ("192.0.2.9:1", 200),
        ("192.0.2.10", 421), ("evil.example", 421), ("evil.example:9464", 421), ("localhost.evil.example", 421), ("[2001:db8::9]", 421),
    ],
)  # fmt: skip
def test_a_host_that_is_not_ours_is_misdirected(made: House, pages: Pages, host: str, status: int) -> None:
    hosts = Hosts.parse(("localhost", "127.0.0.1", "[::1]"))
    server = PlainServer(
        pages, made.wheel(), max_body=100, timeout=TIMEOUT, max_connections=10, hosts=hosts, own_address=True
    )  # fmt: skip
    far = Far(made.loop, server)
    far.transport.extra["sockname"] = ("192.0.2.9", 9464)
    (answer,) = far.send(GET.replace(b"here", host.encode()))
    assert answer == ("200 /page" if status == 200 else "421 misdirected")
    assert len(pages.asked) == (status == 200)


@pytest.mark.parametrize(
    ("sockname", "host"), [("::ffff:192.0.2.9", "192.0.2.9"), ("fe80::1%eth0", "[fe80::1]"), ("2001:DB8::9", "[2001:db8::9]")]
)
def test_the_own_address_in_every_spelling(made: House, pages: Pages, sockname: str, host: str) -> None:
    def ask(own: bool) -> list[str]:
        server = PlainServer(
            pages, made.wheel(), max_body=100, timeout=TIMEOUT, max_connections=10, hosts=Hosts.parse(("localhost",)), own_address=own
        )  # fmt: skip
        far = Far(made.loop, server)
        far.transport.extra["sockname"] = (sockname, 9464, 0, 0)
        return far.send(GET.replace(b"here", host.encode()))

    assert ask(True) == ["200 /page"]
    assert ask(False) == ["421 misdirected"]


def test_a_refused_credential_is_a_failed_login(made: House, pages: Pages) -> None:
    class Failed(FailedLogins):
        def add(self, address: str, path: str, reason: str, user: str | None = None) -> None:
            told.append((address, path, reason))

    told: list[tuple[str, str, str]] = []
    server = PlainServer(pages, made.wheel(), max_body=100, timeout=TIMEOUT, max_connections=10, failed_logins=Failed(LOG))
    far = Far(made.loop, server)
    far.transport.extra["peername"] = ("203.0.113.5", 1)
    refused = GET.replace(b"/page", b"/refused")
    assert far.send(refused, refused.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer x\r\n\r\n")) == ["401 no", "401 no"]
    assert told == [("203.0.113.5", "/refused", "admin_token")]


def test_a_page_that_fails_again_and_again_writes_one_traceback(made: House, pages: Pages) -> None:
    server = serve(made, pages)
    with logged() as lines:
        for _ in range(50):
            Far(made.loop, server).send(GET.replace(b"/page", b"/broken"))
    assert len(lines) == 1 and "an admin page failed" in lines[0]


def test_at_the_end_all_are_dropped(made: House, pages: Pages) -> None:
    server = serve(made, pages)
    far = Far(made.loop, server)
    far.send(GET.replace(b"/page", b"/later"))
    server.close()
    made.loop.settle()
    assert far.transport.aborted and pages.later[0].cancelled()
    assert len(server) == len(server.wheel) == 0


def test_a_client_that_goes_takes_its_question_along(made: House, pages: Pages) -> None:
    server = serve(made, pages)
    far = Far(made.loop, server)
    far.send(GET.replace(b"/page", b"/later"))
    far.transport.lose()
    made.loop.settle()
    assert pages.later[0].cancelled() and len(server) == 0
