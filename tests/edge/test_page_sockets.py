"""edge/page_sockets.py: an opening handshake beside pages is admitted by the rules of its own mounts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fakes import App, House, Transport, Watcher, request
from wsdaemon.core.registry import Count
from wsdaemon.core.routing import Routes
from wsdaemon.edge.admission import Admission
from wsdaemon.edge.candidate import Entrance
from wsdaemon.edge.clients import Clients
from wsdaemon.edge.origins import Origins
from wsdaemon.edge.page_sockets import PageSockets
from wsdaemon.edge.places import Places
from wsdaemon.edge.request import BadRequest, parse_head

SECURE = "https://example.org"


class Sessions:
    """The app behind the WebSockets has room, or none."""

    def __init__(self) -> None:
        self.room = True
        self.asked = 0
        self.closed = False

    def make_room(self) -> bool:
        self.asked += 1
        return self.room

    def close(self) -> None:
        self.closed = True


class Beside:
    """A mount at /live for one client of the same site."""

    def __init__(self, made: House, secure: bool = False) -> None:
        self.made = made
        self.app = App()
        self.sessions = Sessions()
        self.count = Count(1)
        wires = made.make_wires(self.app, Watcher())
        entrance = Entrance("/live", wires, self.count, origins=Origins.parse(["same-origin"]))
        self.sockets = PageSockets(Admission("admin", Routes([("/live", entrance)]), Places(()), Clients()), self.sessions, secure)

    def open(self, opening: bytes, early: bytes = b"") -> Transport:
        transport: Any = Transport(self.made.loop)
        transport.extra |= {"peername": ("192.0.2.7", 5), "sockname": ("192.0.2.1", 9464)}
        self.sockets.open(parse_head(opening), transport, 10.0, early)
        self.made.loop.settle()
        return transport  # type: ignore[no-any-return]


def test_a_client_of_the_same_site_is_let_in(made: House) -> None:
    beside = Beside(made)
    transport = beside.open(request("/live", origin="http://example.org"))
    assert transport.writes[0].startswith(b"HTTP/1.1 101 ")
    handshake = beside.app.connection.handshake
    assert (str(handshake.peer), handshake.listener, handshake.mount, handshake.secure) == ("192.0.2.7:5", "admin", "/live", False)
    with pytest.raises(BadRequest) as caught:
        beside.open(request("/live"))
    assert caught.value.status == 503  # there is one place
    transport.lose()
    assert beside.count.now == 0
    assert Beside(made, secure=True).open(request("/live", origin=SECURE)).writes


@pytest.mark.parametrize(
    ("opening", "status"),
    [
        (request("/live", origin="http://evil.example"), 403),
        (request("/live", origin=SECURE), 403),
        (request("/elsewhere"), 404),
        (request("/live", sec_websocket_version="8"), 426),
        (request("/live", sec_websocket_key="x"), 400),
    ],
)
def test_others_are_refused_and_nothing_is_written(made: House, opening: bytes, status: int) -> None:
    beside = Beside(made)
    with pytest.raises(BadRequest) as caught:
        beside.open(opening)
    assert caught.value.status == status and beside.count.now == 0
    assert beside.sessions.asked == 0  # no other has to make room for it


def test_one_more_needs_room_and_all_are_closed_together(made: House) -> None:
    beside = Beside(made)
    beside.sessions.room = False
    with pytest.raises(BadRequest) as caught:
        beside.open(request("/live"))
    assert caught.value.status == 503 and beside.count.now == 0
    beside.sockets.close()
    assert beside.sessions.closed
