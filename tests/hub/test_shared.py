"""hub/shared.py: questions for places over links. tests/daemon/test_hub_places.py has both sides, and all that may happen to them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.fakes import Loop
from tests.support.hub_links import FakeHub, FakeLink
from wsdaemon.hub.place_messages import PLACE, PLACE_LEFT, PLACES_HELD, pack_held, pack_left, pack_place, read_verdict
from wsdaemon.hub.places import GRANTED, NameLimit
from wsdaemon.hub.shared import GATHERING_SECONDS, SharedCounts

ADA = [NameLimit(b"ada", 1)]


class Hub:
    """A hub with links to two workers that have said hello and declared nothing yet."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        hub = FakeHub(loop)
        self.counts = SharedCounts(hub.server, 2)
        self.one, self.other = FakeLink(loop), FakeLink(loop)
        for link in (self.one, self.other):
            link.attach(hub)
            self.pump(link)

    def pump(self, link: FakeLink) -> None:
        while link.pump_to_hub() or link.pump_to_worker():
            self.loop.settle()

    def declare(self, link: FakeLink, *places: tuple[int, list[bytes]]) -> None:
        link.tell(PLACES_HELD, pack_held(places))
        self.pump(link)

    def ask(self, link: FakeLink, number: int) -> asyncio.Future[int]:
        answer = link.ask(PLACE, pack_place(number, ADA, []), read_verdict)
        self.pump(link)
        return answer


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Loop() as loop:
        made = Hub(loop)
        yield made
        made.counts.close()


def test_no_question_is_answered_before_all_have_declared(hub: Hub) -> None:
    hub.declare(hub.one)
    answer = hub.ask(hub.one, 1)
    assert not answer.done()
    hub.declare(hub.other, (7, [b"ada"]))
    hub.pump(hub.one)
    assert answer.result() == 0, "the other worker's client has the place"


def test_a_worker_that_declares_nothing_is_waited_for_a_second(hub: Hub) -> None:
    hub.declare(hub.one)
    answer = hub.ask(hub.one, 1)
    hub.loop.advance(GATHERING_SECONDS)
    hub.pump(hub.one)
    assert answer.result() == GRANTED
    hub.declare(hub.other, (7, [b"ada"]))
    assert hub.counts.places.count(b"ada") == 2, "its client is there, too"


def test_a_worker_that_ends_is_not_waited_for(hub: Hub) -> None:
    hub.declare(hub.one)
    answer = hub.ask(hub.one, 1)
    hub.other.cut()
    hub.pump(hub.one)
    assert answer.result() == GRANTED


def test_questions_and_leaves_that_wait_keep_their_order(hub: Hub) -> None:
    hub.declare(hub.one)
    first = hub.ask(hub.one, 1)
    hub.one.tell(PLACE_LEFT, pack_left(1))
    second = hub.ask(hub.one, 2)
    hub.declare(hub.other)
    hub.pump(hub.one)
    assert [first.result(), second.result()] == [GRANTED, GRANTED]
    assert len(hub.counts.places) == 1


def test_a_link_that_ends_frees_its_places(hub: Hub) -> None:
    hub.declare(hub.one, (1, [b"ada"]))
    hub.declare(hub.other)
    assert hub.ask(hub.other, 1).result() == 0
    hub.one.cut()
    assert hub.ask(hub.other, 2).result() == GRANTED
