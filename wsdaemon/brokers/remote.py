"""The broker whose order is kept elsewhere, over a `links.contract.Link`: in the hub of this host, or in Redis.

The members of this process are served here, and a room is followed once, however many of them are in it. Live messages are put in order,
doubles are dropped, and missing ones are asked for; see `followed.repairs`. All that is asked of the order is asked again after a loss of
the link, for `timeout` seconds. So a process that is cut off keeps its members, and each of them is given what it missed afterwards, or is
told that messages are lost.

Not thread-safe: call it from the loop's thread alone. `subscribe` and `subscribe_pattern` answer with coroutines, which the caller awaits
at once; the other awaitables are plain futures. None needs a task. A member joins its room at the moment at which the caller resumes with
the answer, which has all messages up to then. So live messages of the room wait for nothing, and come to the member after the answer.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from typing import Any

from ..core.absence import no_grace
from . import Limits, contract, errors
from .account import Account
from .budget import SUBSCRIPTION_BYTES, WAITING_BYTES, Budget
from .contract import Change, HistoryPage, Member, Message, MovedSubscription, Position, PresencePage, Published, RoomPage, Subscribed
from .followed.joining import Joining
from .followed.moving import Moving
from .followed.patterns import FollowedPatterns
from .followed.probes import LinkProbes
from .followed.publications import Publications
from .followed.questions import PatientQuestions
from .followed.repairs import Repairs
from .followed.room import FollowedRoom
from .followed.rooms import FollowedRooms
from .links.contract import Declared, DeclaredMember, Link, Publication
from .local.members import LocalMembers, pattern_cost
from .local.rooms import Holder
from .patterns import check_known, check_pattern, check_room
from .waiters import Waiters

COUNT_SECONDS = 0.5
"""How long a request for metrics waits for the number of rooms."""

CLOSED = "the broker is closed"


class RemoteBroker:
    """A `contract.Broker`, which documents its methods, and the `Receiver` of its link.

    `failed` is called with a member whose `deliver` raised. `bulk`, `held`, `loop` and `later` are those of `LocalMembers`. `timeout`: how
    long an answer of the order may take, in seconds. `lost` is called if the link is lost, with the reason. `grace` is not used: the order
    keeps the rates.
    """

    def __init__(
        self, limits: Limits, link: Link, failed: contract.Failed, *, loop: Callable[[], AbstractEventLoop], later: contract.Later,
        wake: Callable[[], None] | None = None, bulk: contract.Bulk | None = None, held: contract.Held | None = None,
        clock: Callable[[], float] = time.monotonic, grace: Callable[[], float] = no_grace, timeout: float = 5.0,
        lost: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self.limits = limits
        self.budget = Budget(limits.memory)
        self._link = link
        self._report = failed
        self._loop = loop
        self._timeout = timeout
        self._on_lost = lost
        self._numbers = count(1)
        self._connected = False
        self._closed = False
        self._held: set[str] = set()
        self._waiters = Waiters()
        self._counted: int | None = None
        # Without `loop` for the fan, a test decides when deliveries are made.
        self._local = LocalMembers(
            limits, self.budget, self._fail, wake=wake, loop=loop if wake is None else None, later=later, bulk=bulk, held=held, clock=clock
        )  # fmt: skip
        self.fan = self._local.fan
        self._questions = PatientQuestions(timeout, loop)
        self._publications = Publications(link, self.budget, timeout, loop, self._waiters.wake)
        self._rooms = FollowedRooms(limits, self._local, link, self.budget, self._caught_up)
        self._patterns = FollowedPatterns(link, self._questions, self._rooms)
        self._repairs = Repairs(link, self._questions, self._rooms, self._local, self._patterns, later, self._tell)
        self._probes = LinkProbes(link, loop, lambda: self._connected, self._repairs.check)
        self._joining = Joining(
            limits, link, self._questions, self._rooms, self._patterns, self._repairs, self._local, loop, timeout, self._tell
        )  # fmt: skip
        self._moving = Moving(link, self._questions, self._local, self._joining, self._repairs, lambda: self._connected)
        self.lets_members_move = self._moving.possible
        self.is_settled = self._moving.is_settled
        self.take_leave = self._moving.take_leave
        self.take_place = self._moving.take_place

    # -- the life of the broker

    def open(self) -> None:
        self._probes.open()
        self._link.open(self)

    async def close(self) -> None:
        """As in `contract`. Publications that are under way are waited for, up to the timeout of each."""
        if self._closed:
            return
        self._closed = True
        self._probes.close()
        await self._publications.drain()
        self._publications.close()
        self._questions.close()
        self._repairs.close()
        self._link.close()
        self._local.close()
        self._rooms.close()
        self._waiters.wake()

    @property
    def connected(self) -> bool:
        """Whether the link is connected."""
        return self._connected

    @property
    def room_count(self) -> int:
        """The number of rooms that the order had at the last `count_rooms`; until then, of those that this process follows."""
        return len(self._rooms) if self._counted is None else self._counted

    @property
    def member_count(self) -> int:
        """The number of members of this process that have a room or a pattern."""
        return len(self._local.holders)

    async def count_rooms(self) -> None:
        """Ask the order for the number of its rooms. If it does not answer within COUNT_SECONDS, the last number stays."""
        counting = self._link.room_count()
        try:
            await asyncio.wait([counting], timeout=COUNT_SECONDS)
            if counting.done() and not counting.cancelled():  # the end of the link cancels it, and not the caller
                with suppress(errors.BrokerError):
                    self._counted = counting.result()
        finally:
            counting.cancel()

    def account(self, owner: str) -> Account:
        return self.budget.account(owner)

    @contextmanager
    def waiting(self, size: int, account: Account | None) -> Iterator[None]:
        """As in `contract`."""
        payer, cost = account or self.budget.house, WAITING_BYTES + size
        self._afford(payer, cost)
        self.budget.take(payer, cost)
        try:
            yield
        finally:
            self.budget.give_back(payer, cost)

    def sweep(self, limit: int = 1000) -> int:
        """As in `contract`: patterns that no member has any more."""
        self._patterns.sweep()
        return 0

    # -- what apps ask

    def subscribe(
        self, room: str, member: Member, since: Position | None = None, *, presence: bool = False, account: Account | None = None
    ) -> Coroutine[Any, Any, Subscribed]:
        local = self._open()
        check_room(room, self.limits)
        holder = local.holder(member, account)
        state, under_way = self._rooms.get(room), self._joining.under_way(member.id)
        if (state is not None and member.id in state.members) or any(attempt.name == room for attempt in under_way):
            raise errors.AlreadySubscribed("this member is in this room already")
        local.check_subscriptions(holder)
        self._afford(holder.account, SUBSCRIPTION_BYTES + local.cost_of(holder))
        return self._joining.room(room, holder, since, presence)

    def subscribe_pattern(
        self, pattern: str, member: Member, since: Mapping[str, Position] | None = None, *, account: Account | None = None
    ) -> Coroutine[Any, Any, contract.PatternSubscribed]:
        local = self._open()
        check_pattern(pattern)
        known = dict(since or {})
        check_known(pattern, known)
        holder = local.holder(member, account)
        if any(attempt.name == pattern for attempt in self._joining.under_way(member.id)):
            raise errors.AlreadySubscribed("this member has this pattern already")
        local.check_patterns(pattern, holder)
        self._afford(holder.account, pattern_cost(pattern) + local.cost_of(holder))
        return self._joining.pattern(pattern, holder, known)

    def unsubscribe(self, room: str, member: Member) -> None:
        local = self._open()
        state = self._rooms.get(room)
        holder = local.inside(state, member)
        assert state is not None
        self._leave(state, holder)
        local.drop(holder)

    def unsubscribe_pattern(self, pattern: str, member: Member) -> None:
        local = self._open()
        holder = local.having(pattern, member)
        local.leave_pattern(pattern, holder)
        self._patterns.leave(pattern)
        local.drop(holder)

    def remove(self, member: Member) -> None:
        holder = self._local.holders.get(member.id)
        if holder is None or holder.member is member:
            self._joining.end(member)
        if holder is None or holder.member is not member:
            return
        for pattern in list(holder.patterns):
            self._local.leave_pattern(pattern, holder)
            self._patterns.leave(pattern)
        for room in list(holder.rooms):
            self._leave(room, holder)
        self._local.drop(holder)

    def move_in(self, moved: MovedSubscription, member: Member, account: Account) -> Coroutine[Any, Any, Subscribed]:
        self._open()
        return self._moving.move_in(moved, member, account)

    def publish(
        self, room: str, payload: bytes, text: bool, *,
        publisher: str | None = None, key: str | None = None, content_type: str | None = None, echo: bool = True,
        account: Account | None = None,
    ) -> Future[Published]:  # fmt: skip
        self._open()
        if key is not None:
            contract.check_key(key)
        if self._rooms.get(room) is None:
            check_room(room, self.limits)
        if room in self._held:
            raise errors.Busy("earlier publications in this room are still being delivered")
        payer = account or self.budget.house
        number = next(self._numbers)
        publication = Publication(number, room, payload, text, publisher, key, content_type, echo, payer.owner)
        return self._publications.publish(publication, payer)

    def less_busy(self, room: str) -> Future[None]:
        """As in `contract`: the order lets publishers of the room go on, or fewer publications are under way."""
        waiter = self._waiters.wait(self._loop())
        if self._closed:
            self._waiters.wake()
        return waiter

    def history(self, room: str, since: Position | None = None, limit: int = 100, reverse: bool = False) -> Future[HistoryPage]:
        self._open()
        contract.check_limit(limit)
        return self._questions.ask(partial(self._link.history, room, since, limit, reverse))

    def presence(self, room: str, limit: int | None = None) -> Future[PresencePage]:
        self._open()
        return self._questions.ask(partial(self._link.presence, room, limit))

    def rooms(self, after: str = "", limit: int = 100, pattern: str | None = None) -> Future[RoomPage]:
        self._open()
        contract.check_limit(limit)
        if pattern is not None:
            check_pattern(pattern)
        return self._questions.ask(partial(self._link.rooms, after, limit, pattern))

    # -- called by the link

    def message(self, message: Message) -> None:
        """As in `Receiver`."""
        room = self._rooms.get(message.room)
        if message.time > self._repairs.seen:
            self._repairs.seen = message.time
        if room is None:
            if self._closed or not self._local.patterns or not self._local.patterns.match(message.room):
                return
            if self._repairs.whole:
                room = self._rooms.hear(message.room)
                room.epoch, room.offset, room.known = message.epoch, message.offset - 1, True
            elif (room := self._repairs.meet(message.room)) is None:
                return
        if not room.known:
            room.keep_early(message)
            self._repairs.meet(message.room)
        elif message.epoch != room.epoch:
            room.keep_early(message)
            if room.epoch:
                self._repairs.soon(room)
            else:  # the room did not exist, and begins now
                self._repairs.now(room)
        elif message.offset == room.offset + 1 and not room.behind:
            self._rooms.take(room, message)
            if room.has_early:
                self._rooms.drain(room)
        elif message.offset > room.offset:
            room.keep_early(message)
            self._repairs.soon(room)

    def roster_changed(self, room: str, position: Position, changes: Sequence[Change]) -> None:
        """As in `Receiver`."""
        state = self._rooms.get(room)
        if state is None or not state.watched:
            return
        news = state.take_changes(position, changes)
        if news is None:
            self._repairs.roster(state)
        else:
            self._tell(state, news)

    def held(self, room: str, held: bool) -> None:
        """As in `Receiver`."""
        if held:
            self._held.add(room)
        else:
            self._held.discard(room)
            self._waiters.wake()

    def lost(self, reason: str) -> None:
        """As in `Receiver`."""
        self._connected = False
        self._held.clear()
        self._probes.lost()
        self._questions.lost()
        self._publications.lost()
        self._repairs.lost()
        self._waiters.wake()
        if self._on_lost is not None:
            self._on_lost(reason)

    def restored(self) -> None:
        """As in `Receiver`."""
        self._connected = True
        self._publications.restored()
        self._questions.restored()
        self._probes.check(after_loss=True)

    def declared(self) -> Iterable[Declared]:
        """As in `Receiver`."""
        for room in self._rooms:
            if room.members:
                holders = [self._local.holders[key] for key in room.members]
                members = [DeclaredMember(holder.presence, holder.account.owner) for holder in holders]
                yield Declared(room.name, members, room.watched, room.holding)

    def patterns(self) -> Iterable[str]:
        """As in `Receiver`."""
        return list(self._patterns)

    # -- inside

    def _open(self) -> LocalMembers:
        if self._closed:
            raise errors.BrokerClosed(CLOSED)
        return self._local

    def _afford(self, account: Account, size: int) -> None:
        if not self.budget.fits(account, size):
            raise self.budget.refusal(account, size)

    def _leave(self, room: object, holder: Holder) -> None:
        assert isinstance(room, FollowedRoom)
        self._local.leave(room, holder)
        self._link.leave(room.name, holder.member.id)
        self._joining.left(room)

    def _tell(self, room: FollowedRoom, changes: Sequence[Change]) -> None:
        self._rooms.count_roster(room)
        for change in changes:
            self._local.note(room, change)

    def _caught_up(self, room: FollowedRoom) -> None:
        """The slow members of a room have been given all that waited: ask for the messages that came meanwhile."""
        self._repairs.now(room)


    def _fail(self, member: Member, error: Exception) -> None:
        self.remove(member)
        self._report(member, error)
