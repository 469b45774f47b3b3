"""Admission: which answer a request gets, in which order things are asked, and what waiting for authentication leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from fakes import LOCAL, PEER, App, House, Transport, house, request, text

from wsdaemon.core.handshake import ClientCertificate, Peer
from wsdaemon.core.registry import Count
from wsdaemon.core.routing import Routes
from wsdaemon.core.wheel import Wheel
from wsdaemon.edge.admission import Refusals
from wsdaemon.edge.auth.contract import AuthRequest, Denied, Identity
from wsdaemon.edge.forwarded import Networks
from wsdaemon.edge.gate import LINGER, Arrival, Entrance, Gate
from wsdaemon.edge.limits import AddressLimits, Tally
from wsdaemon.edge.origins import Origins

ADA = Identity("ada", "test:way")

Answer = Identity | None | Awaitable[Identity | None]


class Chain:
    """Authentication that does what the test says."""

    def __init__(self, answer: Callable[[AuthRequest], Answer]) -> None:
        self.requests: list[AuthRequest] = []
        self._answer = answer

    def authenticate(self, request: AuthRequest) -> Answer:
        self.requests.append(request)
        return self._answer(request)

    def offered(self, subprotocols: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in subprotocols if not name.startswith("token."))


class Door:
    """One gate with a mount at /chat, and arrivals at it."""

    def __init__(self, made: House, **options: Any) -> None:
        self.house = made
        self.app = App()
        self.wheel: Wheel = made.wheel()
        self.count = Count(options.pop("most", 0))
        self.arrivals: dict[Arrival, None] = {}
        self.draining = False
        wire = made.make_class(self.app, ping_interval=0)
        entrance = {key: options.pop(key) for key in ("chain", "origins", "users", "addresses", "subprotocols") if key in options}
        routes = Routes([("/chat", Entrance("/chat", wire, self.count, **entrance))])
        self.gate = Gate(
            listener="web", secure=options.pop("secure", False), routes=routes, counts=(Count(),), wheel=self.wheel, handshake_timeout=10.0,
            retry_after=5.0, closed=lambda: self.draining, **options,
        )  # fmt: skip

    def gone(self, arrival: Arrival) -> None:
        self.arrivals.pop(arrival, None)

    def arrive(self, opening: bytes = b"", peer: Peer = PEER, tls_object: object = None) -> Visitor:
        key = self.gate.limits.key(peer) if self.gate.limits is not None else None
        if key is not None:
            assert self.gate.limits is not None
            assert self.gate.limits.begin(key) is None
        arrival = Arrival(self.gate, self, peer, LOCAL, -1 if self.gate.secure else 9, key)
        self.arrivals[arrival] = None
        visitor = Visitor(self, arrival)
        visitor.transport.extra["ssl_object"] = tls_object
        arrival.connection_made(visitor.transport)  # type: ignore[arg-type]
        if opening:
            visitor.transport.receive(opening)
        return visitor


class Visitor:
    def __init__(self, door: Door, arrival: Arrival) -> None:
        self.door = door
        self.arrival = arrival
        self.transport = Transport(door.house.loop)
        self.transport.protocol = arrival

    @property
    def answer(self) -> str:
        return b"".join(self.transport.writes).decode("latin-1")

    @property
    def status(self) -> int:
        """0 when there is no answer yet."""
        return int(self.answer.split(" ")[1]) if self.answer else 0


@pytest.fixture
def made() -> Iterator[House]:
    with house() as one:
        yield one


# -- the right answer


def test_a_websocket_is_let_in(made: House) -> None:
    door = Door(made)
    visitor = door.arrive(request("/chat"))
    assert visitor.status == 101
    assert door.count.now == 1 and not door.arrivals
    visitor.transport.lose()
    assert door.count.now == 0


@pytest.mark.parametrize(
    ("opening", "status", "header"),
    [
        (b"GET /chat HTTP/1.1\r\nHost: a\r\n\r\n", 426, "Upgrade: websocket"),
        (b"GET /chat HTTP/1.1\r\nHost: a\r\n\r\n", 426, "Sec-WebSocket-Version: 13"),
        (b"GET /chat HTTP/1.1\r\nHost: a\r\n\r\n", 426, "Connection: Upgrade, close"),
        (b"POST /chat HTTP/1.1\r\nHost: a\r\n\r\n", 405, "Allow: GET"),
        (b"HEAD /chat HTTP/1.1\r\nHost: a\r\n\r\n", 405, "Allow: GET"),
        (request("/chat", sec_websocket_version="8"), 426, "Sec-WebSocket-Version: 13"),
        (b"GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n", 404, "Content-Type: text/plain"),
        (b"POST /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n", 404, "Content-Type: text/plain"),
        (request("/elsewhere"), 404, "Connection: close"),
        (b"GET /chat HTTP/1.0\r\nHost: a\r\n\r\n", 505, "Connection: close"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400, "Connection: close"),
    ],
)
def test_what_is_no_websocket_is_answered_in_http(made: House, opening: bytes, status: int, header: str) -> None:
    visitor = Door(made).arrive(opening)
    assert visitor.status == status
    assert f"\r\n{header}" in visitor.answer
    assert visitor.transport.eof_written


def test_the_answer_to_head_has_no_body(made: House) -> None:
    visitor = Door(made).arrive(b"HEAD /chat HTTP/1.1\r\nHost: a\r\n\r\n")
    assert visitor.answer.endswith("\r\n\r\n") and "Content-Length: 0" not in visitor.answer


def test_draining_comes_before_everything(made: House) -> None:
    door = Door(made)
    door.draining = True
    visitor = door.arrive(request("/elsewhere"))
    assert visitor.status == 503 and "Retry-After: 5" in visitor.answer


def test_an_origin_that_may_not_connect(made: House) -> None:
    door = Door(made, origins=Origins.parse(["same-origin"]), chain=Chain(lambda request: ADA))
    assert door.arrive(request("/chat", origin="http://evil.example")).status == 403
    assert door.arrive(request("/chat", origin="http://example.org")).status == 101
    assert door.arrive(request("/chat")).status == 101
    assert door.gate.refused == {"origin": 1}


def test_a_full_mount_asks_nobody_who_it_is(made: House) -> None:
    chain = Chain(lambda request: ADA)
    door = Door(made, chain=chain, most=1)
    assert door.arrive(request("/chat")).status == 101
    full = door.arrive(request("/chat"))
    assert full.status == 503 and "Retry-After: 5" in full.answer
    assert len(chain.requests) == 1


# -- the true client


def test_forwarded_is_believed_from_trusted_proxies_only(made: House) -> None:
    chain = Chain(lambda request: None)
    door = Door(made, trusted=Networks.parse("10.0.0.0/8"), chain=chain)
    header = 'for="[2001:db8::7]:4711";proto=https'
    door.arrive(request("/chat", forwarded=header), Peer("10.0.0.1", 1))
    door.arrive(request("/chat", forwarded=header), PEER)
    seen = [(one.handshake.peer, one.handshake.secure) for one in door.app.connections]
    assert seen == [(Peer("2001:db8::7", 4711), True), (PEER, False)]
    assert [(one.peer, one.secure) for one in chain.requests] == seen


def test_the_true_address_is_limited_and_the_proxy_is_not(made: House) -> None:
    limits = AddressLimits(max_connections=2, max_handshakes=0, per_second=0, exempt=Networks.parse("10.0.0.0/8"))
    door = Door(made, trusted=Networks.parse("10.0.0.0/8"), limits=limits)
    proxy = Peer("10.0.0.1", 1)

    def come(client: str) -> Visitor:
        return door.arrive(request("/chat", x_forwarded_for=client), proxy)

    first, second = come("192.0.2.7"), come("192.0.2.7")
    third = come("192.0.2.7")
    assert [each.status for each in (first, second, third)] == [101, 101, 429]
    assert "Retry-After: 5" in third.answer
    assert come("192.0.2.8").status == 101
    first.transport.lose()
    assert come("192.0.2.7").status == 101
    assert door.gate.refused == {"address_connections": 1}
    assert len(limits.handshakes) == 0


def test_the_rate_of_a_true_address(made: House) -> None:
    proxies = Networks.parse("unix")
    limits = AddressLimits(max_connections=0, max_handshakes=0, per_second=1, exempt=proxies, now=lambda: 5.0)
    door = Door(made, trusted=proxies, limits=limits)
    statuses = [door.arrive(request("/chat", x_forwarded_for="192.0.2.7"), Peer("unix")).status for _ in range(4)]
    assert statuses == [101, 101, 101, 429]
    assert door.arrive(request("/chat"), Peer("unix")).status == 101


def test_a_mount_counts_addresses_too(made: House) -> None:
    tally = Tally(1)
    door = Door(made, limits=AddressLimits(max_connections=0, max_handshakes=0, per_second=0), addresses=tally)
    first, second = door.arrive(request("/chat")), door.arrive(request("/chat"))
    assert (first.status, second.status) == (101, 429)
    assert door.arrive(request("/chat"), Peer("127.0.0.1", 1)).status == 101
    first.transport.lose()
    assert len(tally) == 0


def test_the_client_certificate_reaches_authentication_and_the_app(made: House) -> None:
    certificate = ClientCertificate(subject="CN=ada", common_name="ada", names=(), issuer="CN=ca", serial="1", fingerprint="f", der=b"")
    chain = Chain(lambda request: ADA)
    door = Door(made, secure=True, chain=chain, show_certificate=lambda tls_object: certificate if tls_object == "ada's" else None)
    door.arrive(request("/chat"), tls_object="ada's")
    door.arrive(request("/chat"), tls_object="nobody's")
    assert [one.handshake.client_certificate for one in door.app.connections] == [certificate, None]
    assert [one.client_certificate for one in chain.requests] == [certificate, None]


# -- who it is


def test_the_identity_reaches_the_app(made: House) -> None:
    door = Door(made, chain=Chain(lambda request: ADA))
    door.arrive(request("/chat"))
    assert door.app.connection.handshake.identity is ADA


def test_a_token_in_a_subprotocol_is_no_subprotocol(made: House) -> None:
    door = Door(made, chain=Chain(lambda request: ADA), subprotocols=("token.abc", "chat"))
    visitor = door.arrive(request("/chat", sec_websocket_protocol="token.abc, chat"))
    assert door.app.connection.handshake.subprotocols == ("chat",)
    assert "Sec-WebSocket-Protocol: chat\r\n" in visitor.answer and "token" not in visitor.answer


def refuse(error: Exception) -> Callable[[AuthRequest], Answer]:
    def answer(request: AuthRequest) -> Answer:
        raise error

    return answer


def test_who_is_not_known_is_answered_as_authentication_says(made: House) -> None:
    door = Door(made, chain=Chain(refuse(Denied("auth_required", headers=(("WWW-Authenticate", "Bearer"),)))))
    visitor = door.arrive(request("/chat"))
    assert visitor.status == 401 and "\r\nWWW-Authenticate: Bearer\r\n" in visitor.answer
    assert door.count.now == 0


def test_a_limit_for_each_user(made: House) -> None:
    tally = Tally(1)
    door = Door(made, chain=Chain(lambda request: Identity(request.query("name")[0], "test:way")), users=tally)
    ada, again, eve = (door.arrive(request(f"/chat?name={name}")) for name in ("ada", "ada", "eve"))
    assert [each.status for each in (ada, again, eve)] == [101, 429, 101]
    assert door.gate.refused == {"user_connections": 1}
    ada.transport.lose()
    assert door.arrive(request("/chat?name=ada")).status == 101
    assert door.count.now == 2


# -- waiting for the answer


class Slow:
    """Authentication that answers when the test says so."""

    def __init__(self, made: House) -> None:
        self.future: asyncio.Future[Identity | None] = made.loop.create_future()
        self.cancelled = False

    async def ask(self, request: AuthRequest) -> Identity | None:
        try:
            return await self.future
        except asyncio.CancelledError:
            self.cancelled = True
            raise


def slow_door(made: House, **options: Any) -> tuple[Door, Slow]:
    slow = Slow(made)
    return Door(made, chain=Chain(slow.ask), **options), slow


def test_whoever_waits_holds_no_place(made: House) -> None:
    door, slow = slow_door(made)
    visitor = door.arrive(request("/chat"))
    made.loop.settle()
    assert visitor.status == 0 and door.count.now == 0 and len(door.arrivals) == 1
    slow.future.set_result(ADA)
    made.loop.settle()
    assert visitor.status == 101 and door.count.now == 1 and not door.arrivals
    assert door.app.connection.handshake.identity is ADA
    made.loop.advance(60)
    assert not visitor.transport.closing


def test_what_comes_while_it_waits_is_read_afterwards_and_no_more_is_taken(made: House) -> None:
    door, slow = slow_door(made)
    visitor = door.arrive(request("/chat") + text("one"))
    assert not visitor.transport.reading
    visitor.transport.receive(text("two"))
    made.loop.settle()
    assert door.app.messages == []
    slow.future.set_result(ADA)
    made.loop.settle()
    assert door.app.messages == ["one", "two"]
    assert visitor.transport.reading


def test_a_first_early_byte_stops_the_reading(made: House) -> None:
    door, slow = slow_door(made)
    visitor = door.arrive(request("/chat"))
    assert visitor.transport.reading  # or nobody would see that the client goes away
    visitor.transport.receive(text("one"))
    assert not visitor.transport.reading
    slow.future.set_result(ADA)
    made.loop.settle()
    assert door.app.messages == ["one"]


def test_a_client_that_goes_away_cancels_the_question(made: House) -> None:
    door, slow = slow_door(made)
    visitor = door.arrive(request("/chat"))
    made.loop.settle()
    visitor.transport.lose()
    made.loop.settle()
    assert slow.cancelled and not door.arrivals and door.count.now == 0
    assert len(door.wheel) == 0


def test_a_client_that_goes_at_once_leaves_no_coroutine_unawaited(made: House) -> None:
    door, slow = slow_door(made)
    door.arrive(request("/chat")).transport.lose()
    made.loop.settle()
    assert slow.cancelled and not door.arrivals


def test_the_deadline_runs_on_while_it_waits(made: House) -> None:
    door, slow = slow_door(made)
    visitor = door.arrive()
    made.loop.advance(6)
    visitor.transport.receive(request("/chat") + text("early"))
    made.loop.advance(3.9)
    assert visitor.status == 0
    made.loop.advance(0.2)
    assert visitor.status == 503 and "Retry-After: 5" in visitor.answer
    assert slow.cancelled and door.gate.refused == {"auth_timeout": 1}
    made.loop.advance(LINGER + 0.1)
    assert visitor.transport.aborted and not door.arrivals and door.count.now == 0


def test_an_answer_of_no_comes_late_too(made: House) -> None:
    door, slow = slow_door(made)
    visitor = door.arrive(request("/chat"))
    slow.future.set_exception(Denied("auth_refused", 403))
    made.loop.settle()
    assert visitor.status == 403 and door.gate.refused == {"auth_refused": 1}


def test_the_last_place_may_be_gone_after_the_wait(made: House) -> None:
    door, slow = slow_door(made, most=1)
    first, second = door.arrive(request("/chat")), door.arrive(request("/chat"))
    slow.future.set_result(ADA)
    made.loop.settle()
    assert sorted((first.status, second.status)) == [101, 503]
    assert door.count.now == 1


def test_a_drain_that_begins_during_the_wait(made: House) -> None:
    door, slow = slow_door(made)
    visitor = door.arrive(request("/chat"))
    door.draining = True
    slow.future.set_result(ADA)
    made.loop.settle()
    assert visitor.status == 503 and door.count.now == 0


def test_authentication_that_breaks_is_a_500_and_tells_nothing(made: House) -> None:
    door, slow = slow_door(made)
    waiting = door.arrive(request("/chat"))
    slow.future.set_exception(RuntimeError("the database password is hunter2"))
    made.loop.settle()
    broken = Door(made, chain=Chain(refuse(RuntimeError("hunter2")))).arrive(request("/chat"))
    for visitor in (waiting, broken):
        assert visitor.status == 500 and "hunter2" not in visitor.answer


def test_dropping_whoever_waits(made: House) -> None:
    door, slow = slow_door(made)
    visitor = door.arrive(request("/chat"))
    visitor.arrival.drop()
    assert not door.arrivals
    made.loop.settle()
    assert slow.cancelled and visitor.transport.aborted


# -- a token that ends


def test_a_connection_ends_with_its_token(made: House) -> None:
    door = Door(made, now=made.loop.time, chain=Chain(lambda request: Identity("ada", "test:way", expires=made.loop.time() + 30)))
    visitor = door.arrive(request("/chat"))
    made.loop.advance(29)
    assert visitor.status == 101 and not door.app.ends
    connection = door.app.connection
    made.loop.advance(1.2)
    assert not connection.is_open
    made.loop.advance(10)
    assert door.app.ends[0][0] == 4401 and door.count.now == 0


def test_a_connection_that_is_over_waits_for_no_token(made: House) -> None:
    door = Door(made, chain=Chain(lambda request: Identity("ada", "test:way", expires=2e9)))
    visitor = door.arrive(request("/chat"))
    assert len(door.wheel) == 1
    visitor.transport.lose()
    assert len(door.wheel) == 0 and door.count.now == 0


# -- what is refused is counted, and told in bounds


def test_refusals_are_told_once_a_minute() -> None:
    now = [0.0]
    lines: list[str] = []

    class Log:
        def warn(self, format: str, **fields: object) -> None:
            lines.append(format.format(**fields))

        def debug(self, format: str, **fields: object) -> None:
            pass

    refusals = Refusals("web", now=lambda: now[0])
    refusals._log = Log()  # type: ignore[assignment]
    for second in range(150):
        now[0] = second
        refusals.add("address_rate", PEER, told=True)
        refusals.add("path", PEER)
    assert lines == [
        f"web turns clients away: address_rate; {count} since this was last said, the latest 192.0.2.7:50123" for count in (1, 60, 60)
    ]
    assert refusals.counts == {"address_rate": 150, "path": 150}


def test_a_wire_that_cannot_open_leaves_nothing(made: House, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(made)

    def broken(*arguments: object) -> None:
        raise RuntimeError("no memory")

    found = door.gate.routes.match("/chat")
    assert found is not None
    monkeypatch.setattr(found[0].wire_class, "_attach", broken)
    visitor = door.arrive(request("/chat"))
    assert visitor.transport.aborted and door.count.now == 0 and not door.arrivals
