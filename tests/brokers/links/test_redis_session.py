"""Sessions with a real cluster of three primaries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from redis.crc import key_slot
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from tests.support.redis_links import make_settings, nodes, run
from tests.support.redis_servers import Cluster, valkey
from wsdaemon.brokers.contract import BrokerUnavailable, MemoryFull
from wsdaemon.brokers.links.redis_keys import Names
from wsdaemon.brokers.links.redis_servers import Servers
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
