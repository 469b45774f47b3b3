"""Pages of histories, rosters and lists, compared with those of the broker in memory."""

from __future__ import annotations

import asyncio
import random
from inspect import CORO_CLOSED, getcoroutinestate
from typing import Any

import pytest

from tests.support.redis_links import Node, nodes, run
from tests.support.redis_servers import Server
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import HistoryPage, Position, RoomInfo
from wsdaemon.brokers.links.redis_reading import UNDER_WAY, in_turns
from wsdaemon.brokers.memory import MemoryBroker

pytestmark = pytest.mark.live


def comparable(page: HistoryPage) -> tuple[Any, ...]:
    messages = [(message.offset, message.payload, message.text, message.publisher) for message in page.messages]
    return page.offset, page.first, page.gap, messages


def since(place: int | None, epoch: str) -> Position | None:
    """A position in this epoch; in another if it is negative."""
    return None if place is None else Position("other" if place < 0 else epoch, abs(place))


def make_memory(limits: Limits) -> MemoryBroker:
    def failed(member: Any, error: Exception) -> None:
        raise error

    return MemoryBroker(limits, failed)


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_questions_that_are_cancelled_before_they_are_asked_leave_no_coroutine(turns: int) -> None:
    """A link that is lost in the moment of a heartbeat. A coroutine that is never awaited is a warning, which fails tests."""

    async def test() -> None:
        asked = 0

        async def question() -> None:
            nonlocal asked
            asked += 1
            await asyncio.get_running_loop().create_future()

        questions = [question() for _ in range(2 * UNDER_WAY)]
        work = asyncio.ensure_future(in_turns(questions))
        await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert asked == (UNDER_WAY if turns else 0)
        assert {getcoroutinestate(each) for each in questions} == {CORO_CLOSED}

    run(test())


def test_pages_of_a_history_are_those_of_the_broker_in_memory(either: Server) -> None:
    limits = Limits(history=8, history_bytes=300)
    memory, chance = make_memory(limits), random.Random(1)

    async def ask(node: Node, position: Position | None, *rest: Any) -> HistoryPage:
        return await node.link.history("lobby", position, *rest)

    async def test() -> None:
        async with nodes(either.url, limits=limits) as [node]:
            assert comparable(await ask(node, None, 5, False)) == comparable(memory.history("lobby", None, 5, False))
            for step in range(40):
                text = "x" * chance.choice([1, 30, 60, 290, 310])
                theirs = await node.publish("lobby", text, publisher=f"m{step}")
                mine = memory.publish("lobby", text.encode(), True, publisher=f"m{step}")
                assert theirs.offset == mine.offset
                for _ in range(6):
                    place, limit, reverse = chance.choice([None, -1, *range(step + 4)]), chance.randint(1, 9), chance.random() < 0.5
                    there, here = (since(place, epoch) for epoch in (theirs.epoch, mine.epoch))
                    got = comparable(await ask(node, there, limit, reverse))
                    assert got == comparable(memory.history("lobby", here, limit, reverse)), (step, place, limit, reverse)

    run(test())


def test_the_latest_message_after_a_gap(server: Server) -> None:
    async def test() -> None:
        async with nodes(server.url, limits=Limits(latest=True)) as [node]:
            epoch = (await node.publish("lobby", "a")).epoch
            await node.publish("lobby", "b")
            page = await node.link.history("lobby", Position(epoch, 1), 10, False)
            assert page.gap
            assert page.latest is not None
            assert (page.latest.offset, page.latest.payload) == (2, b"b")

    run(test())


def test_rooms_are_listed_in_order_and_in_pages(server: Server) -> None:
    names = sorted(["a", "b.x", "b.y", "b.z", "c", "é", "z", "\U0001f600"])

    async def test() -> None:
        async with nodes(server.url) as [node]:
            for name in names:
                await node.publish(name, "x")
            await node.join("c", "ada")
            found: list[RoomInfo] = []
            after = ""
            while True:
                page = await node.link.rooms(after, 3, None)
                found += page.rooms
                if page.after is None:
                    break
                after = page.after
            assert [each.room for each in found] == names
            assert [(each.offset, each.members, each.held) for each in found if each.room == "c"] == [(1, 1, 1)]
            page = await node.link.rooms("", 2, "b.*")
            assert ([each.room for each in page.rooms], page.after) == (["b.x", "b.y"], "b.y")
            page = await node.link.rooms("b.y", 2, "b.*")
            assert ([each.room for each in page.rooms], page.after) == (["b.z"], None)

    run(test())


def test_standings_and_changed_rooms(server: Server) -> None:
    async def test() -> None:
        async with nodes(server.url) as [node]:
            first = await node.publish("a.1", "x")
            await node.publish("a.2", "x")
            standings = await node.link.standings(["a.1", "none"])
            assert standings.keys() == {"a.1"}
            assert standings["a.1"].position == Position(first.epoch, 1)
            began = await node.link.follow_pattern("a.*")
            while (await node.publish("a.3", "x")).offset and (await node.link.standings(["a.3"]))["a.3"].time <= began:
                pass
            page = await node.link.changed("a.*", began + 0.001, "", 10)
            assert [room for room, _ in page.rooms] == ["a.3"]
            page = await node.link.changed("a.*", 0, "", 2)
            assert ([room for room, _ in page.rooms], page.after) == (["a.1", "a.2"], "a.2")

    run(test())


def test_the_roster_has_the_members_of_all_processes_in_the_order_they_came(server: Server) -> None:
    async def test() -> None:
        async with nodes(server.url, 2) as [one, two]:
            for number in range(12):
                await (one, two)[number % 2].join("lobby", f"m{number}")
            for node in (one, two):
                page = await node.link.presence("lobby", 3)
                assert (page.count, [each.id for each in page.members]) == (12, ["m0", "m1", "m2"])
                roster = await node.link.roster("lobby")
                assert roster is not None
                assert [each.id for each in roster.members] == [f"m{number}" for number in range(12)]
                assert roster.position.offset == 12
                assert roster.members[3].identity == {"user": "m3"}
            assert await one.link.roster("none") is None

    run(test())
