"""core/refusals.py: clients that are turned away are counted, and logged once a minute for each reason."""

from __future__ import annotations

from tests.support.lines import Lines
from wsdaemon.core.handshake import Peer
from wsdaemon.core.refusals import Refusals

PEER = Peer("192.0.2.7", 50123)


def test_refusals_are_told_once_a_minute() -> None:
    now, log = [0.0], Lines()
    refusals = Refusals("web", log, now=lambda: now[0])
    for second in range(150):
        now[0] = second
        refusals.add("address_rate", PEER, told=True)
        refusals.add("path", PEER)
    assert [line for level, line in log.all if level == "warn"] == [
        f"web turns clients away: address_rate; {count} since this was last said, the latest 192.0.2.7:50123" for count in (1, 60, 60)
    ]
    assert refusals.counts == {"address_rate": 150, "path": 150}


def test_refusals_are_counted_for_each_mount() -> None:
    refusals = Refusals("web", Lines())
    refusals.add("origin", PEER, mount="/chat")
    refusals.add("origin", PEER, mount="/chat")
    refusals.add("path", PEER)
    assert refusals.by_mount == {"/chat": {"origin": 2}, "": {"path": 1}}
