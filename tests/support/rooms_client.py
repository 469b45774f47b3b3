"""The rooms of a client against a real rooms app, over a link in memory that delivers as much as a test says, and that can be cut."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from tests.support.fake_loop import Loop
from tests.support.rooms import Hall, Seat, send_to_all
from wsdaemon.client.callbacks import Callbacks
from wsdaemon.client.rooms.rooms import SUBPROTOCOL, ClientRooms


class FakeClient:
    """A client as its rooms see it."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.failures: list[BaseException] = []
        self.callbacks = Callbacks(self.failures.append)
        self.up: deque[str] = deque()
        self.seat: Seat | None = None
        self._delivered = 0
        self.rooms = ClientRooms(self, draw=lambda least, most: most)
        self.held = False

    # -- what rooms ask of it

    def send_now(self, text: str) -> None:
        if self.seat is not None:
            self.up.append(text)

    def on_loop(self, call: Callable[[], object]) -> None:
        call()

    def failed(self, error: BaseException) -> None:
        self.failures.append(error)

    # -- the link

    @property
    def connected(self) -> bool:
        return self.seat is not None

    def connect(self, hall: Hall) -> None:
        """A new connection to a daemon."""
        assert self.seat is None
        self.seat, self._delivered = hall.json(), 0
        self.rooms.opened(SUBPROTOCOL)

    def cut(self) -> None:
        """The connection is gone, with all that is under way."""
        seat, self.seat = self.seat, None
        self.up.clear()
        if seat is not None:
            seat.drop()
            self.rooms.lost()

    def pump_up(self, most: int = 10_000) -> None:
        """Deliver up to so many requests."""
        while self.seat is not None and self.up and most and self.seat.waiting is None:
            self.seat.begin(self.up.popleft())
            self.loop.settle()
            most -= 1

    def pump_down(self, most: int = 10_000) -> None:
        """Deliver up to so many messages of the daemon; none while the client does not read."""
        while self.seat is not None and most and not self.held and self._delivered < len(self.seat.sent):
            message = self.seat.sent[self._delivered]
            self._delivered += 1
            most -= 1
            wait = self.rooms.received(message)
            if wait is not None and not wait.done():
                self.held = True
                wait.add_done_callback(self._go_on)
            self.loop.settle()

    def _go_on(self, done: Any) -> None:
        self.held = False

    def pump(self) -> None:
        """Deliver everything, both ways, until nothing is left."""
        for _ in range(1000):
            before = len(self.up), self._delivered
            self.pump_up()
            self.pump_down()
            if (len(self.up), self._delivered) == before:
                return
        raise AssertionError("there is always something left to deliver")


def make_hall(loop: Loop, **policy: Any) -> Hall:
    """A daemon with rooms that keep a history. A limit of the broker may be given, too."""
    limits: dict[str, Any] = {"history": 100}
    limits |= {name: policy.pop(name) for name in ("history", "history_age", "latest") if name in policy}
    return Hall(loop, {"requests_per_second": 0, **policy}, limits, None, send_to_all)
