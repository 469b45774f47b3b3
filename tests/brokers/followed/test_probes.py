"""brokers/followed/probes.py: a link that does not answer is cut, and positions are compared from time to time."""

from __future__ import annotations

from asyncio import Future
from typing import Any

from tests.support.fakes import Loop
from tests.support.one_process import one_process
from wsdaemon.brokers.followed.probes import CHECK_SECONDS, PROBE_SECONDS, LinkProbes


def test_a_link_that_answers_no_probe_is_cut() -> None:
    with one_process() as made:
        made.pass_time(3 * PROBE_SECONDS)
        assert made.link.cuts == []
        made.link.probes = False
        made.pass_time(2 * PROBE_SECONDS)
        assert len(made.link.cuts) == 1
        made.link.probes = True
        made.link.connect()
        made.pass_time(3 * PROBE_SECONDS)
        assert len(made.link.cuts) == 1


def test_positions_are_compared_so_many_seconds_after_the_last_time_while_the_link_is_connected() -> None:
    with Loop() as loop:
        compared: list[tuple[float, bool]] = []
        connected = [True]

        class Alive:
            def probe(self) -> Future[None]:
                answer = loop.create_future()
                answer.set_result(None)
                return answer

        link: Any = Alive()
        began = loop.time()
        probes = LinkProbes(link, lambda: loop, lambda: connected[0], lambda after_loss: compared.append((loop.time() - began, after_loss)))
        probes.open()
        loop.advance(CHECK_SECONDS + PROBE_SECONDS / 2)
        probes.check(after_loss=True)
        loop.advance(CHECK_SECONDS - PROBE_SECONDS)
        assert [after_loss for _, after_loss in compared] == [False, True]
        loop.advance(2 * PROBE_SECONDS)
        assert [after_loss for _, after_loss in compared] == [False, True, False]
        connected[0] = False
        loop.advance(3 * CHECK_SECONDS)
        assert len(compared) == 3
        probes.close()
        assert loop.timers == 0
