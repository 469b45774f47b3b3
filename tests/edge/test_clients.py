"""edge/clients.py: which address is the client's, and under what it is counted."""

from __future__ import annotations

import pytest

from tests.support.fakes import LOCAL, request
from wsdaemon.core.handshake import Peer
from wsdaemon.edge.candidate import Candidate
from wsdaemon.edge.clients import Clients
from wsdaemon.edge.forwarded import Networks
from wsdaemon.edge.limits import AddressLimits
from wsdaemon.edge.request import BadRequest, parse_head

PROXY = Peer("10.0.0.1", 4000)
CLIENT = Peer("192.0.2.7", 0)
TRUSTED = Networks.parse("10.0.0.0/8")


def clients(most: int = 1) -> Clients:
    return Clients(AddressLimits(max_connections=0, max_handshakes=most, per_second=0, exempt=TRUSTED), TRUSTED)


def from_proxy(address: str = "192.0.2.7") -> Candidate:
    return Candidate(parse_head(request("/", x_forwarded_for=address, x_forwarded_proto="https")), PROXY, LOCAL)


def test_without_limits_nothing_is_counted() -> None:
    none = Clients()
    assert none.begin(CLIENT) == none.begin_named(CLIENT) == (None, None)
    candidate = from_proxy()
    none.find(candidate)
    none.end(None)
    assert (candidate.peer, candidate.secure, candidate.address) == (PROXY, False, None)


def test_an_accepted_connection_is_counted_until_it_ends() -> None:
    here = clients()
    assert here.begin(CLIENT) == ("192.0.2.7", None)
    assert here.begin(CLIENT) == ("192.0.2.7", "address_handshakes")
    here.end("192.0.2.7")
    assert here.begin_named(CLIENT) == ("192.0.2.7", None)
    assert here.begin_named(PROXY) == (None, None), "a trusted proxy has yet to tell"


def test_a_trusted_proxy_tells_the_address() -> None:
    here = clients()
    first, second = from_proxy(), from_proxy()
    here.find(first)
    assert (first.peer, first.secure, first.address) == (CLIENT, True, "192.0.2.7")
    with pytest.raises(BadRequest) as caught:
        here.find(second)
    assert (caught.value.status, second.address) == (429, None), "it was not entered, so it must not leave"
    here.end(first.address)
    here.find(from_proxy())
