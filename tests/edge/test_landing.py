"""edge/landing.py: a transport for a socket that was another process's."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from tests.support.handover import run, turns
from wsdaemon.edge.landing import land


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_bytes_that_wait_are_kept_or_stay_in_the_kernel(uv: bool) -> None:
    async def story() -> None:
        ours, theirs = socket.socketpair()
        theirs.sendall(b"hello")
        landing = await land(asyncio.get_running_loop(), ours)
        await asyncio.sleep(0.01)
        theirs.sendall(b" again")
        await asyncio.sleep(0.01)
        assert landing.early in (b"", b"hello")
        early = len(landing.early)
        landing.native.resume_reading()
        await turns(lambda: landing.early == b"hello" or len(landing.early) > early)
        while landing.early != b"hello again":
            landing.native.resume_reading()
            await asyncio.sleep(0)
        theirs.close()
        landing.native.abort()
        await turns(lambda: landing.lost)

    run(story(), uv)


def test_a_client_that_is_gone_already() -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            theirs = socket.create_connection(server.getsockname())
            ours, _ = server.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        landing = await land(asyncio.get_running_loop(), ours)
        if not landing.lost:
            landing.native.resume_reading()
        await turns(lambda: landing.lost)

    run(story())
