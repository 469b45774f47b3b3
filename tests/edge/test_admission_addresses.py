"""Admission: under which address a client is counted, whatever its proxy tells, and that no count is left behind."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.logger import LogEvent, globalLogPublisher

from tests.support.admission import Door, Visitor
from tests.support.fakes import House, request
from wsdaemon.core.handshake import UNIX, Peer
from wsdaemon.edge.forwarded import Networks
from wsdaemon.edge.limits import AddressLimits

PROXIES = "10.0.0.0/8, 127.0.0.1, unix"
PROXY = Peer("10.0.0.1", 1)


def behind_proxies(made: House, **options: Any) -> tuple[Door, AddressLimits]:
    """A gate that lets each address have one connection."""
    trusted = Networks.parse(PROXIES)
    limits = AddressLimits(max_connections=1, max_handshakes=50, per_second=0, exempt=trusted)
    return Door(made, trusted=trusted, limits=limits, **options), limits


def come(door: Door, proxy: Peer = PROXY, **headers: str) -> Visitor:
    return door.arrive(request("/chat", **headers), proxy)


def test_a_client_behind_a_balancer_cannot_choose_its_address(made: House) -> None:
    """The balancer appends to X-Forwarded-For and passes Forwarded on: each connection would count under an address of its own."""
    door, limits = behind_proxies(made)
    first, second = (come(door, x_forwarded_for="203.0.113.9", forwarded=f"for=192.0.2.{number}") for number in (1, 2))
    assert (first.status, second.status) == (101, 429)
    assert door.app.connection.peer == Peer("203.0.113.9", 0)
    assert limits.connections.count("203.0.113.9") == 1


@pytest.mark.parametrize("told", ["127.0.0.1", "127.7.7.7", "::1"])
@pytest.mark.parametrize("proxy", [PROXY, Peer("127.0.0.1", 5), UNIX], ids=str)
def test_loopback_that_a_proxy_told_is_counted(made: House, proxy: Peer, told: str) -> None:
    door, _ = behind_proxies(made)
    assert [come(door, proxy, x_forwarded_for=told).status for _ in range(2)] == [101, 429]
    assert come(door, proxy, x_forwarded_for="192.0.2.1").status == 101


@pytest.mark.parametrize("hidden", ["for=unknown", "for=_secret", "for=_another", "proto=https", "rubbish", ""])
@pytest.mark.parametrize("proxy", [PROXY, UNIX], ids=str)
def test_clients_that_a_proxy_hides_count_together_as_the_proxy(made: House, proxy: Peer, hidden: str) -> None:
    door, limits = behind_proxies(made, forwarded_header="forwarded")
    opening = request("/chat").replace(b"\r\n\r\n", f"\r\nForwarded: {hidden}\r\n\r\n".encode())
    assert [door.arrive(opening, proxy).status for _ in range(2)] == [101, 429]
    assert door.app.connection.peer == proxy
    assert limits.connections.count(proxy.host) == 1
    assert come(door, proxy, forwarded="for=192.0.2.1").status == 101


@pytest.mark.parametrize("peer", [PROXY, Peer("127.0.0.1", 5), Peer("127.0.0.9", 5), UNIX], ids=str)
def test_who_speaks_for_itself_is_not_counted_on_this_machine_or_as_a_proxy(made: House, peer: Peer) -> None:
    door, limits = behind_proxies(made)
    assert [come(door, peer).status for _ in range(3)] == [101] * 3
    assert len(limits.connections) == 0


def test_a_stranger_is_counted_whatever_it_says(made: House) -> None:
    door, limits = behind_proxies(made)
    stranger = Peer("203.0.113.9", 5)
    assert come(door, stranger, x_forwarded_for="127.0.0.1", forwarded="for=unknown").status == 101
    assert limits.connections.count("203.0.113.9") == 1 == len(limits.connections)


# -- a client's certificate that cannot be read


def unreadable(tls_object: object) -> None:
    raise ValueError("parse error of a strange certificate")


def test_a_certificate_that_cannot_be_read_is_the_clients_fault(made: House) -> None:
    """403 and no traceback; what authentication would say to it is not even asked."""
    events: list[LogEvent] = []
    observer: Any = events.append
    globalLogPublisher.addObserver(observer)
    try:
        door = Door(made, secure=True, show_certificate=unreadable)
        visitor = door.arrive(request("/chat"), tls_object=object())
    finally:
        globalLogPublisher.removeObserver(observer)
    assert visitor.status == 403 and "strange" not in visitor.answer
    assert door.gate.refused == {"client_certificate": 1}
    assert not [event for event in events if "log_failure" in event]


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_a_request_that_breaks_leaves_no_handshake_counted(made: House, kind: type[Exception]) -> None:
    """The address was entered just before. The error is made in the call: pytest keeps parameters, and an error keeps its frames."""

    def show(tls_object: object) -> None:
        raise kind("strange")

    door, limits = behind_proxies(made, secure=True, show_certificate=show)
    for _ in range(3):
        visitor = door.arrive(request("/chat", x_forwarded_for="203.0.113.9"), PROXY, tls_object=object())
        assert visitor.status == (403 if kind is ValueError else 500)
        visitor.transport.lose()
    assert len(limits.handshakes) == 0 and not door.arrivals
