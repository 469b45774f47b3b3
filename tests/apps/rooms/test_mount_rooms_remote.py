"""apps/rooms over an order in another process: publishers in a pipeline, breaks, and an order that is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tests.support.fake_link import FakeLink, FakeOrder
from tests.support.fakes import Loop
from tests.support.rooms import Hall, Seat, send_to_all
from wsdaemon.apps.rooms.handle import RoomsHandle
from wsdaemon.apps.rooms.mount_rooms import CLOSING_SECONDS
from wsdaemon.apps.rooms.pipeline import MAX_UNDER_WAY
from wsdaemon.brokers import Limits
from wsdaemon.brokers.errors import RateLimited
from wsdaemon.brokers.links.contract import Publication
from wsdaemon.brokers.remote import RemoteBroker


class FarHall(Hall):
    """An app whose rooms are kept by a fake order. `settle` lets its link carry all that is under way."""

    def __init__(self, loop: Loop, timeout: float, policy: dict[str, Any], hooks: object, limits: dict[str, Any]) -> None:
        checked = Limits(**{"inline": 0, "history": 100, **limits})
        self.order = FakeOrder(loop, checked)
        self.link = FakeLink(self.order, "A")
        super().__init__(loop, policy, {}, hooks, send_to_all, partial(RemoteBroker, checked, self.link, timeout=timeout))
        loop.create_task(self.app.start())
        loop.settle()
        self.link.connect()
        self.settle()

    def settle(self) -> None:
        self.link.settle()
        self.loop.settle()

    def enter(self, *arguments: Any, **options: Any) -> Seat:
        seat = self.seat(*arguments, **options)
        self.settle()
        return seat

    def publish(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.order.publish(self.link, Publication(-len(self.order.record) - 1, "lobby", payload, True))


@contextmanager
def far_hall(timeout: float = 5.0, hooks: object = None, policy: dict[str, Any] | None = None, **limits: Any) -> Iterator[FarHall]:
    with Loop() as loop:
        made = FarHall(loop, timeout, policy or {}, hooks, limits)
        yield made
        stopping = loop.create_task(made.app.stop())
        made.settle()
        assert stopping.done()
        assert loop.problems == [] and made.failures == []


def push(seat: Seat, *messages: str) -> None:
    """Messages of a plain client, as long as it is read."""
    for message in messages:
        seat.begin(message)
        seat.loop.turn()


def test_plain_clients_hear_each_other_in_the_order_of_the_order() -> None:
    with far_hall() as made:
        a, b = made.enter(), made.enter()
        push(a, "1", "2")
        push(b, "3")
        made.settle()
        assert (a.sent, b.sent) == (["3"], ["1", "2"])


def test_a_plain_client_has_64_publications_under_way_and_is_then_not_read() -> None:
    with far_hall() as made:
        a, b = made.enter(), made.enter()
        push(a, *map(str, range(MAX_UNDER_WAY)))
        assert len(made.link.asked) == MAX_UNDER_WAY and a.waiting is not None
        made.settle()
        assert a.waiting is None and b.sent == list(map(str, range(MAX_UNDER_WAY)))


def test_messages_before_the_room_is_entered_wait_for_that() -> None:
    with far_hall() as made:
        b = made.enter()
        a = made.seat()
        a.begin("early")
        assert a.waiting is not None
        made.settle()
        assert b.sent == ["early"] and a.waiting is None


def test_while_the_order_is_away_members_stay_and_a_publisher_is_closed_after_the_timeout() -> None:
    with far_hall(timeout=2.0) as made:
        a, b = made.enter(), made.enter()
        made.link.cut("cut")
        push(a, "1", "2")
        made.advance(1.9)
        assert (a.closed, b.closed) == (None, None)
        made.advance(0.1)
        assert (a.closed, b.closed) == ((1013, "unavailable"), None)
        made.link.connect()
        made.settle()
        made.publish(b"3")
        made.settle()
        assert b.sent == ["3"]


def test_a_client_that_enters_while_the_order_is_away_waits_and_is_then_refused() -> None:
    with far_hall(timeout=2.0) as made:
        made.link.cut("cut")
        a = made.seat()
        made.advance(1.0)
        assert a.closed is None
        made.advance(1.0)
        assert a.closed == (1013, "unavailable")


def test_an_outage_that_is_shorter_than_the_timeout_is_seen_by_no_client() -> None:
    with far_hall() as made:
        a, b, c = made.enter(), made.enter(), made.json()
        c.begin('{"type": "subscribe", "room": "lobby"}')
        made.settle()
        made.link.cut("cut")
        push(a, "1", "2")
        late = made.seat()
        made.advance(2.0)
        made.link.connect()
        made.settle()
        made.publish(b"3")
        made.settle()
        assert (a.sent, b.sent, late.sent) == (["3"], ["1", "2", "3"], ["3"])
        assert [event["data"] for event in c.events if event["type"] == "message"] == ["1", "2", "3"]
        assert [seat.closed for seat in (a, b, c, late)] == [None] * 4


def test_a_break_closes_plain_clients_over_some_seconds_and_tells_json_clients() -> None:
    with far_hall() as made:
        a, c = made.enter(), made.json()
        c.begin('{"type": "subscribe", "room": "lobby", "presence": true}')
        made.settle()
        made.link.cut("cut")
        made.publish(b"1", b"2", b"3")
        made.order.trim("lobby", 1)
        made.link.connect()
        made.settle()
        made.publish(b"4")
        made.settle()
        told = [event for event in c.events if event["type"] in ("gap", "message")]
        assert [event.get("data", event["offset"]) for event in told] == [2, "3", "4"]
        assert told[0]["epoch"] == made.order.rooms["lobby"].epoch and {who["id"] for who in told[0]["present"]} >= {c.id}
        assert a.sent == []
        made.advance(CLOSING_SECONDS)
        assert (a.closed, c.closed) == ((4410, "gap"), None)


def test_members_that_are_told_the_same_break_share_its_frame() -> None:
    with far_hall() as made:
        seats = [made.json() for _ in range(3)]
        for seat in seats:
            seat.begin('{"type": "subscribe", "room": "lobby"}')
        made.settle()
        made.order.restart()
        made.link.connect()
        made.settle()
        gaps = [[each for each in seat.wire.prepared if b'"gap"' in each.payload] for seat in seats]
        assert all(len(each) == 1 for each in gaps) and len({id(each[0]) for each in gaps}) == 1


def test_json_clients_are_told_unavailable_and_the_same_key_works_afterwards() -> None:
    with far_hall(timeout=2.0) as made:
        a = made.json()
        request = '{"type": "publish", "room": "lobby", "data": "x", "key": "k", "id": 1}'
        a.begin(request)
        made.link.ask_next()  # the order has it, and the answer is lost
        made.link.cut("cut")
        made.advance(2.0)
        assert a.events[-1]["code"] == "unavailable" and a.closed is None
        made.link.connect()
        made.settle()
        a.begin(request)
        made.settle()
        assert (a.events[-1]["duplicate"], a.events[-1]["offset"]) == (True, 1)


def test_in_rooms_with_a_rate_one_message_waits_for_the_answer_to_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    with far_hall(policy={"one_at_a_time": True}) as made:
        a, b = made.enter(), made.enter()
        publish, refusals = made.order.publish, [0.5] * 3

        def limited(link: FakeLink, publication: Publication) -> Any:
            if refusals:
                raise RateLimited("too fast", refusals.pop())
            return publish(link, publication)

        monkeypatch.setattr(made.order, "publish", limited)
        a.begin("1")
        assert a.waiting is not None
        made.settle()
        assert (a.closed, b.sent) == (None, [])
        for _ in range(5):
            made.advance(0.5)
            made.settle()
        assert a.waiting is None and b.sent == ["1"]


def test_a_held_room_makes_publishers_wait() -> None:
    with far_hall() as made:
        a, b = made.enter(), made.enter()
        made.app.rooms.broker.held("lobby", True)  # type: ignore[attr-defined]
        a.begin("1")
        made.settle()
        assert a.waiting is not None and b.sent == []
        made.app.rooms.broker.held("lobby", False)  # type: ignore[attr-defined]
        made.settle()
        assert a.waiting is None and b.sent == ["1"]


def test_a_client_that_goes_while_it_enters_leaves_nothing() -> None:
    with far_hall() as made:
        a = made.seat()
        made.link.ask_next()
        a.drop()
        made.settle()
        assert made.order.rooms["lobby"].members == {}
        assert made.app.rooms.broker.member_count == 0  # type: ignore[attr-defined]


def ask(made: FarHall, call: Callable[[RoomsHandle], Any]) -> Any:
    future = call(RoomsHandle(made.app))
    made.settle()
    return future.result(timeout=0)


def test_the_program_publishes_and_reads_over_the_link() -> None:
    with far_hall() as made:
        a = made.enter()
        assert ask(made, lambda rooms: rooms["lobby"].publish("hello", key="k")).offset == 1
        assert ask(made, lambda rooms: rooms["lobby"].history()).messages[0].payload == b"hello"
        assert ask(made, lambda rooms: rooms["lobby"].presence()).count == 1
        assert [room.room for room in ask(made, lambda rooms: rooms.list()).rooms] == ["lobby"]
        assert a.sent == ["hello"]


def test_a_client_that_comes_back_has_what_it_missed() -> None:
    with far_hall() as made:
        made.publish(b"1", b"2", b"3")
        epoch = made.order.rooms["lobby"].epoch
        assert made.enter(query=f"since={epoch}:1").sent == ["2", "3"]
        assert made.enter(query="since=other:1").closed == (4410, "gap")


class Gate:
    def enter(self, visitor: object, room: str) -> bool:
        return room == "lobby"

    async def publish(self, visitor: object, room: str, message: str | bytes) -> str | bytes | None:
        return f"<{message!s}>"


def test_a_policy_works_as_with_rooms_in_memory() -> None:
    with far_hall(hooks=Gate()) as made:
        a, b, other = made.enter(), made.enter(), made.enter("other")
        a.begin("x")
        made.settle()
        assert b.sent == ["<x>"] and other.closed == (1008, "not allowed here")
