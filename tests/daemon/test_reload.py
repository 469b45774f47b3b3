"""A reload of one process: prepared beside the settings in force, then swapped in, or undone without a trace."""

from __future__ import annotations

import asyncio
import json
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.inside import descriptors, inside, run_inside, until
from wsdaemon.core.blocking import BlockingConnection
from wsdaemon.daemon import retiring
from wsdaemon.daemon.control import OperationFailed
from wsdaemon.daemon.daemon import Daemon
from wsdaemon.daemon.reload import Reload, reloading_of
from wsdaemon.settings.ini import load
from wsdaemon.settings.problems import SettingsError

BASE = """
[daemon]
python_path = .
[listener:web]
address = tcp:0:interface=127.0.0.1
[mount:/echo]
app = echo
max_message = 1KiB
[mount:/rooms/{room}]
app = rooms
"""

APP = """
events = []

class App:
    def open(self, connection, handshake):
        return Session(connection)

    async def start(self):
        events.append(f"{type(self).__name__} starts")

    async def stop(self):
        events.append(f"{type(self).__name__} stops")

class Failing(App):
    async def start(self):
        raise ValueError("no database")

class Session:
    def __init__(self, connection):
        self.connection = connection

    def received(self, message):
        self.connection.send("own " + message)

    def closed(self, code, reason):
        pass
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retired apps are looked at in each turn of the loop."""
    monkeypatch.setattr(retiring, "LOOK_SECONDS", 0.0)


async def client(daemon: Daemon, path: str, listener: int = 0) -> ClientConnection:
    return await connect(f"ws://127.0.0.1:{daemon.listeners[listener].port}{path}", proxy=None)


async def take(daemon: Daemon, folder: Path, text: str) -> None:
    (folder / "ws.ini").write_text(text)
    reload = Reload(daemon, load(folder / "ws.ini"), daemon.sockets)
    await reload.prepare()
    reload.commit()


async def say(one: ClientConnection, text: str) -> str:
    await one.send(text)
    return str(await one.recv())


def test_new_connections_get_new_limits_and_open_ones_keep_theirs(tmp_path: Path) -> None:
    async def life() -> None:
        async with inside(tmp_path, BASE) as daemon:
            before, counted = await client(daemon, "/echo"), daemon.mounts[0].count
            await take(daemon, tmp_path, BASE.replace("1KiB", "1KiB\nmax_connections = 2").replace("max_message = 1KiB", "max_message = 8"))
            assert await say(before, "more than eight bytes") == "more than eight bytes"
            after = await client(daemon, "/echo")
            assert daemon.mounts[0].count is counted and (counted.now, counted.most) == (2, 2)
            with pytest.raises(InvalidStatus):
                await client(daemon, "/echo")
            await after.send("more than eight bytes")
            with pytest.raises(ConnectionClosed, match="1009"):
                await after.recv()
            await before.close()

    run_inside(life())


def hold(connection: BlockingConnection) -> None:
    connection.send("begun")
    connection.wait_closed()


def test_the_bound_on_threads_counts_those_of_old_and_new_mounts_together(tmp_path: Path) -> None:
    mounts = "".join(f"\n[mount:/{name}]\napp = {__name__}:hold\n" for name in ("one", "two"))

    def base(most: int) -> str:
        return BASE.replace("python_path = .", f"python_path = .\nmax_threads = {most}")

    async def life() -> None:
        async with inside(tmp_path, base(1) + mounts) as daemon:
            clients = [await client(daemon, "/one")]
            assert await clients[0].recv() == "begun"
            for path in ("/one", "/two"):
                with pytest.raises(InvalidStatus, match="503"):
                    await client(daemon, path)
            new = mounts.replace("/two", "/three")
            await take(daemon, tmp_path, base(2) + new)
            clients.append(await client(daemon, "/three"))
            assert await clients[1].recv() == "begun"
            with pytest.raises(InvalidStatus, match="503"):
                await client(daemon, "/one")
            for each in clients:
                await each.close()

    run_inside(life())


def test_rooms_go_on_under_new_limits(tmp_path: Path) -> None:
    async def life() -> None:
        async with inside(tmp_path, BASE) as daemon:
            one = await client(daemon, "/rooms/a")
            app = daemon.mounts[1].app
            await take(daemon, tmp_path, BASE + "max_message = 8KiB\norigins = any\n")
            two = await client(daemon, "/rooms/a")
            await two.send("hello")
            assert await one.recv() == "hello"
            assert daemon.mounts[1].app is app
            await one.close()
            await two.close()

    run_inside(life())


def test_listeners_come_and_go(tmp_path: Path) -> None:
    async def life() -> None:
        async with inside(tmp_path, BASE) as daemon:
            kept = daemon.listeners[0]
            one = await client(daemon, "/echo")
            await take(daemon, tmp_path, BASE + "[listener:two]\naddress = tcp:0:interface=127.0.0.1\nmounts = /echo\n"
                       "[listener:unix]\naddress = unix:two.sock\n")  # fmt: skip
            assert daemon.listeners[0] is kept
            assert (tmp_path / "two.sock").is_socket()
            two = await client(daemon, "/echo", 1)
            assert await say(two, "hello") == "hello"
            port = daemon.listeners[1].port
            await take(daemon, tmp_path, BASE)
            assert not (tmp_path / "two.sock").exists()
            with pytest.raises(OSError, match="refused"):
                await connect(f"ws://127.0.0.1:{port}/echo", proxy=None)
            assert await say(two, "still") == await say(one, "still") == "still"
            await one.close()
            await two.close()

    run_inside(life())


def test_an_address_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    async def life() -> None:
        async with inside(tmp_path, BASE) as daemon:
            (tmp_path / "file").write_text("")
            assembly, settings, before = daemon.assembly, daemon.settings, descriptors()
            added = "[listener:good]\naddress = unix:good.sock\n[listener:bad]\naddress = unix:file\n[mount:/x]\napp = nothing:here\n"
            with pytest.raises(OperationFailed) as failed:
                await take(daemon, tmp_path, BASE.replace("1KiB", "8") + added)
            assert any("a file that is not a socket has this name" in each for each in failed.value.problems)
            assert any("nothing:here" in each for each in failed.value.problems), "all problems at once"
            assert not (tmp_path / "good.sock").exists()
            assert (daemon.assembly, daemon.settings, descriptors()) == (assembly, settings, before)
            one = await client(daemon, "/echo")
            assert await say(one, "more than eight bytes") == "more than eight bytes"
            await one.close()

    run_inside(life())


def test_a_removed_app_stops_after_its_last_connection(tmp_path: Path) -> None:
    (tmp_path / "own_one.py").write_text(APP)

    async def life() -> None:
        async with inside(tmp_path, BASE) as daemon:
            await take(daemon, tmp_path, BASE + "[mount:/own]\napp = own_one:App\n")
            events: list[str] = sys.modules["own_one"].events
            assert events == ["App starts"]
            one = await client(daemon, "/own")
            await take(daemon, tmp_path, BASE)
            with pytest.raises(InvalidStatus):
                await client(daemon, "/own")
            assert await say(one, "hello") == "own hello"
            assert events == ["App starts"]
            await one.close()
            await until(lambda: len(events) == 2)
            assert events == ["App starts", "App stops"]
            assert len(daemon.assembly.tools.retiring) == 0
            await take(daemon, tmp_path, BASE + "[mount:/own]\napp = own_one:App\n")
        assert events == ["App starts", "App stops"] * 2, "at the end of the daemon"

    run_inside(life())


def test_an_app_that_does_not_start_undoes_everything(tmp_path: Path) -> None:
    (tmp_path / "own_two.py").write_text(APP)

    async def life() -> None:
        async with inside(tmp_path, BASE) as daemon:
            before = descriptors()
            with pytest.raises(OperationFailed, match="no database"):
                await take(daemon, tmp_path, BASE + "[mount:/a]\napp = own_two:App\n[mount:/b]\napp = own_two:Failing\n"
                           "[listener:x]\naddress = tcp:0\n")  # fmt: skip
            assert sys.modules["own_two"].events == ["App starts", "App stops"]
            assert descriptors() == before
            assert [mount.path for mount in daemon.mounts] == ["/echo", "/rooms/{room}"]

    run_inside(life())


def test_what_another_process_refuses_is_undone(tmp_path: Path) -> None:
    (tmp_path / "own_three.py").write_text(APP)

    async def life() -> None:
        async with inside(tmp_path, BASE) as daemon:
            before = descriptors()
            (tmp_path / "ws.ini").write_text(BASE + "[mount:/a]\napp = own_three:App\n[listener:x]\naddress = unix:x.sock\n")
            reload = Reload(daemon, load(tmp_path / "ws.ini"), daemon.sockets)
            await reload.prepare()
            await reload.undo()
            assert sys.modules["own_three"].events == ["App starts", "App stops"]
            assert descriptors() == before
            assert not (tmp_path / "x.sock").exists()

    run_inside(life())


class Asking:
    """The other workers, which ask for the answers that were provided."""

    def __init__(self) -> None:
        self.provided: dict[str, object] = {}

    def provide(self, what: str, answer: object) -> None:
        self.provided[what] = answer

    def gather(self, what: str, question: object, own: object) -> Any: ...


def test_other_workers_get_the_answers_of_the_pages_in_force(tmp_path: Path) -> None:
    text = BASE + "[admin]\naddress = unix:admin.sock\n"

    async def life() -> None:
        async with inside(tmp_path, text) as daemon:
            asking = Asking()
            shared: Any = SimpleNamespace(sharing=None, places=None, workers=asking)
            daemon.assemble = partial(daemon.assemble, shared=shared)
            (tmp_path / "ws.ini").write_text(text.replace("1KiB", "2KiB"))
            reload = Reload(daemon, load(tmp_path / "ws.ini"), daemon.sockets)
            await reload.prepare()
            assert asking.provided == {}, "another worker may refuse these settings"
            reload.commit()
            assert sorted(asking.provided) == ["close", "closes", "connections", "tap", "totals"]

    run_inside(life())


def test_tickets_live_through_a_reload_of_other_things(tmp_path: Path) -> None:
    auth = "[auth:tickets]\nkind = ticket\n[auth:other]\nkind = ticket\nlifetime = {}\n"

    async def life() -> None:
        async with inside(tmp_path, BASE + auth.format("9s")) as daemon:
            before = dict(daemon.assembly.resources.authenticators)
            await take(daemon, tmp_path, BASE.replace("1KiB", "2KiB") + auth.format("8s"))
            after = daemon.assembly.resources.authenticators
            assert after["tickets"] is before["tickets"]
            assert after["other"] is not before["other"]

    run_inside(life())


def test_the_command(tmp_path: Path) -> None:
    async def life() -> None:
        async with inside(tmp_path, BASE) as daemon:
            levels: list[str] = []
            reloading = reloading_of(daemon, tmp_path, lambda chosen: levels.append(chosen.level))
            told: list[str] = []
            assert await reloading({}, told.append) == {"changes": [], "restart": []}
            (tmp_path / "ws.ini").write_text(BASE.replace("[daemon]", "[logging]\nlevel = debug\nconnections = off\n[daemon]\nworkers = 2"))
            changes = ["[daemon] workers: (empty) > 2 (needs a restart)", "[logging] level: info > debug"]
            changes.append("[logging] connections: on > off")
            assert await reloading({"dry_run": True}, told.append) == {"changes": changes, "restart": ["[daemon] workers"]}
            assert (levels, daemon.watch.lines) == ([], True)
            assert await reloading({}, told.append) == {"changes": changes, "restart": ["[daemon] workers"]}
            assert (levels, daemon.watch.lines, daemon.settings.daemon.workers) == (["debug"], False, None)
            assert told == changes * 2
            (tmp_path / "ws.ini").write_text(BASE + "[mount:/x]\napp = nothing:here\nbogus = 1\n")
            with pytest.raises(OperationFailed) as failed:
                await reloading({}, told.append)
            assert [("bogus" in each, "nothing" in each) for each in failed.value.problems] == [(True, False), (False, True)]

    run_inside(life())


ADMIN = "[admin]\naddress = tcp:0:interface=127.0.0.1\ntoken_file = operator\nmax_body = 20\n"

TOKENS = {"operator": "the-token-of-operators", "reader": "the-token-of-readers", "other": "another-token-of-all"}


async def asked(daemon: Daemon, token: str, path: str = "/status", body: str = "") -> int:
    """The status of the admin pages' answer to a client with this token."""
    assert daemon.assembly.admin is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.assembly.admin.port)
    begin = f"POST {path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n" if body else f"GET {path} HTTP/1.1\r\n"
    writer.write(f"{begin}Host: localhost\r\nConnection: close\r\nAuthorization: Bearer {TOKENS[token]}\r\n\r\n{body}".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1])


def test_tokens_of_the_admin_pages_are_added_changed_and_removed(tmp_path: Path) -> None:
    for name, token in TOKENS.items():
        (tmp_path / name).write_text(token)
        (tmp_path / name).chmod(0o600)
    reader, post = "[token:reader]\nfile = reader\n", "/api/rooms/lobby/messages"

    async def life() -> None:
        async with inside(tmp_path, BASE + ADMIN + reader) as daemon:
            assert [await asked(daemon, name) for name in TOKENS] == [200, 200, 401]
            assert [await asked(daemon, "reader", post, "hi"), await asked(daemon, "operator", post, "x" * 21)] == [403, 413]
            port = daemon.assembly.admin.port if daemon.assembly.admin is not None else 0
            page = await connect(f"ws://127.0.0.1:{port}/console/live", proxy=None)
            await page.send(json.dumps({"token": TOKENS["reader"]}))
            await page.recv()

            await take(daemon, tmp_path, BASE + ADMIN.replace("20", "30") + reader + "roles = read, publish\n")
            assert [await asked(daemon, "reader", post, "hi"), await asked(daemon, "operator", post, "x" * 21)] == [200, 200]
            await page.wait_closed()

            await take(daemon, tmp_path, BASE + ADMIN.replace("operator", "other") + "[token:late]\nfile = operator\nroles = read\n")
            assert [await asked(daemon, name) for name in TOKENS] == [200, 401, 200]
            assert [await asked(daemon, name, post, "hi") for name in TOKENS] == [403, 401, 200]
            (tmp_path / "operator").write_text(TOKENS["reader"])
            daemon.reload()
            assert [await asked(daemon, name) for name in TOKENS] == [401, 200, 200], "new tokens are read again, too"

            await take(daemon, tmp_path, BASE + "[admin]\naddress = unix:admin.sock\n")
            assert [await asked(daemon, name) for name in TOKENS] == [401, 401, 200], "the pages are at their port until a restart"

            for text in (ADMIN.replace("operator", "missing"), ADMIN + "[token:x]\nfile = missing\n"):
                with pytest.raises((OperationFailed, SettingsError), match="cannot be read"):
                    await take(daemon, tmp_path, BASE + text)
            assert await asked(daemon, "other") == 200

    run_inside(life())


def test_reloads_leave_nothing_behind(tmp_path: Path) -> None:
    async def life() -> None:
        async with inside(tmp_path, BASE) as daemon:
            one = await client(daemon, "/rooms/a")
            texts = [BASE.replace("1KiB", "2KiB") + "[listener:x]\naddress = unix:x.sock\n[mount:/more]\napp = ticker\n", BASE]
            for text in texts:
                await take(daemon, tmp_path, text)
            before, parts = descriptors(), len(daemon.started)
            for _ in range(3):
                for text in texts:
                    await take(daemon, tmp_path, text)
            await until(lambda: not daemon.assembly.tools.retiring)
            assert (descriptors(), len(daemon.started)) == (before, parts)
            await one.close()

    run_inside(life())
