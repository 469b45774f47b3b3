"""An order of rooms in the test's own hands, and links to it that are slow, cut, double messages and reorder them.

A `FakeOrder` keeps the whole log of each room, so that a test can compare with it all that members were given. Each broker has a
`FakeLink` of its own. Nothing of a link happens by itself: `ask_next` carries the next question to the order, `deliver` reports an answer
or a message, in any order, `cut` loses all that is under way, and `connect` declares and restores. `settle` does all that is left to do.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from tests.support.fake_loop import Loop
from wsdaemon.brokers import Limits, errors
from wsdaemon.brokers import contract as c
from wsdaemon.brokers.contract import Change, HistoryPage, Message, Position, Presence, PresencePage, Published, RoomPage
from wsdaemon.brokers.links.contract import Joined, Publication, Receiver, Roster, Standing, StandingPage
from wsdaemon.brokers.patterns import matches

T = TypeVar("T")


@dataclass
class OrderRoom:
    """One life of a room: its whole log, and the offset of the oldest message that its history still has."""

    name: str
    epoch: str
    log: list[Message] = field(default_factory=list)
    first: int = 1
    members: dict[str, tuple[Presence, FakeLink]] = field(default_factory=dict)
    changes: int = 0
    keys: dict[str, int] = field(default_factory=dict)

    @property
    def position(self) -> Position:
        return Position(self.epoch, len(self.log))

    @property
    def roster(self) -> Roster:
        return Roster(Position(self.epoch, self.changes), tuple([presence for presence, _ in self.members.values()]))

    def held(self) -> list[Message]:
        return self.log[self.first - 1 :]


class FakeOrder:
    """The rooms, for all links. `held_back`: rooms that some link holds."""

    def __init__(self, loop: Loop, limits: Limits) -> None:
        self.loop = loop
        self.limits = limits
        self.rooms: dict[str, OrderRoom] = {}
        self.links: list[FakeLink] = []
        self.epochs = 0
        self.ticks = 0
        self.numbers: dict[tuple[str, int], Published] = {}
        self.record: dict[tuple[str, str, int], Message] = {}
        """Every message of all lives of all rooms."""

    @property
    def time(self) -> float:
        """The order's clock: no two publications have the same time."""
        self.ticks += 1
        return self.loop.time() + self.ticks / 1e6

    def room(self, name: str) -> OrderRoom:
        if name not in self.rooms:
            self.epochs += 1
            self.rooms[name] = OrderRoom(name, f"e{self.epochs}")
        return self.rooms[name]

    def restart(self) -> None:
        """The order is lost with everything in it; a new one begins."""
        for link in self.links:
            link.cut("the order has ended")
        self.rooms.clear()
        self.numbers.clear()

    def trim(self, name: str, count: int) -> None:
        """Let a room's history hold no more than the last `count` messages."""
        if room := self.rooms.get(name):
            room.first = max(room.first, len(room.log) - count + 1)

    def publish(self, link: FakeLink, publication: Publication) -> Published:
        own = (link.name, publication.number)
        if own in self.numbers:
            return self.numbers[own]
        room = self.room(publication.room)
        if publication.key is not None and publication.key in room.keys:
            return Published(room.epoch, room.keys[publication.key], True, 0)
        message = Message(
            room.name, room.epoch, len(room.log) + 1, publication.payload, publication.text, self.time, publication.publisher,
            publication.content_type, echo=publication.echo,
        )  # fmt: skip
        room.log.append(message)
        if publication.key is not None:
            room.keys[publication.key] = message.offset
        self.record[room.name, room.epoch, message.offset] = message
        for each in self.links:
            each.live(message)
        answer = self.numbers[own] = Published(room.epoch, message.offset, False, len(room.members))
        return answer

    def join(self, link: FakeLink, name: str, presence: Presence, declared: bool = False) -> OrderRoom:
        """`declared`: the member is in the room already, as its process says, and is never refused."""
        room = self.room(name)
        if presence.id not in room.members and not declared and len(room.members) >= self.limits.max_members:
            raise errors.RoomFull(f"the room has {self.limits.max_members} members")
        if presence.id not in room.members:
            room.members[presence.id] = (presence, link)
            self.changed(room, Change("joined", presence))
        return room

    def leave(self, name: str, member: str) -> None:
        room = self.rooms.get(name)
        if room is not None and member in room.members:
            presence, _ = room.members.pop(member)
            self.changed(room, Change("left", presence))

    def changed(self, room: OrderRoom, change: Change) -> None:
        room.changes += 1
        for link in self.links:
            if room.name in link.watched:
                link.send(partial(_changed, room=room.name, position=room.roster.position, change=change), True)

    def declare(self, link: FakeLink, declared: Mapping[str, Mapping[str, Presence]]) -> None:
        """These are the link's members, and no others."""
        for room in list(self.rooms.values()):
            for key, (_, owner) in list(room.members.items()):
                if owner is link and key not in declared.get(room.name, {}):
                    self.leave(room.name, key)
        for name, members in declared.items():
            self.room(name)
            for presence in members.values():
                self.join(link, name, presence, declared=True)

    # -- reading

    def page(self, name: str, since: Position | None, limit: int, reverse: bool) -> HistoryPage:
        room = self.rooms.get(name)
        if room is None:
            return HistoryPage(name, "", 0, 1, gap=since is not None)
        held, top = room.held(), len(room.log)
        strange = since is not None and not (since.epoch == room.epoch and 0 <= since.offset <= top)
        after = None if since is None or strange else since.offset
        if reverse:
            found = [message for message in reversed(held) if after is None or message.offset < after]
        else:
            found = [message for message in held if after is None or message.offset > after]
        gap = strange or (not reverse and after is not None and after + 1 < room.first)
        latest = room.log[-1] if gap and self.limits.latest and room.log else None
        return HistoryPage(name, room.epoch, top, room.first, tuple(found[:limit]), gap, latest)

    def joined(self, room: OrderRoom, since: Position | None, watch: bool) -> Joined:
        page = self.page(room.name, since, 10_000, False)
        messages = () if since is None or page.gap else page.messages
        latest = room.log[-1] if self.limits.latest and room.log and (since is None or page.gap) else None
        return Joined(room.position, messages, page.gap, latest, room.roster if watch else None)

    def standing(self, room: OrderRoom) -> Standing:
        return Standing(room.position, room.log[-1].time if room.log else 0.0, room.roster.position)


@dataclass(eq=False)
class Event:
    """Something on its way to the broker. `call`: it is given the receiver; `again`: it may come twice."""

    call: Callable[[Receiver], None]
    again: bool


class FakeLink:
    """One broker's link. `asked` and `events` are under way, oldest first."""

    def __init__(self, order: FakeOrder, name: str) -> None:
        self.order = order
        self.name = name
        self.connected = False
        self.closed = False
        self.receiver: Any = None
        self.asked: list[tuple[Callable[[], Any], Future[Any]]] = []
        self.events: list[Event] = []
        self.waiting: set[Future[Any]] = set()
        self.followed: set[str] = set()
        self.watched: set[str] = set()
        self.patterns: set[str] = set()
        self.holding: set[str] = set()
        self.cuts: list[str] = []
        self.probes = True
        """Whether probes are answered."""
        order.links.append(self)

    # -- in the test's hands

    def connect(self) -> None:
        """Connect, declare all, and restore."""
        assert not self.connected
        declared = list(self.receiver.declared())
        self.followed = {one.room for one in declared}
        self.watched = {one.room for one in declared if one.watch}
        self.patterns = set(self.receiver.patterns())
        self.holding = {one.room for one in declared if one.held}
        self.connected = True
        self.order.declare(self, {one.room: {member.presence.id: member.presence for member in one.members} for one in declared})
        self.receiver.restored()

    def cut(self, reason: str) -> None:
        """Lose the connection, and all that is under way in both directions."""
        if not self.connected or self.receiver is None:
            return
        self.connected = False
        self.cuts.append(reason)
        self.asked.clear()
        self.events.clear()
        for future in self.waiting:
            if not future.done():
                future.set_exception(errors.BrokerUnavailable("the link is cut"))
        self.waiting.clear()
        self.receiver.lost(reason)

    def ask_next(self) -> bool:
        """Let the order do the oldest question. Whether there was one."""
        if not self.asked:
            return False
        ask, future = self.asked.pop(0)
        try:
            answer = ask()
        except errors.BrokerError as error:
            self.send(partial(self._refuse, future, error), False)
        else:
            self.send(lambda receiver: self._answer(future, answer, None), False)
        return True

    def deliver(self, index: int = 0, twice: bool = False) -> bool:
        """Report one of the events; if it may come twice, it stays under way when the test says so. Whether there was one."""
        if not self.events:
            return False
        index %= len(self.events)
        event = self.events[index]
        if not (twice and event.again):
            del self.events[index]
        event.call(self.receiver)
        return True

    def settle(self) -> None:
        """Do all that is left to do at this moment, in order."""
        self.order.loop.settle()
        while self.ask_next() or self.deliver():
            self.order.loop.settle()

    # -- between order and broker

    def send(self, call: Callable[[Receiver], None], again: bool) -> None:
        if self.connected:
            self.events.append(Event(call, again))

    def live(self, message: Message) -> None:
        if message.room in self.followed or any(matches(pattern, message.room) for pattern in self.patterns):
            copy = Message(
                message.room, message.epoch, message.offset, message.payload, message.text, message.time, message.publisher,
                message.content_type, echo=message.echo,
            )  # fmt: skip
            self.send(lambda receiver: receiver.message(copy), True)

    def _answer(self, future: Future[Any], answer: Any, error: Exception | None) -> None:
        self.waiting.discard(future)
        if not future.done():
            if error is None:
                future.set_result(answer)
            else:
                future.set_exception(error)

    def _refuse(self, future: Future[Any], error: Exception, receiver: Receiver) -> None:
        self._answer(future, None, error)

    def _ask(self, ask: Callable[[], T]) -> Future[T]:
        future: Future[T] = self.order.loop.create_future()
        if not self.connected:
            future.set_exception(errors.BrokerUnavailable("the link is away"))
            return future
        self.waiting.add(future)
        self.asked.append((ask, future))
        return future

    def _tell(self, tell: Callable[[], None]) -> None:
        if self.connected:
            self.asked.append((tell, self.order.loop.create_future()))

    # -- the interface of a link

    def open(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def close(self) -> None:
        self.closed = True
        self.connected = False
        self.order.declare(self, {})
        for future in self.waiting:
            if not future.done():
                future.set_exception(errors.BrokerUnavailable("the link is closed"))

    def join(self, room: str, member: Presence, since: Position | None, *, watch: bool, owner: str) -> Future[Joined]:
        def ask() -> Joined:
            joined = self.order.join(self, room, member)
            self.followed.add(room)
            if watch:
                self.watched.add(room)
            return self.order.joined(joined, since, watch)

        return self._ask(ask)

    def leave(self, room: str, member: str) -> None:
        self._tell(lambda: self.order.leave(room, member))

    def unfollow(self, room: str) -> None:
        def tell() -> None:
            self.followed.discard(room)
            self.watched.discard(room)

        self._tell(tell)

    def follow_pattern(self, pattern: str) -> Future[float]:
        def ask() -> float:
            self.patterns.add(pattern)
            return self.order.time

        return self._ask(ask)

    def unfollow_pattern(self, pattern: str) -> None:
        self._tell(lambda: self.patterns.discard(pattern))

    def publish(self, publication: Publication) -> Future[Published]:
        return self._ask(lambda: self.order.publish(self, publication))

    def hold(self, room: str, held: bool) -> None:
        def tell() -> None:
            (self.holding.add if held else self.holding.discard)(room)
            now = any(room in link.holding for link in self.order.links)
            for link in self.order.links:
                link.send(lambda receiver: receiver.held(room, now), False)

        self._tell(tell)

    def history(self, room: str, since: Position | None, limit: int, reverse: bool) -> Future[HistoryPage]:
        return self._ask(lambda: self.order.page(room, since, limit, reverse))

    def presence(self, room: str, limit: int | None) -> Future[PresencePage]:
        def ask() -> PresencePage:
            found = self.order.rooms.get(room)
            members = found.roster.members if found else ()
            return PresencePage(len(members), members[:limit])

        return self._ask(ask)

    def roster(self, room: str) -> Future[Roster | None]:
        return self._ask(lambda: self.order.rooms[room].roster if room in self.order.rooms else None)

    def rooms(self, after: str, limit: int, pattern: str | None) -> Future[RoomPage]:
        def ask() -> RoomPage:
            names = sorted(name for name in self.order.rooms if name > after and (pattern is None or matches(pattern, name)))
            rooms = [self.order.rooms[name] for name in names[:limit]]
            infos = [c.RoomInfo(room.name, room.epoch, len(room.log), len(room.members), len(room.held())) for room in rooms]
            return RoomPage(tuple(infos), names[limit - 1] if len(names) > limit else None)

        return self._ask(ask)

    def standings(self, rooms: Sequence[str]) -> Future[Mapping[str, Standing]]:
        return self._ask(lambda: {name: self.order.standing(self.order.rooms[name]) for name in rooms if name in self.order.rooms})

    def changed(self, pattern: str, since: float, after: str, limit: int) -> Future[StandingPage]:
        def ask() -> StandingPage:
            found = [(name, self.order.standing(room)) for name, room in sorted(self.order.rooms.items()) if matches(pattern, name)]
            found = [(name, standing) for name, standing in found if name > after and standing.time >= since]
            return StandingPage(tuple(found[:limit]), found[limit - 1][0] if len(found) > limit else None)

        return self._ask(ask)

    def room_count(self) -> Future[int]:
        return self._ask(lambda: len(self.order.rooms))

    def probe(self) -> Future[None]:
        return self._ask(lambda: None) if self.probes else self.order.loop.create_future()


def _changed(receiver: Receiver, *, room: str, position: Position, change: Change) -> None:
    receiver.roster_changed(room, position, (change,))
