"""Rooms over a real Redis, across two daemons: `python -m benchmarks.redis_rooms`.

    room          one publisher at one daemon, `--members` members of its room at the other: publish to last delivery, CPU per publication
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
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from .preparing import HERE, CannotRun
from .subject import in_place

SECONDS = 60.0
"""The longest that anything may take."""

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

[broker]
url = redis://127.0.0.1:{redis}
timeout = 30s
"""

V1 = [Subprotocol("rooms.v1.json")]
TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class World:
    """Redis and two daemons."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._redis_port = free_port()
        self.ports = [free_port(), free_port()]
        self.redis: subprocess.Popen[bytes] | None = None
        self.daemons: list[subprocess.Popen[bytes]] = []

    def start_redis(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise CannotRun("redis-server is not installed")
        line = [
            program,
            "--port",
            str(self._redis_port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self._folder),
            "--save",
            "",
            "--appendonly",
            "yes",
        ]
        self.redis = subprocess.Popen(line, stdout=subprocess.DEVNULL)  # noqa: S603 - Redis
        wait_for(self._redis_port)

    def kill_redis(self) -> None:
        assert self.redis is not None
        self.redis.kill()
        self.redis.wait()

    def start_daemons(self) -> None:
        subject = in_place(HERE.parent, "wsdaemon")
        for port in self.ports:
            settings = self._folder / f"{port}.ini"
            settings.write_text(SETTINGS.format(port=port, redis=self._redis_port))
            words = [*subject.twistd, "-n", "--pidfile=", "wsdaemon", "-c", str(settings)]
            with (self._folder / f"{port}.log").open("wb") as log:
                self.daemons.append(subprocess.Popen(words, env=subject.environment, stdout=log, stderr=log))  # noqa: S603 - the daemon
        for port in self.ports:
            wait_for(port)

    def url(self, number: int, room: str) -> str:
        return f"ws://127.0.0.1:{self.ports[number]}/rooms/{room}"

    def used(self) -> tuple[float, ...]:
        assert self.redis is not None
        return tuple([cpu(each.pid) for each in (*self.daemons, self.redis)])

    def close(self) -> None:
        for each in self.daemons:
            each.send_signal(signal.SIGTERM)
        for each in self.daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.wait(10)
            each.kill()
        if self.redis is not None:
            self.kill_redis()


def wait_for(port: int) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise CannotRun(f"nothing listens on port {port}") from None
            time.sleep(0.05)


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


async def measure_room(world: World, count: int, rounds: int) -> None:
    async with members(world, count, 1) as those, connect(world.url(0, "r0"), compression=None, proxy=None) as publisher:
        times = []
        before = world.used()
        for number in range(rounds):
            began = time.perf_counter()
            await publisher.send(str(number))
            await asyncio.gather(*[until(each, str(number)) for each in those])
            times.append(time.perf_counter() - began)
        used = [(after - then) / rounds * 1e6 for then, after in zip(before, world.used(), strict=True)]
    times.sort()
    p50, p99 = statistics.median(times) * 1000, times[int(len(times) * 0.99)] * 1000
    print(f"room: {count} members, publish to last delivery p50 {p50:.2f} ms, p99 {p99:.2f} ms (the reading of all members included)")
    print(f"room: CPU per publication: publisher's daemon {used[0]:.0f} us, members' daemon {used[1]:.0f} us, Redis {used[2]:.0f} us")


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
        world.kill_redis()
        await asyncio.sleep(1.0)
        began = time.perf_counter()
        world.start_redis()
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
            world.start_redis()
            world.start_daemons()
            asyncio.run(measure_room(world, options.members, options.rounds))
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
