#!/usr/bin/env python3
"""Run our client against the Autobahn TestSuite's fuzzing server, which `wstest.py --serve PORT` starts.

    wstest.py --serve 9002 --out FOLDER &
    wsclient.py ws://127.0.0.1:9002             all cases that the server was started with
    wsclient.py ws://127.0.0.1:9002 --at-once 4 four connections side by side

The server writes its report into FOLDER/reports.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from wsdaemon.client import WebSocketClient

AGENT = "wsdaemon"
MAX_MESSAGE = "64MiB"


async def ask(url: str) -> str | bytes | None:
    """The one message that the server sends to a URL of its own, if any. The server may still be starting."""
    said: list[str | bytes] = []
    client = WebSocketClient(
        url, on_message=lambda client, message: said.append(message), on_close=lambda client, code, reason: client.close(),
        on_error=lambda client, error: None, reconnect="100ms-500ms",
    )  # fmt: skip
    client.begin()
    await client.wait_closed()
    return said[0] if said else None


async def run_case(url: str, number: int) -> None:
    """One case: every message is sent back."""
    client = WebSocketClient(
        f"{url}/runCase?case={number}&agent={AGENT}", on_message=lambda client, message: client.send(message),
        on_error=lambda client, error: None, reconnect=False, max_message=MAX_MESSAGE, queue_messages=100_000, queue_bytes=MAX_MESSAGE,
        compression_threshold=0, control_frames_per_second=0,
    )  # fmt: skip
    client.begin()
    await client.wait_closed()


async def run_all(url: str, at_once: int = 1) -> int:
    """Run every case, and have the server write its report; the number of cases."""
    count = int(await ask(f"{url}/getCaseCount") or 0)
    waiting = iter(range(1, count + 1))

    async def work() -> None:
        for number in waiting:
            await run_case(url, number)

    await asyncio.gather(*[work() for _ in range(at_once)])
    await ask(f"{url}/updateReports?agent={AGENT}")
    return count


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("wsclient.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--at-once", type=int, default=1)
    options = parser.parse_args(words)
    print(f"{asyncio.run(run_all(options.url.rstrip('/'), options.at_once))} cases")
    return 0


if __name__ == "__main__":
    sys.exit(main())
