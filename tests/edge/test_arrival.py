"""edge/gate.py: one accepted connection until its opening handshake is answered."""

from __future__ import annotations

from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from tests.support.fakes import ACCEPT, LOCAL, PEER, App, Frame, House, Transport, house, request, server_frames, text
from tests.support.gates import make_gate
from wsdaemon.apps.echo import EchoApp
from wsdaemon.core.registry import Count
from wsdaemon.core.routing import Routes
from wsdaemon.core.wheel import Wheel
from wsdaemon.edge.arrival import Arrival
from wsdaemon.edge.candidate import Entrance
from wsdaemon.edge.request_body import LINGER_SECONDS


class Door:
    """A gate with a mount at / and one at /rooms/{room}, and the listener behind it."""

    def __init__(
        self, made: House, *, secure: bool = False, mounted: Any = None, factory: Any = None, most: int = 0, most_here: int = 0
    ) -> None:  # fmt: skip
        self.loop = made.loop
        self.app = App()
        self.wheel: Wheel = made.wheel()
        self.mount_count, self.count = Count(most_here), Count(most)
        self.open = True
        self.left: list[Arrival] = []
        wire = made.make_wires(None if mounted else self.app, mounted=mounted, factory=factory, subprotocols=("b", "c"))
        rooms = made.make_wires(EchoApp())
        routes = Routes(
            [
                ("/", Entrance("/", wire, self.mount_count, ("b", "c"))),
                ("/rooms/{room}", Entrance("/rooms/{room}", rooms, Count())),
            ]
        )
        self.gate = make_gate(
            listener="here", secure=secure, routes=routes, counts=(self.count,), wheel=self.wheel, handshake_timeout=10.0,
            retry_after=4.6, closed=lambda: not self.open,
        )  # fmt: skip

    def gone(self, arrival: Any) -> None:
        self.left.append(arrival)

    def again(self, arrival: Any) -> None:
        raise AssertionError("no request without an upgrade is answered here")

    def arrive(self, descriptor: int = -1) -> tuple[Transport, Arrival]:
        transport = Transport(self.loop)
        arrival = Arrival(self.gate, self, PEER, LOCAL, descriptor)
        transport.protocol = arrival
        arrival.connection_made(transport)  # type: ignore[arg-type]
        return transport, arrival


def answer(transport: Transport) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and what follows the head."""
    head, _, rest = b"".join(transport.writes).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status, dict(line.split(": ", 1) for line in lines), rest


def test_in(made: House) -> None:
    door = Door(made)
    transport, arrival = door.arrive()
    transport.receive(request("/?x=1", sec_websocket_protocol="a, c, b"))
    status, headers, rest = answer(transport)
    assert status == "HTTP/1.1 101 Switching Protocols"
    assert headers["Sec-WebSocket-Accept"] == ACCEPT
    assert headers["Sec-WebSocket-Protocol"] == "b", "the mount's order decides"
    assert rest == b""
    assert door.left == [arrival]
    assert (door.count.now, door.mount_count.now) == (1, 1)
    handshake = door.app.connection.handshake
    assert (handshake.path, handshake.query, handshake.listener, handshake.mount) == ("/", {"x": ["1"]}, "here", "/")
    assert (handshake.peer, handshake.local, handshake.secure) == (PEER, LOCAL, False)
    assert (handshake.subprotocols, handshake.subprotocol) == (("a", "c", "b"), "b")
    assert len(door.wheel) == 0
    transport.lose()
    assert (door.count.now, door.mount_count.now) == (0, 0)
    assert len(door.app.ends) == 1


def test_parameters_of_the_path(made: House) -> None:
    door = Door(made)
    transport, _ = door.arrive()
    transport.receive(request("/rooms/r%C3%A9d"))
    connection = transport.protocol.wire.connection
    assert connection.params == {"room": "réd"}
    assert connection.handshake.mount == "/rooms/{room}"
    assert door.mount_count.now == 0


def test_over_tls_it_is_secure(made: House) -> None:
    door = Door(made, secure=True)
    transport, _ = door.arrive()
    transport.receive(request())
    assert door.app.connection.secure


def test_no_subprotocol_that_the_client_did_not_offer(made: House) -> None:
    for offered in ("", "x, y"):
        door = Door(made)
        transport, _ = door.arrive()
        transport.receive(request(sec_websocket_protocol=offered))
        assert "Sec-WebSocket-Protocol" not in answer(transport)[1]


@given(st.lists(st.integers(0, 300), max_size=5))
def test_however_the_request_is_cut_and_frames_may_follow_at_once(cuts: list[int]) -> None:
    stream = request("/rooms/x") + text("early") + text("more")
    places = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    with house() as made:
        transport, _ = Door(made).arrive()
        for start, end in zip(places, places[1:], strict=False):  # noqa: RUF007
            transport.receive(stream[start:end])
        assert list(server_frames(answer(transport)[2])) == [Frame(1, b"early"), Frame(1, b"more")]


REFUSED = {
    "no mount": (request("/nowhere"), 404),
    "plain HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426),
    "another method": (request().replace(b"GET", b"POST", 1), 405),
    "another version": (request(sec_websocket_version="8"), 426),
    "no key": (request(sec_websocket_key=""), 400),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.9\r\n", 400),
    "HTTP/1.0": (request().replace(b"HTTP/1.1", b"HTTP/1.0", 1), 505),
    "a long head": (request(x_long="x" * 20_000), 431),
}


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_out(made: House, name: str, secure: bool) -> None:
    data, expected = REFUSED[name]
    door = Door(made, secure=secure)
    transport, arrival = door.arrive(descriptor=-1 if secure else 7)
    transport.receive(data + b"\r\n\r\n" if name == "no HTTP" else data)
    status, headers, body = answer(transport)
    assert status.startswith(f"HTTP/1.1 {expected} ")
    assert headers["Connection"].split(", ")[-1] == "close"
    assert int(headers["Content-Length"]) == len(body)
    assert (door.count.now, door.count.total, door.app.connections) == (0, 0, [])
    assert sum(door.gate.refused.values()) == 1
    transport.receive(b"more that is not looked at")
    made.loop.advance(LINGER_SECONDS + 0.1)
    assert transport.lost, "it had time to read the answer"
    assert len(transport.writes) == 1
    assert door.left == [arrival]
    assert len(door.wheel) == 0


def test_a_refused_client_gets_to_see_the_answer_and_not_a_reset(made: House) -> None:
    """Closing with unread bytes would send a reset, which throws away the answer."""
    transport, _ = Door(made).arrive(descriptor=7)
    transport.receive(request("/nowhere"))
    assert transport.eof_written
    assert not transport.closing
    assert transport.reading


def test_a_full_daemon(made: House) -> None:
    for door in (Door(made, most=1), Door(made, most_here=1)):
        first, _ = door.arrive()
        first.receive(request())
        second, _ = door.arrive()
        second.receive(request())
        status, headers, _ = answer(second)
        assert status == "HTTP/1.1 503 Service Unavailable"
        assert headers["Retry-After"] == "5"
        assert door.gate.refused == {"max_connections": 1}
        first.lose()
        third, _ = door.arrive()
        third.receive(request())
        assert answer(third)[0].startswith("HTTP/1.1 101 ")


def test_silent_clients_take_no_place(made: House) -> None:
    """Autobahn's own count starts at the accept: fifty silent sockets lock everybody out."""
    door = Door(made, most=1)
    for _ in range(50):
        door.arrive()
    transport, _ = door.arrive()
    transport.receive(request())
    assert answer(transport)[0].startswith("HTTP/1.1 101 ")


def test_while_it_drains(made: House) -> None:
    door = Door(made)
    door.open = False
    transport, _ = door.arrive()
    transport.receive(request())
    assert answer(transport)[0] == "HTTP/1.1 503 Service Unavailable"
    assert door.gate.refused == {"draining": 1}


@pytest.mark.parametrize("data", [b"", b"GET / HT", request()[:-1]])
def test_a_handshake_that_takes_too_long(made: House, data: bytes) -> None:
    door = Door(made)
    transport, arrival = door.arrive(descriptor=7)
    transport.receive(data)
    made.loop.advance(9.9)
    assert transport.writes == []
    made.loop.advance(0.2)
    assert answer(transport)[0] == "HTTP/1.1 408 Request Timeout"
    made.loop.advance(LINGER_SECONDS + 0.1)
    assert transport.aborted
    assert door.left == [arrival]


def test_the_deadline_does_not_move(made: House) -> None:
    """One byte now and then keeps no client in."""
    transport, _ = Door(made).arrive()
    for byte in request()[:9]:
        transport.receive(bytes([byte]))
        made.loop.advance(1.1)
    made.loop.advance(1)
    assert answer(transport)[0] == "HTTP/1.1 408 Request Timeout"


def test_a_deadline_that_was_met_is_forgotten(made: House) -> None:
    transport, _ = Door(made).arrive()
    transport.receive(request("/rooms/x"))
    made.loop.advance(20)
    assert not transport.closing


def test_a_client_that_leaves(made: House) -> None:
    door = Door(made)
    transport, arrival = door.arrive()
    transport.receive(b"GET /")
    transport.lose()
    assert door.left == [arrival]
    assert len(door.wheel) == 0
    arrival.eof_received()
    arrival.drop()


def test_dropping_an_arrival(made: House) -> None:
    door = Door(made)
    transport, arrival = door.arrive()
    arrival.drop()
    made.loop.settle()
    assert transport.aborted
    assert door.left == [arrival]


class Mounted(WebSocketServerProtocol):  # type: ignore[misc]
    """Fails before it is there, or refuses."""

    def __init__(self) -> None:
        raise RuntimeError("mine")


def test_a_mounted_class_that_cannot_be_made_gives_500_and_takes_no_place(made: House) -> None:
    door = Door(made, mounted=Mounted)
    transport, _ = door.arrive()
    transport.receive(request())
    status, _, body = answer(transport)
    assert status == "HTTP/1.1 500 Internal Server Error"
    assert b"mine" not in body
    assert (door.count.now, door.mount_count.now) == (0, 0)


class Denying(WebSocketServerProtocol):  # type: ignore[misc]
    """Lets no client in."""

    def onConnect(self, request: ConnectionRequest) -> None:
        raise ConnectionDeny(403, "not you")


def test_whom_a_mounted_class_turns_away_is_counted(made: House) -> None:
    door = Door(made, mounted=Denying)
    transport, _ = door.arrive()
    transport.receive(request())
    assert answer(transport)[0] == "HTTP/1.1 403 not you"
    assert door.gate.refused == {"on_connect": 1}
    assert door.gate.refused_by_mount == {"/": {"on_connect": 1}}


class Undecided(WebSocketServerProtocol):  # type: ignore[misc]
    """Never decides."""

    def onConnect(self, request: ConnectionRequest) -> Any:
        return Deferred()


def test_on_whom_a_mounted_class_never_decides_is_counted(made: House) -> None:
    door = Door(made, mounted=Undecided)
    transport, _ = door.arrive()
    transport.receive(request())
    made.loop.advance(60.0)
    assert transport.lost
    assert door.gate.refused == {"handshake_timeout": 1}
    assert door.gate.refused_by_mount == {"/": {"handshake_timeout": 1}}
    assert door.count.now == 0


class Full(WebSocketServerFactory):  # type: ignore[misc]
    """Serves no client."""

    def buildProtocol(self, addr: Any) -> None:
        return None


def test_a_factory_without_a_protocol_for_the_client_gives_503_and_takes_no_place(made: House) -> None:
    door = Door(made, mounted=Denying, factory=Full)
    transport, _ = door.arrive()
    transport.receive(request())
    status, headers, _ = answer(transport)
    assert status == "HTTP/1.1 503 Service Unavailable"
    assert headers["Retry-After"] == "5"
    assert door.gate.refused == {"factory": 1}
    assert (door.count.now, door.mount_count.now) == (0, 0)


def test_an_error_of_ours_gives_500_and_leaves_the_place(made: House, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(made)
    monkeypatch.setattr("wsdaemon.wire.wire.Wire.attach", lambda *arguments: 1 / 0)
    transport, arrival = door.arrive()
    transport.receive(request())
    made.loop.advance(LINGER_SECONDS + 1)
    assert door.count.now == 0
    assert transport.lost
    assert door.left == [arrival]
