"""Random use of a memory broker against a naive model of what each member must be told: nothing lost, nothing twice, or a clear gap.

The model itself is in broker_model.py.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from tests.brokers.test_patterns import matches_naively
from tests.support.broker_model import Client, Model, ModelRoom
from wsdaemon.brokers import budget, errors
from wsdaemon.brokers import contract as c
from wsdaemon.brokers.contract import Message, Position
from wsdaemon.brokers.local.fan import Delivery
from wsdaemon.brokers.local.members import pattern_cost

ROOMS = st.sampled_from(["a.b", "a.b", "a.b", "a.c", "a"])
PATTERNS = st.sampled_from(["a.*", "*.b", ">", "a"])
KEYS = st.sampled_from("012")


class BrokerModel(Model):
    """Everything that may happen, in any order."""

    @rule(key=KEYS, name=ROOMS, resume=st.booleans(), presence=st.booleans(), shift=st.sampled_from([0, 0, 0, -1, -2, 1]))
    def subscribe(self, key: str, name: str, resume: bool, presence: bool, shift: int) -> None:
        client = self.clients[int(key)]
        if client.broken:
            return
        since = client.seen.get(name) if resume else None
        if since is not None:
            since = Position(since.epoch, since.offset + shift)
        error = self.refusal(client, name)
        room = None if error else self.room(name)
        if error or room is None:
            with pytest.raises(error or errors.TooManyRooms):
                self.broker.subscribe(name, client, since, presence=presence)
            return
        answer = self.subscribed(client, name, room, since, presence)
        self.check_answer(client, answer, since)
        if presence:
            assert [who.id for who in answer.present or ()] == [each.id for each in room.members]

    def refusal(self, client: Client, name: str) -> type[errors.BrokerError] | None:
        room = self.rooms.get(name)
        if room is not None and client in room.members:
            return errors.AlreadySubscribed
        if len(client.joined) == self.limits.max_subscriptions:
            return errors.TooManySubscriptions
        return errors.RoomFull if room is not None and len(room.members) == self.limits.max_members else None

    def subscribed(self, client: Client, name: str, room: ModelRoom, since: Position | None, presence: bool) -> c.Subscribed:
        room.members.append(client)
        client.joined.append(name)
        if presence:
            client.known[name] = {member.id for member in room.members}
        return self.broker.subscribe(name, client, since, presence=presence)

    @rule(key=KEYS, pattern=PATTERNS, resume=st.booleans())
    def subscribe_pattern(self, key: str, pattern: str, resume: bool) -> None:
        client = self.clients[int(key)]
        if client.broken:
            return
        known = {name: position for name, position in client.seen.items() if resume and matches_naively(pattern, name)}
        error: type[errors.BrokerError] | None = errors.TooManyPatterns if len(client.patterns) == 2 else None
        error = errors.AlreadySubscribed if pattern in client.patterns else error
        if error:
            with pytest.raises(error):
                self.broker.subscribe_pattern(pattern, client, known)
            return
        answer = self.broker.subscribe_pattern(pattern, client, known)
        client.patterns.append(pattern)
        assert [room.room for room in answer.rooms] == list(known)
        for room in answer.rooms:
            if room.room in self.rooms:
                self.check_answer(client, room, known[room.room])
            else:
                assert room == c.Subscribed(room.room, "", 0, gap=True)

    @rule(key=KEYS, name=ROOMS)
    def unsubscribe(self, key: str, name: str) -> None:
        client = self.clients[int(key)]
        inside = name in client.joined
        if inside:
            self.leave(client, name)
        try:
            self.broker.unsubscribe(name, client)
        except errors.NotSubscribed:
            assert not inside

    @rule(key=KEYS, pattern=PATTERNS)
    def unsubscribe_pattern(self, key: str, pattern: str) -> None:
        client = self.clients[int(key)]
        has = pattern in client.patterns
        if has:
            client.patterns.remove(pattern)
            self.forgive(client)
        try:
            self.broker.unsubscribe_pattern(pattern, client)
        except errors.NotSubscribed:
            assert not has

    @rule(key=KEYS)
    def drop(self, key: str) -> None:
        client = self.clients[int(key)]
        self.lose(client)
        self.broker.remove(client)

    @rule(key=KEYS)
    def breaks(self, key: str) -> None:
        client = self.clients[int(key)]
        if not client.patterns and client.joined:  # else its own subscribe might raise, which ends that call
            client.broken = True

    @rule(name=ROOMS, count=st.integers(1, 3), budget=st.integers(0, 2))
    def publish_several(self, name: str, count: int, budget: int = 0) -> None:
        for _ in range(count):
            self.publish(name, 1, None, True, None)
            if budget:
                self.step(budget)

    @rule(
        name=ROOMS, key=KEYS, other=KEYS, gone=st.booleans(), before=st.integers(0, 2), budget=st.integers(0, 4), missed=st.integers(0, 2),
        shift=st.sampled_from([0, 0, 0, -1, 1]),
    )  # fmt: skip
    def come_back(self, name: str, key: str, other: str, gone: bool, before: int, budget: int, missed: int, shift: int) -> None:
        """Leave and come back, with messages before and meanwhile, and deliveries under way."""
        self.subscribe(other, name, True, False, 0)
        self.subscribe(key, name, True, True, 0)
        self.publish_several(name, before)
        if budget:
            self.step(budget)
        if gone:
            self.drop(key)
        else:
            self.unsubscribe(key, name)
        self.publish_several(name, missed)
        self.subscribe(key, name, True, True, shift)

    @rule(
        name=ROOMS, key=KEYS, pattern=PATTERNS, count=st.integers(0, 2), budget=st.integers(0, 3), first=st.booleans(), leave=st.booleans()
    )  # fmt: skip
    def hear_twice(self, name: str, key: str, pattern: str, count: int, budget: int, first: bool, leave: bool) -> None:
        """Have a room by name and by pattern, the one or the other first, and leave one of them."""
        for by_pattern in (first, not first):
            if by_pattern:
                self.subscribe_pattern(key, pattern, True)
            else:
                self.subscribe(key, name, True, True, 0)
            self.publish_several(name, count)
            if budget:
                self.step(budget)
        if leave:
            self.unsubscribe(key, name)
        else:
            self.unsubscribe_pattern(key, pattern)

    @rule(
        name=ROOMS,
        size=st.integers(0, 6),
        publisher=st.one_of(st.none(), KEYS),
        echo=st.booleans(),
        key=st.sampled_from([None, None, "k", "l", "m", "n"]),
    )
    def publish(self, name: str, size: int, publisher: str | None, echo: bool, key: str | None) -> None:
        payload = bytes([self.uses % 256]) * size
        room = self.rooms.get(name)
        if room is not None and key is not None and (first := self.published(room, key)) is not None:
            answer = self.broker.publish(name, payload, True, publisher=publisher, echo=echo, key=key)
            assert answer == c.Published(room.epoch, first, True, 0)
            return
        room = self.room(name)
        targets = [client for client in self.clients if self.target(client, name) and (echo or client.id != publisher)]
        if room is not None:
            room.log.append((self.now, payload))
            for client in targets:
                client.owed.setdefault(name, []).append((room.epoch, len(room.log), payload))
        expected = None if room is None else c.Published(room.epoch, len(room.log), False, len(targets))
        try:
            answer = self.broker.publish(name, payload, True, publisher=publisher, echo=echo, key=key)
        except errors.Busy:
            assert room is not None and self.broker._rooms[name].waiting >= self.limits.max_pending
            room.log.pop()
            for client in targets:
                client.owed[name].pop()
            return
        except errors.TooManyRooms:
            assert room is None
            return
        assert room is not None and answer == expected
        if key is not None:
            room.keys.append((self.now, key, answer.offset))
        if not room.members:
            self.use(room)

    def published(self, room: ModelRoom, key: str) -> int | None:
        for stamp, known, offset in room.keys[-self.limits.max_keys :]:
            if known == key and self.now - stamp < self.limits.key_age:
                return offset
        return None

    @rule(budget=st.integers(1, 4))
    def step(self, budget: int) -> None:
        if self.awake:
            self.awake = self.broker.fan.step(budget)

    @rule()
    def timer(self) -> None:
        if self.timers:
            self.timers.pop(0)()

    @rule()
    def finish(self) -> None:
        self.drain()

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        self.drain()  # rooms with pending deliveries are not swept away
        self.broker.sweep()
        keep = self.limits.keep
        assert keep == math.inf or keep >= 4.0
        for name, room in list(self.rooms.items()):
            if not room.members and self.now - room.touched >= (keep if room.log else self.limits.room_idle):
                del self.rooms[name]

    @rule(name=ROOMS, key=KEYS, limit=st.integers(1, 3), reverse=st.booleans(), resume=st.booleans())
    def read_history(self, name: str, key: str, limit: int, reverse: bool, resume: bool) -> None:
        since = self.clients[int(key)].seen.get(name) if resume else None
        page = self.broker.history(name, since, limit, reverse)
        room = self.rooms.get(name)
        if room is None:
            assert page == c.HistoryPage(name, "", 0, 1, gap=since is not None)
            return
        oldest = len(room.log) - self.held(room) + 1
        assert (page.epoch, page.offset, page.first) == (room.epoch, len(room.log), oldest)
        strange = since is not None and since.epoch != room.epoch
        after = since.offset if since is not None and not strange else None
        expected = room.entries(oldest)
        if reverse:
            expected = [entry for entry in reversed(expected) if after is None or entry[1] < after]
        else:
            expected = [entry for entry in expected if after is None or entry[1] > after]
        assert [(message.epoch, message.offset, message.payload) for message in page.messages] == expected[:limit]
        assert page.gap is (strange or (not reverse and after is not None and after + 1 < oldest))

    @invariant()
    def rooms_are_alike(self) -> None:
        if not hasattr(self, "broker"):
            return
        assert set(self.broker._rooms) == set(self.rooms)
        for info in self.broker.rooms().rooms:
            room = self.rooms[info.room]
            assert (info.epoch, info.offset, info.members, info.held) == (room.epoch, len(room.log), len(room.members), self.held(room))
            present = self.broker.presence(info.room).members
            assert [who.id for who in present] == [client.id for client in room.members]
            history = self.broker._rooms[info.room].history
            assert history.bytes == sum(len(payload) for _, payload in room.log[len(room.log) - self.held(room) :])
        assert self.awake or not self.broker.fan.active
        assert self.broker.budget.used == self.broker.budget.house.bytes + self.deliveries() == self.counted()

    def deliveries(self) -> int:
        waiting = [item for outbox in self.broker.fan.active for item in outbox.pending]
        return sum(item.cost for item in waiting if isinstance(item, Delivery))

    def counted(self) -> int:
        """The bytes of everything that the broker holds, counted anew."""
        broker, messages = self.broker, dict[int, Message]()
        for outbox in broker.fan.active:
            for item in outbox.pending:
                if isinstance(item, Delivery):
                    messages |= {id(message): message for message in item.messages}
        total = self.deliveries()
        for name in broker._rooms:
            room = broker._rooms[name]
            total += room.cost + len(room.members) * budget.SUBSCRIPTION_BYTES + sum(key.cost for key in (room.keys or {}).values())
            held = room.history.between(1, room.offset + 1, room.offset)
            messages |= {id(message): message for message in (*held, *([] if room.last is None else [room.last]))}
        total += sum(len(message.payload) + budget.MESSAGE_BYTES for message in messages.values())
        for holder in broker._holders.values():
            total += budget.MEMBER_BYTES + sum(map(pattern_cost, holder.patterns))
        return total

    def teardown(self) -> None:
        if hasattr(self, "broker"):
            self.drain()


TestBrokerModel = BrokerModel.TestCase
TestBrokerModel.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
