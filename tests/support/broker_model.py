"""A memory broker beside a naive model of it, for test_brokers_model.py.

The model keeps every room's whole log, and for each member and room the list of messages that it is still owed. A member checks each
message as it comes: it must be the first one owed. When the fan is done, no member may be owed a message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from tests.brokers.test_patterns import matches_naively
from wsdaemon.brokers import HISTORY_COUNT, Limits
from wsdaemon.brokers import contract as c
from wsdaemon.brokers.contract import Message, Notice, Position
from wsdaemon.brokers.local.presence import MAX_INTERVAL_SECONDS
from wsdaemon.brokers.memory import MemoryBroker

Entry = tuple[str, int, bytes]  # epoch, offset, payload


class Broken(Exception):
    pass


class Client:
    """One member for ever: if it drops and comes back, it has the same id and remembers the messages that it saw."""

    def __init__(self, key: str, model: Model) -> None:
        self.id = key
        self.identity: Mapping[str, Any] = {}
        self.model = model
        self.seen: dict[str, Position] = {}
        self.owed: dict[str, list[Entry]] = {}
        self.known: dict[str, set[str]] = {}  # the members that it knows of, for each room that it watches
        self.patterns: list[str] = []
        self.joined: list[str] = []
        self.broken = False

    def deliver(self, message: Message) -> None:
        assert message.cache is None
        assert self.owed[message.room].pop(0) == (message.epoch, message.offset, message.payload)
        self.seen[message.room] = Position(message.epoch, message.offset)
        if self.broken:
            self.broken = False
            self.model.lose(self)
            raise Broken

    def presence_changed(self, notice: Notice) -> None:
        assert notice.changes
        known = self.known[notice.room]
        for change in notice.changes:  # nothing that it knows already
            assert (change.who.id in known) is (change.kind == "left")
            known ^= {change.who.id}

    def interrupted(self, room: str, answer: c.Subscribed, pattern: str | None = None) -> None:
        raise AssertionError("the memory broker never interrupts")


class ModelRoom:
    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.log: list[tuple[float, bytes]] = []
        self.keys: list[tuple[float, str, int]] = []
        self.members: list[Client] = []
        self.touched = 0.0
        self.used = 0

    def entries(self, start: int) -> list[Entry]:
        return [(self.epoch, offset, self.log[offset - 1][1]) for offset in range(start, len(self.log) + 1)]


class Model(RuleBasedStateMachine):
    """The broker, what it calls, and what it should have done by now."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.uses = 0
        self.epochs = [0, 0]  # made by the broker, expected by the model
        self.awake = False
        self.timers: list[Callable[[], None]] = []
        self.rooms: dict[str, ModelRoom] = {}
        self.clients = [Client(str(number), self) for number in range(3)]

    @initialize(
        wake=st.sampled_from([True, True, True, False]),
        later=st.booleans(),
        bulk=st.booleans(),
        inline=st.sampled_from([0, 0, 0, 1, 2]),
        max_rooms=st.sampled_from([4, 4, 4, 2, 1]),
        max_members=st.sampled_from([3, 3, 3, 3, 2]),
        max_pending=st.sampled_from([9, 9, 3, 1]),
        history=st.sampled_from([100, 100, 4, 1, 0, None]),
        age=st.sampled_from([None, None, 3.0, 20.0]),
        size=st.sampled_from([1000, 1000, 5, 0]),
        latest=st.booleans(),
        max_keys=st.integers(1, 3),
    )
    def build(
        self, wake: bool, later: bool, bulk: bool, inline: int, max_rooms: int, max_members: int, max_pending: int, history: int | None,
        age: float | None, size: int, latest: bool, max_keys: int,
    ) -> None:  # fmt: skip
        self.limits = Limits(
            max_rooms=max_rooms, max_members=max_members, max_patterns=2, max_subscriptions=3, history=history, history_age=age,
            history_bytes=size, latest=latest, max_keys=max_keys, key_age=4.0, max_pending=max_pending, inline=inline, room_idle=2.0,
        )  # fmt: skip
        self.broker = MemoryBroker(
            self.limits, self.failed, wake=self.wake if wake else None, later=self.later if later else None,
            bulk=self.bulk if bulk else None, clock=lambda: self.now, new_epoch=lambda: self.epoch(0),
        )  # fmt: skip

    # -- what the broker calls

    def wake(self) -> None:
        assert not self.awake
        self.awake = True

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        assert 0 < seconds <= MAX_INTERVAL_SECONDS
        self.timers.append(call)

    def bulk(self, members: Sequence[c.Member], messages: Sequence[Message]) -> None:
        for member in members:
            try:
                for message in messages:
                    member.deliver(message)
            except Broken:
                self.broker.remove(member)

    def failed(self, member: c.Member, error: Exception) -> None:
        assert isinstance(error, Broken)

    def epoch(self, who: int) -> str:
        self.epochs[who] += 1
        return f"e{self.epochs[who]}"

    # -- the model

    def target(self, client: Client, name: str) -> bool:
        direct = name in self.rooms and client in self.rooms[name].members
        return direct or any(matches_naively(pattern, name) for pattern in client.patterns)

    def use(self, room: ModelRoom) -> None:
        self.uses += 1
        room.used, room.touched = self.uses, self.now

    def room(self, name: str) -> ModelRoom | None:
        """The room, made if need be; None when there is no place for it."""
        if name not in self.rooms:
            if len(self.rooms) == self.limits.max_rooms:
                self.drain()  # a room with messages under way cannot be evicted
                empty = [room for room in self.rooms.values() if not room.members]
                if not empty:
                    return None
                least = min(empty, key=lambda room: (bool(room.log), room.used))
                self.rooms = {key: room for key, room in self.rooms.items() if room is not least}
            self.rooms[name] = ModelRoom(self.epoch(1))
            self.use(self.rooms[name])
        return self.rooms[name]

    def held(self, room: ModelRoom) -> int:
        """How many messages history holds: the longest end of the log that is allowed."""
        count, size, age = self.limits.history, 0, self.limits.history_age
        most = (0 if age is None else HISTORY_COUNT) if count is None else count
        held = 0
        for stamp, payload in reversed(room.log):
            size += len(payload)
            if held == most or size > self.limits.history_bytes or (age is not None and self.now - stamp >= age):
                break
            held += 1
        return held

    def leave(self, client: Client, name: str) -> None:
        room = self.rooms[name]
        room.members.remove(client)
        client.joined.remove(name)
        client.known.pop(name, None)
        if not room.members:
            self.use(room)
        self.forgive(client)

    def forgive(self, client: Client) -> None:
        """The client is owed no messages of rooms to which it no longer subscribes."""
        client.owed = {name: owed for name, owed in client.owed.items() if self.target(client, name)}

    def lose(self, client: Client) -> None:
        client.patterns.clear()
        while client.joined:
            self.leave(client, client.joined[0])
        self.forgive(client)

    def check_answer(self, client: Client, answer: c.Subscribed, since: Position | None) -> None:
        room = self.rooms[answer.room]
        assert (answer.epoch, answer.offset) == (room.epoch, len(room.log))
        oldest = len(room.log) - self.held(room)
        good = since is None or (since.epoch == room.epoch and oldest <= since.offset <= len(room.log))
        assert answer.gap is not good
        expected = room.entries(since.offset + 1) if good and since is not None else []
        assert [(message.epoch, message.offset, message.payload) for message in answer.messages] == expected
        if self.limits.latest and room.log and (since is None or not good):
            assert answer.latest is not None and answer.latest.offset == len(room.log)
        else:
            assert answer.latest is None
        client.seen[answer.room] = Position(answer.epoch, answer.offset)
        assert not client.owed.get(answer.room)  # whatever it was owed came before this answer

    def drain(self) -> None:
        while True:
            while self.broker.fan.step(3):
                pass
            self.awake = False
            if not self.timers:
                break
            self.timers.pop(0)()
        for client in self.clients:
            assert not any(client.owed.values())
            for name, known in client.known.items():
                assert known == {member.id for member in self.rooms[name].members}
