"""The questions of workers about rooms: from the frames of the links to the orders of the mounts, and back."""

from __future__ import annotations

import json
import secrets
import time
from asyncio import TimerHandle
from collections.abc import Callable, Sequence
from typing import Any

from ..brokers import Limits
from ..brokers.contract import Position, Presence
from ..brokers.errors import BrokerError, RateLimited
from ..brokers.links.contract import Joined
from . import room_messages
from .protocol import Malformed, RefusedQuestion
from .publications import HubPublications
from .recent import Recent
from .room_messages import read_position, sheet
from .rooms import PAGE_BYTES, MountOrder
from .server import HubServer, RefusedByHub, WorkerLink
from .shared import GATHERING_SECONDS

SWEEP_INTERVAL_SECONDS = 5.0
"""Between two sweeps, which forget the rooms that are not used any more."""

NEXT_SWEEP_SECONDS = 0.01
"""Until the next sweep, if the last one did not look at every room."""

MAX_ROOMS_PER_SWEEP = 500
"""Rooms of a mount that one sweep looks at."""

MAX_MOUNTS = 10_000

GOING_ALONG_SECONDS = 150.0
"""How long after a succession connections may go from workers of the former generation to those of the next. It is more than they take."""

Answerer = Callable[[WorkerLink, MountOrder, Any], bytes]
"""Returns the body of an answer to the JSON of a question, whose first entry, the mount, is cut off."""


class RoomServer:
    """The orders of all mounts. A worker opens a mount by its path, and if no other worker has it open, brings the limits.

    A reload brings new ones, and so does the first worker of a newer generation.
    """

    def __init__(
        self, server: HubServer, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time,
        new_epoch: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:  # fmt: skip
        self._server = server
        self.clock = clock
        self._wall = wall
        self._new_epoch = new_epoch
        self.orders: list[MountOrder] = []
        """By the number of the mount."""
        self._by_path: dict[str, MountOrder] = {}
        server.ended.append(self._ended)
        server.checked.append(self._check_holds)
        server.handle(room_messages.OPEN, self._open)
        self._publications = HubPublications(self._opened, server.will_answer, server.answer_when_written, self._refuse)
        server.handle(room_messages.PUBLISH, self._publications.publish)
        for kind, answerer in _ANSWERERS.items():
            server.handle(kind, self._handler(answerer))
        server.handle(room_messages.DECLARE, self._handler(self._declare))
        server.handle(room_messages.CLOSE, self._handler(self._close))
        self._gate: TimerHandle | None = None
        self._going_along: TimerHandle | None = None
        self._sweeper: TimerHandle = server.loop.call_later(SWEEP_INTERVAL_SECONDS, self._sweep)

    def close(self) -> None:
        self._sweeper.cancel()
        for timer in (self._gate, self._going_along):
            if timer is not None:
                timer.cancel()

    # -- a succession

    def rest(self) -> None:
        """Forget nothing until `begin`, because a former hub does so, and tells it."""
        self._sweeper.cancel()

    def restore(self, path: str, limits: Limits) -> MountOrder:
        """The order of a mount that a former hub had."""
        return self._make(path, limits)

    def begin(self) -> None:
        """Order from now on; publications as soon as all workers of the former hub are linked here, or GATHERING_SECONDS have passed."""
        self._sweeper = self._server.loop.call_later(SWEEP_INTERVAL_SECONDS, self._sweep)
        for order in self.orders:
            order.recent = Recent(self.clock)
        self._going_along = self._server.loop.call_later(GOING_ALONG_SECONDS, self._all_have_gone)
        if any(order.awaited for order in self.orders):
            self._server.replace(room_messages.PUBLISH, self._too_early)
            self._gate = self._server.loop.call_later(GATHERING_SECONDS, self._take_publications)

    def _too_early(self, link: WorkerLink, request: int, body: bytes) -> None:
        """The worker asks again, a moment later."""
        raise RefusedByHub("busy", "the workers of the former hub are not all linked to this one yet")

    def _take_publications(self) -> None:
        if self._gate is not None:
            self._gate.cancel()
        self._server.replace(room_messages.PUBLISH, self._publications.publish)

    def _all_have_gone(self) -> None:
        """No connection goes from one worker to another any more."""
        for order in self.orders:
            order.recent = None

    # -- mounts

    def order(self, path: str) -> MountOrder | None:
        """The order of the mount at this path, if a worker has opened it."""
        return self._by_path.get(path)

    def _open(self, link: WorkerLink, request: int, body: bytes) -> None:
        (path, limits), _ = room_messages.read_sheet(body)
        order = self._by_path.get(path)
        if order is None:
            order = self._make(path, room_messages.read_limits(limits))
            order.generation = link.generation
        elif link.generation > order.generation or (link.generation == order.generation and not order.links):
            order.change_limits(room_messages.read_limits(limits), link.generation)
        self._publications.forget()
        order.begin(link)
        self._server.answer(link, request, sheet(order.number))

    def _make(self, path: str, limits: Limits) -> MountOrder:
        if len(self.orders) >= MAX_MOUNTS:
            raise Malformed(f"more than {MAX_MOUNTS} mounts")
        order = MountOrder(len(self.orders), path, limits, self.clock, self._wall, self._new_epoch)
        self.orders.append(order)
        self._by_path[path] = order
        return order

    def _opened(self, link: WorkerLink, number: int) -> MountOrder:
        if number >= len(self.orders) or link not in self.orders[number].links:
            raise Malformed(f"mount {number} is not open")
        return self.orders[number]

    def _handler(self, answerer: Answerer) -> Callable[[WorkerLink, int, bytes], None]:
        def handle(link: WorkerLink, request: int, body: bytes) -> None:
            (number, *value), _ = room_messages.read_sheet(body)
            try:
                answer = answerer(link, self._opened(link, number), value)
            except BrokerError as error:
                self._refuse(link, request, error)
            else:
                if request:
                    self._server.answer(link, request, answer)

        return handle

    def _refuse(self, link: WorkerLink, request: int, error: BrokerError) -> None:
        self._server.refuse(link, request, refusal(error))

    def _declare(self, link: WorkerLink, order: MountOrder, value: Any) -> bytes:
        rooms, patterns, is_last = value
        for room, members, watch, held in rooms:
            order.declare(link, room, [(Presence(id, identity), owner) for id, identity, owner in members], watch, held)
        for pattern in patterns:
            order.follow_pattern(link, pattern)
        if not is_last:
            return sheet([])
        was_awaited = bool(order.awaited)
        order.declared(link)
        if was_awaited and not any(each.awaited for each in self.orders):
            self._take_publications()
        return sheet(order.holds.rooms)

    def _close(self, link: WorkerLink, order: MountOrder, value: Any) -> bytes:
        self._publications.forget()
        order.end(link)
        return b""

    def _ended(self, link: WorkerLink) -> None:
        self._publications.forget()
        for order in self.orders:
            if link in order.links:
                order.end(link)
            if order.links and not order.awaited and all(each.generation > link.generation for each in order.links):
                order.recent = None

    def _check_holds(self) -> None:
        for order in self.orders:
            order.holds.check(self._server.has_heartbeat)

    def _sweep(self) -> None:
        self._publications.forget()
        seen = max([order.sweep(MAX_ROOMS_PER_SWEEP) for order in self.orders], default=0)
        wait = NEXT_SWEEP_SECONDS if seen >= MAX_ROOMS_PER_SWEEP else SWEEP_INTERVAL_SECONDS
        self._sweeper = self._server.loop.call_later(wait, self._sweep)


def refusal(error: BrokerError) -> RefusedQuestion:
    details = json.dumps({"retry_after": error.retry_after}).encode() if isinstance(error, RateLimited) else b""
    return RefusedQuestion(error.code, str(error), details)


# -- the questions; each gets the values of its row in `protocol`, without the mount


def _check_reads(link: WorkerLink) -> None:
    """Refuse a question for messages while the worker has not read those of earlier ones. It asks again, a moment later.

    Members of a worker that come back together would otherwise fill the link's backlog, which then begins anew with the same questions.
    """
    if link.unread > PAGE_BYTES:
        raise RefusedByHub("busy", f"{link.unread} bytes wait to be read by this worker")


def _page(link: WorkerLink, answer: bytes) -> bytes:
    link.paged(len(answer))
    return answer


def _join(link: WorkerLink, order: MountOrder, value: Any) -> bytes:
    _check_reads(link)
    room, id, identity, since, watch, owner = value
    return _joined(link, order.join(link, room, Presence(id, identity), read_position(since), watch, owner))


def _move(link: WorkerLink, order: MountOrder, value: Any) -> bytes:
    _check_reads(link)
    room, id, identity, since, watch, owner, told = value
    moved = order.move(link, room, Presence(id, identity), Position(*since), watch, owner, read_position(told))
    return _joined(link, moved, [None if moved.changes is None else room_messages.changes_value(moved.changes)])


def _joined(link: WorkerLink, joined: Joined, more: Sequence[Any] = ()) -> bytes:
    messages = joined.messages if joined.latest is None else (*joined.messages, joined.latest)
    roster = room_messages.roster_value(joined.roster)
    return _page(link, sheet([*joined.position, joined.gap, joined.latest is not None, roster, *more], messages))


def _leave(link: WorkerLink, order: MountOrder, value: Any) -> bytes:
    room, member = value
    order.leave(link, room, member)
    return b""


def _unfollow(link: WorkerLink, order: MountOrder, value: Any) -> bytes:
    order.unfollow(link, *value)
    return b""


def _follow_pattern(link: WorkerLink, order: MountOrder, value: Any) -> bytes:
    return sheet(order.follow_pattern(link, *value))


def _unfollow_pattern(link: WorkerLink, order: MountOrder, value: Any) -> bytes:
    order.followers.unfollow_pattern(link, *value)
    return b""


def _hold(link: WorkerLink, order: MountOrder, value: Any) -> bytes:
    room, held = value
    order.holds.hold(link, room, held)
    return b""


def _history(link: WorkerLink, order: MountOrder, value: Any) -> bytes:
    _check_reads(link)
    room, since, limit, reverse = value
    page = order.history(room, read_position(since), limit, reverse)
    messages = page.messages if page.latest is None else (*page.messages, page.latest)
    return _page(link, sheet([page.epoch, page.offset, page.first, page.gap, page.latest is not None], messages))


def _presence(link: WorkerLink, order: MountOrder, value: Any) -> bytes:
    page = order.presence(*value)
    return sheet([page.count, room_messages.presence_values(page.members)])


def _roster(link: WorkerLink, order: MountOrder, value: Any) -> bytes:
    return sheet(room_messages.roster_value(order.roster(*value)))


def _rooms(link: WorkerLink, order: MountOrder, value: Any) -> bytes:
    page = order.rooms(*value)
    return sheet([list(page.rooms), page.after])


def _standings(link: WorkerLink, order: MountOrder, value: Any) -> bytes:
    (names,) = value
    return sheet(order.standings(names))


def _changed(link: WorkerLink, order: MountOrder, value: Any) -> bytes:
    page = order.changed(*value)
    return sheet([page.rooms, page.after])


def _probe(link: WorkerLink, order: MountOrder, value: Any) -> bytes:
    return sheet(None)


def _limits(link: WorkerLink, order: MountOrder, value: Any) -> bytes:
    (limits,) = value
    if link.generation >= order.generation:
        order.change_limits(room_messages.read_limits(limits), link.generation)
    return b""


def _room_count(link: WorkerLink, order: MountOrder, value: Any) -> bytes:
    return sheet(len(order.table))


_ANSWERERS: dict[int, Answerer] = {
    room_messages.JOIN: _join,
    room_messages.MOVE: _move,
    room_messages.LEAVE: _leave,
    room_messages.UNFOLLOW: _unfollow,
    room_messages.FOLLOW_PATTERN: _follow_pattern,
    room_messages.UNFOLLOW_PATTERN: _unfollow_pattern,
    room_messages.HOLD: _hold,
    room_messages.HISTORY: _history,
    room_messages.PRESENCE: _presence,
    room_messages.ROSTER: _roster,
    room_messages.ROOMS: _rooms,
    room_messages.STANDINGS: _standings,
    room_messages.CHANGED: _changed,
    room_messages.PROBE: _probe,
    room_messages.ROOM_COUNT: _room_count,
    room_messages.LIMITS: _limits,
}
