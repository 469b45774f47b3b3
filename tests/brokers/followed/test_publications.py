"""brokers/followed/publications.py: publications go to the order at once, in order, and again after a loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fake_link import FakeLink, FakeOrder
from tests.support.fakes import Loop
from wsdaemon.brokers import Limits
from wsdaemon.brokers.budget import WAITING_BYTES, Budget
from wsdaemon.brokers.contract import Message, Published
from wsdaemon.brokers.errors import BrokerClosed, BrokerUnavailable, Busy, MemoryFull
from wsdaemon.brokers.followed import publications as module
from wsdaemon.brokers.followed.publications import Publications
from wsdaemon.brokers.followed.questions import AGAIN_SECONDS
from wsdaemon.brokers.links.contract import Publication


class Nothing:
    """A receiver of a link whose publications alone matter."""

    def __init__(self, publications: Publications) -> None:
        self.publications = publications

    def lost(self, reason: str) -> None:
        self.publications.lost()

    def restored(self) -> None:
        self.publications.restored()

    def declared(self) -> tuple[()]:
        return ()

    def patterns(self) -> tuple[()]:
        return ()

    def message(self, message: Message) -> None: ...


class Desk:
    """A queue of publications over a fake link."""

    def __init__(self, loop: Loop, memory: int = 1 << 20) -> None:
        self.loop = loop
        self.order = FakeOrder(loop, Limits())
        self.link = FakeLink(self.order, "A")
        self.budget = Budget(memory)
        self.times_less_busy = 0
        self.publications = Publications(self.link, self.budget, 5.0, lambda: loop, self.less_busy)
        self.link.open(Nothing(self.publications))  # type: ignore[arg-type]
        self.number = 0

    def less_busy(self) -> None:
        self.times_less_busy += 1

    def publish(self, payload: bytes = b"x", room: str = "room") -> Any:
        self.number += 1
        return self.publications.publish(Publication(self.number, room, payload, True), self.budget.house)

    @property
    def log(self) -> list[bytes]:
        return [message.payload for message in self.order.rooms["room"].log]


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Loop() as loop:
        yield Desk(loop)
        loop.settle()
        assert loop.problems == []


def test_publications_are_sent_without_a_wait_for_the_answer_of_the_one_before(desk: Desk) -> None:
    desk.link.connect()
    answers = [desk.publish(str(number).encode()) for number in range(3)]
    assert len(desk.link.asked) == 3
    desk.link.settle()
    assert [answer.result().offset for answer in answers] == [1, 2, 3]
    assert desk.budget.used == len(desk.publications) == 0


def test_a_loss_repeats_all_that_was_not_answered_in_order_and_nothing_is_published_twice(desk: Desk) -> None:
    desk.link.connect()
    answers = [desk.publish(b"0"), desk.publish(b"1")]
    desk.link.ask_next()  # the order has it, and the answer is lost
    desk.link.cut("cut")
    answers.append(desk.publish(b"2"))
    desk.loop.settle()
    desk.link.connect()
    desk.link.settle()
    assert desk.log == [b"0", b"1", b"2"]
    assert [answer.result() for answer in answers] == [Published(desk.order.rooms["room"].epoch, offset, False, 0) for offset in (1, 2, 3)]


def test_an_answer_that_is_missing_stops_later_ones_until_all_can_go_in_order(desk: Desk) -> None:
    desk.link.connect()
    first = desk.publish(b"0")
    _, future = desk.link.asked.pop()
    future.set_exception(BrokerUnavailable("this one only"))
    desk.loop.settle()
    second = desk.publish(b"1")
    assert desk.link.asked == []
    desk.loop.advance(AGAIN_SECONDS)
    desk.link.settle()
    assert desk.log == [b"0", b"1"] and (first.done(), second.done()) == (True, True)


def test_each_publication_ends_in_its_time_while_the_link_is_away(desk: Desk) -> None:
    answer = desk.publish()
    desk.loop.advance(4.9)
    assert not answer.done()
    desk.loop.advance(0.1)
    assert isinstance(answer.exception(), BrokerUnavailable)
    assert (desk.budget.used, len(desk.publications), desk.loop.timers) == (0, 0, 0)


def test_memory_is_bounded_while_the_link_is_away() -> None:
    with Loop() as loop:
        desk = Desk(loop, memory=10 * WAITING_BYTES)
        answers = [desk.publish(b"x" * WAITING_BYTES) for _ in range(5)]
        with pytest.raises(MemoryFull):
            desk.publish(b"x" * WAITING_BYTES)
        assert desk.budget.used <= desk.budget.limit
        desk.publications.close()
        assert all(isinstance(answer.exception(), BrokerClosed) for answer in answers)
        assert desk.budget.used == 0


def test_a_room_with_many_publications_under_way_is_busy_and_says_when_it_is_less_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNDER_WAY", 4)
    desk.link.connect()
    for _ in range(4):
        desk.publish()
    with pytest.raises(Busy):
        desk.publish()
    desk.publish(room="other")
    assert desk.times_less_busy == 0
    desk.link.settle()
    assert desk.times_less_busy > 0
    desk.publish()
    desk.link.settle()


def test_a_drain_waits_for_every_answer(desk: Desk) -> None:
    desk.link.connect()
    desk.publish()
    drained = desk.loop.create_task(desk.publications.drain())
    desk.loop.settle()
    assert not drained.done()
    desk.link.settle()
    assert drained.done()
