"""A worker's part of a reload: messages of the supervisor in, answers out."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from tests.support.inside import descriptors, inside, run_inside
from wsdaemon.daemon.daemon import Daemon
from wsdaemon.daemon.reload_here import MAX_PROBLEM_CHARACTERS, ReloadHere
from wsdaemon.settings.inherited import sealed_memory

BASE = "[listener:web]\naddress = tcp:0:interface=127.0.0.1\n[mount:/echo]\napp = echo\n"


class Here:
    """A worker, and the answers that it sent."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon = daemon
        self.answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reload = ReloadHere(daemon, "ws.ini", folder, {}, lambda kind, **fields: self.answers.put_nowait({"kind": kind, **fields}))

    async def prepare(self, text: str, sections: list[str] | None = None, sockets: list[int] | None = None) -> dict[str, Any]:
        memory = sealed_memory("settings", text.encode())
        assert self.reload.received({"kind": "prepare", "number": 1, "sections": sections or []}, [memory, *(sockets or [])])
        return await self.answers.get()


@asynccontextmanager
async def here(folder: Path) -> AsyncIterator[Here]:
    async with inside(folder, BASE) as daemon:
        yield Here(daemon, folder)


def test_prepared_and_committed(tmp_path: Path) -> None:
    async def life() -> None:
        async with here(tmp_path) as one:
            levels: list[object] = []
            one.reload.choose_levels = lambda level, levels_: levels.append(level)
            sock = socket.create_server(("127.0.0.1", 0))
            port, text = sock.getsockname()[1], BASE + "[logging]\nlevel = warn\n[listener:two]\naddress = tcp:0:interface=127.0.0.1\n"
            assert await one.prepare(text, ["listener:two"], [sock.detach()]) == {"kind": "prepared", "number": 1}
            assert len(one.daemon.listeners) == 1
            assert one.reload.received({"kind": "commit", "number": 1}, [])
            assert await one.answers.get() == {"kind": "committed", "number": 1}
            assert levels == ["warn"]
            async with connect(f"ws://127.0.0.1:{port}/echo", proxy=None) as client:
                await client.send("hello")
                assert await client.recv() == "hello"

    run_inside(life())


def test_refused_and_undone(tmp_path: Path) -> None:
    async def life() -> None:
        async with here(tmp_path) as one:
            before = descriptors()
            refused = await one.prepare(BASE + "[mount:/x]\napp = nothing:here\n[mount:/y]\napp = neither:here\n")
            assert (refused["kind"], len(refused["problems"])) == ("refused", 2)
            assert (await one.prepare(BASE + "x\n"))["kind"] == "refused"
            sock = socket.create_server(("127.0.0.1", 0))
            text = BASE + "[listener:two]\naddress = tcp:0:interface=127.0.0.1\n"
            assert (await one.prepare(text, ["listener:two"], [sock.detach()]))["kind"] == "prepared"
            assert one.reload.received({"kind": "undo", "number": 1}, [])
            assert one.reload._task is not None
            await one.reload._task
            assert descriptors() == before
            assert len(one.daemon.listeners) == 1
            one.reload.received({"kind": "commit", "number": 1}, [])
            assert await one.answers.get() == {"kind": "committed", "number": 1}
            assert len(one.daemon.listeners) == 1, "nothing was left to commit"

    run_inside(life())


def test_settings_that_cannot_be_parsed_leave_no_socket(tmp_path: Path) -> None:
    async def life() -> None:
        async with here(tmp_path) as one:
            before = descriptors()
            sock = socket.create_server(("127.0.0.1", 0))
            refused = await one.prepare(BASE + "x\n", ["listener:two"], [sock.detach()])
            assert refused["kind"] == "refused"
            assert descriptors() == before

    run_inside(life())


def test_descriptors_that_the_kernel_dropped(tmp_path: Path) -> None:
    async def life() -> None:
        async with here(tmp_path) as one:
            before = descriptors()
            refused = await one.prepare(BASE, ["listener:two"])
            assert "too many open files" in refused["problems"][0]
            assert descriptors() == before

    run_inside(life())


def test_problems_fit_into_one_message(tmp_path: Path) -> None:
    async def life() -> None:
        async with here(tmp_path) as one:
            refused = await one.prepare(BASE + "".join(f"[mount:/{number}]\napp = nothing:here\n" for number in range(200)))
            assert 0 < sum(map(len, refused["problems"])) <= MAX_PROBLEM_CHARACTERS

    run_inside(life())


def test_other_messages_are_none_of_a_reload(tmp_path: Path) -> None:
    async def life() -> None:
        async with here(tmp_path) as one:
            reading, writing = os.pipe()
            assert not one.reload.received({"kind": "serve"}, [reading, writing])
            os.close(reading)
            os.close(writing)

    run_inside(life())


def test_certificates_and_secrets_are_read_again_with_an_answer(tmp_path: Path) -> None:
    async def life() -> None:
        async with here(tmp_path) as one:
            one.daemon.reload = lambda: ["x" * MAX_PROBLEM_CHARACTERS, "one more"]
            assert one.reload.received({"kind": "reload", "number": 5}, [])
            answer = {"kind": "reloaded", "number": 5, "problems": ["x" * MAX_PROBLEM_CHARACTERS]}
            assert await one.answers.get() == answer

    run_inside(life())
