"""Two processes whose brokers share a fake order, and what each of their members must be told, for test_remote_model.py.

The model is the order's own log: `FakeOrder.record` has every message of all lives of all rooms. A member checks each message as it comes:
it must be the very next one in the log. If messages are lost for it, it must be told, and only then. At rest no member may lack a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.fake_link import FakeLink, FakeOrder
from tests.support.fake_loop import Loop
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Member, Message, Notice, PatternSubscribed, Position, Subscribed
from wsdaemon.brokers.errors import BrokerError
from wsdaemon.brokers.patterns import matches
from wsdaemon.brokers.remote import RemoteBroker


class Process:
    """One broker and its link. Its loop is that of the order."""

    def __init__(self, order: FakeOrder, name: str) -> None:
        self.order = order
        self.link = FakeLink(order, name)
        self.failed: list[tuple[str, Exception]] = []
        self.broker = RemoteBroker(
            order.limits, self.link, self.fail, loop=lambda: order.loop, later=order.loop.call_later,
            clock=order.loop.time,
        )  # fmt: skip
        self.broker.open()

    def fail(self, member: Member, error: Exception) -> None:
        self.failed.append((member.id, error))


class Follower:
    """One member for ever: if it leaves and comes back, it has the same id and remembers its positions."""

    def __init__(self, key: str, process: Process) -> None:
        self.id = key
        self.identity: Mapping[str, Any] = {}
        self.process = process
        self.order = process.order
        self.seen: dict[str, Position] = {}
        """By room, while it is subscribed: the member was given all up to there."""
        self.past: dict[str, Position] = {}
        """By room, for coming back."""
        self.joined: set[str] = set()
        self.known: dict[str, set[str]] = {}
        self.patterns: dict[str, dict[str, Position]] = {}
        """By pattern: the positions of the order when it was answered. Earlier publications need not be given."""
        self.busy = False
        self.gaps: list[Subscribed] = []

    def serves(self, room: str) -> bool:
        return room in self.joined or any(matches(pattern, room) for pattern in self.patterns)

    def message_of(self, room: str, epoch: str, offset: int) -> Message:
        return self.order.record[room, epoch, offset]

    def skipped(self, room: str, position: Position) -> Position:
        """The position after the publications behind it that this member is not given."""
        while self.is_skipped(room, position.epoch, position.offset + 1):
            position = Position(position.epoch, position.offset + 1)
        return position

    def is_skipped(self, room: str, epoch: str, offset: int) -> bool:
        """Whether this is a publication of its own, which it is not given live."""
        message = self.order.record.get((room, epoch, offset))
        return message is not None and message.publisher == self.id and not message.echo

    # -- called by the broker

    def deliver(self, message: Message) -> None:
        room = message.room
        assert self.serves(room), (self.id, room)
        assert self.message_of(room, message.epoch, message.offset).payload == message.payload
        seen = self.seen.get(room)
        if seen is None:  # the first message of a room that it hears by a pattern alone
            starts = [start.get(room) for pattern, start in self.patterns.items() if matches(pattern, room)]
            upto = [start.offset if start is not None and start.epoch == message.epoch else 0 for start in starts]
            assert message.offset <= min(upto) + 1 or self.all_skipped(room, message, min(upto))
        else:
            # If the room did not exist, it may begin anew in any epoch.
            seen = self.skipped(room, seen if seen.epoch else Position(message.epoch, 0))
            assert (message.epoch, message.offset) == (seen.epoch, seen.offset + 1), (self.id, room, seen, message)
        self.seen[room] = Position(message.epoch, message.offset)

    def all_skipped(self, room: str, message: Message, after: int) -> bool:
        return all(self.is_skipped(room, message.epoch, offset) for offset in range(after + 1, message.offset))

    def presence_changed(self, notice: Notice) -> None:
        assert notice.changes
        known = self.known[notice.room]
        for change in notice.changes:
            assert (change.who.id in known) is (change.kind == "left"), (self.id, change, known)
            known ^= {change.who.id}

    def interrupted(self, room: str, answer: Subscribed, pattern: str | None = None) -> None:
        assert self.serves(room) and answer.gap and answer.room == room
        assert (pattern is None) is (room in self.joined)
        assert pattern is None or (pattern in self.patterns and matches(pattern, room))
        self.check_lost(room, self.seen.get(room), answer)
        if answer.present is not None:
            self.known[room] = {who.id for who in answer.present}
        self.seen[room] = Position(answer.epoch, answer.offset)
        self.gaps.append(answer)

    def check_lost(self, room: str, seen: Position | None, answer: Subscribed) -> None:
        """A gap is told only if the order cannot give what is missing any more."""
        state = self.order.rooms.get(room)
        if seen is None or state is None or seen.epoch != state.epoch:
            return
        seen = self.skipped(room, seen)
        assert state.first - 1 > seen.offset, (self.id, seen, answer, state.first)

    # -- asked by the test

    async def subscribe(self, room: str, resume: bool, presence: bool) -> None:
        since = self.past.get(room) if resume else None
        try:
            answer = await self.process.broker.subscribe(room, self, since, presence=presence)
        except BrokerError:
            return
        finally:
            self.busy = False
        self.check_answer(answer, since)
        self.joined.add(room)
        if presence:
            assert answer.present is not None
            assert self.id in {who.id for who in answer.present}
            self.known[room] = {who.id for who in answer.present}

    def check_answer(self, answer: Subscribed, since: Position | None) -> None:
        room = answer.room
        position = since
        for message in answer.messages:
            assert position is not None
            assert (message.epoch, message.offset) == (position.epoch, position.offset + 1)
            assert self.message_of(room, message.epoch, message.offset).payload == message.payload
            position = Position(message.epoch, message.offset)
        if since is not None and not answer.gap:
            assert position == Position(answer.epoch, answer.offset)
        if answer.gap:
            assert since is not None and not answer.messages
            self.check_lost(room, since, answer)
        if answer.latest is not None:
            assert answer.latest.offset == answer.offset
        if answer.epoch:
            self.seen[room] = Position(answer.epoch, answer.offset)

    async def subscribe_pattern(self, pattern: str, resume: bool) -> None:
        known = {room: position for room, position in self.past.items() if resume and matches(pattern, room)}
        try:
            answer = await self.process.broker.subscribe_pattern(pattern, self, known)
        except BrokerError:
            return
        finally:
            self.busy = False
        assert isinstance(answer, PatternSubscribed) and [one.room for one in answer.rooms] == list(known)
        self.patterns[pattern] = {name: room.position for name, room in self.order.rooms.items()}
        for one in answer.rooms:
            self.check_answer(one, known[one.room])

    def leave(self, room: str) -> None:
        if room in self.joined:
            self.process.broker.unsubscribe(room, self)
            self.joined.discard(room)
            self.known.pop(room, None)
            self.forget(room)

    def leave_pattern(self, pattern: str) -> None:
        if pattern in self.patterns:
            self.process.broker.unsubscribe_pattern(pattern, self)
            del self.patterns[pattern]
            for room in list(self.seen):
                self.forget(room)

    def remove(self) -> None:
        self.process.broker.remove(self)
        self.joined.clear()
        self.patterns.clear()
        self.known.clear()
        for room in list(self.seen):
            self.forget(room)

    def forget(self, room: str) -> None:
        if not self.serves(room) and room in self.seen:
            self.past[room] = self.seen.pop(room)

    def check_at_rest(self) -> None:
        for room in self.joined:
            state = self.order.rooms[room]
            assert self.skipped(room, self.seen[room]) == state.position, (self.id, room, self.seen[room], state.position)
        for room, known in self.known.items():
            assert known == set(self.order.rooms[room].members), (self.id, room)
        for pattern, start in self.patterns.items():
            for name, state in self.order.rooms.items():
                if matches(pattern, name) and state.log:
                    seen = self.seen.get(name)
                    if seen is None:  # nothing was given yet
                        begun = start.get(name)
                        seen = begun if begun is not None and begun.epoch == state.epoch else Position(state.epoch, 0)
                    elif not seen.epoch:
                        seen = Position(state.epoch, 0)
                    assert self.skipped(name, seen) == state.position, (self.id, name, seen, state.position)


class World:
    """Processes, an order and followers."""

    def __init__(self, **limits: Any) -> None:
        self.loop = Loop()
        self.loop.__enter__()
        self.order = FakeOrder(self.loop, Limits(**{"inline": 0, **limits}))
        self.processes = [Process(self.order, name) for name in ("A", "B")]
        self.followers = [Follower(f"{process.link.name}{number}", process) for process in self.processes for number in range(2)]

    def rest(self) -> None:
        """Connect all links, and let everything that is under way come to its end."""
        for process in self.processes:
            if not process.link.connected:
                process.link.connect()
        for _ in range(20):
            self.settle()
            self.loop.advance(1.0)
        self.settle()

    def settle(self) -> None:
        for _ in range(50):
            for process in self.processes:
                process.link.settle()
            self.loop.settle()
            if not any(process.link.asked or process.link.events for process in self.processes):
                return
        raise AssertionError("the links are never at rest")

    def check_nothing_failed(self) -> None:
        """Raise the first error of a member, or of the loop."""
        for process in self.processes:
            for _, error in process.failed:
                raise error
        assert self.loop.problems == []

    def check(self) -> None:
        self.check_nothing_failed()
        for process in self.processes:
            assert len(process.broker._publications) == len(process.broker._questions) == 0
        for follower in self.followers:
            assert not follower.busy
            follower.check_at_rest()

    def end(self) -> None:
        for process in self.processes:
            task = self.loop.create_task(process.broker.close())
            self.loop.settle()
            process.link.settle()
            assert task.done() and task.exception() is None
            assert process.broker.budget.used == process.broker.budget.house.bytes == 0
        assert self.loop.problems == []
        self.loop.__exit__()
