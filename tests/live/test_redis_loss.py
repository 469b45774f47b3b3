"""Redis is killed, stopped, emptied or fails over while messages are under way: no member loses a message without being told.

WSDAEMON_REDIS_RUNS has the number of random runs.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.support.redis_chaos import Chaos, ChaosNode, chaos, in_thread
from tests.support.redis_links import run
from tests.support.redis_servers import EVERYSEC, REDIS, SPEED, Sentinels, Server, valkey, wait_until
from wsdaemon.brokers.followed import probes
from wsdaemon.brokers.links import redis as redis_link
from wsdaemon.settings.values import Secret

pytestmark = pytest.mark.live

RUNS = int(os.environ.get("WSDAEMON_REDIS_RUNS", "5"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same supervision, in less time."""
    monkeypatch.setattr(probes, "PROBE_SECONDS", 0.25)
    monkeypatch.setattr(redis_link, "HEARTBEAT_SECONDS", 0.5)


async def killed(world: Chaos, server: Server) -> None:
    await in_thread(server.kill)
    await asyncio.sleep(world.chance.uniform(0, 0.2))
    await in_thread(server.start)


async def crashed(world: Chaos, server: Server) -> None:
    """The machine fails: up to a second of what was acknowledged is lost."""
    await in_thread(server.kill)
    await in_thread(server.forget_last, world.chance.randrange(100_000))
    await in_thread(server.start)


async def emptied(world: Chaos, server: Server) -> None:
    await in_thread(server.kill)
    await in_thread(server.empty)
    await in_thread(server.start)


async def paused(world: Chaos, server: Server) -> None:
    server.pause()
    await asyncio.sleep(world.chance.uniform(0.1, 0.9))
    server.go_on()


async def cut(world: Chaos, server: Server) -> None:
    def cut_all() -> None:
        with server.client() as client:
            client.client_kill_filter(_type=world.chance.choice(["normal", "pubsub"]), skipme=True)

    await in_thread(cut_all)


FAULTS = {"killed": killed, "crashed": crashed, "emptied": emptied, "paused": paused, "cut": cut}
LOSSES = {"killed", "crashed", "emptied"}


@pytest.mark.parametrize("seed", range(RUNS))
def test_no_message_is_lost_without_a_word(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    server = Server(tmp_path, EVERYSEC, program=REDIS if seed % 2 == 0 else valkey())
    faults = [list(FAULTS)[seed % len(FAULTS)], *chance.choices(list(FAULTS), k=2)]

    async def test() -> None:
        async with chaos(server.url, seed, timeout=3.0) as world:
            for fault in faults:
                await world.acknowledged()
                await FAULTS[fault](world, server)
            await world.end()
            if LOSSES.isdisjoint(faults):
                assert world.gaps == 0, (faults, world.members[0].gaps)
            else:
                # One gap for each member, room and restart, at most.
                restarts = len([fault for fault in faults if fault in LOSSES])
                assert world.gaps <= restarts * len(world.members) * len(world.rooms)

    server.start()
    try:
        run(test())
    finally:
        server.kill()


def test_a_pause_that_lasts_loses_nothing_and_tells_of_no_gap(tmp_path: Path) -> None:
    """Longer than the timeout of a publication, and than the patience of the probe."""
    server = Server(tmp_path, SPEED)

    async def test() -> None:
        async with chaos(server.url, 0, timeout=0.5) as world:
            await world.acknowledged()
            server.pause()
            before = world.unavailable
            while world.unavailable < before + 8:  # noqa: ASYNC110 - each publisher has waited for its time
                await asyncio.sleep(0.01)
            server.go_on()
            await world.end()
            assert world.gaps == 0

    server.start()
    try:
        run(test())
    finally:
        server.kill()


def has_left(node: ChaosNode, old: Server) -> bool:
    session = node.link._session
    return session is not None and bool(session.places) and not session.places.endswith(f":{old.port}")


def test_a_failover_with_a_partitioned_primary(tmp_path: Path) -> None:
    """The old primary goes on acknowledging messages, which its successor never sees. All members are told, and none is told twice."""
    sentinels = Sentinels(tmp_path, down_after=0.5)

    async def test() -> None:
        async with chaos(sentinels.url, 1, timeout=3.0, rooms=3, password_file=Secret(tmp_path, "secret")) as world:
            await world.acknowledged()
            old = sentinels.servers[0]
            await in_thread(sentinels.partition)
            await world.acknowledged(200)  # only the old primary has these
            await in_thread(wait_until, lambda: sentinels.primary() is not old, "the replica takes over")
            # A loss is not enough: on a busy machine a node may have lost the old primary earlier, and come back to it.
            await in_thread(
                wait_until,
                lambda: all(has_left(node, old) for node in world.nodes),
                "the nodes leave the old primary by themselves",
            )
            await in_thread(sentinels.heal)
            await world.end()
            for member in world.members:
                assert sorted(room for room, _ in member.gaps) == world.rooms

    try:
        sentinels.start()
        run(test())
    finally:
        sentinels.stop()
