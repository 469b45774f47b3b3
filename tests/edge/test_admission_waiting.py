"""Admission while authentication takes its time: what waits meanwhile, what ends the wait, and what it leaves behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from autobahn.websocket.types import ConnectionRequest
from twisted.internet.defer import Deferred

from tests.support.admission import ADA, Chain, Door, refuse
from tests.support.fakes import House, request, text
from tests.support.mounted_classes import Recording
from wsdaemon.core.registry import Count
from wsdaemon.edge.auth.contract import Candidate, Denied, Identity
from wsdaemon.edge.request_body import LINGER_SECONDS


class Slow:
    """Authentication that answers when the test says so."""

    def __init__(self, made: House) -> None:
        self.future: asyncio.Future[Identity | None] = made.loop.create_future()
        self.cancelled = False

    async def ask(self, request: Candidate) -> Identity | None:
        try:
            return await self.future
        except asyncio.CancelledError:
            self.cancelled = True
            raise


def slow_door(made: House, **options: Any) -> tuple[Door, Slow]:
    slow = Slow(made)
    return Door(made, chain=Chain(slow.ask), **options), slow


def test_whoever_waits_holds_no_place(made: House) -> None:
    door, slow = slow_door(made)
    visitor = door.arrive(request("/chat"))
    made.loop.settle()
    assert visitor.status == 0 and door.count.now == 0 and len(door.arrivals) == 1
    slow.future.set_result(ADA)
    made.loop.settle()
    assert visitor.status == 101 and door.count.now == 1 and not door.arrivals
    assert door.app.connection.handshake.identity is ADA
    made.loop.advance(60)
    assert not visitor.transport.closing


def test_what_comes_while_it_waits_is_read_afterwards_and_no_more_is_taken(made: House) -> None:
    door, slow = slow_door(made)
    visitor = door.arrive(request("/chat") + text("one"))
    assert not visitor.transport.reading
    visitor.transport.receive(text("two"))
    made.loop.settle()
    assert door.app.messages == []
    slow.future.set_result(ADA)
    made.loop.settle()
    assert door.app.messages == ["one", "two"]
    assert visitor.transport.reading


def test_a_first_early_byte_stops_the_reading(made: House) -> None:
    door, slow = slow_door(made)
    visitor = door.arrive(request("/chat"))
    assert visitor.transport.reading  # or the daemon would not see that the client goes away
    visitor.transport.receive(text("one"))
    assert not visitor.transport.reading
    slow.future.set_result(ADA)
    made.loop.settle()
    assert door.app.messages == ["one"]


def test_a_client_that_goes_away_cancels_the_question(made: House) -> None:
    door, slow = slow_door(made)
    visitor = door.arrive(request("/chat"))
    made.loop.settle()
    visitor.transport.lose()
    made.loop.settle()
    assert slow.cancelled and not door.arrivals and door.count.now == 0
    assert len(door.wheel) == 0


def test_a_client_that_goes_at_once_leaves_no_coroutine_unawaited(made: House) -> None:
    door, slow = slow_door(made)
    door.arrive(request("/chat")).transport.lose()
    made.loop.settle()
    assert slow.cancelled and not door.arrivals


def test_the_deadline_runs_on_while_it_waits(made: House) -> None:
    door, slow = slow_door(made)
    visitor = door.arrive()
    made.loop.advance(6)
    visitor.transport.receive(request("/chat") + text("early"))
    made.loop.advance(3.9)
    assert visitor.status == 0
    made.loop.advance(0.2)
    assert visitor.status == 503 and "Retry-After: 5" in visitor.answer
    assert slow.cancelled and door.gate.refused == {"auth_timeout": 1}
    made.loop.advance(LINGER_SECONDS + 0.1)
    assert visitor.transport.aborted and not door.arrivals and door.count.now == 0


def test_a_mounted_class_has_what_is_left_of_the_deadline(made: House) -> None:
    class Thinking(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            return Deferred()

    door, slow = slow_door(made, mounted=Thinking)
    visitor = door.arrive()
    made.loop.advance(4)
    visitor.transport.receive(request("/chat"))
    made.loop.advance(3)
    slow.future.set_result(ADA)
    made.loop.advance(2.8)
    assert door.count.now == 1 and not visitor.transport.aborted
    made.loop.advance(0.5)
    assert visitor.transport.aborted and door.count.now == 0 and len(door.wheel) == 0


def test_while_a_mounted_class_thinks_no_more_is_read(made: House) -> None:
    """Also where something came while it was found out who the client is, and reading had been stopped for that."""
    decisions: list[Deferred[None]] = []

    class Thinking(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            decisions.append(Deferred())
            return decisions[-1]

    door, slow = slow_door(made, mounted=Thinking)
    visitor = door.arrive(request("/chat") + text("early"))
    slow.future.set_result(ADA)
    made.loop.settle()
    assert decisions and not visitor.transport.reading
    decisions[0].callback(None)
    made.loop.settle()
    assert visitor.transport.reading
    assert visitor.status == 101


def test_an_answer_of_no_comes_late_too(made: House) -> None:
    door, slow = slow_door(made)
    visitor = door.arrive(request("/chat"))
    slow.future.set_exception(Denied("auth_refused", 403))
    made.loop.settle()
    assert visitor.status == 403 and door.gate.refused == {"auth_refused": 1}


def test_the_last_place_may_be_gone_after_the_wait(made: House) -> None:
    door, slow = slow_door(made, most=1)
    first, second = door.arrive(request("/chat")), door.arrive(request("/chat"))
    slow.future.set_result(ADA)
    made.loop.settle()
    assert sorted((first.status, second.status)) == [101, 503]
    assert door.count.now == 1


def test_so_many_may_wait_on_a_mount(made: House) -> None:
    waiting = Count(2)
    door, slow = slow_door(made, handshakes=waiting)
    first, second, third = (door.arrive(request("/chat")) for _ in range(3))
    assert [each.status for each in (first, second, third)] == [0, 0, 503]
    assert "Retry-After: 5" in third.answer and waiting.now == 2
    assert door.gate.refused_by_mount == {"/chat": {"max_handshakes": 1}}
    slow.future.set_result(ADA)
    made.loop.settle()
    assert [each.status for each in (first, second)] == [101, 101] and waiting.now == 0
    assert door.arrive(request("/chat")).status == 0, "there is room again"


@pytest.mark.parametrize("end", ["lost before its first step", "lost", "dropped", "too late", "refused", "broken"])
def test_who_waits_no_more_makes_room_however_that_ended(made: House, end: str) -> None:
    waiting = Count(1)
    door, slow = slow_door(made, handshakes=waiting)
    visitor = door.arrive(request("/chat"))
    if end != "lost before its first step":
        made.loop.settle()
    assert waiting.full
    match end:
        case "dropped":
            visitor.arrival.drop()
        case "too late":
            made.loop.advance(10.1)
        case "refused":
            slow.future.set_exception(Denied("auth_refused", 403))
        case "broken":
            slow.future.set_exception(RuntimeError())
        case _:
            visitor.transport.lose()
    made.loop.settle()
    assert waiting.now == 0


def test_who_is_known_at_once_does_not_wait(made: House) -> None:
    waiting = Count(1)
    door = Door(made, chain=Chain(lambda request: ADA), handshakes=waiting)
    assert [door.arrive(request("/chat")).status for _ in range(3)] == [101] * 3
    assert (waiting.now, waiting.total) == (0, 0)


def test_a_drain_that_begins_during_the_wait(made: House) -> None:
    door, slow = slow_door(made)
    visitor = door.arrive(request("/chat"))
    door.draining = True
    slow.future.set_result(ADA)
    made.loop.settle()
    assert visitor.status == 503 and door.count.now == 0


def test_authentication_that_breaks_is_a_500_and_tells_nothing(made: House) -> None:
    door, slow = slow_door(made)
    waiting = door.arrive(request("/chat"))
    slow.future.set_exception(RuntimeError("the database password is hunter2"))
    made.loop.settle()
    broken = Door(made, chain=Chain(refuse(RuntimeError("hunter2")))).arrive(request("/chat"))
    for visitor in (waiting, broken):
        assert visitor.status == 500 and "hunter2" not in visitor.answer


def test_dropping_whoever_waits(made: House) -> None:
    door, slow = slow_door(made)
    visitor = door.arrive(request("/chat"))
    visitor.arrival.drop()
    assert not door.arrivals
    made.loop.settle()
    assert slow.cancelled and visitor.transport.aborted
