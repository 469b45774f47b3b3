"""The cost of the hub: `python -m benchmarks.hub`. A hub and two workers' links, in three processes, over socketpairs as in a daemon.

Two figures, which docs/scaling.md has:

- the hub's CPU time per publication, with UNDER_WAY of them under way. One worker publishes; both follow the room.
- the time from a publish on one worker to the delivery on the other, with one publication under way.

The cost of the memory broker's publish in the same interpreter stands beside them, because a busy machine slows both.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import socket
import statistics
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import uvloop

from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Message, Position, Presence
from wsdaemon.brokers.links.contract import Declared, Publication
from wsdaemon.brokers.memory import MemoryBroker
from wsdaemon.hub.client import HubClient
from wsdaemon.hub.link import HubLink, HubLinks
from wsdaemon.hub.protocol import INSTANCE_BYTES
from wsdaemon.hub.room_server import RoomServer
from wsdaemon.hub.server import HubServer, WorkerLink

UNDER_WAY = 16
PAYLOAD_BYTES = 200
ROOM = "lobby"

LIMIT_SECONDS = 120
"""The longest that one run takes, also on a busy machine."""

GOAL_CPU_US = 5.0
GOAL_P50_MS = 0.5

_FIGURE = struct.Struct("<d")


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run: the hub's CPU time per publication in us, and the median from publish to delivery on the other worker in ms."""

    hub_us: float
    p50_ms: float


class Follower:
    """The broker of one worker, as its link sees it. Each payload begins with the time at which it was published."""

    def __init__(self) -> None:
        self.restored_once = asyncio.Event()
        self.seconds: list[float] = []

    def message(self, message: Message) -> None:
        self.seconds.append(time.perf_counter() - _FIGURE.unpack_from(message.payload)[0])

    def roster_changed(self, room: str, position: Position, changes: Sequence[object]) -> None:
        pass

    def held(self, room: str, held: bool) -> None:
        pass

    def lost(self, reason: str) -> None:
        pass

    def restored(self) -> None:
        self.restored_once.set()

    def declared(self) -> list[Declared]:
        return []

    def patterns(self) -> list[str]:
        return []


async def run_hub(ends: Sequence[socket.socket], count: int) -> float:
    """Serve the workers until both have ended; the CPU time per publication, in us."""
    loop = asyncio.get_running_loop()
    server = HubServer(loop, os.urandom(INSTANCE_BYTES), lambda number, generation: True, lambda line, error: print(line, file=sys.stderr))
    rooms = RoomServer(server)
    ended: asyncio.Future[None] = loop.create_future()

    def look(link: WorkerLink) -> None:
        if not server.links:
            ended.set_result(None)

    server.ended.append(look)
    for end in ends:
        server.attach(end)
    begun = time.process_time()
    await ended
    used = time.process_time() - begun
    rooms.close()
    server.close()
    return used / count * 1e6


async def run_worker(number: int, end: socket.socket, count: int, under_way: int) -> float:
    """Follow the room, and publish if this is worker 1. Returns the median from publish to delivery, in ms."""
    loop = asyncio.get_running_loop()
    client = HubClient(number, 1, loop, lambda line: print(line, file=sys.stderr))
    link = HubLinks(client, print).make("/rooms", Limits())
    follower = Follower()
    link.open(follower)
    client.attach(end)
    await follower.restored_once.wait()
    await link.join(ROOM, Presence(f"member-{number}", {}), None, watch=False, owner="address 192.0.2.1")
    if number == 1:  # worker 2 does not look: worker 1 may have published all and left the room before
        while (await link.presence(ROOM, 0)).count < 2:  # noqa: ASYNC110 - the other worker joins in its own process
            await asyncio.sleep(0.01)
        numbers = iter(range(1, count + 1))
        await asyncio.gather(*[publish(link, numbers) for _ in range(under_way)])
    while len(follower.seconds) < count:  # noqa: ASYNC110 - the other worker publishes
        await asyncio.sleep(0.01)
    client.close()
    return statistics.median(follower.seconds) * 1e3


async def publish(link: HubLink, numbers: Any) -> None:
    rest = bytes(PAYLOAD_BYTES - _FIGURE.size)
    for number in numbers:
        payload = _FIGURE.pack(time.perf_counter()) + rest
        await link.publish(Publication(number, ROOM, payload, False, "member-1", owner="address 192.0.2.1"))


def in_process(work: Callable[[], Any]) -> tuple[int, int]:
    """Run a coroutine function in a process of its own, for LIMIT_SECONDS at most; its PID, and the end of a pipe that gets its result."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(LIMIT_SECONDS)
            os.write(writing, _FIGURE.pack(uvloop.run(work())))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    return pid, reading


def measure(count: int, under_way: int) -> Figures:
    """One run with three processes. RuntimeError if one of them fails, or takes longer than LIMIT_SECONDS."""
    pairs = [socket.socketpair() for _ in range(2)]

    def hub() -> Any:
        for _, theirs in pairs:
            theirs.close()
        return run_hub([ours for ours, _ in pairs], count)

    def worker(number: int) -> Any:
        for index, (ours, theirs) in enumerate(pairs, 1):
            ours.close()
            if index != number:
                theirs.close()
        return run_worker(number, pairs[number - 1][1], count, under_way)

    processes = [in_process(hub), in_process(lambda: worker(1)), in_process(lambda: worker(2))]
    for pair in pairs:
        for end in pair:
            end.close()
    try:
        answers = [os.read(pipe, _FIGURE.size) for _, pipe in processes]
    finally:
        for pid, pipe in processes:
            os.close(pipe)
            os.kill(pid, signal.SIGKILL)  # it has answered, or never will
            os.waitpid(pid, 0)
    if not all(answers):
        raise RuntimeError(f"a process of the benchmark has failed, or has taken longer than {LIMIT_SECONDS} s")
    hub_us, _, p50_ms = (_FIGURE.unpack(answer)[0] for answer in answers)
    return Figures(hub_us, p50_ms)


def memory_us(count: int) -> float:
    """The CPU time of the memory broker's own publish, in us."""
    broker = MemoryBroker(Limits(), lambda member, error: None, new_epoch=lambda: secrets.token_hex(8))
    payload = bytes(PAYLOAD_BYTES)
    begun = time.process_time()
    for _ in range(count):
        broker.publish(ROOM, payload, False, publisher="member-1")
    return (time.process_time() - begun) / count * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hub", description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="publications of each run")
    parser.add_argument("--runs", type=int, default=5, help="of which the medians are shown")
    parser.add_argument("--bar", action="store_true", help="end with status 1 if a goal is not reached")
    chosen = parser.parse_args()
    busy = [measure(chosen.count, UNDER_WAY) for _ in range(chosen.runs)]
    alone = [measure(max(1, chosen.count // 20), 1) for _ in range(chosen.runs)]
    hub_us = statistics.median(figures.hub_us for figures in busy)
    p50_ms = statistics.median(figures.p50_ms for figures in alone)
    print(f"memory broker, publish                             {memory_us(chosen.count):6.2f} us")
    print(f"hub, CPU per publication, {UNDER_WAY} under way               {hub_us:6.2f} us   goal {GOAL_CPU_US}")
    print(f"publish to delivery on the other worker, one, p50  {p50_ms:6.3f} ms   goal {GOAL_P50_MS}")
    return int(chosen.bar and (hub_us > GOAL_CPU_US or p50_ms > GOAL_P50_MS))


if __name__ == "__main__":
    sys.exit(main())
