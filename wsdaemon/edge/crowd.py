"""The clients of one listener that are no WebSocket: handshakes under way, and requests for pages. They have a bound, and make room."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Protocol

from ..core.rare_lines import RareLines

if TYPE_CHECKING:
    from .arrival import Arrival


class Worth(enum.IntEnum):
    """Which clients make room for a new one, the first of these first."""

    IDLE = 0
    LEAVING = 1
    SLOW = 2
    """Its request has begun to arrive."""
    ANSWERING = 3
    """It is waiting for an answer."""


Spare = Callable[[Collection["Arrival"]], "Arrival | None"]
"""Chooses the client that makes room; None: none can be spared."""


def oldest(clients: Collection[Arrival]) -> Arrival:
    """The one that has waited longest: silent clients lock no other client out."""
    return next(iter(clients))


class LeastWorth:
    """Spares the oldest of the clients that are worth least: slow clients lock no health check out. Answers under way go on."""

    def __init__(self, lines: RareLines) -> None:
        self._lines = lines

    def __call__(self, clients: Collection[Arrival]) -> Arrival | None:
        spared = min(clients, key=_worth)
        if spared.worth is Worth.ANSWERING:
            text = "a new connection to the admin pages is turned away, because {open} requests are being answered"
            self._lines.warn("full", text, open=len(clients))
            return None
        if spared.worth is Worth.SLOW:
            text = "a slow request to the admin pages makes room for a new one, because {open} connections are open"
            self._lines.warn("crowded", text, open=len(clients))
        return spared


def _worth(client: Arrival) -> Worth:
    return client.worth


class Arrivals(Protocol):
    """Where a listener keeps those whose opening handshake is not finished."""

    def gone(self, arrival: Arrival) -> None: ...

    def again(self, arrival: Arrival) -> None:
        """A connection whose request was answered waits for the next one."""


class Crowd:
    """At most `most` clients."""

    def __init__(self, most: int, spare: Spare = oldest) -> None:
        self.most = most
        self.crowded_out = 0
        """Clients that have made room."""
        self._spare = spare
        self._clients: dict[Arrival, None] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Arrival]:
        return iter(list(self._clients))

    def make_room(self) -> bool:
        """Whether there is room for one more; another may have made it."""
        if len(self._clients) >= self.most:
            spared = self._spare(self._clients)
            if spared is None:
                return False
            self.crowded_out += 1
            spared.drop()
        return True

    def add(self, arrival: Arrival) -> None:
        """A newcomer, for which there is room."""
        self._clients[arrival] = None

    def gone(self, arrival: Arrival) -> None:
        """An arrival has become a connection, or is gone."""
        self._clients.pop(arrival, None)

    def again(self, arrival: Arrival) -> None:
        """A connection whose request was answered waits for the next one. It makes room for others as a newcomer does."""
        self._clients.pop(arrival, None)
        if self._closed or not self.make_room():
            arrival.drop()
        else:
            self._clients[arrival] = None

    def close(self) -> None:
        """No newcomers follow. Those that have no request under way are dropped."""
        self._closed = True
        for arrival in self:
            if arrival.kept_alive:
                arrival.drop()

    def drop(self) -> None:
        """Drop all."""
        self._closed = True
        for arrival in self:
            arrival.drop()
