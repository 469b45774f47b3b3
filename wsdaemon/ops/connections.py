"""The open connections as an operator sees them: described, filtered, in pages, and closed by their id.

Several processes may have connections: each describes its own page, and `merged` makes one of them. So a page is plain values.
"""

from __future__ import annotations

import asyncio
import heapq
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from ..core.connection import Connection
from ..core.registry import Connections
from ..core.slices import SLICE_SECONDS
from .connection_log import PATH_LIMIT, USER_AGENT_LIMIT
from .log_format import cut
from .metrics import CONNECTIONS_PER_LOOK

_ID = re.compile(r"(.*)-([0-9]{1,18})", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Filter:
    """The connections that are wanted; None: any. All values are compared as they are."""

    mount: str | None = None
    listener: str | None = None
    user: str | None = None
    """The name that authentication found."""
    address: str | None = None
    """The client's IP address; "unix" for clients of unix sockets."""

    def takes(self, connection: Connection) -> bool:
        handshake = connection.handshake
        return (
            (self.mount is None or handshake.mount == self.mount)
            and (self.listener is None or handshake.listener == self.listener)
            and (self.address is None or handshake.peer.host == self.address)
            and (self.user is None or (handshake.identity is not None and handshake.identity.name == self.user))
        )


@dataclass(frozen=True, slots=True)
class ConnectionPage:
    """Open connections in the order of `order`, described by `described`."""

    connections: list[dict[str, Any]]
    count: int
    """All connections that the filter takes, on this page or not."""
    more: bool
    """Whether others follow the last one here."""


class OpenConnections(Protocol):
    """All open connections of the daemon, in whichever process they are."""

    def page(self, wanted: Filter, after: str, limit: int) -> Awaitable[ConnectionPage]:
        """Up to `limit` connections whose ids come after `after`; from the first one if that is empty."""

    def close(self, id: str, code: int, reason: str) -> Awaitable[bool]:
        """Close the connection with this id; False if there is none."""


class OwnConnections:
    """The open connections of this process."""

    def __init__(
        self, connections: Connections, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        """`wall` returns seconds since 1970, `monotonic` those of `Connection.opened_at`. `clock` measures the slices."""
        self._connections = connections
        self._wall = wall
        self._monotonic = monotonic
        self._clock = clock

    async def page(self, wanted: Filter, after: str, limit: int) -> ConnectionPage:
        """As OpenConnections.page. With many connections the loop serves others in between."""
        begin, found, count = order(after), [], 0
        end = self._clock() + SLICE_SECONDS
        for number, connection in enumerate(self._connections):
            if number % CONNECTIONS_PER_LOOK == 0 and self._clock() > end:
                await asyncio.sleep(0)
                end = self._clock() + SLICE_SECONDS
            if wanted.takes(connection):
                count += 1
                if order(connection.id) > begin:
                    found.append(connection)
        found = [each for each in found if each.close_code is None]  # those that ended meanwhile are left out
        first = heapq.nsmallest(limit, found, key=lambda connection: order(connection.id))
        shift = self._wall() - self._monotonic()
        return ConnectionPage([described(each, shift) for each in first], count, len(found) > limit)

    async def close(self, id: str, code: int, reason: str) -> bool:
        connection = self._connections.get(id)
        if connection is None:
            return False
        connection.close(code, reason)
        return True


def order(id: str) -> tuple[str, int]:
    """The place of a connection's id in a list: ids of one process by their number, so in the order of the opening handshakes."""
    parts = _ID.fullmatch(id)
    return (id, 0) if parts is None else (parts[1], int(parts[2]))


def described(connection: Connection, shift: float = 0.0) -> dict[str, Any]:
    """The facts about an open connection as JSON values: no payload, no query string, no header but the user agent.

    `shift`: the seconds from `Connection.opened_at` to the time since 1970.
    """
    handshake, counts, agent = connection.handshake, connection.counts(), connection.handshake.user_agent
    return {
        "id": connection.id,
        "mount": handshake.mount,
        "listener": handshake.listener,
        "path": cut(handshake.path, PATH_LIMIT),
        "address": handshake.peer.host,
        "port": handshake.peer.port or None,
        "secure": handshake.secure,
        "user": None if handshake.identity is None else handshake.identity.name or None,
        "subprotocol": handshake.subprotocol,
        "user_agent": None if agent is None else cut(agent, USER_AGENT_LIMIT),
        "opened_at": round(connection.opened_at + shift, 3),
        "closing": not connection.is_open,
        "messages_in": counts.messages_in,
        "messages_out": counts.messages_out,
        "bytes_in": counts.bytes_in,
        "bytes_out": counts.bytes_out,
        "dropped": counts.dropped,
        "backlog": connection.unsent(),
    }


def merged(pages: Iterable[ConnectionPage], limit: int) -> ConnectionPage:
    """One page out of one from each process, all asked for the same: a page with `more` has `limit` connections."""
    pages = list(pages)
    connections = list(heapq.merge(*[page.connections for page in pages], key=lambda one: order(one["id"])))
    more = len(connections) > limit or any(page.more for page in pages)
    return ConnectionPage(connections[:limit], sum(page.count for page in pages), more)
