"""Brokers of two workers whose order a hub keeps, in one process over real socketpairs: what one publishes, the others' members get."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.hub import Hub
from tests.support.inside import until
from tests.support.links import ShiftedLoop, run
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Broker, Message, Notice, Subscribed
from wsdaemon.brokers.errors import BrokerUnavailable, Busy
from wsdaemon.core.absence import no_grace
from wsdaemon.daemon.hub_brokers import TIMEOUT_SECONDS, HubBrokers, make_client
from wsdaemon.settings.model import MountSettings


@dataclass(eq=False)
class Listener:
    """A member that keeps what it is given."""

    id: str
    identity: Mapping[str, Any] = field(default_factory=dict)
    messages: list[bytes] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    breaks: list[Subscribed] = field(default_factory=list)

    def deliver(self, message: Message) -> None:
        self.messages.append(message.payload)

    def presence_changed(self, notice: Notice) -> None:
        self.notices.append(notice)

    def interrupted(self, room: str, answer: Subscribed, pattern: str | None = None) -> None:
        self.breaks.append(answer)


class ServingWorker:
    def __init__(self, number: int, hub: Hub, loop: ShiftedLoop, held: Any = None) -> None:
        self.client = make_client(number, 1, loop)
        settings = MountSettings(path="/rooms", app="rooms")
        limits = Limits(history=100, inline=0)
        maker = HubBrokers(self.client)(settings, limits)
        self.broker: Any = maker(
            failed, bulk=give, held=held, loop=lambda: loop, later=loop.call_later, clock=loop.time, grace=no_grace
        )  # fmt: skip
        self.broker.open()
        self.attach(hub)

    def attach(self, hub: Hub) -> None:
        ours, theirs = socket.socketpair()
        hub.server.attach(ours)
        self.client.attach(theirs)

    async def ready(self) -> Broker:
        await until(lambda: self.broker.connected)
        broker: Broker = self.broker
        return broker


def failed(member: object, error: Exception) -> None:
    raise error


def give(members: Any, messages: Any) -> None:
    for member in members:
        for message in messages:
            member.deliver(message)


async def answer(value: Any) -> Any:
    return await value if asyncio.isfuture(value) or asyncio.iscoroutine(value) else value


def test_rooms_of_two_workers_are_the_same_rooms() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        workers = [ServingWorker(number, hub, loop) for number in (1, 2)]
        one, two = [await worker.ready() for worker in workers]
        ada, bob = Listener("ada"), Listener("bob")
        await answer(one.subscribe("lobby", ada, presence=True))
        subscribed = await answer(two.subscribe("lobby", bob, presence=True))
        assert [member.id for member in subscribed.present] == ["ada", "bob"]
        published = await answer(two.publish("lobby", b"hello", True, publisher="bob", echo=False))
        assert published.offset == 1
        await until(lambda: ada.messages and ada.notices)
        assert (ada.messages, bob.messages) == ([b"hello"], [])
        assert [change.who.id for change in ada.notices[0].changes] == ["bob"]
        page = await answer(one.history("lobby"))
        assert [message.payload for message in page.messages] == [b"hello"]
        workers[1].client.close()
        await until(lambda: len(ada.notices) == 2)
        assert [(change.kind, change.who.id) for change in ada.notices[1].changes] == [("left", "bob")]
        for broker in (one, two):
            await answer(broker.close())
        hub.close(*workers)  # type: ignore[arg-type]

    run(work)


def test_a_hub_that_is_replaced_is_a_break_that_every_member_is_told() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        workers = [ServingWorker(number, hub, loop) for number in (1, 2)]
        one, two = [await worker.ready() for worker in workers]
        ada, bob = Listener("ada"), Listener("bob")
        for broker, member in ((one, ada), (two, bob)):
            await answer(broker.subscribe("lobby", member))
        before = await answer(one.publish("lobby", b"1", True))
        hub.close()
        await until(lambda: not workers[0].broker.connected and not workers[1].broker.connected)
        waiting = one.publish("lobby", b"2", True)
        hub = Hub(loop, b"hub-two-")
        for worker in workers:
            worker.attach(hub)
        after = await answer(waiting)
        assert after.epoch != before.epoch
        await until(lambda: ada.breaks and bob.breaks)
        await answer(two.publish("lobby", b"3", True))
        await until(lambda: ada.messages[-1:] == bob.messages[-1:] == [b"3"])
        for member in (ada, bob):
            assert len(member.breaks) == 1
            assert member.breaks[0].epoch == after.epoch
        for broker in (one, two):
            await answer(broker.close())
        hub.close(*workers)  # type: ignore[arg-type]

    run(work)


def test_without_a_hub_a_publication_is_unavailable_after_two_seconds() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        worker = ServingWorker(1, hub, loop)
        broker = await worker.ready()
        hub.close()
        await until(lambda: not worker.broker.connected)
        waiting = asyncio.ensure_future(answer(broker.publish("lobby", b"1", True)))
        loop.shift += TIMEOUT_SECONDS - 0.5
        await asyncio.sleep(0.05)
        assert not waiting.done()
        loop.shift += 0.6
        with pytest.raises(BrokerUnavailable):
            await waiting
        await answer(broker.close())
        worker.client.close()

    run(work)


def test_a_slow_member_of_one_worker_holds_up_the_publishers_of_all_until_it_has_room() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        slow = [True]
        waiting: list[Callable[[], None]] = []

        def held(members: object, go_on: Callable[[], None]) -> bool:
            if slow[0]:
                waiting.append(go_on)
            return slow[0]

        workers = [ServingWorker(1, hub, loop, held), ServingWorker(2, hub, loop)]
        one, two = [await worker.ready() for worker in workers]
        ada, bob = Listener("ada"), Listener("bob")
        for broker, member in ((one, ada), (two, bob)):
            await answer(broker.subscribe("lobby", member))
        count = 0
        with pytest.raises(Busy):  # noqa: PT012 - it is one of many
            while count < 10_000:
                await answer(two.publish("lobby", b"%d" % count, True))
                count += 1
        assert 0 < count < 1000
        await answer(two.publish("other", b"", True))
        with pytest.raises(Busy):
            await answer(one.publish("lobby", b"", True))
        free = two.less_busy("lobby")
        assert ada.messages == []
        slow[0] = False
        waiting[0]()
        await free
        await answer(two.publish("lobby", b"%d" % count, True))
        await until(lambda: len(ada.messages) == len(bob.messages) == count + 1)
        assert ada.messages == bob.messages == [b"%d" % number for number in range(count + 1)]
        for broker in (one, two):
            await answer(broker.close())
        hub.close(*workers)  # type: ignore[arg-type]

    run(work)
