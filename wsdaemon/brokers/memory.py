"""The broker in the memory of this process: rooms, members and patterns. It needs no start, and its answers need no wait.

Not thread-safe: call it from the loop's thread alone. Times come from an injected clock. The owner calls `sweep` every few seconds.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice

from ..core.absence import no_grace
from . import Limits, contract, errors
from .account import Account
from .budget import MESSAGE_BYTES, SUBSCRIPTION_BYTES, WAITING_BYTES, Budget
from .contract import Change, HistoryPage, Member, Message, Position, Presence, PresencePage, Published, Subscribed
from .local.members import LocalMembers, pattern_cost
from .local.rooms import Holder, LocalRoom
from .patterns import check_known, check_pattern
from .room import Room
from .table import RoomTable

CLOSED = "the broker is closed"


class MemoryBroker:
    """A `contract.Broker`, which documents its methods. Its answers are all values, never awaitables.

    `failed` is called with a member whose `deliver` raised. `wake`, `loop`, `bulk` and `held` are those of `Fan`. `later` asks for one call
    after some seconds; without it a room tells its presence as often as it changes. `clock` is monotonic, in seconds, and `wall` in seconds
    since 1970. `new_epoch` names a room's life, with 64 random bits by default. `grace` is that of TokenBucket.
    """

    def __init__(
        self, limits: Limits, failed: contract.Failed, *, wake: Callable[[], None] | None = None,
        loop: Callable[[], AbstractEventLoop] | None = None,
        later: Callable[[float, Callable[[], None]], object] | None = None, bulk: contract.Bulk | None = None,
        held: contract.Held | None = None, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time,
        new_epoch: Callable[[], str] = lambda: secrets.token_hex(8), grace: Callable[[], float] = no_grace,
    ) -> None:  # fmt: skip
        self.limits = limits
        self.budget = Budget(limits.memory)
        self._local = LocalMembers(
            limits, self.budget, self._fail, wake=wake, loop=loop, later=later, bulk=bulk, held=held, clock=clock
        )  # fmt: skip
        self.fan = self._local.fan
        self._report = failed
        self._clock = clock
        self._wall = wall
        self._grace = grace
        self._rooms = RoomTable(limits, self.budget, new_epoch)
        self._holders = self._local.holders
        self._patterns = self._local.patterns
        self._waiters: list[asyncio.Future[None]] = []
        self._closed = False

    def open(self) -> None:
        """Nothing: the memory is there."""

    @property
    def room_count(self) -> int:
        return len(self._rooms)

    @property
    def member_count(self) -> int:
        """The number of members that have a room or a pattern."""
        return len(self._holders)

    def account(self, owner: str) -> Account:
        return self.budget.account(owner)

    @contextmanager
    def waiting(self, size: int, account: Account | None) -> Iterator[None]:
        """As in `contract`."""
        payer, cost = account or self.budget.house, WAITING_BYTES + size
        self._rooms.afford(payer, cost, None)
        self.budget.take(payer, cost)
        try:
            yield
        finally:
            self.budget.give_back(payer, cost)

    def subscribe(
        self, room: str, member: Member, since: Position | None = None, *, presence: bool = False, account: Account | None = None
    ) -> Subscribed:
        now, local = self._open(), self._local
        holder = local.holder(member, account)
        state = self._rooms.get(room)
        if state is not None and member.id in state.members:
            raise errors.AlreadySubscribed("this member is in this room already")
        local.check_subscriptions(holder)
        if state is not None and state.pending and holder.hears(room):
            local.catch_up(state, holder)
        if state is not None and len(state.members) >= self.limits.max_members:
            raise errors.RoomFull(f"the room has {self.limits.max_members} members")
        state = self._rooms.ready(room, state, SUBSCRIPTION_BYTES + local.cost_of(holder), holder.account, now)
        local.enter(state, holder)
        self._rooms.used(state, now)
        answer = state.answer(since, now, self._present(state, None) if presence else None)
        if presence:
            local.watch(state, member)
        local.note(state, Change("joined", holder.presence))
        return answer

    def subscribe_pattern(
        self, pattern: str, member: Member, since: Mapping[str, Position] | None = None, *, account: Account | None = None
    ) -> contract.PatternSubscribed:
        now, local = self._open(), self._local
        check_pattern(pattern)
        known = dict(since or {})
        check_known(pattern, known)
        holder = local.holder(member, account)
        local.check_patterns(pattern, holder)
        self._rooms.afford(holder.account, pattern_cost(pattern) + local.cost_of(holder), None)
        for name in known:
            state = self._rooms.get(name)
            if state is not None and state.pending and (member.id in state.members or holder.hears(name)):
                local.catch_up(state, holder)
        local.enter_pattern(pattern, holder)
        found = [(name, self._rooms.get(name)) for name in known]
        answers = [state.answer(known[name], now) if state else Subscribed(name, "", 0, gap=True) for name, state in found]
        return contract.PatternSubscribed(pattern, tuple(answers))

    def unsubscribe(self, room: str, member: Member) -> None:
        now = self._open()
        state = self._rooms.get(room)
        holder = self._local.inside(state, member)
        assert state is not None
        self._leave(state, holder, now)
        self._local.drop(holder)
        self._local.note(state, Change("left", holder.presence))

    def unsubscribe_pattern(self, pattern: str, member: Member) -> None:
        self._open()
        holder = self._local.having(pattern, member)
        self._local.leave_pattern(pattern, holder)
        self._local.drop(holder)

    def remove(self, member: Member) -> None:
        holder = self._holders.get(member.id)
        if holder is None or holder.member is not member:
            return
        now = self._clock()
        for pattern in list(holder.patterns):
            self._local.leave_pattern(pattern, holder)
        left = list(holder.rooms)
        for room in left:
            self._leave(room, holder, now)
        self._local.drop(holder)
        for room in left:  # last, because a watcher that is told may call the broker
            self._local.note(room, Change("left", holder.presence))

    def publish(
        self, room: str, payload: bytes, text: bool, *,
        publisher: str | None = None, key: str | None = None, content_type: str | None = None, echo: bool = True,
        account: Account | None = None,
    ) -> Published:  # fmt: skip
        if self._closed:
            raise errors.BrokerClosed(CLOSED)
        now, rooms = self._clock(), self._rooms
        state = rooms.get(room)
        if key is not None:
            contract.check_key(key)
            if state is not None and state.keys and (first := rooms.keys.find(state.keys, key, now)) is not None:
                return Published(state.epoch, first, True, 0)
        size, budget = len(payload) + MESSAGE_BYTES, self.budget
        payer = budget.house if account is None else account
        if state is None or budget.used + size > budget.limit or payer.bytes + size > payer.most:
            state = rooms.ready(room, state, size, payer, now)
        if state.waiting >= self.limits.max_pending:
            raise errors.Busy("earlier publications in this room are still being delivered")
        if state.bucket is not None:
            wait = state.bucket.take(now, self._grace())
            if wait:
                raise errors.RateLimited(f"the room takes {self.limits.rate:g} publications a second", wait)
        state.offset += 1
        message = Message(room, state.epoch, state.offset, payload, text, self._wall(), publisher, content_type, account)
        if rooms.keeps_messages or key is not None or not state.members:
            rooms.remember(state, message, key, now)
        targets = state.targets
        if targets is None or state.targets_version != self._patterns.version:
            targets = self._local.targets(state)
        count = given = len(targets)
        skip = None
        if not echo and publisher is not None and (holder := self._holders.get(publisher)) is not None:
            skip = holder.member
            given -= state in holder.rooms or holder.hears(room)
        if given:
            self.fan.submit(state, message, targets, skip, count <= self.limits.inline)
        return Published(state.epoch, message.offset, False, given)

    def less_busy(self, room: str) -> asyncio.Future[None]:
        """As in `contract`: done when the fan has delivered for a turn."""
        if not self._waiters:
            self.fan.call_after_turn(self._wake_waiters)
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if self._closed:
            self._wake_waiters()
        return waiter

    def _wake_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def history(self, room: str, since: Position | None = None, limit: int = 100, reverse: bool = False) -> HistoryPage:
        return self._rooms.history(room, since, limit, reverse, self._open())

    def presence(self, room: str, limit: int | None = None) -> PresencePage:
        self._open()
        state = self._rooms.get(room)
        return PresencePage(0, ()) if state is None else PresencePage(len(state.members), self._present(state, limit))

    def rooms(self, after: str = "", limit: int = 100, pattern: str | None = None) -> contract.RoomPage:
        return self._rooms.listing(after, limit, pattern, self._open())

    def close(self) -> None:
        """As in `contract`. To deliver the waiting messages first, call `fan.step` until it returns False."""
        self._closed = True
        self._local.close()
        self._rooms.clear()

    def sweep(self, limit: int = 1000) -> int:
        """As in `contract`: empty rooms whose time is over, and messages that are too old.

        A message that is too old is never given out, swept or not. With regular calls it is freed after at most twice its age.
        """
        return self._rooms.sweep(self._clock(), limit)

    def _open(self) -> float:
        """The time now. Raises BrokerClosed if the broker is closed."""
        if self._closed:
            raise errors.BrokerClosed(CLOSED)
        return self._clock()

    def _leave(self, room: LocalRoom, holder: Holder, now: float) -> None:
        self._local.leave(room, holder)
        if not room.members and isinstance(room, Room):
            self._rooms.used(room, now)

    def _present(self, room: Room, limit: int | None) -> tuple[Presence, ...]:
        return tuple([self._holders[key].presence for key in islice(room.members, limit)])

    def _fail(self, member: Member, error: Exception) -> None:
        self.remove(member)
        self._report(member, error)
