"""brokers/followed/patterns.py: a pattern is followed once for all members that have it."""

from __future__ import annotations

import pytest

from tests.support.one_process import Seat, one_process
from wsdaemon.brokers.errors import BrokerUnavailable


def test_members_with_the_same_pattern_share_it_and_it_ends_after_the_last_with_the_next_sweep() -> None:
    with one_process() as made:
        a, b = Seat("a"), Seat("b")
        for seat in (a, b):
            made.run(made.broker.subscribe_pattern("p.*", seat))
        made.publish("1", room="p.1")
        made.settle()
        made.broker.unsubscribe_pattern("p.*", a)
        made.broker.sweep()
        made.publish("2", room="p.1")
        made.settle()
        assert (a.told, b.told) == (["1"], ["1", "2"])
        made.broker.remove(b)
        made.settle()
        assert made.link.patterns == {"p.*"}
        made.broker.sweep()
        made.settle()
        assert (made.link.patterns, len(made.broker._rooms)) == (set(), 0)


def test_a_member_that_comes_back_before_the_sweep_is_given_nothing_of_the_meantime() -> None:
    with one_process() as made:
        (a,) = made.join("a", room="own")
        made.run(made.broker.subscribe_pattern("p.*", a))
        made.broker.unsubscribe_pattern("p.*", a)
        made.publish("meanwhile", room="p.1")
        made.settle()
        assert made.questions() == 0
        made.run(made.broker.subscribe_pattern("p.*", a))
        made.link.cut("cut")
        made.publish("away", room="p.2")
        made.link.connect()
        made.settle()
        assert a.told == ["away"]


def test_a_pattern_that_the_order_does_not_answer_is_given_to_no_member() -> None:
    with one_process(connected=False, options={"timeout": 2.0}) as made:
        task = made.begin(made.broker.subscribe_pattern("p.*", Seat("a")))
        made.loop.advance(2.0)
        assert isinstance(task.exception(), BrokerUnavailable)
        made.broker.sweep()
        assert (list(made.broker.patterns()), made.broker.member_count) == ([], 0)


def test_a_pattern_of_the_same_member_under_way_is_refused() -> None:
    with one_process(connected=False) as made:
        a = Seat("a")
        task = made.begin(made.broker.subscribe_pattern("p.*", a))
        with pytest.raises(Exception, match="already"):
            made.run(made.broker.subscribe_pattern("p.*", a))
        made.link.connect()
        made.settle()
        assert task.result().pattern == "p.*"
