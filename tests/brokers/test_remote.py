"""brokers/remote.py: the broker whose order is kept elsewhere. Its parts have tests in followed/; test_remote_model has all at once."""

from __future__ import annotations

import pytest

from tests.support.one_process import Seat, one_process
from wsdaemon.brokers.contract import Broker, Published
from wsdaemon.brokers.errors import BadKey, BadRoom, BrokerClosed, BrokerUnavailable, Busy
from wsdaemon.brokers.links.contract import Link, Publication, Receiver


def test_it_is_a_broker_and_a_receiver_and_the_fake_is_a_link() -> None:
    with one_process() as made:
        broker: Broker = made.broker
        receiver: Receiver = made.broker
        link: Link = made.link
        assert [broker, receiver, link] == [made.broker, made.broker, made.link]  # mypy has checked the rest


def test_publications_of_one_process_reach_all_in_order_and_the_publisher_unless_it_wants_no_echo() -> None:
    with one_process() as made:
        a, b = made.join("a", "b")
        answers = [
            made.broker.publish("room", str(number).encode(), True, publisher="a", echo=bool(number % 2), content_type="text/x")
            for number in range(4)
        ]
        made.settle()
        assert [answer.result().offset for answer in answers] == [1, 2, 3, 4]
        assert (a.told, b.told) == (["1", "3"], ["0", "1", "2", "3"])
        assert b.messages[0].content_type == "text/x"


def test_a_key_is_the_clients_and_a_retry_is_no_duplicate() -> None:
    with one_process() as made:
        (a,) = made.join("a")
        first = made.broker.publish("room", b"x", True, key="k")
        made.link.ask_next()
        made.link.cut("cut")
        made.loop.settle()
        made.link.connect()
        made.settle()
        again = made.broker.publish("room", b"x", True, key="k")
        made.settle()
        epoch = made.position().epoch
        assert (first.result(), again.result()) == (Published(epoch, 1, False, 1), Published(epoch, 1, True, 0))
        assert a.told == ["x"]


def test_publishing_answers_unavailable_after_the_timeout_and_members_stay() -> None:
    with one_process(options={"timeout": 2.0}) as made:
        (a,) = made.join("a")
        made.link.cut("cut")
        answer = made.broker.publish("room", b"x", True)
        made.loop.advance(2.0)
        assert isinstance(answer.exception(), BrokerUnavailable)
        made.link.connect()
        made.publish("1")
        made.settle()
        assert a.told == ["1"]


def test_mistakes_are_refused_before_the_order_is_asked() -> None:
    with one_process() as made:
        with pytest.raises(BadRoom):
            made.broker.publish("a*", b"x", True)
        with pytest.raises(BadKey):
            made.broker.publish("room", b"x", True, key="")
        with pytest.raises(ValueError, match="limit"):
            made.broker.history("room", None, 0)
        with pytest.raises(ValueError, match="limit"):
            made.broker.rooms("", 0)
        assert made.questions() == 0


def test_a_room_that_any_process_holds_is_busy_until_it_is_let_go() -> None:
    with one_process() as made:
        made.other.hold("room", True)
        made.other.ask_next()
        made.settle()
        with pytest.raises(Busy):
            made.broker.publish("room", b"x", True)
        waiter = made.broker.less_busy("room")
        assert not waiter.done()
        made.other.hold("room", False)
        made.other.ask_next()
        made.settle()
        assert waiter.done()
        made.broker.publish("room", b"x", True)
        made.settle()


def test_a_loss_lets_publishers_of_a_held_room_try_again() -> None:
    with one_process() as made:
        made.broker.held("room", True)
        waiter = made.broker.less_busy("room")
        made.link.cut("cut")
        assert waiter.done()
        made.link.connect()
        made.broker.publish("room", b"x", True)
        made.settle()


def test_reading_asks_the_order() -> None:
    with one_process() as made:
        made.join("a")
        made.publish("1", "2")
        page = made.run(made.broker.history("room", None, 1))
        assert (page.offset, [message.payload for message in page.messages]) == (2, [b"1"])
        assert made.run(made.broker.presence("room")).count == 1
        assert [info.room for info in made.run(made.broker.rooms("", 10, "*")).rooms] == ["room"]


def test_the_owner_of_a_member_and_of_a_publication_goes_along() -> None:
    with one_process() as made:
        account = made.broker.account("user ada")
        made.run(made.broker.subscribe("room", Seat("a"), account=account))
        ((declared,),) = [one.members for one in made.broker.declared()]
        assert declared.owner == "user ada"
        assert account.bytes > 0


def test_a_close_waits_for_publications_under_way_and_then_refuses_all() -> None:
    with one_process() as made:
        (a,) = made.join("a")
        answer = made.broker.publish("room", b"x", True)
        task = made.begin(made.broker.close())
        assert not task.done() and not made.link.closed
        made.settle()
        assert answer.result().offset == 1 and task.done() and made.link.closed
        for call in (lambda: made.broker.publish("room", b"x", True), lambda: made.broker.subscribe("room", a)):
            with pytest.raises(BrokerClosed):
                call()
        made.broker.remove(a)
        assert made.broker.budget.used == 0
        assert made.broker.less_busy("room").done()


def test_a_close_does_not_wait_for_ever() -> None:
    with one_process(connected=False, options={"timeout": 2.0}) as made:
        answer = made.broker.publish("room", b"x", True)
        task = made.begin(made.broker.close())
        made.loop.advance(2.0)
        assert task.done() and isinstance(answer.exception(), BrokerUnavailable)
        assert made.loop.timers == 0


def test_the_loss_is_reported() -> None:
    reasons: list[str] = []
    with one_process(options={"lost": reasons.append}) as made:
        made.link.cut("the reason")
        assert reasons == ["the reason"] and not made.broker.connected


def test_rooms_are_counted_by_the_order_and_the_last_number_stays_while_it_does_not_answer() -> None:
    with one_process() as made:
        made.join("a")
        made.other.publish(Publication(1, "elsewhere", b"x", True))
        made.other.ask_next()
        made.settle()
        assert made.broker.room_count == 1, "the order was not asked yet"
        for answer in (True, False):
            counting = made.loop.create_task(made.broker.count_rooms())
            made.loop.settle()
            if answer:
                made.settle()
            made.loop.advance(1.0)
            assert counting.done()
            assert made.broker.room_count == 2
        made.link.cut("cut")
        counting = made.loop.create_task(made.broker.count_rooms())
        made.loop.settle()
        assert counting.done()
        assert made.broker.room_count == 2
