"""Random publications, drops, returns and trims through the app's sessions, against a naive model: what was missed, or a clear gap.

The model keeps each room's whole log. A client, for each room that it is in, must have been given a beginning of what it is owed, in order,
and all of it whenever the loop has come to rest. A client that comes back says the position of the last message that it has.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.support.rooms import Json, Seat, hall

ROOMS = st.sampled_from(["a", "a", "a", "b"])
CLIENTS = st.integers(0, 3)


class Client:
    """The first two are plain, the others speak the subprotocol."""

    def __init__(self, number: int) -> None:
        self.plain = number < 2
        self.seat: Seat | None = None
        self.expected: dict[str, list[str]] = {}  # rooms that it is in, and all that it is owed there since it came
        self.had: dict[str, tuple[str, int]] = {}  # position by room, from earlier
        self.base: dict[str, int] = {}
        self.congested = False

    def given(self, room: str) -> list[str]:
        """The messages that it was given in a room, in this connection and since it subscribed."""
        assert self.seat is not None
        if self.plain:
            return list(map(str, self.seat.wire.sent))
        given: list[str] = []
        for event in map(json.loads, self.seat.wire.sent):
            if event["type"] == "subscribed" and event["room"] == room:
                given += [message["data"] for message in event["messages"]]
            elif event["type"] == "unsubscribed" and event["room"] == room:
                given = []
            elif event["type"] == "message" and event["room"] == room:
                given.append(event["data"])
        return given


class Recovery(RuleBasedStateMachine):
    @initialize(history=st.integers(1, 6), echo=st.booleans(), page=st.sampled_from([1, 250, 10_000]), pending=st.sampled_from([2, 64]))
    def build(self, history: int, echo: bool, page: int, pending: int) -> None:
        self.stack = ExitStack()
        self.hall = self.stack.enter_context(hall(policy={"echo_to_sender": echo}, history=history, max_pending=pending))
        self.hall.app.rooms.page_bytes = page
        self.broker = self.hall.memory
        self.history, self.echo = history, echo
        self.clients = [Client(number) for number in range(4)]
        self.logs: dict[str, list[str]] = {"a": [], "b": []}
        self.count = 0
        self.tasks: list[Any] = []

    # -- the model

    def missed(self, room: str, position: tuple[str, int] | None) -> list[str] | None:
        """The messages that a client is given when it comes back; None for a gap."""
        if position is None:
            return []
        log = self.logs[room]
        epoch = self.broker.history(room).epoch
        if position[0] != epoch or not len(log) - self.history <= position[1] <= len(log):
            return None
        return log[position[1] :]

    def check(self, whole: bool) -> None:
        for client in self.clients:
            for room, expected in client.expected.items():
                given = client.given(room)
                assert given == (expected if whole else expected[: len(given)])

    def leave(self, client: Client, room: str) -> None:
        """Remember where it was: at the last message that it was given, or where it came."""
        given = client.given(room)
        epoch = self.broker.history(room).epoch
        offset = self.logs[room].index(given[-1]) + 1 if given else client.base[room]
        client.had[room] = (epoch, offset)
        del client.expected[room]

    def settle(self) -> None:
        self.hall.loop.settle()
        assert all(task.done() for task in self.tasks)
        self.tasks.clear()
        self.check(whole=True)

    # -- what happens

    @rule(number=CLIENTS, room=ROOMS, resume=st.booleans())
    def come(self, number: int, room: str, resume: bool) -> None:
        client = self.clients[number]
        if client.plain and client.seat is not None:
            return
        since = client.had.get(room) if resume else None
        if room in client.expected:
            return
        missed = self.missed(room, since)
        if client.plain:
            client.seat = self.hall.seat(room, query=f"since={since[0]}:{since[1]}" if since else "")
            if getattr(client.seat.session, "_entering", None) is not None:  # a long history is sent
                self.hall.loop.settle()
            if missed is None:
                assert client.seat.wire.close_calls == [(4410, "gap")]
                client.seat.drop()
                client.seat = None
                return
        else:
            client.seat = client.seat or self.hall.json(room)
            fields: Json = {"since": {"epoch": since[0], "offset": since[1]}} if since else {}
            before = len(client.seat.wire.sent)
            request = json.dumps({"type": "subscribe", "room": room, **fields})
            waiting = client.seat.session.received_payload(request.encode(), True)
            if waiting is not None:
                self.tasks.append(self.hall.loop.create_task(client.seat._wait(waiting)))
                self.hall.loop.settle()
            answer = json.loads(client.seat.wire.sent[-1])
            assert answer["type"] == "subscribed" and answer.get("gap", False) is (missed is None)
            assert answer["offset"] == len(self.logs[room])
            if missed is not None:
                new = [json.loads(message) for message in client.seat.wire.sent[before:-1]]
                offsets = [event["offset"] for event in (*new, *answer["messages"]) if event["room"] == room and event["type"] == "message"]
                assert since is None or offsets == list(range(since[1] + 1, answer["offset"] + 1))
        client.expected[room] = [] if missed is None else list(missed)
        client.base[room] = len(self.logs[room]) - len(missed or ())

    @rule(number=CLIENTS, room=ROOMS)
    def unsubscribe(self, number: int, room: str) -> None:
        client = self.clients[number]
        if client.plain or client.seat is None or room not in client.expected:
            return
        self.check(whole=False)
        self.leave(client, room)
        assert client.seat.session.received_payload(json.dumps({"type": "unsubscribe", "room": room}).encode(), True) is None

    @rule(number=CLIENTS)
    def drop(self, number: int) -> None:
        client = self.clients[number]
        if client.seat is None:
            return
        self.check(whole=False)
        for room in list(client.expected):
            self.leave(client, room)
        client.seat.drop()
        client.seat = None

    @rule(number=CLIENTS, room=ROOMS, before=st.integers(0, 2), budget=st.integers(0, 3), gone=st.booleans(), count=st.integers(0, 2))
    def come_back(self, number: int, room: str, before: int, budget: int, gone: bool, count: int) -> None:
        """Here, gone and here again, with publications before and meanwhile, and deliveries under way."""
        self.come(number, room, True)
        for _ in range(before):
            self.publish(0, room, server=True)
        if budget:
            self.step(budget)
        if gone:
            self.drop(number)
        else:
            self.unsubscribe(number, room)
        for _ in range(count):
            self.publish(0, room, server=True)
        self.come(number, room, True)

    @rule(number=CLIENTS, room=ROOMS, server=st.booleans())
    def publish(self, number: int, room: str, server: bool) -> None:
        client = self.clients[number]
        if not server and client.plain and room not in client.expected:
            return
        if self.broker._rooms.get(room) is not None and self.broker._rooms[room].waiting >= self.broker.limits.max_pending:
            self.settle()  # else it would wait, and others might overtake it
        self.count += 1
        payload = str(self.count)
        if server or client.seat is None:
            self.broker.publish(room, payload.encode(), True)
            sender = None
        elif client.plain:
            assert client.seat.session.received_payload(payload.encode(), True) is None
            sender = client
        else:
            request = json.dumps({"type": "publish", "room": room, "data": payload})
            assert client.seat.session.received_payload(request.encode(), True) is None
            answer = json.loads(client.seat.wire.sent[-1])
            assert (answer["type"], answer["offset"]) == ("published", len(self.logs[room]) + 1)
            sender = client
        self.logs[room].append(payload)
        for other in self.clients:
            if room in other.expected and (self.echo or other is not sender):
                other.expected[room].append(payload)

    @rule(number=CLIENTS, room=ROOMS, count=st.integers(1, 4))
    def burst(self, number: int, room: str, count: int) -> None:
        for _ in range(count):
            self.publish(number, room, server=False)

    @rule(budget=st.integers(1, 4))
    def step(self, budget: int) -> None:
        self.broker.fan.step(budget)
        self.check(whole=False)

    @precondition(lambda self: self.count % 3 == 0)
    @rule()
    def rest(self) -> None:
        self.settle()

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.settle()
            self.stack.close()


TestRecovery = Recovery.TestCase
TestRecovery.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_recovering_many_rooms_by_pattern_leaves_others_their_turn() -> None:
    with hall(history=10) as made:
        made.json()
        positions = {}
        for number in range(100):
            [answer] = [made.json().ask("publish", room=f"a.{number}", data="x")]
            positions[f"a.{number}"] = {"epoch": answer["epoch"], "offset": 1}
        seat = made.json()
        result = seat.session.received_payload(json.dumps({"type": "subscribe", "pattern": "a.*", "since": positions}).encode(), True)
        assert result is not None and seat.wire.sent == []  # it did not do all at once

        async def finish() -> None:
            await result

        turns = 0
        task = made.loop.create_task(finish())
        while not task.done():
            made.loop.turn()
            turns += 1
        assert turns >= 10
        assert len(seat.events[-1]["rooms"]) == 100
