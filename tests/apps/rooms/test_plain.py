"""apps/rooms/plain.py: clients without a library."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.rooms import Hall, Seat, hall
from wsdaemon.apps.rooms.mount_rooms import CLOSING_SECONDS
from wsdaemon.brokers.contract import Subscribed
from wsdaemon.brokers.errors import BrokerUnavailable


def position(made: Hall, room: str = "lobby") -> tuple[str, int]:
    page = made.memory.history(room)
    return page.epoch, page.offset


def test_what_one_sends_all_others_get_as_it_came() -> None:
    with hall() as made:
        a, b, c, elsewhere = made.seat(), made.seat(), made.seat(), made.seat("other")
        a.send("grüße")
        b.send(b"\x00\xff")
        assert (a.sent, b.sent, c.sent, elsewhere.sent) == ([b"\x00\xff"], ["grüße"], ["grüße", b"\x00\xff"], [])


def test_echo_to_sender() -> None:
    with hall(policy={"echo_to_sender": True}) as made:
        a = made.seat()
        a.send("x")
        assert a.sent == ["x"]


def test_what_comes_in_a_burst_leaves_in_one_write() -> None:
    with hall() as made:
        a, b = made.seat(), made.seat()
        for number in range(8):
            assert a.session.received_payload(str(number).encode(), True) is None
        assert b.sent == list("01234567")
        assert b.wire.writes == 1


@pytest.mark.parametrize("publish", ["server", "none"])
def test_one_who_may_not_publish_is_closed_when_it_does(publish: str) -> None:
    with hall(policy={"publish": publish}) as made:
        a, b = made.seat(), made.seat()
        a.send("x")
        assert a.closed == (1008, "forbidden")
        assert b.sent == []
        assert made.memory.presence("lobby").count == 1


@pytest.mark.parametrize(
    ("limits", "room", "expected"),
    [
        ({"max_members": 1}, "lobby", (1013, "room_full")),
        ({"max_rooms": 1}, "other", (1013, "too_many_rooms")),
        ({}, "a*", (1008, "bad_room")),
        ({}, "x" * 300, (1008, "bad_room")),
    ],
)
def test_refused_at_the_door(limits: Any, room: str, expected: tuple[int, str]) -> None:
    with hall(**limits) as made:
        first = made.seat()
        late = made.seat(room)
        assert late.closed == expected
        assert first.closed is None
        late.drop()
        assert made.memory.presence("lobby").count == 1


def test_a_path_that_names_no_room_is_for_the_subprotocol_alone() -> None:
    with hall(policy={"parameters": ()}) as made:
        assert made.seat().closed == (1008, "subprotocol_required")


def test_all_parameters_of_the_path_name_the_room() -> None:
    """Two tenants' rooms of one name are two rooms."""
    with hall(policy={"parameters": ("room", "room")}) as made:
        made.seat("a")
        assert made.memory.presence("a/a").count == 1


def test_latest_is_given_to_newcomers() -> None:
    with hall(latest=True) as made:
        a = made.seat()
        assert a.sent == []
        a.send("1")
        a.send("2")
        assert made.seat().sent == ["2"]


def test_since_gives_exactly_what_was_missed() -> None:
    with hall(history=10) as made:
        a = made.seat()
        for text in "1234":
            a.send(text)
        epoch, offset = position(made)
        assert offset == 4
        back = made.seat(query=f"x=1&since={epoch}:2")
        assert back.sent == ["3", "4"]
        a.send("5")
        assert back.sent == ["3", "4", "5"]
        assert made.seat(query=f"since={epoch}:5").sent == []


@pytest.mark.parametrize("latest", [False, True])
@pytest.mark.parametrize("since", ["{epoch}:0", "other:4", "{epoch}:9"])
def test_a_gap_is_said_with_the_close(since: str, latest: bool) -> None:
    with hall(history=2, latest=latest) as made:
        a = made.seat()
        for text in "1234":
            a.send(text)
        epoch, _ = position(made)
        back = made.seat(query=f"since={since.format(epoch=epoch)}")
        assert back.closed == (4410, "gap")
        assert back.sent == []
        assert made.memory.presence("lobby").count == 1


@pytest.mark.parametrize("query", ["since=", "since=x", "since=:1", "since=e:-1", "since=e:1x", "since=e:1&since=e:2", "since=e%20f:1"])
def test_a_since_that_is_none(query: str) -> None:
    with hall(history=2) as made:
        assert made.seat(query=query).closed == (1008, "bad_since")
        assert made.memory.room_count == 0


def test_a_long_history_is_sent_as_fast_as_the_client_takes_it() -> None:
    with hall(history=1000, policy={"send_backlog": 4000}) as made:
        a = made.seat()
        for number in range(60):
            a.send(str(number))
        epoch, _ = position(made)
        back = made.seat(query=f"since={epoch}:0")
        assert back.sent == [str(number) for number in range(60)]
        assert back.wire.writes > 3


def long_history(made: Hall) -> tuple[Seat, Seat]:
    """One in the room, and one who comes back to a long history and does not read."""
    a = made.seat()
    for number in range(60):
        a.send(str(number))
    epoch, _ = position(made)
    slow = made.seat(query=f"since={epoch}:0", congested=True)
    assert 0 < len(slow.sent) < 60
    return a, slow


def test_a_client_that_does_not_read_its_history_waits_and_then_misses_nothing() -> None:
    with hall(history=1000, policy={"send_backlog": 4000}) as made:
        a, slow = long_history(made)
        got = len(slow.sent)
        slow.send("mine waits")
        assert slow.waiting is not None
        a.send("60")
        assert len(slow.sent) == got
        slow.read()
        assert slow.sent == [str(number) for number in range(61)]
        assert slow.waiting is None
        assert a.sent == ["mine waits"]
        a.send("61")
        assert slow.sent[-1] == "61"
        slow.send("after")
        assert a.sent[-1] == "after"


def test_a_gap_that_opens_while_the_history_is_sent_is_said() -> None:
    with hall(history=60, policy={"send_backlog": 4000}) as made:
        a, slow = long_history(made)
        for number in range(60, 110):
            a.send(str(number))
        slow.read()
        assert slow.closed == (4410, "gap")
        assert slow.sent == [str(number) for number in range(len(slow.sent))]


def test_one_who_goes_while_it_is_sent_its_history_leaves_no_trace() -> None:
    with hall(history=1000, policy={"send_backlog": 4000}) as made:
        a, slow = long_history(made)
        slow.drop()
        made.loop.settle()
        assert [who.id for who in made.memory.presence("lobby").members] == [a.id]


def test_a_busy_room_makes_its_publishers_wait_and_loses_nothing() -> None:
    with hall(max_pending=3) as made:
        a, b, c = made.seat(), made.seat(), made.seat()
        results = [seat.session.received_payload(f"{seat.id} {number}".encode(), True) for number in range(3) for seat in (a, b)]
        late = [result for result in results if result is not None]
        assert len(late) == 3
        tasks = [made.loop.create_task(a._wait(result)) for result in late]
        made.loop.settle()
        assert all(task.done() for task in tasks)
        assert sorted(map(str, c.sent)) == sorted(f"{seat.id} {number}" for number in range(3) for seat in (a, b))
        assert made.app.rooms.crowded == {}


def test_a_rooms_rate_makes_its_publishers_wait() -> None:
    with hall(rate=2.0, burst=1) as made:
        a, b = made.seat(), made.seat()
        a.send("1")
        a.send("2")
        assert a.waiting is not None
        assert b.sent == ["1"]
        made.now += 0.5
        made.loop.advance(0.5)
        assert a.waiting is None
        assert b.sent == ["1", "2"]


def test_of_many_publishers_that_wait_for_the_rate_one_tries_again() -> None:
    """Were each to try at each token, a thousand clients would take all of the loop's time."""
    with hall(rate=2.0, burst=1) as made:
        reader, *publishers = [made.seat() for _ in range(41)]
        tried: list[str] = []
        publish = made.memory.publish

        def count(room: str, payload: bytes, text: bool, **options: Any) -> Any:
            tried.append(payload.decode())
            return publish(room, payload, text, **options)

        made.memory.publish = count  # type: ignore[method-assign]
        for publisher in publishers:
            publisher.send(publisher.id)
        del tried[:]
        for _ in range(39):
            made.advance(0.5)
        assert reader.sent == [publisher.id for publisher in publishers]
        assert len(tried) <= 2 * 39
        assert made.app.rooms.throttled == {}


def test_publishers_that_wait_for_the_rate_count_and_have_a_bound() -> None:
    with hall(rate=1.0, burst=1, memory=200_000) as made:
        publishers = [made.seat() for _ in range(20)]
        for publisher in publishers:
            publisher.send("x" * 1000)
        waiting = [publisher for publisher in publishers if publisher.waiting is not None]
        assert 3 < len(waiting) < 10
        assert {publisher.closed for publisher in publishers if publisher.closed} == {(1013, "memory")}
        for publisher in waiting[:-1]:
            publisher.drop()
        made.advance(1.0)
        made.advance(1.0)
        assert waiting[-1].waiting is None, "messages of lost connections take no part of the rate"
        assert made.memory.history("lobby").offset == 2
        assert made.app.rooms.throttled == {}


def test_one_that_fails_harms_no_one_else() -> None:
    def send(wires: Any, messages: Any) -> None:
        raise ValueError("broken")

    with hall(send=send) as made:
        a, b = made.seat(), made.seat()
        a.send("x")
        assert b.closed == (1011, "internal error")
        assert made.failures == [(b.id, "delivering", "broken")]
        assert a.closed is None


def test_the_end_of_a_connection_is_the_end_of_its_membership() -> None:
    with hall() as made:
        a = made.seat()
        a.drop()
        assert made.memory.presence("lobby").count == 0


def test_a_break_closes_at_a_random_moment_of_the_next_seconds_and_gives_no_message_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [5.0, 1.0]
    monkeypatch.setattr("random.uniform", lambda low, high: moments.pop() if (low, high) == (0, CLOSING_SECONDS) else None)
    with hall() as made:
        a, b, c = made.seat(), made.seat(), made.seat()
        for seat in (a, b):
            seat.session.interrupted("lobby", Subscribed("lobby", "e2", 7, gap=True))
        c.send("later")
        assert (a.closed, b.closed) == (None, None)
        made.advance(1.0)
        assert (a.closed, b.closed) == ((4410, "gap"), None)
        made.advance(4.0)
        assert (b.closed, a.sent, b.sent) == ((4410, "gap"), [], [])


def test_an_order_that_does_not_answer_closes_with_try_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def publish(*arguments: object, **options: object) -> None:
        raise BrokerUnavailable("the order does not answer")

    with hall() as made:
        a = made.seat()
        monkeypatch.setattr(made.app.rooms.broker, "publish", publish)
        a.send("x")
        assert a.closed == (1013, "unavailable")
