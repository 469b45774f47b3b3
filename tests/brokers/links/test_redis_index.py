from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.redis_links import Node, nodes, run
from tests.support.redis_servers import Server
from wsdaemon.brokers import Limits
from wsdaemon.brokers.errors import BrokerUnavailable, TooManyRooms
from wsdaemon.brokers.links.redis_index import SWEPT_ROOMS
from wsdaemon.brokers.links.redis_keys import Names
from wsdaemon.brokers.links.redis_place_scripts import RESERVE

pytestmark = pytest.mark.live


async def names(node: Node) -> list[str]:
    return [each.room for each in (await node.link.rooms("", 100, None)).rooms]


def test_a_new_room_replaces_the_oldest_empty_one(server: Server) -> None:
    """max_rooms holds over all processes."""

    async def test() -> None:
        async with nodes(server.url, 2, limits=Limits(max_rooms=3)) as [one, two]:
            await one.join("old-but-full", "ada")
            # two of the same millisecond are in the order of their names
            await two.publish("a-first", "x")
            await one.publish("b-second", "x")
            await two.publish("c-third", "x")
            assert await names(one) == ["b-second", "c-third", "old-but-full"]
            assert await two.link.room_count() == 3
            await one.join("b-second", "bob")
            await two.join("c-third", "eve")
            with pytest.raises(TooManyRooms, match="3 rooms"):
                await two.publish("one-more", "x")
            with pytest.raises(TooManyRooms):
                await two.join("one-more", "joe")
            assert await names(two) == ["b-second", "c-third", "old-but-full"]

    run(test())


def test_one_owner_has_an_eighth_of_the_rooms(server: Server) -> None:
    async def test() -> None:
        async with nodes(server.url, 2, limits=Limits(max_rooms=16)) as [one, two]:
            await one.join("a", "ada", owner="user ada")
            await two.join("b", "ada", owner="user ada")
            for node in (one, two):
                with pytest.raises(TooManyRooms, match="an eighth"):
                    await node.publish("c", "x", owner="user ada")
            await one.publish("c", "x", owner="user bob")
            await one.publish("d", "x")
            assert await names(one) == ["a", "b", "c", "d"]

    run(test())


def test_an_owner_with_its_share_replaces_its_own_oldest_empty_room(server: Server) -> None:
    """As with the rooms of one process: an owner must not be refused for ever, and must not take the rooms of others."""

    async def test() -> None:
        async with nodes(server.url, limits=Limits(max_rooms=16, history=5)) as [node]:
            await node.publish("older", "x", owner="user bob")
            await node.join("used", "ada", owner="user ada")
            await node.publish("b", "x", owner="user ada")
            for name in ("c", "d"):
                await node.publish(name, "x", owner="user ada")
                assert await names(node) == [name, "older", "used"]

    run(test())


def test_rooms_in_use_are_evicted_last(server: Server) -> None:
    """The index knows when a room was made, and not each publication."""

    async def test() -> None:
        async with nodes(server.url, limits=Limits(max_rooms=2, history=5, room_idle=0.5)) as [node]:
            await node.publish("busy", "x")
            await node.publish("idle", "x")
            await asyncio.to_thread(time.sleep, 0.6)  # the clock is that of Redis
            await node.publish("busy", "x")
            await node.publish("new", "x")
            assert await names(node) == ["busy", "new"]

    run(test())


def test_a_room_that_stays_keeps_its_owner_and_its_time(server: Server) -> None:
    async def test() -> None:
        async with nodes(server.url, limits=Limits(max_rooms=16, history=5)) as [node]:
            session = node.link._session
            assert session is not None
            await node.join("a", "ada", owner="user ada")
            _, used, owners, owned = Names("wsdaemon", "/rooms").index
            with server.client() as client:
                client.zadd(used, {"a": 1})
                assert not await node.link._index._forget(session, "a", 0)
                assert (client.hget(owners, "a"), client.hget(owned, "user ada")) == (b"user ada", b"1")
                assert 1 < client.zscore(used, "a") <= time.time() * 1000 + 1000
                client.set(Names("wsdaemon", "/rooms").room("wrong")[0], "of another kind")
                await session.ask(RESERVE, node.link._names.index, "wrong", "user bob", 9, 9, 1, whole=False)
                with pytest.raises(BrokerUnavailable):
                    await node.link._index._forget(session, "wrong", 0)
                assert client.hget(owners, "wrong") == b"user bob"

    run(test())


def test_an_owner_gets_its_share_back(server: Server) -> None:
    async def test() -> None:
        async with nodes(server.url, limits=Limits(max_rooms=1)) as [node]:
            for name in ("a", "b", "c"):
                # The share of max_rooms = 1 is one room, so a room that leaves the index must leave its owner's count too.
                with server.client() as client:
                    client.delete(*Names("wsdaemon", "/rooms").room(name))
                if name != "a":
                    await node.link._index._forget(node.link._session, chr(ord(name) - 1), 0)  # type: ignore[arg-type]
                await node.publish(name, "x", owner="user ada")
                assert await names(node) == [name]

    run(test())


def test_rooms_that_are_unused_leave_and_used_ones_stay(server: Server) -> None:
    limits = Limits(room_idle=0.001, key_age=0.001)

    async def test() -> None:
        async with nodes(server.url, limits=limits) as [node]:
            session = node.link._session
            assert session is not None
            await node.publish("unused", "x")
            await node.join("used", "ada")
            while await node.link._index.sweep(session) == 0 or "unused" in await names(node):
                pass
            assert await names(node) == ["used"]
            assert await node.link.standings(["unused"]) == {}

    run(test())


def test_rooms_with_an_endless_history_are_not_swept(server: Server) -> None:
    async def test() -> None:
        async with nodes(server.url, limits=Limits(history=5, room_idle=0.001, key_age=0.001)) as [node]:
            await node.publish("a", "x")
            assert node.link._session is not None
            assert await node.link._index.sweep(node.link._session) == 0

    run(test())


def test_with_endless_histories_a_cursor_finds_the_rooms_that_are_gone_a_few_at_a_time(server: Server) -> None:
    """The server has evicted them, or lost them in a failover: nothing else would take them out of the index, and out of max_rooms."""

    async def test() -> None:
        async with nodes(server.url, limits=Limits(history=5)) as [node]:
            session, index = node.link._session, node.link._index
            assert session is not None
            rooms = [f"room-{number:03}" for number in range(2 * SWEPT_ROOMS + 20)]
            for room in rooms:
                await node.publish(room, "x", owner="user ada")
            gone = {rooms[0], rooms[SWEPT_ROOMS], rooms[-1]}
            with server.client() as client:
                for room in gone:
                    client.delete(*Names("wsdaemon", "/rooms").room(room))
                client.zadd(node.link._names.index[1], dict.fromkeys(gone, 1.0))
            assert [await index.sweep(session) for _ in range(3)] == [1, 1, 1], "each looks at the next rooms"
            assert await node.link.room_count() == len(rooms) - 3
            with server.client() as client:
                assert int(client.hget(node.link._names.index[3], "user ada")) == len(rooms) - 3
            assert [await index.sweep(session) for _ in range(3)] == [0, 0, 0], "it begins again"
            assert len((await node.link.history("room-001", None, 10, False)).messages) == 1

    run(test())


def test_with_endless_histories_a_room_that_is_being_made_stays_in_the_index(server: Server) -> None:
    """A publisher enters it first, and then makes it: an entry that is taken out in between would not come back."""

    async def test() -> None:
        async with nodes(server.url, limits=Limits(history=5)) as [node]:
            session, index = node.link._session, node.link._index
            assert session is not None
            await index.reserve(session, "new", "user ada")
            assert await index.sweep(session) == 0
            assert await node.link.room_count() == 1

    run(test())


def test_a_room_that_is_gone_is_not_listed(server: Server) -> None:
    """Its keys expired, or it lay on a node that failed; the index learns of it later."""

    async def test() -> None:
        async with nodes(server.url) as [node]:
            await node.publish("a", "x")
            await node.publish("b", "x")
            with server.client() as client:
                client.delete(*Names("wsdaemon", "/rooms").room("a"))
            assert await names(node) == ["b"]

    run(test())
