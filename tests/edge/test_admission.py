"""Admission: which answer a request gets, and in which order things are asked.

Candidates that wait for authentication have their tests in test_admission_waiting.py.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.support.admission import ADA, Chain, Door, Visitor, Warned, refuse
from tests.support.fakes import PEER, App, House, request
from wsdaemon.core.handshake import ClientCertificate, Peer
from wsdaemon.core.limits import Rate, Tally
from wsdaemon.edge.auth.contract import Denied, Identity
from wsdaemon.edge.forwarded import Networks
from wsdaemon.edge.limits import AddressLimits
from wsdaemon.edge.origins import ConsoleAddress, Origins
from wsdaemon.edge.request_body import LINGER_SECONDS
from wsdaemon.wire.factory import Wires
from wsdaemon.wire.writer import Native

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


@pytest.mark.parametrize(("origins", "status"), [("same-origin", 101), ("https://other.example", 403)])
def test_the_console_may_connect_where_its_own_site_may(made: House, origins: str, status: int) -> None:
    door = Door(made, origins=Origins.parse([origins]), console=ConsoleAddress(9464, loopback=False))
    assert door.arrive(request("/chat", origin="http://example.org:9464")).status == status
    assert door.arrive(request("/chat", origin="http://example.org:9465")).status == 403
    assert Door(made, origins=Origins.parse([origins])).arrive(request("/chat", origin="http://example.org:9464")).status == 403


def test_a_console_on_loopback_is_not_that_of_a_public_host(made: House) -> None:
    door = Door(made, origins=Origins.parse(["same-origin"]), console=ConsoleAddress(9464, loopback=True))
    assert door.arrive(request("/chat", origin="http://example.org:9464")).status == 403


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
    door = Door(made, trusted=Networks.parse("10.0.0.0/8"), forwarded_header="forwarded", chain=chain)
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


def test_a_mount_has_a_rate_for_each_address(made: House) -> None:
    rate = Rate(1, 3, now=lambda: 5.0)
    chain = Chain(lambda request: ADA)
    door = Door(made, limits=AddressLimits(max_connections=0, max_handshakes=0, per_second=0), rate=rate, chain=chain)
    visitors = [door.arrive(request("/chat")) for _ in range(4)]
    assert [each.status for each in visitors] == [101, 101, 101, 429]
    assert "Retry-After: 5" in visitors[-1].answer and len(chain.requests) == 3
    assert door.gate.refused_by_mount == {"/chat": {"address_rate": 1}}
    assert door.arrive(request("/chat"), Peer("192.0.2.200", 1)).status == 101, "another address"
    assert [door.arrive(request("/chat"), Peer("127.0.0.1", 1)).status for _ in range(5)] == [101] * 5, "who is not counted"
    assert door.arrive(request("/elsewhere")).status == 404


def test_what_does_not_ask_for_the_mount_costs_nothing_of_its_rate(made: House) -> None:
    limits = AddressLimits(max_connections=0, max_handshakes=0, per_second=0)
    door = Door(made, limits=limits, rate=Rate(1, 1, now=lambda: 5.0))
    for opening in (request("/elsewhere"), b"GET /chat HTTP/1.1\r\nHost: a\r\n\r\n"):
        assert door.arrive(opening).status in (404, 426)
    assert door.arrive(request("/chat")).status == 101


def test_the_client_certificate_reaches_authentication_and_the_app(made: House) -> None:
    certificate = ClientCertificate(subject="CN=ada", common_name="ada", names=(), issuer="CN=ca", serial="1", fingerprint="f", der=b"")
    chain = Chain(lambda request: ADA)
    door = Door(made, secure=True, chain=chain, show_certificate=lambda tls_object: certificate if tls_object == "ada's" else None)
    door.arrive(request("/chat"), tls_object="ada's")
    door.arrive(request("/chat"), tls_object="nobody's")
    assert [one.handshake.client_certificate for one in door.app.connections] == [certificate, None]
    assert [one.client_certificate for one in chain.requests] == [certificate, None]


# -- authentication


def test_the_identity_reaches_the_app(made: House) -> None:
    door = Door(made, chain=Chain(lambda request: ADA))
    door.arrive(request("/chat"))
    assert door.app.connection.handshake.identity is ADA


def test_a_token_in_a_subprotocol_is_no_subprotocol(made: House) -> None:
    door = Door(made, chain=Chain(lambda request: ADA), subprotocols=("token.abc", "chat"))
    visitor = door.arrive(request("/chat", sec_websocket_protocol="token.abc, chat"))
    assert door.app.connection.handshake.subprotocols == ("chat",)
    assert "Sec-WebSocket-Protocol: chat\r\n" in visitor.answer and "token" not in visitor.answer


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


@pytest.mark.parametrize(("app", "told"), [(Warned, [pytest.approx(10, abs=1), 4401]), (App, [4401])])
def test_a_session_that_wants_to_know_is_told_before_its_token_ends(made: House, app: type[App], told: list[object]) -> None:
    chain = Chain(lambda request: Identity("ada", "test:way", expires=made.loop.time() + 30))
    door = Door(made, app=app(), now=made.loop.time, chain=chain, expiry_warning=10.0)
    door.arrive(request("/chat"))
    made.loop.advance(19)
    assert door.app.events == []
    made.loop.advance(2)
    assert door.app.events == told[:-1]
    made.loop.advance(20)
    assert door.app.events == told


def test_a_connection_that_is_over_waits_for_no_token(made: House) -> None:
    door = Door(made, chain=Chain(lambda request: Identity("ada", "test:way", expires=2e9)))
    visitor = door.arrive(request("/chat"))
    assert len(door.wheel) == 2, "the end of the token, and the look at the system's clock"
    visitor.transport.lose()
    assert len(door.wheel) == 0 and door.count.now == 0


# -- what goes wrong


@pytest.mark.parametrize("taken", [False, True])
def test_a_wire_that_cannot_open_leaves_nothing(made: House, monkeypatch: pytest.MonkeyPatch, taken: bool) -> None:
    door = Door(made)

    def broken(self: Wires, native: Native, *arguments: object, **named: object) -> None:
        if taken:
            native.set_protocol(asyncio.Protocol())
        raise RuntimeError("no memory")

    monkeypatch.setattr(Wires, "open", broken)
    visitor = door.arrive(request("/chat"))
    assert door.count.now == 0 and visitor.transport.aborted is taken
    assert visitor.status == (0 if taken else 500), "once the wire has the transport, it may have answered"
    made.loop.advance(LINGER_SECONDS + 0.1)
    assert not door.arrivals
