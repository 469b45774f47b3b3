"""The counters of a daemon, as plain numbers. No object here is made per connection, and no code runs per message.

The counters of a connection are added up when it ends (`Totals`), and those of open connections at each request for metrics (`survey`). The
settings, or a limit here, bound the labels.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ..core.connection import Connection
from ..core.histogram import Histogram
from ..core.slices import SLICE_SECONDS
from ..core.wire_halves import Counts

CONNECTIONS_PER_LOOK = 64
"""Connections that a survey reads between two looks at the clock."""

MAX_CODES = 100
"""The number of different close codes of the daemon's side per mount and listener, because an app can choose any."""

MEASURE_SECONDS = 1.0
"""Seconds between two measurements of the loop's latency."""

MountAndListener = tuple[str, str]
"""A mount and a listener."""


@dataclass(slots=True)
class Traffic:
    """The traffic of one mount's connections by one listener. Bytes are those on the network, compressed and framed."""

    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    dropped: int = 0
    """Messages that were dropped for slow clients."""
    closed: dict[tuple[str, str], int] = field(default_factory=dict)
    """Ended connections by close code and by the side that ended them: client, server or network."""

    def add(self, counts: Counts) -> None:
        self.messages_in += counts.messages_in
        self.messages_out += counts.messages_out
        self.bytes_in += counts.bytes_in
        self.bytes_out += counts.bytes_out
        self.dropped += counts.dropped

    def copy(self) -> Traffic:
        return Traffic(self.messages_in, self.messages_out, self.bytes_in, self.bytes_out, self.dropped, dict(self.closed))


class Totals:
    """The traffic of all connections that have ended."""

    def __init__(self) -> None:
        self._places: dict[MountAndListener, Traffic] = {}
        self.stalls: dict[str, int] = {}
        """Stalls of the loop by the mount that caused them."""

    def place(self, mount: str, listener: str) -> Traffic:
        """The traffic of one mount by one listener, added with zeros if it is new."""
        traffic = self._places.get((mount, listener))
        if traffic is None:
            traffic = self._places[mount, listener] = Traffic()
        return traffic

    def closed(self, connection: Connection, counts: Counts) -> None:
        """A connection is over."""
        handshake = connection.handshake
        traffic = self.place(handshake.mount, handshake.listener)
        traffic.add(counts)
        by = connection.closed_by
        key = code_label(connection.close_code or 0, by), by
        closed = traffic.closed
        if key not in closed and len(closed) >= MAX_CODES:
            key = "other", by
        closed[key] = closed.get(key, 0) + 1

    def snapshot(self) -> dict[MountAndListener, Traffic]:
        return {place: traffic.copy() for place, traffic in self._places.items()}


def code_label(code: int, by: str) -> str:
    """A close code as a label. Clients may send any of 4,000 codes, so their codes above the registered ones are counted by thousands."""
    if by == "server" or 1000 <= code <= 1015:
        return str(code)
    return f"{code // 1000}xxx" if 1 <= code // 1000 <= 4 else "other"


@dataclass(slots=True)
class Now:
    """The current state of one mount by one listener: `traffic` is that of all connections ever, the rest that of the open ones."""

    traffic: Traffic
    open: int = 0
    backlog: int = 0
    """Bytes that wait for clients."""
    largest_backlog: int = 0
    """Bytes that wait for one client."""

    @property
    def opened(self) -> int:
        """All connections ever."""
        return self.open + sum(self.traffic.closed.values())


async def survey(
    totals: Totals, connections: Iterable[Connection], clock: Callable[[], float] = time.perf_counter, pause: float = 0.0
) -> dict[MountAndListener, Now]:
    """All numbers of the mounts and listeners. With many connections the loop serves others in between.

    Each connection counts once, whether it ends meanwhile or not, and connections that open meanwhile count the next time. So no counter is
    ever smaller than it was.
    """
    found = {place: Now(traffic) for place, traffic in totals.snapshot().items()}
    end = clock() + SLICE_SECONDS
    for number, connection in enumerate(list(connections)):
        if number % CONNECTIONS_PER_LOOK == 0 and clock() > end:
            await asyncio.sleep(pause)
            end = clock() + SLICE_SECONDS
        handshake = connection.handshake
        place = handshake.mount, handshake.listener
        now = found.get(place)
        if now is None:
            now = found[place] = Now(Traffic())
        now.open += 1
        now.traffic.add(connection.counts())
        waiting = connection.unsent()
        now.backlog += waiting
        now.largest_backlog = max(now.largest_backlog, waiting)
    return found


class LoopLatency:
    """The latency of the loop: the delay of a timer of one second. A part of the daemon that is started and stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.perf_counter) -> None:
        self.latency = Histogram()
        self._loop = loop
        self._clock = clock
        self._due = 0.0
        self._handle: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        self._wait()

    async def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _wait(self) -> None:
        self._due = self._clock() + MEASURE_SECONDS
        self._handle = self._loop.call_later(MEASURE_SECONDS, self._measure)

    def _measure(self) -> None:
        self.latency.observe(max(0.0, self._clock() - self._due))
        self._wait()


class RefusalCounts(Protocol):
    """A part that refuses clients."""

    @property
    def refused(self) -> dict[str, int]:
        """By reason."""

    @property
    def refused_by_mount(self) -> dict[str, dict[str, int]]:
        """The same by the requested mount, and by reason; under "" the clients whose mount is not known."""


class Expiring(Protocol):
    """A certificate of a listener: its file, and the days until it expires."""

    @property
    def certificate(self) -> object: ...

    @property
    def days(self) -> float: ...


class Expiries(Protocol):
    """The certificates of a listener."""

    def expiries(self) -> tuple[Expiring, ...]: ...


class ListenerView(Protocol):
    """A listener, as metrics and /status show it."""

    @property
    def name(self) -> str: ...

    @property
    def accepted(self) -> int: ...

    @property
    def crowded_out(self) -> int: ...

    @property
    def handshakes(self) -> int: ...

    @property
    def port(self) -> int | None: ...

    @property
    def gate(self) -> RefusalCounts: ...

    @property
    def certificates(self) -> Expiries | None: ...


def certificates(listeners: Iterable[ListenerView]) -> Iterator[tuple[str, str, float]]:
    """Of each certificate in use: the listener's name, the file, and the days until it expires."""
    for listener in listeners:
        if listener.certificates is not None:
            for expiring in listener.certificates.expiries():
                yield listener.name, str(expiring.certificate), expiring.days
