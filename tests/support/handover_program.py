"""The new worker of a test, as a process of its own. Its arguments: the descriptor of the link, and a folder with its settings."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from pathlib import Path

from tests.support.handover import run
from tests.support.inside import inside
from wsdaemon.daemon.handover import Home, TakingOver


async def serve(descriptor: int, folder: Path) -> None:
    loop = asyncio.get_running_loop()
    async with inside(folder, (folder / "ws.ini").read_text()) as daemon:
        home = Home(loop, daemon.connections, {each.name: each.gate for each in daemon.listeners})
        taking = TakingOver(socket.socket(fileno=descriptor), home)
        print("ready", flush=True)
        await taking.finished()
        print(taking.taken, flush=True)
        with contextlib.suppress(OSError):
            await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    run(serve(int(sys.argv[1]), Path(sys.argv[2])))
