"""daemon.py: the life of a daemon on one loop."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.support.inside import inside, run_inside
from wsdaemon.daemon.daemon import Daemon
from wsdaemon.daemon.parts import StartError, State
from wsdaemon.daemon.watch import UncaughtFailures
from wsdaemon.ops.control import BUSY
from wsdaemon.settings.build import build, section
from wsdaemon.settings.model import Settings

SCREEN = 60
"""Lines."""

INI = "[listener:web]\naddress = tcp:0:interface=127.0.0.1\n[listener:unix]\naddress = unix:./ws.sock\n[mount:/echo]\napp = echo\n"


def settings_of(folder: Path, app: object, **daemon: object) -> Settings:
    sections = [section("listener:unix", address=f"unix:{folder}/ws.sock"), section("mount:/app", app=app), section("daemon", **daemon)]
    return build(sections, "test", folder)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return run_inside(coroutine)


def test_the_class_fits_on_one_screen() -> None:
    assert len(inspect.getsource(Daemon).splitlines()) <= SCREEN
    assert Daemon.__bases__ == (object,)


def test_its_states_and_its_files(tmp_path: Path) -> None:
    async def life() -> None:
        async with inside(tmp_path, INI) as daemon:
            assert daemon.state is State.READY
            assert [listener.name for listener in daemon.listeners] == ["web", "unix"]
            assert [mount.path for mount in daemon.mounts] == ["/echo"]
            assert (tmp_path / "ws.sock").is_socket()
        assert daemon.state.value == "stopped"
        assert not (tmp_path / "ws.sock").exists()
        await daemon.stop()  # again: does nothing

    run(life())


def test_no_command_changes_a_daemon_that_drains_to_stop(tmp_path: Path) -> None:
    async def life() -> None:
        async with inside(tmp_path, INI + "\n[admin]\naddress = unix:admin.sock:mode=600\n") as daemon:
            leaving = asyncio.ensure_future(daemon.leave())
            await asyncio.sleep(0)
            daemon.operations.add("reload", nothing)
            for command in ("resume", "drain", "reload"):
                answer = await daemon.operations.run(command, {}, lambda line: None)
                assert answer == {"status": BUSY, "problems": ["busy: the daemon is draining"]}
            assert (await daemon.operations.run("status", {}, lambda line: None))["state"] == "draining"
            leaving.cancel()

    run(life())


async def nothing(arguments: object, say: object) -> dict[str, object]:
    return {}


async def asgi(scope: object, receive: object, send: object) -> None: ...


class Fails:
    def open(self, connection: object, handshake: object) -> None: ...

    async def start(self) -> None:
        raise OSError("the disk is gone")

    async def stop(self) -> None: ...


class Waits(Fails):
    async def start(self) -> None:
        await asyncio.Event().wait()


def test_a_start_that_fails_leaves_no_socket(tmp_path: Path) -> None:
    async def life() -> None:
        daemon = Daemon(settings_of(tmp_path, Fails), asyncio.get_running_loop(), Clock())
        daemon.open()
        assert daemon.state is State.STARTING
        assert (tmp_path / "ws.sock").is_socket()
        with pytest.raises(StartError, match="the disk is gone"):
            await daemon.start()
        assert daemon.state.value == "stopped"
        assert not (tmp_path / "ws.sock").exists()

    run(life())


def test_a_start_that_is_cancelled_leaves_no_socket(tmp_path: Path) -> None:
    async def life() -> None:
        daemon = Daemon(settings_of(tmp_path, Waits), asyncio.get_running_loop(), Clock())
        daemon.open()
        starting = asyncio.get_running_loop().create_task(daemon.start())
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not (tmp_path / "ws.sock").exists()

    run(life())


def test_an_open_that_fails_says_all_and_leaves_no_socket(tmp_path: Path) -> None:
    async def life() -> None:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            sections = [
                section("listener:unix", address=f"unix:{tmp_path}/ws.sock"),
                section("listener:web", address=f"tcp:{busy.getsockname()[1]}:interface=127.0.0.1"),
                section("mount:/app", app=asgi),
                section("mount:/other", app="nowhere:app"),
            ]
            daemon = Daemon(build(sections, "test"), asyncio.get_running_loop(), Clock())
            with pytest.raises(StartError) as raised:
                daemon.open()
        lines = str(raised.value).splitlines()
        assert [line.rpartition(": ")[0].partition(" ")[2].partition("]")[0] for line in lines] == [
            "[mount:/app", "[mount:/other", "[listener:web",
        ]  # fmt: skip
        assert not (tmp_path / "ws.sock").exists()

    run(life())


def test_a_failure_that_no_caller_catches_does_not_end_it(tmp_path: Path) -> None:
    async def life() -> None:
        async with inside(tmp_path, INI):
            handler: Any = asyncio.get_running_loop().get_exception_handler()
            assert isinstance(handler.__self__, UncaughtFailures)

    run(life())
