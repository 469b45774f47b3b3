"""The admin pages: whole HTTP answers, never 500; and a client that says no more is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

from tests.support.fakes import House, Transport
from tests.support.fuzzing import again, run
from tests.support.metrics import FakeWire, connection
from tests.support.mutators import cut, mutate
from tests.support.rooms import Hall, hall, memory_of
from tests.support.sites import SiteServer
from wsdaemon.brokers.memory import MemoryBroker
from wsdaemon.core.histogram import Histogram
from wsdaemon.core.registry import Connections, Count
from wsdaemon.edge.auth.ticket import TicketBook, TicketsFull
from wsdaemon.ops.admin.connections import ConnectionPages
from wsdaemon.ops.admin.exposition import MetricsPage, Sources
from wsdaemon.ops.admin.health import HealthPages, MountView
from wsdaemon.ops.admin.rooms import RoomsMount, RoomsPages
from wsdaemon.ops.admin.site import AdminSite
from wsdaemon.ops.admin.tickets import TicketPages
from wsdaemon.ops.connections import OwnConnections
from wsdaemon.ops.metrics import Totals

Visit = list[bytes]
"""Reads of one connection."""

FOUND: list[Visit] = [
    [b"GET /metrics HTTP/1.1\r\nHost:h\r\nAuthorization:Bearer 0123456789abcdef\r\nAccept:application/openmetrics-text;version=q\r\n\r\n"],
]

TOKEN = "0123456789abcdef"
TIMEOUT = 10.0
MAX_BODY = 4096

STATUSES = (200, 400, 401, 403, 404, 405, 408, 409, 413, 414, 415, 426, 429, 431, 503, 505)


def _request(method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: here", f"Authorization: Bearer {TOKEN}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _json(method: str, target: str, content: object) -> bytes:
    return _request(method, target, json.dumps(content).encode(), content_type="application/json")


MESSAGE = {"room": "lobby", "data": "AAE=", "encoding": "base64", "key": "a"}

REQUESTS = (
    _request("GET", "/livez"),
    _request("HEAD", "/readyz", connection="close"),
    _request("GET", "/status"),
    _request("GET", "/metrics", accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5;escaping=dots,*/*;q=0.1"),
    _request("GET", "/metrics", accept="text/plain"),
    _request("GET", "/openapi.json"),
    _request("GET", "/api/rooms?after=a&limit=10&pattern=lob*&mount=%2Fr"),
    _request("POST", "/api/rooms/lobby/messages", b"hello", content_type="text/plain; charset=utf-8", idempotency_key="k1"),
    _request("POST", "/api/rooms/lobby/messages", b"\xff\x00", expect="100-continue"),
    _request("GET", "/api/rooms/lobby/messages?since=abc:1&limit=5&reverse=true"),
    _request("GET", "/api/rooms/lobby/members?limit=1"),
    _request("DELETE", "/api/rooms/lobby/members/m1?code=4403&reason=x"),
    _json("POST", "/api/publish", {"messages": [MESSAGE, {"room": "a*", "data": "b"}]}),
    _json("POST", "/api/tickets/t", {"identity": "ada", "claims": {"a": 1}, "path": "/x", "expires": 1e9}),
    _request("GET", "/api/connections?after=m-0&limit=1&mount=%2Fr&listener=w&user=ada&address=203.0.113.5"),
    _request("DELETE", "/api/connections/m-2?code=4403&reason=x"),
    _request("GET", "/nothing"),
)


class Book:
    """Tickets, of which there may be ten."""

    lifetime = 30.0

    def __init__(self) -> None:
        self._book = TicketBook(clock=lambda: 0.0, most=10)

    def issue(self, identity: str, claims: Mapping[str, object], path: str | None, expires: float | None) -> str | None:
        try:
            return self._book.issue(identity, claims, path, expires)
        except TicketsFull:
            return None


def make(random: Random) -> Visit:
    stream = b""
    for _ in range(random.choice((1, 1, 2, 5))):
        one = random.choice(REQUESTS)
        if random.random() < 0.6:  # without the token's line: most changes should meet something else
            head, _, body = one.partition(b"\r\n\r\n")
            if body and random.random() < 0.6:
                body = mutate(random, body, REQUESTS)[:MAX_BODY]
                lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
                one = b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])
            else:
                first, _, rest = one.partition(b" HTTP/1.1\r\n")
                one = mutate(random, first) + b" HTTP/1.1\r\n" + rest if random.random() < 0.5 else mutate(random, one, REQUESTS)
        stream += one
    return cut(random, stream)


def site(hall: Hall) -> AdminSite:
    """All pages there are, over one mount with rooms."""
    broker = memory_of(hall.app)
    assert isinstance(broker, MemoryBroker)
    views = [MountView("/r", "rooms", Count(5), lambda: {"rooms": broker.room_count, "members": broker.member_count})]
    health = HealthPages(version="1", state=lambda: "ready", count=Count(), listeners=(), mounts=views)
    sources = Sources(
        version="1", frames="c", ready=lambda: True, count=Count(10), totals=Totals(), connections=(), listeners=(), mounts=views,
        loop_latency=Histogram(), round_trips=Histogram(),
    )  # fmt: skip
    opened = Connections()
    opened.add(connection(FakeWire(), "m-1"))
    connections = OwnConnections(opened)
    rooms = RoomsPages([RoomsMount("/r", hall.app.rooms, 1000)], connections)
    pages = [*health.pages(), *MetricsPage(sources, False).pages(), *ConnectionPages(connections).pages()]
    pages += [*rooms.pages(), *TicketPages({"t": Book()}).pages()]
    return AdminSite(pages, lambda: TOKEN, "1")


def answers(sent: bytes) -> Iterator[tuple[int, str, bytes]]:
    """Status, type and body of each answer. One to HEAD has no body, whatever its length says."""
    while sent:
        head, empty_line, sent = sent.partition(b"\r\n\r\n")
        assert empty_line, "an answer's head is not whole"
        status = int(head.split(b" ", 2)[1])
        if status == 100:
            continue
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:])}
        length = int(headers["content-length"])
        if not sent or sent.startswith(b"HTTP/1.1 "):
            length = 0
        assert len(sent) >= length, "an answer is not whole"
        yield status, headers["content-type"], sent[:length]
        sent = sent[length:]


def check(visits: Sequence[Visit]) -> None:
    with hall(history=5, max_rooms=20, rate=50.0, burst=5) as made:
        house = House(made.loop)
        server = SiteServer(house, site(made), max_body=MAX_BODY, timeout=TIMEOUT, max_connections=5)
        wheel = server.wheel
        made.seat()
        for visit in visits:
            transport = Transport(made.loop)
            server.connect(transport)
            for read in visit:
                if not transport.lost:
                    transport.receive(read)
                    made.loop.settle()
            made.now += 1
            made.loop.advance(3 * TIMEOUT)
            _look(b"".join(transport.writes))
            assert transport.lost, "a silent client is still there"
            assert len(server) == 0 and len(wheel) == 0, "something of it is left"
        assert house.timer_failures == []


def _look(sent: bytes) -> None:
    for status, content_type, body in answers(sent):
        assert status in STATUSES, (status, body)
        if "json" in content_type and body:
            shown: Any = json.loads(body)
            assert isinstance(shown, dict)
            assert status < 400 or shown["status"] == status


def test_admin() -> None:
    run("admin", make, check)


def test_found() -> None:
    for visit in FOUND:
        again(visit, check)
