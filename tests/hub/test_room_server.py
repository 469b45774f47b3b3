"""The questions about rooms as the hub takes them: mounts and their limits, strange mounts, broken questions, sweeps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.hub import PATH, Hub, Worker
from tests.support.inside import until
from tests.support.links import ShiftedLoop, run
from wsdaemon.brokers import Limits, errors
from wsdaemon.brokers.contract import Presence
from wsdaemon.brokers.errors import BrokerUnavailable, RoomFull
from wsdaemon.hub import room_messages
from wsdaemon.hub import room_server as room_server_module
from wsdaemon.hub.room_server import GOING_ALONG_SECONDS, SWEEP_INTERVAL_SECONDS


def test_the_limits_of_a_mount_are_those_of_the_first_worker_that_opens_it() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        one, two = await hub.worker(1, Limits(max_members=1)), await hub.worker(2, Limits(max_members=5))
        await one.join("lobby", "ada")
        with pytest.raises(errors.RoomFull):
            await two.join("lobby", "bob")
        hub.close(one, two)

    run(work)


def test_a_mount_that_was_removed_comes_back_with_its_new_limits() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        worker = await hub.worker(1, Limits(max_members=1))
        worker.link.close()
        again = worker.links.make(PATH, Limits(max_members=5))
        again.open(worker.recorder)
        await until(lambda: len(worker.recorder.events) == 2)
        order = hub.rooms.order(PATH)
        assert order is not None
        assert order.limits.max_members == 5
        hub.close(worker)

    run(work)


def test_mounts_have_rooms_of_their_own() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        worker = await hub.worker(1)
        other = worker.links.make("/other", Limits())
        other.open(worker.recorder)
        await until(lambda: len(worker.recorder.events) == 2)
        await worker.join("lobby", "ada")
        assert (await other.presence("lobby", None)).count == 0
        assert (await worker.link.presence("lobby", None)).count == 1
        hub.close(worker)

    run(work)


@pytest.mark.parametrize("kind", [room_messages.PUBLISH, room_messages.PRESENCE])
def test_a_mount_that_is_not_open_ends_the_link(kind: int) -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        worker = await hub.worker(1)
        body = worker.publication("lobby", b"")
        question = room_messages.publish(5, body) if kind == room_messages.PUBLISH else room_messages.sheet([5, "lobby", None])
        answer = worker.client.ask(kind, question, bytes)
        await until(lambda: not worker.client.is_there)
        assert answer.exception()
        assert "mount 5 is not open" in hub.lines[0]
        hub.close(worker)

    run(work)


def test_a_question_that_the_hub_cannot_handle_fails_alone() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        worker = await hub.worker(1)
        await worker.join("lobby", "ada")
        with pytest.raises(BrokerUnavailable, match="could not handle"):
            await worker.link.presence("lobby", "many")  # type: ignore[arg-type]
        await worker.link.probe()
        assert "kind" in hub.lines[0]
        hub.close(worker)

    run(work)


def test_a_broken_sheet_ends_the_link() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        worker = await hub.worker(1)
        worker.client.tell(room_messages.LEAVE, b"no sheet")
        await until(lambda: worker.recorder.events == ["restored", "lost"])
        hub.close(worker)

    run(work)


def test_the_hub_sweeps_rooms_that_are_not_used_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_server_module, "MAX_ROOMS_PER_SWEEP", 2)

    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        worker = await hub.worker(1, Limits(room_idle=1.0, key_age=1.0))
        for number in range(7):
            await worker.publish(f"room-{number}", b"")
        order = hub.rooms.order(PATH)
        assert order is not None
        loop.shift += SWEEP_INTERVAL_SECONDS + 1
        await until(lambda: not order.rooms("", 10, None).rooms)
        hub.close(worker)

    run(work)


def test_a_worker_that_never_opened_a_mount_may_end() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        one = await hub.worker(1)
        two = Worker(2, loop, Limits())
        two.link.close()
        hub.connect(two)
        await until(lambda: len(hub.server.links) == 2)
        two.client.close()
        await until(lambda: len(hub.server.links) == 1)
        await asyncio.sleep(0)
        await one.link.probe()
        hub.close(one)

    run(work)


def test_joins_with_long_answers_are_refused_until_the_worker_has_read_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_server_module, "PAGE_BYTES", 1 << 20)

    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        worker = await hub.worker(1, Limits(history=100, history_bytes=1 << 20, max_members=1000))
        start = await worker.join("lobby", "ada")
        for _ in range(8):
            await worker.publish("lobby", bytes(100_000))
        (link,) = hub.server.links
        most = 0

        def note() -> None:
            nonlocal most
            most = max(most, link.unread)

        joins = [worker.link.join("lobby", Presence(f"member {n}", {}), start, watch=False, owner="") for n in range(50)]
        pages = [worker.link.history("lobby", start, 100, False) for _ in range(50)]
        asked: list[asyncio.Future[Any]] = [*joins, *pages]
        while not all(each.done() for each in asked):
            note()
            await asyncio.sleep(0)
        errors = [each.exception() for each in asked]
        refused = [error for error in errors if error is not None]
        assert len(errors) > len(refused) > 50
        assert all(isinstance(error, BrokerUnavailable) and "wait to be read" in str(error) for error in refused)
        assert most < 4 << 20
        assert hub.lines == []
        again = await worker.link.join("lobby", Presence("member 49", {}), start, watch=False, owner="")
        assert len(again.messages) == 8
        hub.close(worker)

    run(work)


def test_members_of_two_workers_stay_members_at_a_new_hub_though_together_they_are_too_many() -> None:
    """Each was let in under the limit, and stays: newcomers wait until there is room."""

    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        one = await hub.worker(1, Limits(max_members=2))
        await one.join("lobby", "ada")
        two = Worker(2, loop, Limits(max_members=2))
        two.recorder.declare("lobby", *(f"bob {number}" for number in range(2001)))
        hub.connect(two)
        await until(lambda: two.recorder.events)
        assert (await one.link.presence("lobby", 0)).count == 2002
        with pytest.raises(RoomFull):
            await one.join("lobby", "eve")
        two.recorder.declaration.clear()
        two.link.cut("it was silent")
        await until(lambda: len(two.recorder.events) == 3)
        await one.join("lobby", "eve")
        assert hub.lines == []
        hub.close(one, two)

    run(work)


@pytest.mark.parametrize("ends", ["the former worker", "in time"])
def test_what_is_kept_for_members_on_their_way_is_forgotten_afterwards(ends: str) -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        old, new = Worker(1, loop, Limits()), Worker(1, loop, Limits(), generation=2)
        for worker in (old, new):
            hub.connect(worker)
            await until(lambda worker=worker: worker.recorder.events)  # type: ignore[misc]
        order = hub.rooms.order(PATH)
        assert order is not None and order.recent is None
        hub.rooms.begin()
        assert order.recent is not None
        if ends == "in time":
            loop.shift += GOING_ALONG_SECONDS
        else:
            new.client.begin_anew("slow")
            await until(lambda: new.recorder.events[-1] == "restored" and new.client.is_there)
            assert order.recent is not None
            old.client.close()
        await until(lambda: order.recent is None)
        hub.close(old, new)

    run(work)
