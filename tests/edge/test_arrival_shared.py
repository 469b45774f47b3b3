"""edge/arrival.py with limits over all workers: clients wait for their place there, and a place that is not used is returned."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.admission import ADA, Chain, Door, Visitor
from tests.support.fakes import App, House, request, text
from tests.support.shared_places import FakePlaces, FakeRequest
from wsdaemon.core.contract import Acceptance
from wsdaemon.core.handshake import Handshake
from wsdaemon.core.registry import Count
from wsdaemon.edge.limits import too_many
from wsdaemon.edge.shared_limits import SharedLimits


class Hall:
    """A door whose clients need a place over all workers, too."""

    def __init__(self, made: House, **options: Any) -> None:
        self.places = FakePlaces(made.loop)
        self.door = Door(made, shared=SharedLimits(self.places, "web", count=Count(), in_all=Count(100)), **options)
        self.made = made

    def arrive(self, opening: bytes = b"") -> tuple[Visitor, FakeRequest]:
        visitor = self.door.arrive(opening or request("/chat"))
        self.made.loop.settle()
        return visitor, self.places.asked[-1]


@pytest.fixture
def hall(made: House) -> Iterator[Hall]:
    yield (one := Hall(made))
    made.loop.advance(60)
    assert one.door.count.now == 0, "a place was not given back"
    assert [asked.leaves for asked in one.places.asked] == [1] * len(one.places.asked)
    assert not one.door.arrivals
    assert not made.loop.problems


def test_a_client_is_let_in_when_it_has_its_place(hall: Hall) -> None:
    visitor, asked = hall.arrive()
    assert visitor.answer == ""
    assert hall.door.count.now == 1, "its own place is taken before the hub is asked"
    asked.decide()
    assert visitor.status == 101
    assert asked.leaves == 0
    visitor.transport.lose()


def test_a_client_that_is_refused_there_is_told_as_by_its_listener(hall: Hall) -> None:
    visitor, asked = hall.arrive()
    asked.decide(too_many("user_connections", 5.0))
    assert visitor.status == 429
    assert "Retry-After: 5\r\n" in visitor.answer
    assert hall.door.count.now == 0
    assert hall.door.gate.refused == {"user_connections": 1}
    visitor.transport.lose()


def test_a_client_that_vanishes_before_the_answer_gives_the_question_back(hall: Hall) -> None:
    visitor, asked = hall.arrive()
    visitor.transport.lose()
    hall.made.loop.settle()
    assert asked.answer.cancelled()
    assert asked.leaves == 1


def test_a_client_that_vanishes_in_the_turn_of_its_grant_gives_the_place_back(hall: Hall) -> None:
    visitor, asked = hall.arrive()
    asked.answer.set_result(None)
    visitor.transport.lose()
    hall.made.loop.settle()
    assert asked.leaves == 1


def test_a_daemon_that_stops_meanwhile_gives_the_place_back(hall: Hall) -> None:
    visitor, asked = hall.arrive()
    hall.door.draining = True
    asked.decide()
    assert visitor.status == 503
    assert asked.leaves == 1
    visitor.transport.lose()


def test_an_answer_that_never_comes_is_waited_for_until_the_handshake_ends(hall: Hall) -> None:
    visitor, asked = hall.arrive()
    hall.made.loop.advance(11)
    assert visitor.status == 503
    assert hall.door.gate.refused == {"hub_timeout": 1}
    assert asked.leaves == 1
    visitor.transport.lose()


def test_what_a_client_sends_early_is_kept(hall: Hall) -> None:
    visitor, asked = hall.arrive(request("/chat") + text("early"))
    visitor.transport.receive(text("more"))
    asked.decide()
    hall.made.loop.settle()
    assert hall.door.app.messages == ["early", "more"]
    visitor.transport.lose()


def test_authentication_comes_first(made: House) -> None:
    hall = Hall(made, chain=Chain(lambda candidate: ADA))
    visitor, asked = hall.arrive()
    asked.decide()
    assert visitor.status == 101
    assert hall.door.app.connection.identity == ADA


class Deciding(App):
    """Accepts when the test says so."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.answer: asyncio.Future[Acceptance | None] = loop.create_future()
        self.asked: list[Handshake] = []

    async def admit(self, handshake: Handshake) -> Acceptance | None:
        self.asked.append(handshake)
        return await self.answer


def test_an_app_decides_about_clients_that_have_their_place(made: House) -> None:
    app = Deciding(made.loop)
    hall = Hall(made, app=app)
    visitor, asked = hall.arrive()
    assert app.asked == []
    asked.decide()
    assert len(app.asked) == 1
    assert visitor.answer == ""
    app.answer.set_result(None)
    made.loop.settle()
    assert visitor.status == 101
    visitor.transport.lose()
    made.loop.settle()
    assert (asked.leaves, hall.door.count.now) == (1, 0)
