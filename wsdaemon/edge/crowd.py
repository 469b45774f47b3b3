"""The clients of one listener that are no WebSocket: handshakes under way, and requests for pages. They have a bound, and make room."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Protocol

from ..core.rare_lines import RareLines

if TYPE_CHECKING:
    from .gate import Gate


class Worth(enum.IntEnum):
    """Which clients make room for a new one, the first of these first."""

    IDLE = 0
    LEAVING = 1
    SLOW = 2
    """Its request has begun to arrive, or its first one is still to come: a new health check outlives those before it."""
    ANSWERING = 3
    """It is waiting for an answer."""


class Crowded(Protocol):
    """An arrival, as it is seen here."""

    @property
    def gate(self) -> object:
        """The gate that it goes by."""

    @property
    def worth(self) -> Worth:
        """Whether it may make room for a newcomer."""

    @property
    def kept_alive(self) -> bool:
        """Whether a request was answered, and nothing of another one has come."""

    def drop(self) -> None:
        """End it without an answer."""


Spare = Callable[[Collection[Crowded]], Crowded | None]
"""Chooses the client that makes room; None: none can be spared."""


def oldest(clients: Collection[Crowded]) -> Crowded:
    """The one that has waited longest: silent clients lock no other client out."""
    return next(iter(clients))


class LeastWorth:
    """Spares the oldest of the clients that are worth least: slow clients lock no health check out. Answers under way go on."""

    def __init__(self, lines: RareLines) -> None:
        self._lines = lines

    def __call__(self, clients: Collection[Crowded]) -> Crowded | None:
        spared = min(clients, key=_worth)
        if spared.worth is Worth.ANSWERING:
            text = "a new connection to the admin pages is turned away, because {open} requests are being answered"
            self._lines.warn("full", text, open=len(clients))
            return None
        if spared.worth is Worth.SLOW:
            text = "a slow request to the admin pages makes room for a new one, because {open} connections are open"
            self._lines.warn("crowded", text, open=len(clients))
        return spared


def _worth(client: Crowded) -> Worth:
    return client.worth


class Arrivals(Protocol):
    """Where a listener keeps those whose opening handshake is not finished."""

    @property
    def gate(self) -> Gate:
        """The present one: the next request of a connection goes by it."""

    def gone(self, client: Crowded, /) -> None: ...

    def again(self, client: Crowded, /) -> None:
        """A connection whose request was answered waits for the next one."""


class Crowd:
    """At most `most` clients."""

    def __init__(self, gate: Gate, most: int, spare: Spare = oldest) -> None:
        self.gate = gate
        self.most = most
        self.crowded_out = 0
        """Clients that have made room."""
        self._spare = spare
        self._clients: dict[Crowded, None] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Crowded]:
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

    def add(self, client: Crowded) -> None:
        """A newcomer, for which there is room."""
        self._clients[client] = None

    def gone(self, client: Crowded) -> None:
        """An arrival has become a connection, or is gone."""
        self._clients.pop(client, None)

    def again(self, client: Crowded, /) -> None:
        """A connection whose request was answered waits for the next one. It makes room for others as a newcomer does."""
        self._clients.pop(client, None)
        if self._closed or not self.make_room():
            client.drop()
        else:
            self._clients[client] = None

    def close(self) -> None:
        """No newcomers follow. Those that have no request under way are dropped."""
        self._closed = True
        for client in self:
            if client.kept_alive:
                client.drop()

    def drop(self) -> None:
        """Drop all."""
        self._closed = True
        for client in self:
            client.drop()
