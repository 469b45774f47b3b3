"""daemon/hub_tickets.py with hub/tickets.py: one worker keeps a ticket, and another takes it, once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from tests.support.fakes import Loop
from tests.support.hub_links import FakeHub, FakeLink
from wsdaemon.daemon.hub_tickets import TIMEOUT_SECONDS, HubTickets
from wsdaemon.hub.tickets import TicketServer

T = TypeVar("T")


class Hub:
    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        hub = FakeHub(loop)
        self.server = TicketServer(hub.server)
        self.links = [FakeLink(loop), FakeLink(loop)]
        for link in self.links:
            link.attach(hub)
        self.pump()
        self.one, self.other = (HubTickets(link) for link in self.links)

    def pump(self) -> None:
        while sum(link.pump_to_hub() or link.pump_to_worker() for link in self.links):
            self.loop.settle()

    def run(self, work: Coroutine[Any, Any, T], seconds: float = 0.0) -> T:
        task: asyncio.Task[T] = self.loop.create_task(work)
        self.loop.settle()
        if not seconds:
            self.pump()
        self.loop.advance(seconds)
        return task.result()


def test_a_ticket_of_one_worker_is_taken_at_another_once() -> None:
    with Loop() as loop:
        hub = Hub(loop)
        assert hub.run(hub.one.put("site", "place", b"content\0", 30.0, 1))
        assert not hub.run(hub.other.put("site", "other", b"more", 30.0, 1))
        assert hub.run(hub.other.take("site", "place")) == b"content\0"
        assert hub.run(hub.one.take("site", "place")) is None
        assert len(hub.server.tickets) == 0


def test_a_hub_that_is_away_or_hangs() -> None:
    with Loop() as loop:
        hub = Hub(loop)
        with pytest.raises(OSError, match="does not answer"):
            hub.run(hub.one.take("site", "place"), TIMEOUT_SECONDS + 0.1)
        hub.links[0].cut()
        with pytest.raises(OSError, match="does not answer"):
            hub.run(hub.one.put("site", "place", b"", 30.0, 1))
