"""edge/site.py: requests in, pages out, one after the other, and nothing without an end or a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger

from tests.support.auth import logged
from tests.support.fakes import App, House, Loop, Transport, Watcher, house, request
from tests.support.sites import SiteServer
from wsdaemon.core.failed_logins import FailedLogins
from wsdaemon.core.handshake import Peer
from wsdaemon.core.registry import Count
from wsdaemon.core.routing import Routes
from wsdaemon.edge.candidate import Entrance
from wsdaemon.edge.exchange import HELD_BYTES
from wsdaemon.edge.hosts import Hosts
from wsdaemon.edge.request import BadRequest, Head
from wsdaemon.edge.request_body import LINGER_SECONDS
from wsdaemon.edge.site import PlainPage

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

    def __init__(self, loop: Loop, server: SiteServer) -> None:
        self.loop = loop
        self.transport = Transport(loop)
        self.let_in = server.connect(self.transport)
        self._seen = 0

    @property
    def protocol(self) -> Any:
        """The present one."""
        return self.transport.protocol

    def end(self) -> bool:
        """The client sends no more; whether it may still read."""
        if not self.transport.protocol.eof_received():
            self.transport.close()
            return False
        return True

    @property
    def over(self) -> bool:
        """Whether no answer follows."""
        return self.transport.eof_written or self.transport.closing

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
            length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
            answers.append(f"{status} {data[:length].decode()}".rstrip())
            data = data[length:]
        return answers


@pytest.fixture
def pages() -> Pages:
    return Pages()


def serve(made: House, pages: Pages, max_connections: int = 10, **options: Any) -> SiteServer:
    return SiteServer(made, pages, max_connections=max_connections, timeout=TIMEOUT, **options)


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
    count = HELD_BYTES // len(GET) + 1
    assert far.send(later + GET, GET * count, GET) == []
    assert not far.transport.reading and far.transport.incoming == GET
    pages.later[0].set_result(Text(200, b"done"))
    assert far.answers() == ["200 done", *["200 /page"] * (count + 2)]
    assert far.transport.reading


def test_a_client_that_does_not_read_is_not_read(made: House, pages: Pages) -> None:
    far = Far(made.loop, serve(made, pages))
    far.transport.stuck = True
    count = HELD_BYTES // len(GET) + 2
    assert far.send(GET * count) == ["200 /page"] and len(pages.asked) == 1
    assert not far.transport.reading
    far.transport.stuck = False
    far.transport.drain()
    assert len(far.answers()) == count - 1
    assert far.transport.reading


def test_a_client_that_never_reads_is_dropped(made: House, pages: Pages) -> None:
    server = serve(made, pages)
    far = Far(made.loop, server)
    far.transport.stuck = True
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
    assert far.end()
    pages.later[0].set_result(Text(200, b"done"))
    assert far.answers() == ["200 done"]
    assert far.transport.eof_written
    assert not far.end()


def test_many_small_chunks_and_no_more_get_their_answer(made: House, pages: Pages) -> None:
    server = serve(made, pages, max_body=5000)
    far = Far(made.loop, server)
    far.transport.receive(CHUNKED + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n" + GET)
    assert far.end()
    assert far.answers() == ["200 /page " + "x" * 1000, "200 /page"]
    assert far.over


def test_chunks_that_stop_halfway_end_the_connection(made: House, pages: Pages) -> None:
    server = serve(made, pages, max_body=5000)
    far = Far(made.loop, server)
    far.transport.receive(CHUNKED + b"1\r\nx\r\n" * 1000)
    assert far.end()
    assert far.answers() == [] and far.over
    made.loop.advance(LINGER_SECONDS + LATE)
    assert len(server) == 0


@pytest.mark.parametrize("rest", [b"", GET[:20]])
def test_requests_that_follow_each_other_and_no_more_are_all_answered(made: House, pages: Pages, rest: bytes) -> None:
    server = serve(made, pages)
    far, later = Far(made.loop, server), GET.replace(b"/page", b"/later")
    far.send(later + later + post(b"1") + rest)
    for _ in range(2):
        assert far.end()
        pages.later[-1].set_result(Text(200, b"at last"))
        assert far.answers() in (["200 at last"], ["200 at last", "200 /page 1"])
    assert pages.asked[-1] == ("/page", b"1")
    assert far.over
    made.loop.advance(LINGER_SECONDS + LATE)
    assert len(server) == 0


def test_a_client_that_reads_late_and_sends_no_more_gets_all_answers(made: House, pages: Pages) -> None:
    far = Far(made.loop, serve(made, pages))
    far.transport.stuck = True
    assert far.send(GET + GET) == ["200 /page"] and far.end()
    far.transport.stuck = False
    far.transport.drain()
    assert far.answers() == ["200 /page"] and far.over


def test_a_client_that_sends_no_more_gets_no_websocket(made: House, pages: Pages) -> None:
    app = App()
    server = with_websocket(made, pages, app)
    far = Far(made.loop, server)
    far.send(GET.replace(b"/page", b"/later") + request("/live"))
    assert far.end()
    pages.later[0].set_result(Text(200, b"at last"))
    made.loop.settle()
    assert far.transport.writes[0].endswith(b"at last")
    assert far.transport.lost and len(server) == 0


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
    server = serve(made, pages, max_body=5000)
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
    assert far.answers() == ["408 body_timeout"]


def test_a_tls_handshake_has_a_place_and_an_end(made: House, pages: Pages) -> None:
    server, aborted = serve(made, pages, 2), list[int]()
    arrivals = [server.accept() for _ in range(2)]
    for number, arrival in enumerate(arrivals):
        assert arrival is not None
        arrival.stop_connecting = lambda number=number: aborted.append(number)
    third = server.accept()
    assert aborted == [0] and len(server) == 2 and third is not None
    transport = Transport(made.loop)
    transport.protocol = third
    third.connection_made(transport)  # type: ignore[arg-type]
    transport.receive(GET)
    assert transport.writes[0].endswith(b"/page ") and len(server) == 2
    made.loop.advance(TIMEOUT + LATE)
    assert aborted == [0, 1] and len(server) == 0 and transport.aborted


UPGRADE = request("/live")


def with_websocket(made: House, pages: Pages, app: App) -> SiteServer:
    """Pages with a WebSocket beside them."""
    entrance = Entrance("/live", made.make_wires(app, Watcher(), ping_interval=0), Count(1))
    return serve(made, pages, 2, routes=Routes([("/live", entrance)]))


def test_an_opening_handshake_leaves_the_pages_or_is_refused(made: House, pages: Pages) -> None:
    server = with_websocket(made, pages, App())
    far = Far(made.loop, server)
    far.send(GET + UPGRADE)
    made.loop.settle()
    assert far.transport.writes[0].endswith(b"/page ") and far.transport.writes[1].startswith(b"HTTP/1.1 101 ")
    assert len(server) == 0 and not far.transport.closing
    assert Far(made.loop, server).send(UPGRADE) == ["503 max_connections"]
    assert Far(made.loop, server).send(request("/elsewhere")) == ["404 no_mount"]
    assert Far(made.loop, server).send(GET + request("/live", sec_websocket_version="8")) == ["200 /page", "426 websocket_version"]


def test_head_has_no_body(made: House, pages: Pages) -> None:
    far = Far(made.loop, serve(made, pages))
    far.send(GET.replace(b"GET", b"HEAD"))
    assert far.transport.writes[0].endswith(b"content-length: 6\r\n\r\n")


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
    assert far.answers() == ["503 answer_timeout"]
    assert pages.later[0].cancelled()
    made.loop.advance(LINGER_SECONDS + LATE)
    assert far.transport.aborted


def test_a_request_must_arrive_in_time(made: House, pages: Pages) -> None:
    far = Far(made.loop, serve(made, pages))
    made.loop.advance(TIMEOUT - 1)
    assert far.send(GET[:5]) == []
    made.loop.advance(1 + LATE)
    assert far.answers() == ["408 handshake_timeout"]
    again = Far(made.loop, serve(made, pages))
    again.send(GET)
    made.loop.advance(TIMEOUT - 1)
    assert again.send(GET[:5]) == []  # from here on it counts
    made.loop.advance(TIMEOUT - 1)
    assert again.send(GET[5:10]) == []
    made.loop.advance(1 + LATE)
    assert again.answers() == ["408 handshake_timeout"]


def test_one_time_limit_from_the_head_to_the_answer(made: House, pages: Pages) -> None:
    far = Far(made.loop, serve(made, pages))
    whole = post(b"1234", b"/later")
    for piece in (whole[:9], whole[9:-3], whole[-3:-2], whole[-2:]):
        far.send(piece)
        made.loop.advance(TIMEOUT / 4 - LATE)
    assert len(pages.later) == 1 and not far.over
    made.loop.advance(5 * LATE)
    assert far.answers() == ["503 answer_timeout"]


def test_an_idle_connection_ends(made: House, pages: Pages) -> None:
    server = serve(made, pages)
    far = Far(made.loop, server)
    made.loop.advance(TIMEOUT - 1)
    far.send(GET)
    made.loop.advance(TIMEOUT - 1)
    assert len(server) == 1
    made.loop.advance(1 + LATE)
    assert far.transport.aborted and len(server) == 0


def test_the_one_that_was_answered_and_asks_no_more_makes_room(made: House, pages: Pages) -> None:
    server = serve(made, pages, 3)
    first, second, third = (Far(made.loop, server) for _ in range(3))
    first.send(GET)
    second.send(GET.replace(b"/page", b"/later"))
    fourth = Far(made.loop, server)
    made.loop.settle()
    assert [far.transport.aborted for far in (first, second, third, fourth)] == [True, False, False, False]
    for far in (third, fourth):
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


def test_a_health_check_waits_to_be_read_while_slow_clients_come(made: House, pages: Pages) -> None:
    server = serve(made, pages, 100)
    for _ in range(100):
        Far(made.loop, server).send(GET[:9])
    check = Far(made.loop, server)
    for _ in range(64):  # those that are accepted in the same turn of the loop
        Far(made.loop, server)
    assert check.send(GET) == ["200 /page"]


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
    hosts = Hosts.parse(("localhost", "127.0.0.1", "[::1]"), own=True)
    far = Far(made.loop, serve(made, pages, hosts=hosts, local=Peer("192.0.2.9", 9464)))
    (answer,) = far.send(GET.replace(b"here", host.encode()))
    assert answer == ("200 /page" if status == 200 else "421 misdirected")
    assert len(pages.asked) == (status == 200)


@pytest.mark.parametrize(
    ("sockname", "host"), [("::ffff:192.0.2.9", "192.0.2.9"), ("fe80::1%eth0", "[fe80::1]"), ("2001:DB8::9", "[2001:db8::9]")]
)
def test_the_own_address_in_every_spelling(made: House, pages: Pages, sockname: str, host: str) -> None:
    def ask(own: bool) -> list[str]:
        local = Peer.from_sockname((sockname, 9464, 0, 0))
        far = Far(made.loop, serve(made, pages, hosts=Hosts.parse(("localhost",), own=own), local=local))
        return far.send(GET.replace(b"here", host.encode()))

    assert ask(True) == ["200 /page"]
    assert ask(False) == ["421 misdirected"]


def test_a_refused_credential_is_a_failed_login(made: House, pages: Pages) -> None:
    class Failed(FailedLogins):
        def add(self, address: str, path: str, reason: str, user: str | None = None) -> None:
            told.append((address, path, reason))

    told: list[tuple[str, str, str]] = []
    server = serve(made, pages, failed_logins=Failed(LOG), peer=Peer("203.0.113.5", 1))
    far = Far(made.loop, server)
    refused = GET.replace(b"/page", b"/refused")
    assert far.send(refused, refused.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer x\r\n\r\n")) == ["401 no", "401 no"]
    assert told == [("203.0.113.5", "/refused", "admin_token")]


def test_a_page_that_fails_again_and_again_writes_one_traceback(made: House, pages: Pages) -> None:
    server = serve(made, pages)
    with logged() as lines:
        for _ in range(50):
            Far(made.loop, server).send(GET.replace(b"/page", b"/broken"))
    assert len([line for line in lines if "ZeroDivisionError" in line]) == 1


def test_at_the_end_all_are_dropped(made: House, pages: Pages) -> None:
    server = serve(made, pages)
    far = Far(made.loop, server)
    far.send(GET.replace(b"/page", b"/later"))
    server.crowd.drop()
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
