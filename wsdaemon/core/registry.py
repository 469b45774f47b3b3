"""The open connections of a daemon: their counts, and the drain at the end."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Iterator, Mapping

from .background import Background
from .closing import GOING_AWAY
from .connection import Connection
from .drain import Ending, close_evenly


class Count:
    """The number of open connections of a listener, a mount or the whole daemon. `most` 0: no limit."""

    __slots__ = ("most", "now", "total")

    def __init__(self, most: int = 0) -> None:
        self.most = most
        self.now = 0
        self.total = 0

    @property
    def full(self) -> bool:
        return 0 < self.most <= self.now


class Place:
    """One admitted connection's place in several counts: taken at once in all, given back exactly once."""

    __slots__ = ("_counts",)

    warned = False
    """Whether the client was told that its token ends soon."""

    def __init__(self, counts: tuple[Count, ...]) -> None:
        self._counts = counts
        for count in counts:
            count.now += 1
            count.total += 1

    def moved_here(self) -> None:
        """The connection was counted in the total of another process."""
        for count in self._counts:
            count.total -= 1

    def wait_no_longer(self) -> None:
        """The connection has left this process: its token ends elsewhere."""

    def leave(self) -> None:
        counts, self._counts = self._counts, ()
        for count in counts:
            count.now -= 1


class Connections:
    """All open connections of one daemon, and the work that apps do for them."""

    def __init__(self, apps: Mapping[str, str] | None = None) -> None:
        """`apps`: the name of the app at each mount's path, for the log."""
        self.background = Background(apps)
        self._open: dict[str, Connection] = {}
        self._boot = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._emptied: asyncio.Future[None] | None = None
        self._hurried: asyncio.Future[float] | None = None
        self._ending: Ending | None = None

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._open.values()))

    def __contains__(self, connection: object) -> bool:
        return isinstance(connection, Connection) and self._open.get(connection.id) is connection

    def get(self, id: str) -> Connection | None:
        """The open connection with this id; None if there is none."""
        return self._open.get(id)

    def next_id(self) -> str:
        """A connection's name in logs and in rooms: 64 random bits in 16 characters, drawn once for this process, and a number.

        The processes of one host or of several that share rooms never draw the same bits.
        """
        return f"{self._boot}-{next(self._numbers)}"

    def add(self, connection: Connection) -> None:
        """Add a connection. During a drain it is closed at once: it may have been admitted before the drain began."""
        self._open[connection.id] = connection
        if self._ending is not None:
            connection.close(*self._ending())

    def remove(self, connection: Connection) -> None:
        self._open.pop(connection.id, None)
        if not self._open and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def close_all(self, code: int = GOING_AWAY, reason: str = "") -> int:
        """Begin the closing handshake on all connections; returns their number."""
        for connection in self:
            connection.close(code, reason)
        return len(self._open)

    def abort_all(self) -> None:
        """Drop all connections, also those that a drain is waiting for, and cancel the work of apps."""
        self.background.hurry()
        for connection in self:
            connection.abort()

    async def drain(self, patience: float, ending: Ending, over: float = 0.0) -> int:
        """Close all connections, later ones too, with the codes and reasons of `ending`: in random order, evenly over `over` seconds.

        Then wait up to `patience` seconds, and abort the rest. Returns their number.
        """
        self._ending = ending
        if not self._open:
            return 0
        loop = asyncio.get_running_loop()
        emptied, hurried = self._emptied, self._hurried = loop.create_future(), loop.create_future()
        closing = loop.create_task(close_evenly(list(self), over, ending))
        await asyncio.wait([closing, emptied, hurried], return_when=asyncio.FIRST_COMPLETED)
        if not closing.done():
            closing.cancel()
            for connection in self:  # does nothing on those that are closing
                connection.close(*ending())
        await asyncio.wait([emptied, hurried], timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if hurried.done():
            await asyncio.wait([emptied], timeout=hurried.result())
        left = list(self)
        for connection in left:
            connection.abort()
        if left:
            await asyncio.wait([emptied], timeout=1.0)  # an abort ends within one turn of the loop
        self._emptied = self._hurried = None
        return len(left)

    def hurry(self, patience: float) -> None:
        """A drain that is under way closes all that are left now, and waits no longer than this."""
        if self._hurried is not None and not self._hurried.done():
            self._hurried.set_result(patience)
