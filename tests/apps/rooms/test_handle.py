"""apps/rooms/handle.py and app.py: the program's own way to publish, and the app's timers."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

import pytest

from tests.support.rooms import Hall, hall
from wsdaemon.apps.rooms import Refused, RoomsHandle
from wsdaemon.apps.rooms.mount_rooms import SWEEP_INTERVAL_SECONDS
from wsdaemon.brokers.contract import Position
from wsdaemon.brokers.errors import BadRoom


def done(made: Hall, future: Future[Any]) -> Any:
    made.loop.settle()
    return future.result(0)


def test_publish_and_look() -> None:
    with hall(history=10) as made:
        rooms = RoomsHandle(made.app)
        room = rooms["lobby"]
        assert repr(room) == "<room 'lobby'>"
        assert done(made, room.position()) == Position("", 0)
        a = made.seat()
        first = done(made, room.publish("hello", key="k"))
        assert (first.offset, first.members, first.duplicate) == (1, 1, False)
        assert done(made, room.publish("hello", key="k")).duplicate
        done(made, room.publish(memoryview(b"\x00")))
        assert a.sent == ["hello", b"\x00"]
        assert done(made, room.position()) == Position(first.epoch, 2)
        assert [message.payload for message in done(made, room.history(Position(first.epoch, 1))).messages] == [b"\x00"]
        assert [who.id for who in done(made, room.presence()).members] == [a.id]
        assert [info.room for info in done(made, rooms.list()).rooms] == ["lobby"]


def test_what_cannot_be_published() -> None:
    with hall() as made:
        rooms = RoomsHandle(made.app)
        with pytest.raises(TypeError, match="not int"):
            rooms["lobby"].publish(5)  # type: ignore[arg-type]
        with pytest.raises(BadRoom):
            done(made, rooms["a*"].publish("x"))
    with hall(policy={"publish": "none"}) as made, pytest.raises(Refused):
        done(made, RoomsHandle(made.app)["lobby"].publish("x"))
    with hall(policy={"publish": "server"}) as made:
        assert done(made, RoomsHandle(made.app)["lobby"].publish("x")).offset == 1


def test_a_burst_waits_in_order_where_the_room_is_busy() -> None:
    with hall(max_pending=2) as made:
        a = made.seat()
        room = RoomsHandle(made.app)["lobby"]
        futures = [room.publish(str(number)) for number in range(20)]
        made.loop.settle()
        assert a.sent == [str(number) for number in range(20)]
        assert [future.result(0).offset for future in futures] == list(range(1, 21))


def test_other_threads_may_publish() -> None:
    with hall() as made:
        a = made.seat()
        room = RoomsHandle(made.app)["lobby"]
        futures: list[Future[Any]] = []
        thread = threading.Thread(target=lambda: futures.append(room.publish("from afar")))
        thread.start()
        thread.join()
        assert done(made, futures[0]).offset == 1
        assert a.sent == ["from afar"]


def test_a_daemon_that_does_not_run_has_no_rooms() -> None:
    with hall() as made:
        made.app.rooms.loop = None
        with pytest.raises(RuntimeError):
            RoomsHandle(made.app)


def test_rooms_that_nobody_uses_are_swept() -> None:
    with hall(room_idle=60.0, key_age=1.0) as made:
        start = made.loop.create_task(made.app.start())
        made.loop.settle()
        assert start.done()
        made.seat("a").drop()
        made.seat("b")
        made.loop.advance(SWEEP_INTERVAL_SECONDS)
        assert made.memory.room_count == 2
        made.now += 60
        made.loop.advance(SWEEP_INTERVAL_SECONDS)
        assert made.memory.room_count == 1
        made.loop.create_task(made.app.stop())
        made.loop.settle()
        assert made.loop.timers == 0


def test_after_the_stop_nobody_waits() -> None:
    with hall(max_pending=1) as made:
        made.seat()
        room = RoomsHandle(made.app)["lobby"]
        futures = [room.publish(str(number)) for number in range(3)]
        stop = made.loop.create_task(made.app.stop())
        made.loop.settle()
        assert stop.done() and all(future.done() for future in futures)
        late = made.seat()
        assert late.closed == (1001, "closed")
