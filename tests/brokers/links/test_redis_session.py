"""Sessions with a real cluster of three primaries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest
from redis.crc import key_slot
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from tests.support.redis_links import make_settings, nodes, run
from tests.support.redis_servers import Cluster, valkey
from wsdaemon.brokers.errors import BrokerUnavailable, MemoryFull
from wsdaemon.brokers.links.redis_keys import Names
from wsdaemon.brokers.links.redis_servers import Away, Layout, RedisPlace, Servers
from wsdaemon.brokers.links.redis_session import RedisSession

NAMES = Names("wsdaemon", "/rooms")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield started.start()
    finally:
        started.stop()


def slot_of(room: str) -> int:
    return key_slot(NAMES.room(room)[0].encode())


@pytest.mark.live
def test_messages_are_sharded_and_all_of_them_arrive(cluster: Cluster) -> None:
    rooms = [f"room{number}" for number in range(30)]

    async def test() -> None:
        async with nodes(cluster.url, 2) as [one, two]:
            await asyncio.gather(*[two.join(room, f"m{room}") for room in rooms])
            for text in ("1", "2", "3"):
                await asyncio.gather(*[one.publish(room, text) for room in rooms])
            await two.receiver.until(lambda: all(two.receiver.texts(room) == ["1", "2", "3"] for room in rooms))
            await two.link.probe()
            listening = []
            for each in cluster.servers:
                with each.client() as client:
                    listening.append(len(client.execute_command("PUBSUB", "SHARDCHANNELS", "*:live")))
            assert sum(listening) == 30
            assert min(listening) > 0
            assert sorted(each.room for each in (await one.link.rooms("", 100, None)).rooms) == sorted(rooms)

    run(test())


@pytest.mark.live
def test_patterns_hear_all_shards(cluster: Cluster) -> None:
    async def test() -> None:
        async with nodes(cluster.url, 2, path="/patterns") as [one, two]:
            await two.link.follow_pattern("prices.*")
            await two.join("prices.0", "ada")
            for number in range(20):
                await one.publish(f"prices.{number}", "x")
            await two.receiver.until(lambda: {message.room for message in two.receiver.messages} == {f"prices.{n}" for n in range(20)})

    run(test())


@pytest.mark.live
def test_a_slot_that_migrates_begins_no_epoch_and_its_members_hear_on(cluster: Cluster) -> None:
    async def test() -> None:
        async with nodes(cluster.url, 2, path="/moving") as [one, two]:
            names = Names("wsdaemon", "/moving")
            slot = key_slot(names.room("lobby")[0].encode())
            joined = await two.join("lobby", "ada")
            first = await one.publish("lobby", "1")
            source = cluster.owner(slot)
            target = next(each for each in cluster.servers if each is not source)
            await asyncio.to_thread(cluster.move, slot, target)
            await asyncio.wait_for(two.receiver.down.wait(), 20)
            await two.receiver.up.wait()
            while True:
                try:
                    second = await one.publish("lobby", "2")
                    break
                except BrokerUnavailable:
                    await one.receiver.up.wait()
            assert (second.epoch, second.offset) == (first.epoch, 2)
            assert second.epoch == joined.position.epoch
            await two.receiver.until(lambda: two.receiver.texts("lobby")[-1:] == ["2"])
            assert (await two.link.standings(["lobby"]))["lobby"].position == (first.epoch, 2)

    run(test())


@pytest.mark.live
def test_publications_while_a_slot_migrates_keep_their_order(cluster: Cluster) -> None:
    async def test() -> None:
        async with nodes(cluster.url, path="/order") as [node]:
            names = Names("wsdaemon", "/order")
            slot = key_slot(names.room("lobby")[0].encode())
            await node.publish("lobby", "0")
            source = cluster.owner(slot)
            target = next(each for each in cluster.servers if each is not source)
            moving = asyncio.create_task(asyncio.to_thread(cluster.move, slot, target))
            asked = []
            number = 1
            while not moving.done():
                asked.append(node.publish("lobby", str(number)))
                number += 1
                await asyncio.sleep(0)
            await moving
            answers = await asyncio.gather(*asked, return_exceptions=True)
            taken = [answer.offset for answer in answers if not isinstance(answer, BaseException)]
            assert taken == sorted(taken)
            assert len(taken) > 1

    run(test())


@pytest.mark.live
def test_valkey_has_clusters_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    started = Cluster(tmp_path_factory.mktemp("valkeys"), program=valkey())

    async def test() -> None:
        async with nodes(started.url, 2) as [one, two]:
            await two.join("lobby", "ada")
            await one.publish("lobby", "1")
            await two.receiver.until(lambda: two.receiver.texts("lobby") == ["1"])

    try:
        started.start()
        run(test())
    finally:
        started.stop()


def test_answers_that_end_the_session_and_answers_that_do_not() -> None:
    async def test() -> None:
        session = RedisSession(Servers(make_settings("redis://127.0.0.1")), replica=False)
        assert isinstance(session.failed(OutOfMemoryError("command not allowed")), MemoryFull)
        assert isinstance(session.failed(ResponseError("NOREPLICAS not enough good replicas")), BrokerUnavailable)
        assert not session.ended.done()
        assert isinstance(session.failed(ReadOnlyError("you can't write against a read only replica")), BrokerUnavailable)
        assert "read only" in session.ended.result()

    run(test())


class Pipe:
    """A connection that is open until it is ended."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)

    async def close(self) -> None:
        self.end("closed")


class ThreePrimaries:
    """Servers of a cluster whose first primary is down. A connection to the others opens once `slow` is set."""

    def __init__(self, down: bool = True) -> None:
        self.down = down
        self.slow = asyncio.Event()
        self.pipes: list[Pipe] = []
        self.places = tuple(RedisPlace("127.0.0.1", port) for port in (1, 2, 3))

    async def find(self) -> Layout:
        return Layout(self.places)

    async def questions(self, place: RedisPlace) -> Pipe:
        if self.down and place == self.places[0]:
            raise Away(f"{place} does not answer")
        await self.slow.wait()
        self.pipes.append(Pipe())
        return self.pipes[-1]

    async def subscriptions(self, place: RedisPlace, *told: object) -> Pipe:
        self.pipes.append(Pipe())
        return self.pipes[-1]

    @property
    def open(self) -> int:
        return sum(not pipe.ended.done() for pipe in self.pipes)


def _nothing(*arguments: object) -> None:
    """No channel is subscribed to."""


@pytest.mark.parametrize("replica", [False, True])
def test_a_primary_that_is_down_leaves_no_connection_to_the_others(replica: bool) -> None:
    async def test() -> None:
        servers = ThreePrimaries()
        session = RedisSession(cast(Servers, servers), replica=replica)
        with pytest.raises(Away, match=r"127\.0\.0\.1:1 does not answer"):
            await session.open(_nothing, _nothing)
        await session.close()
        servers.slow.set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert servers.open == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(test())


def test_a_connection_that_opens_after_the_end_is_cut() -> None:
    async def test() -> None:
        servers = ThreePrimaries(down=False)
        session = RedisSession(cast(Servers, servers), replica=False)
        opening = asyncio.ensure_future(session.open(_nothing, _nothing))
        await asyncio.sleep(0)
        session.end("no answer")
        servers.slow.set()
        with pytest.raises(Away, match="no answer"):
            await opening
        assert servers.pipes
        assert servers.open == 0

    run(test())
