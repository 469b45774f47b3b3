"""`slow_client = wait`: a publisher waits until the slowest member has room."""

from __future__ import annotations

from tests.daemon.test_brokers import Room
from tests.support.fakes import Client, House, binary, closing, frame
from tests.support.rooms import Hall, Seat, hall
from wsdaemon.wire.writer import JOINED_BYTES

WAITS = {"waits": True}
BACKLOG = 64 * 1024


def full(made: Hall, publisher: Seat, count: int) -> None:
    """A publisher that goes on until it has to wait: `count` are taken from it, and the one that waits."""
    for number in range(1, count + 1):
        publisher.send(str(number))
        assert publisher.waiting is None
    publisher.send(str(count + 1))
    assert publisher.waiting is not None


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(1, count + 1)]


def test_a_publisher_waits_for_the_slowest() -> None:
    with hall(policy=WAITS, max_pending=3) as made:
        a, b, slow = made.seat(), made.seat(), made.seat()
        slow.wire.queued = slow.wire.congested = True
        full(made, a, 3)
        assert b.sent == [], "nobody is given what not everyone has room for"
        slow.read()
        assert b.sent == slow.sent == numbers(4)
        assert a.waiting is None
        assert made.app.rooms.crowded == {}


def test_without_slow_members_nobody_waits() -> None:
    with hall(policy=WAITS, max_pending=3) as made:
        a, b = made.seat(), made.seat()
        for number in numbers(10):
            a.send(number)
            assert a.waiting is None
        assert b.sent == numbers(10)


def test_one_who_is_slow_as_a_publisher_alone_holds_nobody() -> None:
    with hall(policy=WAITS) as made:
        a, b = made.seat(), made.seat()
        a.wire.queued = a.wire.congested = True
        a.send("1")
        assert b.sent == ["1"]


def test_when_the_slow_one_goes_the_others_go_on() -> None:
    with hall(policy=WAITS, max_pending=3) as made:
        a, b, slow = made.seat(), made.seat(), made.seat()
        slow.wire.queued = slow.wire.congested = True
        full(made, a, 3)
        slow.drop()
        assert b.sent == numbers(4)
        assert a.waiting is None


def test_all_slow_ones_are_waited_for() -> None:
    with hall(policy=WAITS) as made:
        a, slow, slower = made.seat(), made.seat(), made.seat()
        for seat in (slow, slower):
            seat.wire.queued = seat.wire.congested = True
        a.send("1")
        slow.read()
        assert slow.sent == []
        slower.read()
        assert slow.sent == slower.sent == ["1"]


def test_other_rooms_go_on() -> None:
    with hall(policy=WAITS, max_pending=1) as made:
        a, slow = made.seat(), made.seat()
        c, d = made.seat("other"), made.seat("other")
        slow.wire.queued = slow.wire.congested = True
        full(made, a, 1)
        c.send("1")
        assert d.sent == ["1"]


def test_a_member_of_the_subprotocol_is_waited_for_and_waits() -> None:
    with hall(policy=WAITS, max_pending=2) as made:
        a, slow = made.json(), made.json()
        slow.ask("subscribe")
        slow.take()
        slow.wire.queued = slow.wire.congested = True
        for _ in range(2):
            assert a.ask("publish", data="x")["type"] == "published"
        a.send('{"type": "publish", "data": "x"}')
        assert a.waiting is not None
        assert slow.take_events() == []
        slow.read()
        assert [event["offset"] for event in slow.take_events()] == [1, 2, 3]
        assert a.waiting is None
        assert a.events[-1]["type"] == "published"


def test_the_program_that_publishes_waits_too() -> None:
    with hall(policy=WAITS, max_pending=2) as made:
        slow = made.seat()
        slow.wire.queued = slow.wire.congested = True
        tasks = [made.loop.create_task(made.app.rooms.publish("lobby", b"x", True)) for _ in range(4)]
        made.loop.settle()
        assert [task.done() for task in tasks] == [True, True, False, False]
        slow.read()
        made.loop.settle()
        assert [task.result().offset for task in tasks] == [1, 2, 3, 4]


def test_an_app_that_stops_leaves_nothing_behind() -> None:
    with hall(policy=WAITS) as made:
        a, slow = made.seat(), made.seat()
        slow.wire.queued = slow.wire.congested = True
        a.send("1")
        stopping = made.loop.create_task(made.app.stop())
        made.loop.settle()
        stopping.result()
        assert made.app.rooms._tasks == set()
        assert slow.sent == []


# -- with real wires


def payload(number: int) -> bytes:
    return b"%06d" % number + bytes(1018)


def flood(made: House, count: int) -> tuple[Client, Client, Client, list[bytes]]:
    """One who does not read, one who does, one who publishes; and what is published."""
    room = Room(made, slow_client="wait", send_backlog=BACKLOG)
    slow, fast, publisher = room.client(), room.client(), room.client()
    slow.transport.stuck = True
    return slow, fast, publisher, [binary(payload(number)) for number in range(count)]


def test_what_waits_for_a_member_has_a_bound_and_nothing_is_lost(made: House) -> None:
    slow, fast, publisher, messages = flood(made, 1000)
    for message in messages:
        publisher.send(message)
        made.loop.settle()
        assert slow.writer.unsent() <= JOINED_BYTES + 2000
    assert slow.writer.live
    assert not publisher.transport.reading
    got = [frame.payload for frame in fast.frames()]
    assert len(got) < 100, "the others wait with it"
    for _ in range(1000):
        slow.transport.unsent, slow.transport.writing_paused = 0, False
        slow.reader.resume_writing()
        made.loop.settle()
        assert slow.writer.unsent() <= JOINED_BYTES + 2000
    everything = [payload(number) for number in range(1000)]
    assert [frame.payload for frame in slow.frames()] == everything
    assert got + [frame.payload for frame in fast.frames()] == everything
    assert publisher.transport.reading


def test_one_who_takes_nothing_is_not_waited_for_for_ever(made: House) -> None:
    slow, fast, publisher, messages = flood(made, 200)
    for message in messages:
        publisher.send(message)
    made.loop.settle()
    for _ in range(6):
        made.loop.advance(10.0)
        assert slow.writer.live
        for client in (slow, fast):  # it is alive, it only does not read
            client.send(frame(10, b"I am here"))
    made.loop.advance(0.1)
    assert slow.frames()[-1] == closing(1013, "client reads too slowly")
    made.loop.settle()
    assert [frame.payload for frame in fast.frames() if frame.opcode == 2] == [payload(number) for number in range(200)]
    assert publisher.writer.live, publisher.ended
