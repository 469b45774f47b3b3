"""The hub that gives its state to a successor: see `succession` for the messages, and for the moment at which the order passes on.

The state leaves in frames of bounded size, a few in each turn of the loop, while the hub serves its workers as ever. All changes meanwhile
follow in rounds. `switch` then lets publications pause, for PAUSE_SECONDS at most, and gives the order away.
"""

from __future__ import annotations

import enum
import socket
from asyncio import TimerHandle
from collections.abc import Callable, Iterator

from . import succession
from .given_counts import GivenCounts
from .given_rooms import GivenRooms
from .protocol import Malformed, frame
from .room_messages import limits_value, sheet
from .room_server import RoomServer
from .server import HubServer
from .shared import SharedCounts
from .stream import FramedStream
from .succession import CAUGHT_UP, HELLO, MOUNT, OWN, READY, SWITCH, UNWELCOME, WELCOME
from .tickets import TicketServer

TURN_BYTES = 128 * 1024
"""Bytes of frames that one turn of the loop makes at most, except the last frame."""

TURN_SECONDS = 0.002
"""And the time that it takes for them."""

AHEAD_BYTES = 1 << 20
"""Bytes that the successor may not have read yet. With more, the hub waits."""

ROUND_SECONDS = 0.05
"""Between two rounds of changes."""

CHECK_SECONDS = 0.25
"""Between two looks whether the successor still reads."""

PAUSE_SECONDS = 0.5
"""The longest pause of publications. A succession that takes longer is taken back."""

LOOK_SECONDS = 0.005
"""Between two looks whether all workers were written to."""

CALM_SECONDS = 10.0
"""The longest time that `switch` waits for a moment at which all workers have read, before publications pause."""

LIMIT_SECONDS = 120.0
"""The longest time until the successor has caught up."""


class SuccessionStage(enum.Enum):
    WAITING = enum.auto()
    """For the successor's hello."""
    GIVING = enum.auto()
    """The state is sent for the first time."""
    FOLLOWING = enum.auto()
    """Changes are sent."""
    PAUSED = enum.auto()
    """Publications pause: the last changes are sent, or are to be confirmed."""
    GIVEN = enum.auto()
    """The order is the successor's."""
    TAKEN_BACK = enum.auto()


class Predecessor:
    """Gives the state of this hub to the hub at the other end of the socket.

    `done` is called once at the end: with None if the order was given away, else with the reason why this hub goes on.
    """

    def __init__(
        self, end: socket.socket, server: HubServer, rooms: RoomServer, counts: SharedCounts, tickets: TicketServer,
        done: Callable[[str | None], None],
    ) -> None:  # fmt: skip
        self.stage = SuccessionStage.WAITING
        self._server = server
        self._loop = server.loop
        self._rooms = rooms
        self._done = done
        self._given: list[GivenRooms] = []
        self._counts = GivenCounts(counts.places, tickets.tickets)
        self._frames: Iterator[bytes] = iter(())
        self._is_caught_up = False  # the successor has said so
        self._wants_switch = False
        self._calm_until = 0.0
        self._pumping: TimerHandle | None = None
        self._stream = FramedStream(end, self._loop, self._received, lambda reason, _: self.take_back(f"the new hub has ended: {reason}"))
        self._checking = self._loop.call_later(CHECK_SECONDS, self._check)
        self._limit = self._loop.call_later(LIMIT_SECONDS, self.take_back, f"the new hub has not caught up in {LIMIT_SECONDS:g} s")

    def switch(self) -> None:
        """Give the order away as soon as the successor has caught up."""
        self._wants_switch = True
        self._calm_until = self._loop.time() + CALM_SECONDS
        if self.stage is SuccessionStage.FOLLOWING:
            self._pump_soon(0.0)

    def close(self) -> None:
        """The hub ends."""
        self._stop()
        self._stream.close()

    # -- reading

    def _received(self, kind: int, request: int, body: bytes) -> None:
        if kind == HELLO and self.stage is SuccessionStage.WAITING:
            if reason := succession.difference(body):
                self._stream.send(frame(UNWELCOME, 0, succession.hello()))
                self.take_back(reason)
                return
            self._stream.send(frame(WELCOME, 0, succession.welcome(self._server.instance)))
            self.stage = SuccessionStage.GIVING
            self._frames = self._round()
            self._pump()
        elif kind == READY and self.stage is SuccessionStage.FOLLOWING:
            self._is_caught_up = True
            self._limit.cancel()
        elif kind == READY and self.stage is SuccessionStage.PAUSED:
            self._give()
        else:
            raise Malformed(f"kind {kind}")

    # -- giving

    def _round(self) -> Iterator[bytes]:
        """All that the successor was not told yet."""
        for order in self._rooms.orders[len(self._given) :]:
            yield frame(MOUNT, 0, sheet([order.path, limits_value(order.limits)]))
            self._given.append(GivenRooms(len(self._given), order))
        for given in self._given:
            yield from given.frames()
        yield from self._counts.frames()

    def _pump_soon(self, seconds: float) -> None:
        if self._pumping is not None:
            self._pumping.cancel()
        self._pumping = self._loop.call_later(seconds, self._pump)

    def _pump(self) -> None:
        """Send the frames of one turn."""
        self._pumping = None
        if self.stage not in (SuccessionStage.GIVING, SuccessionStage.FOLLOWING):
            return
        stream = self._stream
        if stream.queued - stream.sent > AHEAD_BYTES:
            self._pump_soon(LOOK_SECONDS)
            return
        until, size = self._loop.time() + TURN_SECONDS, 0
        for each in self._frames:
            stream.send(each)
            size += len(each)
            if size >= TURN_BYTES or self._loop.time() >= until:
                self._pump_soon(0.0)
                return
        self._round_is_over(size)

    def _round_is_over(self, size: int) -> None:
        if self.stage is SuccessionStage.GIVING:
            self.stage = SuccessionStage.FOLLOWING
            self._stream.send(frame(CAUGHT_UP, 0, b""))
        elif self._wants_switch and self._is_caught_up and not size and self._is_calm():
            self._pause()
            return
        self._frames = self._round()
        self._pump_soon(LOOK_SECONDS if self._wants_switch or size else ROUND_SECONDS)

    def _is_calm(self) -> bool:
        """Whether publications may pause now, because the workers have read everything, or are waited for no longer."""
        return self._server.has_written() or self._loop.time() >= self._calm_until

    # -- the switch

    def _pause(self) -> None:
        self.stage = SuccessionStage.PAUSED
        self._limit.cancel()
        self._limit = self._loop.call_later(PAUSE_SECONDS, self.take_back, f"the switch has taken longer than {PAUSE_SECONDS:g} s")
        self._server.hold()
        self._send_last()

    def _send_last(self) -> None:
        """Send the last changes when the workers have all that was published so far."""
        if self.stage is not SuccessionStage.PAUSED:
            return
        if not self._server.has_written():
            self._loop.call_later(LOOK_SECONDS, self._send_last)
            return
        for each in self._round():
            self._stream.send(each)
        mounts: dict[bytes, list[int]] = {}
        for number, given in enumerate(self._given):
            for instance in given.workers:
                mounts.setdefault(instance, []).append(number)
        links = [*self._server.links, *(link for order in self._rooms.orders for link in order.awaited.values())]
        workers = [[link.worker, link.generation, link.instance.hex(), mounts.get(link.instance, [])] for link in links]
        self._stream.send(frame(SWITCH, 0, sheet(workers)))

    def _give(self) -> None:
        self.stage = SuccessionStage.GIVEN
        self._stop()
        self._stream.send(frame(OWN, 0, b""))
        self._stream.flush()
        self._done(None)

    # -- the end

    def _check(self) -> None:
        self._checking = self._loop.call_later(CHECK_SECONDS, self._check)
        if reason := self._stream.behind():
            self.take_back(f"the new hub is too slow: {reason}")

    def take_back(self, reason: str) -> None:
        """End the succession, unless the order was given away: this hub goes on."""
        if self.stage in (SuccessionStage.GIVEN, SuccessionStage.TAKEN_BACK):
            return
        was_paused = self.stage is SuccessionStage.PAUSED
        self.stage = SuccessionStage.TAKEN_BACK
        self._stop()
        self._stream.close()
        if was_paused:
            self._server.go_on()
        self._done(reason)

    def _stop(self) -> None:
        for handle in (self._checking, self._limit, self._pumping):
            if handle is not None:
                handle.cancel()
        self._frames = iter(())
        for given in self._given:
            given.close()
        self._counts.close()
