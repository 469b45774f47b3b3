"""Connections go from one process to another, which serves them after the first one has let all of them go."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from pathlib import Path

from tests.daemon.test_handover import INI, client, home_of, talk
from tests.support.daemon import ROOT
from tests.support.handover import run
from tests.support.inside import inside
from wsdaemon.daemon.handover import HandingOver


def test_clients_talk_on_with_another_process(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "ws.ini").write_text(INI)

    async def story() -> None:
        ours, theirs = socket.socketpair()
        other = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.handover_program", str(theirs.fileno()), str(tmp_path / "new"), cwd=ROOT,
            pass_fds=[theirs.fileno()], stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        theirs.close()
        assert other.stdout is not None
        assert other.stdin is not None
        assert await other.stdout.readline() == b"ready\n"
        stop = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            async with inside(tmp_path, INI) as old:
                clients = [await stack.enter_async_context(client(old, "/echo")) for _ in range(5)]
                talks = [asyncio.create_task(talk(each, stop)) for each in clients]
                departures = await HandingOver(ours, home_of(old)).give_all()
                assert (departures.went, len(old.connections)) == (5, 0), departures
                assert await other.stdout.readline() == b"5\n"
            # the old daemon has stopped
            stop.set()
            counts = await asyncio.gather(*talks)
            assert all(count > 0 for count in counts)
            for each in clients:
                await each.send("the last words")
                assert await each.recv() == "the last words"
        other.stdin.close()
        assert await other.wait() == 0

    run(story())
