"""Thousands of clients in one process lose their daemon, which is killed and started again, and come back.

    python -m benchmarks.client_reconnect                           10,000 clients
    python -m benchmarks.client_reconnect --clients 1000 --range 2s-30s

The report: the memory of each client before and after, how evenly the first delays are spread over the shortest time of the range, and
when the last client was back. Exit status 1 if a client is lost or costs more than 6 KB, or if the delays are not spread as the range says.
`ulimit -n` must allow as many files as there are clients, and some more.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from wsdaemon.client import WebSocketClient

SERVING = """
import sys
from wsdaemon import WebSocketServer

server = WebSocketServer(
    port={port}, level="error", max_connections={most}, max_connections_per_address={most},
    connections_per_second_per_address=100000, max_handshakes={most},
)
server.mount("/", "echo")
server.run_forever(lambda: print("ready", flush=True))
"""

MOST_BYTES = 6000
"""The goal for an idle client."""

TENTHS = 10

EARLY = 100
"""Clients that open before memory is measured."""

AT_ONCE = 200
"""Clients that connect at the same time."""

SIGMAS = 5
"""A tenth of the range may have so many standard deviations more or less than its share; by chance that happens once in 100,000 runs."""

PATIENCE_SECONDS = 180.0
"""The longest time that clients have to come back."""


class Clients:
    """Clients of one loop, and what they tell of their connections."""

    def __init__(self, url: str, count: int, reconnect: str) -> None:
        self.count = count
        self.first_delays: list[float] = []
        self.attempts = self.open = self.opened = self.messages = 0
        self._changed = asyncio.Event()
        self.all = [
            WebSocketClient(
                url, reconnect=reconnect, on_open=self._on_open, on_close=self._on_close, on_message=self._on_message,
                on_reconnect=self._on_reconnect, on_error=self._on_error, connect_timeout="30s", handshake_timeout="30s",
            )
            for _ in range(count)
        ]  # fmt: skip

    def _on_open(self, client: WebSocketClient) -> None:
        self.open += 1
        self.opened += 1
        self._changed.set()

    def _on_close(self, client: WebSocketClient, code: int, reason: str) -> None:
        self.open -= 1
        self._changed.set()

    def _on_message(self, client: WebSocketClient, message: str | bytes) -> None:
        self.messages += 1
        self._changed.set()

    def _on_reconnect(self, client: WebSocketClient, attempt: int, delay: float) -> None:
        self.attempts += 1
        if attempt == 1:
            self.first_delays.append(delay)

    def _on_error(self, client: WebSocketClient, error: BaseException) -> None:
        """The daemon is not there yet: the client tries again."""

    async def until(self, name: str, number: int) -> None:
        """Wait until the figure `name` is `number`. TimeoutError."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while getattr(self, name) != number:
                self._changed.clear()
                await self._changed.wait()

    async def connect(self) -> None:
        for begin in range(0, self.count, AT_ONCE):
            await asyncio.gather(*[client.connect() for client in self.all[begin : begin + AT_ONCE]])

    async def close(self) -> None:
        for client in self.all:
            client.close()
        await asyncio.gather(*[client.wait_closed() for client in self.all])


def start(port: int, count: int) -> subprocess.Popen[str]:
    """A daemon in a process of its own, which accepts."""
    text = SERVING.format(port=port, most=count + EARLY)
    daemon = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert daemon.stdout is not None
    assert daemon.stdout.readline() == "ready\n"
    return daemon


async def run(count: int, reconnect: str) -> list[str]:
    """One run; its faults."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    daemon = await asyncio.to_thread(start, port, count)
    try:
        url = f"ws://127.0.0.1:{port}/"
        early = Clients(url, EARLY, reconnect)  # modules and pools are paid for once, and not by each client
        await early.connect()
        before = _resident()
        clients = Clients(url, count, reconnect)
        await clients.connect()
        await early.close()
        idle = (_resident() - before) / count
        print(f"{count} clients are open: {idle:.0f} bytes each")
        daemon.send_signal(signal.SIGKILL)
        began = time.monotonic()
        await clients.until("open", 0)
        print(f"the daemon is killed: all have noticed after {time.monotonic() - began:.2f} s")
        daemon.wait()
        daemon = await asyncio.to_thread(start, port, count)
        again = time.monotonic()
        print(f"another daemon accepts after {again - began:.2f} s")
        await clients.until("open", count)
        print(f"all are back {time.monotonic() - again:.2f} s later; attempts: {clients.attempts}, {clients.attempts / count:.2f} each")
        for client in clients.all:
            client.send("still there")
        await clients.until("messages", count)
        gc.collect()
        after = (_resident() - before) / count
        print(f"each has echoed a message since; {after:.0f} bytes each")
        await clients.close()
    finally:
        daemon.kill()
        daemon.wait()
    return [*judge(clients.first_delays, count, shortest(reconnect)), *([f"{idle:.0f} bytes for each client"] if idle > MOST_BYTES else [])]


def judge(delays: Sequence[float], count: int, longest: float) -> list[str]:
    """The faults of the first delays: in their number, and in their spread over 0 to `longest` seconds."""
    tenths = [0] * TENTHS
    for delay in delays:
        tenths[min(TENTHS - 1, int(delay / longest * TENTHS))] += 1
    print(f"first delays, in tenths of {longest:g} s: {' '.join(map(str, tenths))}")
    share = count / TENTHS
    most_off = SIGMAS * math.sqrt(share * (1 - 1 / TENTHS))
    wrong = [] if len(delays) == count else [f"{len(delays)} first delays of {count} clients"]
    if delays and max(delays) > longest:
        wrong.append(f"a first delay of {max(delays):.2f} s")
    if max(abs(each - share) for each in tenths) > most_off:
        wrong.append(f"a tenth has {max(tenths)} or {min(tenths)} clients in place of {share:.0f}")
    return wrong


def shortest(reconnect: str) -> float:
    """The shortest time of a range such as 5s-60s, in seconds."""
    return float(reconnect.partition("-")[0].removesuffix("s"))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--range", default="5s-60s", help="the clients' option reconnect, in whole seconds (default: %(default)s)")
    given = parser.parse_args(arguments)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < given.clients + 200:
        print(f"{given.clients + 200} open files are needed, and {hard} are allowed (ulimit -n)", file=sys.stderr)
        return 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (given.clients + 200 if hard == resource.RLIM_INFINITY else hard, hard))
    wrong = uvloop.run(run(given.clients, given.range))
    print("\n".join(wrong) or "none is lost")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
