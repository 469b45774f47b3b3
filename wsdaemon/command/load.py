"""The load of `bench`: connections whose messages an echo server sends back, at a rate (open loop) or one after the other (closed loop).

Coordinated omission is left no room. With a rate, each connection has a timetable: message k is due at a time that depends on nothing that
the server does, and its latency is counted from that time, even if the message had to wait for the server before it could be sent. The
timetable is arithmetic, so that a server that stands still costs the client no memory: the k-th answer belongs to the k-th message.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

from .histogram import LatencyHistogram

if TYPE_CHECKING:
    from ..client import WebSocketClient

NUMBER_DIGITS = 16
"""Hexadecimal digits of the number that each message begins with."""

MOST_AT_ONCE = 256
"""Overdue messages that one connection sends before others have their turn."""


@dataclass(slots=True)
class LoadTally:
    """Everything that is counted, over all connections."""

    latencies: LatencyHistogram = field(default_factory=LatencyHistogram)
    openings: LatencyHistogram = field(default_factory=LatencyHistogram)
    sent: int = 0
    last_sent: float = 0.0
    """When the last message was sent, on the clock of the lines."""
    received: int = 0
    wrong: int = 0
    """Answers that are no echo of the message that they should belong to."""
    lost: int = 0
    """Connections that ended before their time."""
    failed: int = 0
    """Connections that did not open."""
    first_error: str = ""

    def note(self, error: str) -> None:
        """Keep the first reason of a failure."""
        self.first_error = self.first_error or error


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """The wishes of a user. Times are in seconds; `rate` is in messages per second over all connections, None for a closed loop."""

    connections: int
    size: int
    binary: bool = False
    rate: float | None = None
    in_flight: int = 1
    messages: int | None = None
    """Of all connections together; None: until `seconds` are over."""
    seconds: float | None = None

    def share(self, index: int) -> int | None:
        """The messages of one connection."""
        if self.messages is None:
            return None
        return self.messages // self.connections + (index < self.messages % self.connections)

    def interval(self) -> float:
        """With a rate: the seconds between two messages of one connection."""
        assert self.rate is not None
        return self.connections / self.rate


class Line:
    """One connection under load."""

    def __init__(self, plan: LoadPlan, index: int, tally: LoadTally, now: Callable[[], float] = perf_counter) -> None:
        self._plan = plan
        self._tally = tally
        self._now = now
        self._limit = plan.share(index)
        self._offset = index
        self._begin = 0.0
        self._until = float("inf")
        self._filling = "x" * max(0, plan.size - NUMBER_DIGITS)
        self._times: deque[float] | None = None if plan.rate is not None else deque()
        self._sent = 0
        self._received = 0
        self._woken = asyncio.Event()
        self.over = False

    # -- the timetable

    def start(self, begin: float) -> None:
        """The common beginning of all connections, on the clock."""
        plan = self._plan
        if plan.rate is not None:
            self._begin = begin + self._offset / plan.rate
        if plan.seconds is not None:
            self._until = begin + plan.seconds

    def due(self, number: int) -> float:
        """With a rate: the time that message `number` is due at."""
        return self._begin + number * self._plan.interval()

    def _has_more(self, when: float) -> bool:
        return (self._limit is None or self._sent < self._limit) and when < self._until

    # -- sending

    async def run(self, client: WebSocketClient) -> None:
        """Send until all is sent or the time is over, and wait until all was answered or the connection is lost."""
        await (self._by_time(client) if self._times is None else self._by_answers(client, self._times))
        while self._received < self._sent and not self.over:
            await self._wait()

    async def _by_time(self, client: WebSocketClient) -> None:
        at_once = 0
        while not self.over:
            due = self.due(self._sent)
            if not self._has_more(due):
                return
            early = due - self._now()
            at_once += 1
            if early > 0 or at_once > MOST_AT_ONCE:
                at_once = 0
                await asyncio.sleep(max(0.0, early))
            else:
                await self._send(client)

    async def _by_answers(self, client: WebSocketClient, times: deque[float]) -> None:
        while not self.over and self._has_more(self._now()):
            if len(times) < self._plan.in_flight:
                times.append(self._now())
                await self._send(client)
            else:
                await self._wait()

    async def _send(self, client: WebSocketClient) -> None:
        text = self._text(self._sent)
        self._sent += 1
        self._tally.sent += 1
        self._tally.last_sent = self._now()
        await client.send(text.encode() if self._plan.binary else text)

    def _text(self, number: int) -> str:
        return f"{number:0{NUMBER_DIGITS}x}{self._filling}"

    async def _wait(self) -> None:
        self._woken.clear()
        await self._woken.wait()

    # -- called by the client

    def received(self, message: str | bytes) -> None:
        """An answer came."""
        number = self._received
        self._received += 1
        tally = self._tally
        tally.received += 1
        begun = self.due(number) if self._times is None else self._times.popleft() if self._times else None
        expected = self._text(number)
        if begun is None or message != (expected.encode() if self._plan.binary else expected):
            tally.wrong += 1
            tally.note("the server's answers are no echo of the messages")
        else:
            tally.latencies.add(self._now() - begun)
        self._woken.set()

    def ended(self) -> None:
        """The connection is over."""
        self.over = True
        self._woken.set()
