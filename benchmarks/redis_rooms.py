"""Rooms over a real Redis, across two daemons: `python -m benchmarks.redis_rooms`.

    room          one publisher at one daemon, `--members` members of its room at the other: publish to last delivery, CPU per publication;
                  and the same with two nginx and nchan on the same Redis, if they are installed
    pipelined     16 publications under way: publications a second, and CPU of both daemons and of Redis for each
    recovery      Redis is killed and started again: the time until every member has a message that was published afterwards

It needs redis-server, and runs this source tree with the packages of the Python that runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from .daemons import PAYLOAD_BYTES, SECONDS, PlainClient, RedisServer, RunningDaemon, cpu, free_port, joined, wait_for
from .preparing import HERE, CannotRun

SETTINGS = """\
[daemon]
max_connections = 20000

[listener:bench]
address = tcp:{port}:interface=127.0.0.1
max_connections_per_address = 20000

[mount:/rooms/{{name}}]
app = rooms
history = 1000
max_connections_per_address = 0
requests_per_second = 0
ping_interval = 0

[broker]
url = redis://127.0.0.1:{redis}
timeout = 30s
"""

NCHAN = ("/usr/sbin/nginx", "/usr/lib/nginx/modules/ngx_nchan_module.so")
Used = Callable[[], tuple[float, ...]]
"""Seconds of CPU that both servers and Redis have used."""

V1 = [Subprotocol("rooms.v1.json")]


class World:
    """Redis and two daemons."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ports = [free_port(), free_port()]
        self.redis = RedisServer(folder)
        self.daemons: list[RunningDaemon] = []

    def start(self) -> None:
        self.redis.start()
        for port in self.ports:
            self.daemons.append(RunningDaemon(self._folder, port, SETTINGS.format(port=port, redis=self.redis.port)))
        for each in self.daemons:
            each.wait()

    def url(self, number: int, room: str) -> str:
        return f"ws://127.0.0.1:{self.ports[number]}/rooms/{room}"

    def used(self) -> tuple[float, ...]:
        return tuple([cpu(pid) for pid in (*[each.process.pid for each in self.daemons], self.redis.pid)])

    def close(self) -> None:
        for each in self.daemons:
            each.close()
        self.redis.kill()


@contextlib.asynccontextmanager
async def members(world: World, count: int, rooms: int) -> AsyncIterator[list[ClientConnection]]:
    """Members at the second daemon, spread over rooms, and joined."""
    opened: list[ClientConnection] = []
    try:
        for start in range(0, count, 50):
            numbers = range(start, min(count, start + 50))
            opened += await asyncio.gather(
                *[connect(world.url(1, f"r{number % rooms}"), subprotocols=V1, compression=None, proxy=None) for number in numbers]
            )
        await asyncio.gather(*[ask(each, "subscribe") for each in opened])
        yield opened
    finally:
        await asyncio.gather(*[each.close() for each in opened])


async def ask(client: ClientConnection, type: str, **fields: object) -> dict[str, object]:
    await client.send(json.dumps({"type": type, "id": 1, **fields}))
    while True:
        event: dict[str, object] = json.loads(await client.recv())
        if event.get("id") == 1:
            return event


async def until(client: ClientConnection, text: str) -> None:
    """Read until a message has this text."""
    while json.loads(await client.recv()).get("data") != text:
        continue


async def measure_room(name: str, ports: Sequence[int], paths: tuple[str, str], used: Used, count: int, rounds: int) -> None:
    """One publication under way, from a publisher at the first server to the members at the second."""
    those = [await PlainClient.open(ports[1], paths[0]) for _ in range(count)]
    publisher = await PlainClient.open(ports[0], paths[1])
    payload, times = bytes(PAYLOAD_BYTES), []
    try:
        size = await joined(publisher, those)
        before = used()
        for number in range(1, rounds + 1):
            began = time.perf_counter()
            publisher.send(payload)
            await asyncio.gather(*[each.until(number * size) for each in those])
            times.append(time.perf_counter() - began)
        first, second, redis = [(after - then) / rounds * 1e6 for then, after in zip(before, used(), strict=True)]
    finally:
        for each in (publisher, *those):
            each.close()
    times.sort()
    p50, p99 = statistics.median(times) * 1000, times[int(len(times) * 0.99)] * 1000
    print(
        f"room, {name}: {count} members, publish to last delivery p50 {p50:.2f} ms, p99 {p99:.2f} ms; CPU per publication: publisher's "
        f"server {first:.0f} us, members' server {second:.0f} us ({second / count:.2f} us per delivery), Redis {redis:.0f} us", flush=True,
    )  # fmt: skip


async def until_open(port: int, path: str) -> None:
    """nchan answers 503 until it is connected to Redis. CannotRun after SECONDS."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            (await PlainClient.open(port, path)).close()
            return
        except CannotRun:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.2)


def measure_nchan(folder: Path, redis: RedisServer, count: int, rounds: int) -> None:
    """The same room at two nginx with nchan on the same Redis."""
    if not all(map(os.path.exists, NCHAN)):
        print(f"nchan is left out: {', '.join(NCHAN)} are needed (Debian: nginx-light, libnginx-mod-nchan)")
        return
    ports = [free_port(), free_port()]
    running = []
    try:
        for port in ports:
            config = folder / f"{port}.conf"
            text = (HERE / "servers" / "nchan_redis.conf").read_text()
            for word, value in {"{port}": port, "{redis}": redis.port, "{folder}": folder}.items():
                text = text.replace(word, str(value))
            config.write_text(text)
            log = (folder / f"{port}.log").open("wb")
            running.append(subprocess.Popen([NCHAN[0], "-e", "stderr", "-c", str(config)], stdout=log, stderr=log))  # noqa: S603 - nginx
        for port in ports:
            wait_for(port)
        servers = [int(Path(f"/proc/{each.pid}/task/{each.pid}/children").read_text().split()[0]) for each in running]
        pids = [*servers, redis.pid]
        for port in ports:
            asyncio.run(until_open(port, "/sub"))
        asyncio.run(measure_room("nchan", ports, ("/sub", "/pub"), lambda: tuple(map(cpu, pids)), count, rounds))
    finally:
        for each in running:
            each.terminate()
            each.wait()


async def measure_pipelined(world: World, rounds: int, under_way: int = 16) -> None:
    async with members(world, 1, 1) as [member], connect(world.url(0, "r0"), compression=None, proxy=None) as publisher:
        before, began = world.used(), time.perf_counter()
        for number in range(0, rounds, under_way):
            for each in range(number, number + under_way):
                await publisher.send(str(each))
            await until(member, str(number + under_way - 1))
        seconds = time.perf_counter() - began
        used = [(after - then) / rounds * 1e6 for then, after in zip(before, world.used(), strict=True)]
    print(
        f"pipelined: {rounds / seconds:.0f} publications a second, {under_way} under way; "
        f"CPU for each: publisher's daemon {used[0]:.0f} us, member's daemon {used[1]:.0f} us, Redis {used[2]:.0f} us"
    )


async def measure_recovery(world: World, count: int, rooms: int) -> None:
    async with members(world, count, rooms) as those:
        world.redis.kill()
        await asyncio.sleep(1.0)
        began = time.perf_counter()
        world.redis.start()
        up = time.perf_counter()
        publishers = [await connect(world.url(0, f"r{number}"), subprotocols=V1, compression=None, proxy=None) for number in range(rooms)]
        for each in publishers:
            assert (await ask(each, "publish", data="back"))["type"] == "published"
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*[until(each, "back") for each in those])
        ended = time.perf_counter()
        for each in publishers:
            await each.close()
    print(f"recovery: {count} members in {rooms} rooms; Redis started in {up - began:.2f} s")
    print(f"recovery: {ended - up:.2f} s after that each member had a new message")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redis_rooms", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--members", type=int, default=1000, help="of the room, and of the recovery")
    parser.add_argument("--rooms", type=int, default=50, help="rooms of the recovery")
    parser.add_argument("--rounds", type=int, default=200, help="publications")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            world.start()
            plain = ("/rooms/plain", "/rooms/plain")
            asyncio.run(measure_room("wsdaemon", world.ports, plain, world.used, options.members, options.rounds))
            measure_nchan(Path(folder), world.redis, options.members, options.rounds)
            asyncio.run(measure_pipelined(world, options.rounds * 16))
            asyncio.run(measure_recovery(world, options.members, options.rooms))
        except CannotRun as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            world.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
