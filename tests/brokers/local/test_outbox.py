"""brokers/local/outbox.py: what a room owes its members."""

from __future__ import annotations

from tests.brokers.local.test_fan import sliced
from tests.brokers.test_memory import Listener
from wsdaemon.brokers.contract import Subscribed
from wsdaemon.brokers.local.breaks import BreakPass, Told
from wsdaemon.brokers.local.outbox import Outbox


def test_a_room_that_is_never_at_rest_forgets_those_who_left() -> None:
    bench = sliced(max_members=10)
    bench.join("a", "b")
    for number in range(100):
        bench.publish()
        (passing,) = bench.join(str(number))
        bench.publish()
        bench.broker.remove(passing)
        while bench.broker.fan.step(1) and len(bench.broker._rooms["room"].pending) > 1:
            pass
    assert len(bench.broker._rooms["room"].settled) < 5


def test_a_member_that_left_is_owed_no_break() -> None:
    outbox, member = Outbox("room"), Listener("a")
    outbox.breaks = [BreakPass(Subscribed("room", "e", 7, gap=True), (Told(member, None, False),), None)]
    outbox.settle("other", 3)
    assert outbox.breaks[0].left == 1
    outbox.settle("a", 3)
    assert (outbox.breaks[0].left, outbox.settled) == (0, {"a": 3, "other": 3})
