"""How workers share connections, and what the other processes of a daemon take: `python -m benchmarks.workers`.

    fullest worker / mean     1,000 long-lived connections on 2 and 4 workers, opened at once and one by one; and again after a worker was
                              killed and replaced, once its clients have come back
    supervisor and hub        their memory without a client (PSS)

It runs this source tree with the packages of the Python that runs it, and needs a file limit of 2,500.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

from .daemons import PlainClient, RunningDaemon, closing, free_port, proportional_bytes, sockets_of, until
from .preparing import CannotRun

GOAL_FULLEST = 1.05
GOAL_MB = 100.0

SETTINGS = """\
[daemon]
workers = {workers}
max_connections = 20000

[listener:bench]
address = tcp:{port}:interface=127.0.0.1
max_connections_per_address = 0
connections_per_second_per_address = 0

[mount:/echo]
app = echo
max_connections_per_address = 0
"""

AT_ONCE, ONE_BY_ONE = "at once", "one by one"


class Spread:
    """The connections of each worker, counted from outside as sockets of its process."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self._daemon = daemon
        self._before = {pid: sockets_of(pid) for pid in daemon.workers()}

    def counts(self) -> list[int]:
        # a worker that was started later began with as many sockets as the others
        usual = min(self._before.values())
        return [sockets_of(pid) - self._before.get(pid, usual) for pid in self._daemon.workers()]

    def fullest(self, connections: int) -> float:
        """The fullest worker over the mean, once all have accepted."""
        until(lambda: sum(self.counts()) >= connections, f"{connections} connections")
        counts = self.counts()
        return max(counts) / (sum(counts) / len(counts))


async def open_clients(port: int, count: int, way: str) -> list[PlainClient]:
    if way == AT_ONCE:
        return list(await asyncio.gather(*[PlainClient.open(port, "/echo") for _ in range(count)]))
    return [await PlainClient.open(port, "/echo") for _ in range(count)]


async def measure_spread(daemon: RunningDaemon, workers: int, connections: int, way: str) -> tuple[float, float]:
    """The fullest worker over the mean: with all clients, and after a worker was replaced and its clients have come back."""
    spread = Spread(daemon)
    clients = await open_clients(daemon.port, connections, way)
    try:
        first = spread.fullest(connections)
        ready = daemon.ready_lines()
        os.kill(daemon.workers()[0], signal.SIGKILL)
        while daemon.ready_lines() <= ready or len(daemon.workers()) < workers:  # noqa: ASYNC110 - another process writes the log
            await asyncio.sleep(0.05)
        lost = [client for client in clients if client.lost.done()]
        clients = [client for client in clients if not client.lost.done()]
        clients += await open_clients(daemon.port, len(lost), way)
        return first, spread.fullest(connections)
    finally:
        for client in clients:
            client.close()


def measure(workers: int, connections: int, way: str) -> tuple[float, float, float]:
    """Both ratios, and the memory of supervisor and hub without clients in MB."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        daemon = RunningDaemon(Path(folder), port, SETTINGS.format(workers=workers, port=port))
        with closing(daemon):
            daemon.wait(workers)
            memory = sum(proportional_bytes(pid) for pid in (daemon.process.pid, daemon.children()["hub"])) / 1e6
            first, second = asyncio.run(measure_spread(daemon, workers, connections, way))
    return first, second, memory


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--bar", action="store_true", help="end with status 1 if a goal is not reached")
    options = parser.parse_args()
    reached = True
    try:
        for workers in (2, 4):
            for way in (AT_ONCE, ONE_BY_ONE):
                first, second, memory = measure(workers, options.connections, way)
                reached = reached and max(first, second) <= GOAL_FULLEST and memory <= GOAL_MB
                print(
                    f"{workers} workers, {options.connections} connections {way:10}: fullest / mean {first:.3f}, "
                    f"after a worker was replaced {second:.3f} (goal {GOAL_FULLEST}); "
                    f"supervisor and hub {memory:.0f} MB (goal {GOAL_MB:.0f})", flush=True,
                )  # fmt: skip
    except CannotRun as error:
        print(error, file=sys.stderr)
        return 2
    return int(options.bar and not reached)


if __name__ == "__main__":
    sys.exit(main())
