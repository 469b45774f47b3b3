"""The CPU time of clients: echoes of 64 B through one connection, one or several in flight, and the memory of idle clients.

    python -m benchmarks.client_load                 wsdaemon's client against a bare echo server, beside other clients that are installed
    python -m benchmarks.client_load --idle 10000    bytes of memory for each idle client

Each client runs in a process of its own; what counts is its processor time for each message, the best of three runs.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import uvloop

PAYLOAD = b"x" * 64

Load = Callable[[str, int, int], Awaitable[float]]
"""Echoes `count` messages with `window` in flight at a URL; the processor time in seconds."""


async def wsdaemon_client(url: str, count: int, window: int) -> float:
    from wsdaemon.client import WebSocketClient

    left, done = count, asyncio.get_running_loop().create_future()

    def on_message(client: WebSocketClient, message: str | bytes) -> None:
        nonlocal left
        left -= 1
        if left >= window:
            client.send(PAYLOAD)
        elif not left:
            done.set_result(None)

    client = WebSocketClient(url, on_message=on_message, compression=False)
    await client.connect()
    began = time.process_time()
    for _ in range(window):
        client.send(PAYLOAD)
    await done
    took = time.process_time() - began
    client.close()
    await client.wait_closed()
    return took


async def picows_client(url: str, count: int, window: int) -> float:
    import picows

    left, done = count, asyncio.get_running_loop().create_future()

    class Listener(picows.WSListener):  # type: ignore[misc]
        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            nonlocal left
            if frame.msg_type != picows.WSMsgType.BINARY:
                return
            frame.get_payload_as_bytes()
            left -= 1
            if left >= window:
                transport.send(picows.WSMsgType.BINARY, PAYLOAD)
            elif not left:
                done.set_result(None)

    transport, _ = await picows.ws_connect(Listener, url)
    began = time.process_time()
    for _ in range(window):
        transport.send(picows.WSMsgType.BINARY, PAYLOAD)
    await done
    took = time.process_time() - began
    transport.disconnect()
    return took


async def websockets_client(url: str, count: int, window: int) -> float:
    from websockets.asyncio.client import connect

    async with connect(url, compression=None) as client:
        began = time.process_time()
        for _ in range(window):
            await client.send(PAYLOAD)
        for left in range(count, 0, -1):
            await client.recv()
            if left > window:
                await client.send(PAYLOAD)
        return time.process_time() - began


async def aiohttp_client(url: str, count: int, window: int) -> float:
    import aiohttp

    async with aiohttp.ClientSession() as session, session.ws_connect(url) as client:
        began = time.process_time()
        for _ in range(window):
            await client.send_bytes(PAYLOAD)
        for left in range(count, 0, -1):
            await client.receive_bytes()
            if left > window:
                await client.send_bytes(PAYLOAD)
        return time.process_time() - began


CLIENTS: dict[str, Load] = {
    "wsdaemon": wsdaemon_client, "picows": picows_client, "websockets": websockets_client, "aiohttp": aiohttp_client,
}  # fmt: skip


async def idle(url: str, count: int) -> int:
    """Bytes of memory for each of `count` idle clients."""
    from wsdaemon.client import WebSocketClient

    async def open_some(number: int) -> list[WebSocketClient]:
        made = [WebSocketClient(url, on_message=lambda client, message: None) for _ in range(number)]
        for start in range(0, number, 100):
            await asyncio.gather(*[client.connect() for client in made[start : start + 100]])
        return made

    kept = await open_some(100)
    before = _resident()
    kept += await open_some(count)
    assert all(client.is_open for client in kept)
    return (_resident() - before) // count


def _resident() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="an echo server's; default: a daemon in a process of its own")
    parser.add_argument("--one", choices=CLIENTS, help="run this client alone, in this process")
    parser.add_argument("--window", type=int, default=1)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--idle", type=int, metavar="COUNT")
    options = parser.parse_args()
    if options.one or (options.idle and options.url):
        if options.idle:
            print(uvloop.run(idle(options.url, options.idle)))
        else:
            print(uvloop.run(CLIENTS[options.one](options.url, options.count, options.window)) / options.count * 1e6)  # type: ignore[arg-type]
        return 0
    server = None
    if options.url is None:
        serving = (
            "from wsdaemon import WebSocketServer as S\ns = S(port=0, level='warn')\ns.mount('/', 'echo')\n"
            "s.run_forever(lambda: print(s.port, flush=True))"
        )
        server = subprocess.Popen([sys.executable, "-c", serving], stdout=subprocess.PIPE, text=True)  # noqa: S603
        assert server.stdout is not None
        options.url = f"ws://127.0.0.1:{server.stdout.readline().strip()}/"
    try:
        if options.idle:
            print(f"{_alone('--idle', options.idle, '--url', options.url):.0f} bytes for each idle client")
            return 0
        for window in (1, 16):
            for name in CLIENTS:
                best = min(_alone("--one", name, "--url", options.url, "--window", window) for _ in range(3))
                print(f"{name:12}{window:3} in flight {best:8.2f} us per message")
    finally:
        if server is not None:
            server.terminate()
            server.wait()
    return 0


def _alone(*words: object) -> float:
    """Run this program with `words`, in a process of its own; the number that it prints. NaN if the client is not installed."""
    line = [sys.executable, "-m", "benchmarks.client_load", *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603
    return float(done.stdout) if done.returncode == 0 else float("nan")


if __name__ == "__main__":
    sys.exit(main())
