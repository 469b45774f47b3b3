"""Rooms across workers while processes are killed under load: nothing acknowledged is lost, nothing comes twice, and each break is told.

WSDAEMON_CHAOS, in seconds, makes each run longer and adds kills, at the full load of 2,000 publications a second.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.room_load import SETTLE_SECONDS, Load, Member, until
from tests.support.workers import children, processes_in, wait_for_ends

pytestmark = pytest.mark.live

CHAOS_SECONDS = float(os.environ.get("WSDAEMON_CHAOS", "0"))
MEMBERS, ROOMS = 500, 50
RATE = 2000.0 if CHAOS_SECONDS else 400.0
FOR_EVER = 1e9
PART_SECONDS = 1.0
"""Of publishing before and after each kill."""

TWO_WORKERS = """
[daemon]
workers = 2
worker_timeout = 300s

[listener:web]
address = tcp:0:interface=127.0.0.1

[mount:/rooms]
app = rooms
history = 5000
history_bytes = 32MiB
memory = 2GiB
requests_per_second = 0
"""

MOST_SECONDS_TO_END = 3.0
"""A second until the end of the supervisor is noticed, and two until the clients were told."""

Kill = Callable[[Daemon, Load], Awaitable[None]]


def process(daemon: Daemon, name: str, count: int = 1) -> int:
    """The process id of a child in its `count`th life."""
    return int(daemon.output.wait_for(rf"{name} is ready \(process (\d+)\)", count)[count - 1][1])


def under_load(folder: Path, kill: Kill, kills: int, after: Callable[[Load], None], padding: int = 0) -> str:
    """Publish before, during and after each of the kills, and check. Returns the daemon's log."""

    async def work(daemon: Daemon) -> None:
        load = Load(daemon.port, MEMBERS, ROOMS, RATE, padding=padding)
        await load.begin()
        for _ in range(kills):
            await load.publish(max(PART_SECONDS, CHAOS_SECONDS / kills / 2))
            publishing = asyncio.ensure_future(load.publish(FOR_EVER))
            await kill(daemon, load)
            await asyncio.sleep(max(PART_SECONDS, CHAOS_SECONDS / kills / 2))
            publishing.cancel()
        await load.settle()
        load.end()
        load.hung = "publications are acknowledged that it has not read yet" in daemon.log
        after(load)

    with Daemon(folder, TWO_WORKERS) as daemon:
        process(daemon, "worker 1"), process(daemon, "worker 2")
        asyncio.run(work(daemon))
        assert daemon.stop() == 0
        return daemon.log


def test_a_worker_is_killed(tmp_path: Path) -> None:
    """Its members come back and miss nothing, and those of the other worker notice nothing."""
    lives = [1, 1]
    survivors = dict[Member, int]()

    async def kill(daemon: Daemon, load: Load) -> None:
        """Of both workers in turn, because after a kill all may be with the other."""
        number = 1 if lives[0] == lives[1] else 2
        boots = {member.boot for member in load.members}
        assert len(boots) == 2 or sum(lives) > 2
        os.kill(process(daemon, f"worker {number}", lives[number - 1]), signal.SIGKILL)
        lives[number - 1] += 1
        await until(lambda: any(not member.inside for member in load.members))
        lost = {member.boot for member in load.members if not member.inside}
        assert len(lost) == 1
        survivors.update({member: member.losses for member in load.members if member.boot not in lost} if sum(lives) == 3 else {})
        await until(lambda: len(re.findall(rf"worker {number} is ready", daemon.log)) >= lives[number - 1])
        await until(lambda: all(member.inside for member in load.members))
        assert all(member.losses == losses for member, losses in survivors.items() if sum(lives) == 3)

    def check(load: Load) -> None:
        load.check()
        assert all(member.gaps == 0 for member in load.members)
        assert MEMBERS / 4 < len(survivors) < MEMBERS * 3 / 4

    under_load(tmp_path, kill, 3 if CHAOS_SECONDS else 1, check)


def test_the_hub_is_killed(tmp_path: Path) -> None:
    """Every member stays, is told of the break once for each kill, and has every message that was acknowledged before and after."""
    lives = 1

    async def kill(daemon: Daemon, load: Load) -> None:
        nonlocal lives
        os.kill(process(daemon, "hub", lives), signal.SIGKILL)
        lives += 1
        count = len(load.acknowledged)
        await until(lambda: len(re.findall(r"hub is ready", daemon.log)) >= lives)
        await until(lambda: len(load.acknowledged) > count + ROOMS)

    def check(load: Load) -> None:
        load.check(doubles=True, hung=load.hung)
        assert all(member.losses == 0 for member in load.members)
        assert {member.gaps for member in load.members} == {lives - 1}
        assert all(len({epoch for epoch, _ in member.starts}) == lives for member in load.members)

    under_load(tmp_path, kill, 3 if CHAOS_SECONDS else 1, check)


def test_the_supervisor_is_killed(tmp_path: Path) -> None:
    """The others notice it and end, nothing of them is left, and every member has every message that was acknowledged before. The next
    daemon, in the same folder, serves them again: each is told of the break."""
    text = TWO_WORKERS.replace("[daemon]\n", "[daemon]\ncontrol = unix:control.sock\n") + "\n[listener:local]\naddress = unix:local.sock\n"

    async def work() -> Load:
        with Daemon(tmp_path, text) as daemon:
            process(daemon, "worker 1"), process(daemon, "worker 2")
            others = list(children(daemon.pid).values())
            assert len(others) == 3
            load = Load(daemon.ports["web"], MEMBERS, ROOMS, RATE)
            await load.begin()
            assert len({member.boot for member in load.members}) == 2
            await load.publish(max(PART_SECONDS, CHAOS_SECONDS / 2))
            publishing = asyncio.ensure_future(load.publish(FOR_EVER))
            await asyncio.sleep(PART_SECONDS)
            before = set(load.acknowledged)
            daemon.tell(signal.SIGKILL)
            assert await asyncio.to_thread(wait_for_ends, others) < MOST_SECONDS_TO_END
            assert daemon.wait() == -signal.SIGKILL
            load.hung = "publications are acknowledged that it has not read yet" in daemon.log
        assert processes_in(tmp_path) == set()
        await until(lambda: not any(client.client for client in (*load.members, *load.publishers)))
        assert {tuple(client.codes) for client in (*load.members, *load.publishers)} == {(1012,)}
        with Daemon(tmp_path, text) as daemon:
            load.port = daemon.ports["web"]
            await until(lambda: all(member.inside for member in load.members))
            await asyncio.sleep(max(PART_SECONDS, CHAOS_SECONDS / 2))
            publishing.cancel()
            await load.settle()
            load.end()
            assert daemon.stop() == 0
        first = {epoch for member in load.members for epoch, _ in member.starts[:1]}
        late = [each for each, (_, epoch, _) in load.acknowledged.items() if epoch in first and each not in before]
        for each in late:  # its members may have had their close frame before
            del load.acknowledged[each]
        assert before
        return load

    load = asyncio.run(work())
    load.check(doubles=True, hung=load.hung, away=True)
    assert {member.gaps for member in load.members} == {1}
    assert not (tmp_path / "control.sock").exists() and not (tmp_path / "local.sock").exists()


def test_a_worker_is_paused_until_its_link_is_cut(tmp_path: Path) -> None:
    """The other is not held up, and the members of the paused one miss nothing: they are told of no gap."""

    async def pause(daemon: Daemon, load: Load) -> None:
        """A client does not learn the number of its worker, so that the members of either worker may be those which go on."""
        paused = process(daemon, "worker 1")
        assert len({member.boot for member in load.members}) == 2
        os.kill(paused, signal.SIGSTOP)
        try:
            await until(lambda: "worker 1 is too slow for the hub and begins its link anew" in daemon.log, SETTLE_SECONDS)
            counts = {member: len(member.seen) for member in load.members}
            await until(lambda: any(len(member.seen) > count for member, count in counts.items()))
        finally:
            os.kill(paused, signal.SIGCONT)

    def check(load: Load) -> None:
        load.check()
        assert all(member.gaps == 0 for member in load.members)
        assert all(member.losses == 0 for member in load.members)

    under_load(tmp_path, pause, 1, check, padding=4000)
