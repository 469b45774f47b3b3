"""Shared by the tests of admission: authentication that a test controls, a gate with one mount, and its clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.fakes import LOCAL, PEER, App, AppSession, Frame, House, Transport, Watcher, server_frames
from tests.support.gates import make_gate
from wsdaemon.core.connection import Connection
from wsdaemon.core.handshake import Handshake, Peer
from wsdaemon.core.registry import Count
from wsdaemon.core.routing import Routes
from wsdaemon.core.wheel import Wheel
from wsdaemon.edge.arrival import Arrival
from wsdaemon.edge.auth.contract import Candidate, Identity
from wsdaemon.edge.candidate import Entrance

ADA = Identity("ada", "test:way")

Answer = Identity | None | Awaitable[Identity | None]


class Chain:
    """Authentication that does what the test says."""

    def __init__(self, answer: Callable[[Candidate], Answer]) -> None:
        self.requests: list[Candidate] = []
        self._answer = answer

    def authenticate(self, request: Candidate) -> Answer:
        self.requests.append(request)
        return self._answer(request)

    def offered(self, subprotocols: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in subprotocols if not name.startswith("token."))


class Door:
    """One gate with a mount at /chat, and arrivals at it. Options are an Entrance's, a Gate's, `app`, `mounted` (a class in its place),
    `most`, the mount's limit, and `mount`, settings of the mount."""

    def __init__(self, made: House, **options: Any) -> None:
        self.house = made
        self.app: App = options.pop("app", None) or App()
        self.wheel: Wheel = made.wheel()
        self.count = Count(options.pop("most", 0))
        self.arrivals: dict[Arrival, None] = {}
        self.draining = False
        self.watcher = Watcher()
        mounted = options.pop("mounted", None)
        wire = made.make_wires(self.app if mounted is None else None, self.watcher, mounted, ping_interval=0, **options.pop("mount", {}))
        names = ("chain", "origins", "users", "addresses", "rate", "handshakes", "subprotocols", "expiry_warning")
        entrance = {key: options.pop(key) for key in names if key in options}
        routes = Routes([("/chat", Entrance("/chat", wire, self.count, **entrance))])
        self.gate = make_gate(
            listener="web", secure=options.pop("secure", False), routes=routes, counts=(Count(),), wheel=self.wheel, handshake_timeout=10.0,
            retry_after=5.0, closed=lambda: self.draining, **options,
        )  # fmt: skip

    def gone(self, arrival: Any) -> None:
        self.arrivals.pop(arrival, None)

    def again(self, arrival: Any) -> None:
        self.arrivals[arrival] = None

    def arrive(self, opening: bytes = b"", peer: Peer = PEER, tls_object: object = None) -> Visitor:
        key = self.gate.clients.limits.key(peer) if self.gate.clients.limits is not None else None
        if key is not None:
            assert self.gate.clients.limits is not None
            assert self.gate.clients.limits.begin(key) is None
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
    def frames(self) -> list[Frame]:
        """All that the server sent since its answer."""
        return list(server_frames(b"".join(self.transport.writes).partition(b"\r\n\r\n")[2]))

    @property
    def status(self) -> int:
        """0 when there is no answer yet."""
        return int(self.answer.split(" ")[1]) if self.answer else 0


def refuse(error: Exception) -> Callable[[Candidate], Answer]:
    def answer(request: Candidate) -> Answer:
        raise error

    return answer


class Warned(App):
    """Its sessions want to know before their token ends."""

    def open(self, connection: Connection, handshake: Handshake) -> WarnedSession:
        super().open(connection, handshake)
        return WarnedSession(self, connection)

    def warned(self, seconds: float) -> None:
        self.events.append(seconds)


class WarnedSession(AppSession):
    def __init__(self, app: Warned, connection: Connection) -> None:
        super().__init__(app, connection)
        self.expiring = app.warned
