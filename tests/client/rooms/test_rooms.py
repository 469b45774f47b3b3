"""The rooms of a client against a real rooms app: subscriptions, publications, presence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.fake_loop import Loop
from tests.support.fake_server import story
from tests.support.rooms_client import FakeClient, make_hall
from wsdaemon.client import Acknowledged, ClientError, RoomError, RoomGap, RoomMessage, Uncertain
from wsdaemon.client.rooms.requests import KEY_SECONDS, MAX_PENDING, REPEAT_SECONDS
from wsdaemon.client.rooms.subscription import FULL, OVERFULL, SubscriptionPhase


class Table:
    """A client, a daemon, and the messages of one subscription."""

    def __init__(self, loop: Loop, **policy: Any) -> None:
        self.loop = loop
        self.hall = make_hall(loop, **policy)
        self.client = FakeClient(loop)
        self.rooms = self.client.rooms
        self.items: list[Any] = []

    def connect(self) -> None:
        self.client.connect(self.hall)
        self.client.pump()

    def subscribe(self, **options: Any) -> Any:
        subscription = self.rooms["lobby"].subscribe(self.items.append, **options)
        self.client.pump()
        return subscription

    def probe(self) -> None:
        """The client learns the epoch of a room that is new to it: the answers of two requests."""
        for _ in range(2):
            self.client.pump_up()
            self.client.pump_down()

    def say(self, *messages: str) -> None:
        """Another client publishes."""
        seat = self.hall.json()
        for message in messages:
            seat.begin(json.dumps({"type": "publish", "data": message}))
            while seat.waiting is not None:
                self.loop.advance(0.01)
        self.client.pump()

    @property
    def data(self) -> list[Any]:
        return ["GAP" if isinstance(item, RoomGap) else item.data for item in self.items]


@contextmanager
def table(**policy: Any) -> Iterator[Table]:
    with Loop() as loop:
        made = Table(loop, **policy)
        yield made
        made.client.cut()
        made.rooms.ended(None)
        loop.settle()
        assert loop.problems == []
        assert made.client.failures == []


def test_messages_come_in_order() -> None:
    with table() as here:
        here.connect()
        subscription = here.subscribe()
        assert subscription.phase is SubscriptionPhase.INSIDE
        here.say("a", "b")
        assert here.data == ["a", "b"]
        first = here.items[0]
        assert (first.room, first.offset, isinstance(first, RoomMessage)) == ("lobby", 1, True)
        assert (subscription.epoch, subscription.offset) == (first.epoch, 2)


def test_a_subscription_resumes_without_loss_or_repetition() -> None:
    with table() as here:
        here.subscribe()
        here.connect()
        here.say("a", "b")
        here.client.cut()
        here.say("c", "d")
        here.connect()
        here.say("e")
        assert here.data == ["a", "b", "c", "d", "e"]


def test_messages_that_the_room_has_forgotten_are_a_gap() -> None:
    with table(history=2) as here:
        here.subscribe()
        here.connect()
        here.say("a")
        here.client.cut()
        here.say("b", "c", "d", "e")
        here.connect()
        here.say("f")
        assert here.data == ["a", "GAP", "f"]
        assert here.items[1].offset == 5


def test_a_daemon_that_has_begun_anew_is_a_gap() -> None:
    with table() as here:
        here.subscribe()
        here.connect()
        here.say("a")
        here.client.cut()
        here.hall = make_hall(here.loop)
        here.connect()
        here.say("b")
        assert here.data == ["a", "GAP", "b"]


def test_a_position_that_the_program_knows_is_where_a_subscription_begins() -> None:
    with table() as here:
        here.connect()
        here.say("a", "b", "c")
        past = here.rooms["lobby"].history()
        here.client.pump()
        first = past.result().messages[0]
        here.subscribe(since=(first.epoch, first.offset))
        assert here.data == ["b", "c"]


def test_gaps_may_have_a_callback_of_their_own() -> None:
    with table(history=1) as here:
        gaps: list[RoomGap] = []
        here.subscribe(on_gap=gaps.append)
        here.connect()
        here.say("a")
        here.client.cut()
        here.say("b", "c", "d")
        here.connect()
        assert here.data == ["a"]
        assert len(gaps) == 1


def test_own_messages_keep_their_place_and_may_be_hidden() -> None:
    for own, expected in ((True, ["mine", "theirs", "mine too"]), (False, ["theirs"])):
        with table() as here:
            here.connect()
            here.subscribe(own=own)
            here.rooms["lobby"].publish("mine")
            here.client.pump()
            here.say("theirs")
            here.client.cut()
            here.connect()
            here.rooms["lobby"].publish("mine too")
            here.client.pump()
            assert here.data == expected


def test_a_publication_is_acknowledged() -> None:
    with table() as here:
        here.connect()
        text, binary = here.rooms["lobby"].publish("a"), here.rooms["lobby"].publish(b"\x00\xff", key="k")
        here.client.pump()
        assert (text.result().offset, binary.result()) == (1, Acknowledged("lobby", "k", text.result().epoch, 2))
        again = here.rooms["lobby"].publish(b"\x00\xff", key="k")
        here.client.pump()
        assert (again.result().offset, again.result().duplicate) == (2, True)


def test_a_publication_without_an_answer_is_repeated_and_published_once() -> None:
    with table() as here:
        here.connect()
        reply = here.rooms["lobby"].publish("once")
        here.probe()
        here.client.pump_up()
        here.client.cut()  # the room has it, and the answer is lost
        assert not reply.done()
        here.connect()
        assert (reply.result().offset, reply.result().duplicate) == (1, True)
        past = here.rooms["lobby"].history()
        here.client.pump()
        assert [message.data for message in past.result().messages] == ["once"]


def test_publications_keep_their_order_over_connections() -> None:
    with table() as here:
        here.subscribe()
        for number in range(3):
            here.rooms["lobby"].publish(str(number))
        here.connect()
        here.rooms["lobby"].publish("3")
        here.client.pump_up(1)
        here.client.cut()
        here.rooms["lobby"].publish("4")
        here.connect()
        assert here.data == ["0", "1", "2", "3", "4"]


def test_a_publication_is_uncertain_when_the_room_has_begun_anew() -> None:
    with table() as here:
        here.connect()
        here.rooms["lobby"].publish("first")
        here.client.pump()
        reply = here.rooms["lobby"].publish("second", key="k2")
        here.client.pump_up()
        here.client.cut()
        here.hall = make_hall(here.loop)
        here.connect()
        error = reply.exception()
        assert isinstance(error, Uncertain)
        assert (error.room, error.key, error.data) == ("lobby", "k2", "second")
        past = here.rooms["lobby"].history()
        here.client.pump()
        assert past.result().messages == ()


def test_a_publication_that_was_never_sent_is_not_uncertain() -> None:
    with table() as here:
        reply = here.rooms["lobby"].publish("patient")
        here.loop.advance(10 * KEY_SECONDS)
        assert not reply.done()
        here.connect()
        assert reply.result().offset == 1


def test_an_unanswered_publication_is_uncertain_after_its_key_is_forgotten() -> None:
    with table() as here:
        here.connect()
        reply = here.rooms["lobby"].publish("lost")
        here.probe()
        here.client.cut()
        here.loop.advance(REPEAT_SECONDS + 1.0)
        here.connect()  # too late to repeat it
        assert not reply.done()
        past = here.rooms["lobby"].history()
        here.client.pump()
        assert past.result().messages == ()
        here.loop.advance(KEY_SECONDS)
        assert isinstance(reply.exception(), Uncertain)


def test_the_end_of_a_client_leaves_no_reply_open() -> None:
    with table() as here:
        here.connect()
        sent = here.rooms["lobby"].publish("sent")
        here.probe()
        here.client.cut()
        waiting = here.rooms["lobby"].publish("never sent")
        here.rooms.ended(None)
        assert isinstance(sent.exception(), Uncertain)
        assert isinstance(waiting.exception(), ClientError)
        assert not isinstance(waiting.exception(), Uncertain)


def test_requests_have_a_bound() -> None:
    with table() as here:
        replies = [here.rooms["lobby"].publish("x") for _ in range(MAX_PENDING + 1)]
        assert "1000 requests" in str(replies[-1].exception())
        assert not replies[0].done()


def test_refusals_are_errors_of_their_requests() -> None:
    with table(publish="server") as here:
        here.connect()
        reply = here.rooms["lobby"].publish("x")
        here.client.pump()
        error = reply.exception()
        assert isinstance(error, RoomError)
        assert error.code == "forbidden"


def test_a_room_that_refuses_for_good_ends_the_subscription() -> None:
    with table() as here:
        here.connect()
        subscription = here.rooms["two words\n"].subscribe()
        granted = here.loop.create_task(subscription.granted())
        here.client.pump()
        here.loop.settle()
        error = granted.exception()
        assert isinstance(error, RoomError)
        assert error.code == "bad_room"


def test_a_full_room_is_asked_again_when_the_client_comes_back() -> None:
    with table() as here:
        here.connect()
        subscription = here.subscribe()
        here.say("a")
        here.client.cut()
        here.client.connect(here.hall)
        here.client.up.clear()  # the answer of the test instead
        number = subscription.asked_id
        here.rooms.received(json.dumps({"type": "error", "id": number, "code": "room_full", "message": "full"}))
        assert "outside" in repr(subscription)
        here.loop.advance(2.1)
        here.client.pump()
        assert "inside" in repr(subscription)
        here.say("b")
        assert here.data == ["a", "b"]


def test_the_event_gap_is_told_and_the_room_goes_on() -> None:
    with table() as here:
        here.connect()
        subscription = here.subscribe()
        here.say("a")
        here.rooms.received(json.dumps({"type": "gap", "room": "lobby", "epoch": "E2", "offset": 40}))
        event = {"type": "message", "room": "lobby", "epoch": "E2", "offset": 41, "time": 1.0, "publisher": None, "data": "b"}
        here.rooms.received(json.dumps(event))
        here.rooms.received(json.dumps(event))
        assert here.data == ["a", "GAP", "b"]
        assert (subscription.epoch, subscription.offset) == ("E2", 41)


def test_the_event_gap_may_bring_the_latest_message_and_the_members() -> None:
    with table() as here:
        here.connect()
        subscription = here.subscribe(presence=True)
        latest = {"type": "message", "room": "lobby", "epoch": "E2", "offset": 40, "time": 1.0, "publisher": None, "data": "latest"}
        present = [{"id": "m9", "identity": None}]
        event = {"type": "gap", "room": "lobby", "epoch": "E2", "offset": 40, "messages": [latest], "count": 1, "present": present}
        here.rooms.received(json.dumps(event))
        assert here.data == ["GAP", "latest"]
        assert list(subscription.members) == ["m9"]


def test_a_hole_in_the_offsets_is_a_gap() -> None:
    with table() as here:
        here.connect()
        here.subscribe()
        here.say("a")
        epoch = here.items[0].epoch
        here.rooms.received(
            json.dumps({"type": "message", "room": "lobby", "epoch": epoch, "offset": 5, "time": 1.0, "publisher": None, "data": "e"})
        )
        assert here.data == ["a", "GAP", "e"]


def test_latest_is_the_first_message_of_a_newcomer() -> None:
    with table(latest=True) as here:
        here.connect()
        here.say("old", "last")
        here.subscribe()
        here.say("new")
        assert here.data == ["last", "new"]


def test_presence_is_kept_up_to_date() -> None:
    with table() as here:
        here.connect()
        joined: list[str] = []
        left: list[str] = []
        subscription = here.subscribe(on_joined=lambda member: joined.append(member.id), on_left=lambda member: left.append(member.id))
        other = here.hall.json()
        other.ask("subscribe")
        here.client.pump()
        assert other.id in subscription.members
        other.drop()
        here.client.pump()
        assert (joined[-1:], left) == ([other.id], [other.id])
        reply = here.rooms["lobby"].presence()
        here.client.pump()
        assert reply.result().count == len(subscription.members) == 1


def test_an_iteration_gets_the_same() -> None:
    with table(history=2) as here:
        subscription = here.rooms["lobby"].subscribe()
        seen: list[Any] = []

        async def work() -> None:
            seen.extend([item async for item in subscription])

        task = here.loop.create_task(work())
        here.connect()
        here.say("a", "b")
        here.client.cut()
        here.say("c", "d", "e")
        here.connect()
        subscription.unsubscribe()
        here.loop.settle()
        assert ["GAP" if isinstance(item, RoomGap) else item.data for item in seen] == ["a", "b", "GAP"]
        assert task.done()
        assert task.exception() is None


def test_coroutines_of_one_subscription_run_one_after_the_other() -> None:
    with table() as here:
        done: list[Any] = []

        async def slow(item: Any) -> None:
            await asyncio.sleep(1.0)
            done.append(item.data)

        here.connect()
        here.rooms["lobby"].subscribe(slow)
        here.client.pump()
        here.say("a", "b", "c")
        here.loop.advance(1.5)
        assert done == ["a"]
        here.loop.advance(2.0)
        assert done == ["a", "b", "c"]


def test_a_slow_program_stops_the_reading_and_loses_nothing() -> None:
    with table(history=0) as here:
        here.connect()
        subscription = here.rooms["lobby"].subscribe()
        here.client.pump()
        here.say(*map(str, range(2 * FULL)))
        assert here.client.held
        seen: list[Any] = []

        async def work() -> None:
            seen.extend([await anext(subscription) for _ in range(2 * FULL)])

        task = here.loop.create_task(work())
        for _ in range(10):
            here.loop.settle()
            here.client.pump()
        assert task.done()
        assert [item.data for item in seen] == list(map(str, range(2 * FULL)))


def test_a_slow_program_that_waits_for_an_answer_does_not_wait_for_ever() -> None:
    """While an answer is awaited, the client reads on; what does not fit is asked for again from the history."""
    with table(history=10_000) as here:
        here.connect()
        subscription = here.rooms["lobby"].subscribe()
        here.client.pump()
        here.say(*map(str, range(FULL)))
        assert here.client.held
        reply = here.rooms["lobby"].publish("mine")
        here.loop.settle()
        assert not here.client.held
        here.say(*map(str, range(FULL, 2 * OVERFULL)))
        here.client.pump()
        assert reply.done()
        seen: list[Any] = []

        async def work() -> None:
            async for item in subscription:
                seen.append(item)  # noqa: PERF401 - each one as it comes

        here.loop.create_task(work())
        for _ in range(40):
            here.loop.settle()
            here.client.pump()
        assert [item.offset for item in seen] == list(range(1, 2 * OVERFULL + 2))


def test_unsubscribe_leaves_the_room() -> None:
    with table() as here:
        here.connect()
        subscription = here.subscribe()
        subscription.unsubscribe()
        here.client.pump()
        here.say("a")
        assert here.data == []
        here.subscribe()
        here.say("b")
        assert here.data == ["b"]


def test_a_second_subscription_to_a_room_is_refused() -> None:
    with table() as here:
        here.connect()
        here.subscribe()
        other = here.rooms["lobby"].subscribe()
        assert isinstance(other.error, RoomError)


def test_a_daemon_that_breaks_the_rules_is_told_and_changes_nothing() -> None:
    with table() as here:
        here.connect()
        here.subscribe()
        for bad in ("[]", "{", '{"type": "message", "room": "lobby"}', '{"type": "joined", "room": "lobby", "members": [5]}', b"\xff"):
            here.rooms.received(bad)
        here.say("a")
        assert here.data == ["a"]
        assert len(here.client.failures) == 5
        here.client.failures.clear()


def test_the_client_offers_the_subprotocol() -> None:
    with story() as here:
        here.client.rooms["lobby"].subscribe()
        end = here.begin()
        assert end.header("Sec-WebSocket-Protocol") == "rooms.v1.json"
        end.accept("rooms.v1.json")
        here.loop.settle()
        assert [json.loads(message)["type"] for message in end.messages()] == ["subscribe"]
        end.send('{"type": "pong"}')
        assert here.heard.messages == []


def test_a_client_that_is_open_without_rooms_connects_anew() -> None:
    with story() as here:
        end = here.open()
        here.client.rooms["lobby"].subscribe()
        assert end.frames()[-1].opcode == 8
        end.close()
        here.loop.settle()
        here.loop.advance(0.01)
        here.end.accept("rooms.v1.json")
        here.loop.settle()
        assert len(here.end.messages()) == 1


def test_a_server_without_rooms_ends_the_subscriptions_and_not_the_client() -> None:
    with story() as here:
        subscription = here.client.rooms["lobby"].subscribe()
        here.open()
        assert "does not speak" in str(subscription.error)
        assert here.client.is_open
        assert isinstance(here.client.rooms["lobby"].publish("x").exception(), ClientError)


@pytest.mark.parametrize("message", [5, None, ["x"]])
def test_only_messages_are_published(message: Any) -> None:
    with table() as here, pytest.raises(TypeError):
        here.rooms["lobby"].publish(message)
