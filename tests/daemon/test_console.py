"""daemon/console.py: the WebSocket of the console asks for the tokens of the pages, and shows the figures of the metrics."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.auth import logged
from tests.support.inside import inside, run_inside
from wsdaemon.core.connection import Connection
from wsdaemon.daemon.daemon import Daemon
from wsdaemon.ops.console import LIVE_PATH
from wsdaemon.ops.console.feed import MAX_PAGES
from wsdaemon.server import WebSocketServer

INI = """
[listener:web]
address = tcp:0:interface=127.0.0.1
[mount:/echo]
app = echo
[admin]
address = unix:./admin.sock
token_file = token
[token:writer]
file = writer
roles = publish
"""
TOKEN = "0123456789abcdef"
WRITER = "writer0123456789"


def folder_of(folder: Path) -> Path:
    (folder / "token").write_text(TOKEN)
    (folder / "writer").write_text(WRITER)
    return folder


async def figures(folder: Path, token: str) -> Any:
    """The first figures, or the code that the connection was closed with."""
    async with looking(folder) as page:
        await page.send(json.dumps({"token": token}))
        try:
            return json.loads(await page.recv())
        except ConnectionClosed:
            return page.close_code


async def closes(folder: Path) -> list[Any]:
    """The latest closes, as the pages have them."""
    reader, writer = await asyncio.open_unix_connection(str(folder / "admin.sock"))
    writer.write(f"GET /api/closes HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    found: list[Any] = json.loads(answer.partition(b"\r\n\r\n")[2])["closes"]
    return found


def looking(folder: Path) -> Any:
    return unix_connect(str(folder / "admin.sock"), f"ws://localhost{LIVE_PATH}")


def test_figures_of_the_daemon_for_a_token_that_reads(tmp_path: Path) -> None:
    async def look(daemon: Daemon) -> None:
        async with connect(f"ws://127.0.0.1:{daemon.listeners[0].port}/echo", proxy=None) as client:
            await client.send("x")
            await client.recv()
            found = await figures(tmp_path, TOKEN)
            assert (found["connections"], found["messages_in"]) == (1, 1)
            assert found["mounts"] == {"/echo": {"connections": 1, "messages_in": 1, "messages_out": 1}}
        assert await figures(tmp_path, WRITER) == 4403
        assert await figures(tmp_path, "wrong") == 4401

    async def main() -> None:
        async with inside(folder_of(tmp_path), INI) as daemon:
            await look(daemon)

    run_inside(main())


def test_apps_send_nothing_to_the_pages_of_the_console(tmp_path: Path) -> None:
    """A page that has shown no token would read the messages of all apps, and any other would take them for figures."""

    async def main() -> None:
        async with (
            inside(folder_of(tmp_path), INI) as daemon,
            looking(tmp_path) as page,
            connect(f"ws://127.0.0.1:{daemon.listeners[0].port}/echo", proxy=None) as client,
        ):
            chosen: list[str] = []

            def choose(connection: Connection) -> bool:
                chosen.append(connection.handshake.mount)
                return True

            daemon.broadcast("to all", None)
            daemon.broadcast("to some", choose)
            assert [await client.recv(), await client.recv()] == ["to all", "to some"]
            assert chosen == ["/echo"]
            server = WebSocketServer()
            server._daemon = daemon
            assert [connection.handshake.mount for connection in server.connections] == ["/echo"]
            await page.send(json.dumps({"token": TOKEN}))
            assert "connections" in json.loads(await page.recv())

    run_inside(main())


def test_pages_without_a_token_lock_no_operator_out_and_leave_no_trace(tmp_path: Path) -> None:
    async def main() -> None:
        async with inside(folder_of(tmp_path), INI):
            with logged() as lines:
                strangers: list[ClientConnection] = [await looking(tmp_path) for _ in range(MAX_PAGES + 4)]
                for stranger in strangers[:4]:
                    await stranger.wait_closed()
                assert (await figures(tmp_path, TOKEN))["connections"] == 0
                for stranger in strangers[5:]:
                    await stranger.close()
                assert await figures(tmp_path, WRITER) == 4403
            assert [(one["mount"], one["code"]) for one in await closes(tmp_path)] == [(LIVE_PATH, 1000)]
            assert len([line for line in lines if "makes room" in line]) == 1
            assert len([line for line in lines if "ConnectionRecord" in line]) == 1

    run_inside(main())


def test_there_are_so_many_consoles_and_no_more_and_they_end_with_the_daemon(tmp_path: Path) -> None:
    async def main() -> None:
        async with inside(folder_of(tmp_path), INI):
            pages: list[ClientConnection] = [await looking(tmp_path) for _ in range(MAX_PAGES)]
            for page in pages:
                await page.send(json.dumps({"token": TOKEN}))
            for page in pages:
                await page.recv()
            with pytest.raises(InvalidStatus, match="503"):
                await looking(tmp_path)
        for page in pages:
            await page.wait_closed()
            assert page.close_code == 1012

    run_inside(main())


async def tapped(folder: Path, wanted: Any) -> Any:
    """The first answer to the wish for a tap, or the code that the connection was closed with."""
    async with looking(folder) as viewer:
        await viewer.send(json.dumps({"token": TOKEN, "tap": wanted}))
        try:
            return json.loads(await viewer.recv())
        except ConnectionClosed:
            return viewer.close_code


def test_the_frames_of_a_connection_until_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            inside(folder_of(tmp_path), INI.replace("[token:", "tap = payload\n[token:")) as daemon,
            looking(tmp_path) as viewer,
            connect(f"ws://127.0.0.1:{daemon.listeners[0].port}/echo", proxy=None, compression=None) as client,
        ):
            id = next(one.id for one in daemon.connections if one.handshake.mount == "/echo")
            await viewer.send(json.dumps({"token": TOKEN, "tap": {"connection": id, "payload": True}}))
            assert json.loads(await viewer.recv())["tap"]["id"] == id
            own = next(one.id for one in daemon.connections if one.handshake.mount == LIVE_PATH)
            assert await tapped(tmp_path, {"connection": own}) == 4404
            await client.send("hello")
            assert await client.recv() == "hello"
            await client.close()
            told = [json.loads(line) async for line in viewer]
            frames = [frame for one in told for frame in one.get("frames", ())]
            shown = [(one["direction"], one["type"], one.get("payload")) for one in frames]
            assert shown == [("in", "text", "hello"), ("out", "text", "hello"), ("in", "close", ""), ("out", "close", "")]
            assert told[-1] == {"over": "the connection has ended: 1000"}

    run_inside(main())


def test_no_frame_is_shown_unless_the_settings_permit_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            inside(folder_of(tmp_path), INI) as daemon,
            connect(f"ws://127.0.0.1:{daemon.listeners[0].port}/echo", proxy=None),
        ):
            [one] = daemon.connections
            assert await tapped(tmp_path, {"connection": one.id}) == 4403

    run_inside(main())
