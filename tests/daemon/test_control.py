"""The control channel: one operation at a time, for root and the daemon's own user alone, and bounded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from wsdaemon.daemon import control
from wsdaemon.daemon.control import MAX_CLIENTS, ControlChannel, OperationFailed, Operations, Say, take_socket
from wsdaemon.daemon.parts import StartError
from wsdaemon.daemon.sockets import open_unix
from wsdaemon.ops.control import BUSY, DONE, FAILED, MAX_LINE_BYTES, chosen_path
from wsdaemon.settings.addresses import UnixAddress
from wsdaemon.settings.build import build, section
from wsdaemon.settings.model import Settings

SECONDS = 30.0


class Long:
    """An operation that goes on until it may end."""

    def __init__(self) -> None:
        self.begun, self.may_end, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.undone = False

    async def __call__(self, arguments: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
        say("begun")
        self.begun.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.undone = True
            raise
        finally:
            self.ended.set()
        return {"asked": dict(arguments)}


async def look(arguments: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
    return {"state": "ready"}


async def fail(arguments: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
    raise OperationFailed("line 1: bad", "line 2: worse")


async def break_down(arguments: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
    raise ZeroDivisionError("a fault of ours")


class Client:
    """A connection to the channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def line(self) -> Any:
        """The next line of the answer; None at the end of the connection."""
        try:
            line = await asyncio.wait_for(self.reader.readline(), SECONDS)
        except ConnectionError:  # it was closed before it had read everything
            return None
        return json.loads(line) if line else None


class Serving:
    """A channel in a folder."""

    def __init__(self, folder: Path, state: str = "ready") -> None:
        self.path = folder / "control.sock"
        self.state = state
        self.operations = Operations(lambda: self.state)
        self.long = Long()
        self.operations.add("long", self.long)
        self.operations.add("fail", fail)
        self.operations.add("break", break_down)
        self.operations.add("status", look, looks=True)

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        channel = ControlChannel(lambda: open_unix(UnixAddress(str(self.path), 0o600), 16), self.operations, asyncio.get_running_loop())
        channel.open()
        assert channel.descriptor >= 0
        await channel.start()
        try:
            yield
        finally:
            await channel.stop()
            assert channel.descriptor == -1
            assert not self.path.exists()

    async def connect(self) -> Client:
        return Client(*await asyncio.open_unix_connection(self.path))

    async def begin(self, command: str, **arguments: object) -> Client:
        client = await self.connect()
        client.writer.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
        return client

    async def ask(self, command: str, **arguments: object) -> Any:
        client = await self.begin(command, **arguments)
        answer = await client.line()
        assert await client.line() is None, "one request for each connection"
        client.writer.close()
        return answer


def run(serving: Serving, main: Any) -> None:
    async def within() -> None:
        async with serving.started():
            await main()

    asyncio.run(within())


def test_the_socket_is_open_to_its_owner_alone(tmp_path: Path) -> None:
    serving = Serving(tmp_path)

    async def main() -> None:
        assert serving.path.stat().st_mode & 0o777 == 0o600
        assert await serving.ask("status") == {"status": DONE, "problems": [], "state": "ready"}

    run(serving, main)


def test_one_operation_at_a_time_but_a_look_at_any_time(tmp_path: Path) -> None:
    serving = Serving(tmp_path)

    async def main() -> None:
        first = await serving.begin("long", over="9s")
        assert await first.line() == {"line": "begun"}
        assert serving.operations.running == "long"
        assert await serving.ask("fail") == {"status": BUSY, "problems": ["busy: long is under way"]}
        assert (await serving.ask("status"))["status"] == DONE
        serving.long.may_end.set()
        assert await first.line() == {"status": DONE, "problems": [], "asked": {"over": "9s"}}
        assert (await serving.ask("fail"))["status"] == FAILED, "it is the only one now"
        first.writer.close()

    run(serving, main)


def test_a_command_that_this_daemon_never_carries_out_has_a_reason() -> None:
    operations = Operations(lambda: "draining")
    operations.refuse("upgrade", "there are no workers")
    answer = asyncio.run(operations.run("upgrade", {}, lambda line: None))
    assert answer == {"status": FAILED, "problems": ["there are no workers"]}


def test_a_client_that_leaves_does_not_end_its_operation(tmp_path: Path) -> None:
    serving = Serving(tmp_path)

    async def main() -> None:
        client = await serving.begin("long")
        await serving.long.begun.wait()
        client.writer.close()
        await client.writer.wait_closed()
        assert (await serving.ask("fail"))["status"] == BUSY
        serving.long.may_end.set()
        await serving.long.ended.wait()
        assert not serving.long.undone

    run(serving, main)


def test_a_stop_ends_the_operation_under_way(tmp_path: Path) -> None:
    serving = Serving(tmp_path)

    async def main() -> None:
        client = await serving.begin("long")
        assert await client.line() == {"line": "begun"}
        await serving.operations.cancel()
        assert serving.long.undone
        assert await client.line() == {"status": FAILED, "problems": ["the daemon stops"]}
        client.writer.close()

    run(serving, main)


@pytest.mark.parametrize("state", ["starting", "draining"])
def test_until_the_daemon_is_ready_and_while_it_stops_it_can_only_be_looked_at(tmp_path: Path, state: str) -> None:
    serving = Serving(tmp_path, state)

    async def main() -> None:
        assert await serving.ask("long") == {"status": BUSY, "problems": [f"busy: the daemon is {state}"]}
        assert (await serving.ask("status"))["status"] == DONE

    run(serving, main)


def test_failures_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[str] = []
    monkeypatch.setattr(control.log, "failure", lambda line, command: failures.append(command))
    serving = Serving(tmp_path)

    async def main() -> None:
        assert await serving.ask("fail") == {"status": FAILED, "problems": ["line 1: bad", "line 2: worse"]}
        assert await serving.ask("break") == {"status": FAILED, "problems": ["ZeroDivisionError: a fault of ours"]}
        unknown = {"status": FAILED, "problems": ["there is no command 'fly'; expected one of break, fail, long, status"]}
        assert await serving.ask("fly") == unknown

    run(serving, main)
    assert failures == ["break"]


@pytest.mark.parametrize("request_line", [b"{}\n", b"[]\n", b"reload\n", b"[" * 5000 + b"\n", b"\xff\n"])
def test_a_request_that_is_none(tmp_path: Path, request_line: bytes) -> None:
    serving = Serving(tmp_path)

    async def main() -> None:
        client = await serving.connect()
        client.writer.write(request_line)
        assert await client.line() == {"status": FAILED, "problems": ['expected one JSON object with "command" in it']}
        client.writer.close()

    run(serving, main)


def test_a_line_that_is_too_long_and_one_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serving = Serving(tmp_path)
    monkeypatch.setattr(control, "REQUEST_SECONDS", 0.01)

    async def main() -> None:
        for sent in (b"x" * (2 * MAX_LINE_BYTES) + b"\n", b'{"command": '):
            client = await serving.connect()
            client.writer.write(sent)
            assert await client.line() is None
            client.writer.close()
        assert (await serving.ask("status"))["status"] == DONE

    run(serving, main)


def test_no_more_than_so_many_clients(tmp_path: Path) -> None:
    serving = Serving(tmp_path)

    async def main() -> None:
        clients = [await serving.begin("long")]
        await serving.long.begun.wait()
        silent = [await serving.connect() for _ in range(MAX_CLIENTS - 1)]
        one_more = await serving.connect()
        assert await one_more.line() is None
        serving.long.may_end.set()
        for client in [*clients, *silent, one_more]:
            client.writer.close()

    run(serving, main)


def test_a_client_that_does_not_read_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serving = Serving(tmp_path)
    monkeypatch.setattr(control, "MAX_WAITING_BYTES", 100_000)
    told = asyncio.Event()

    async def chat(arguments: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
        for _ in range(1000):
            say("x" * 10_000)
            await asyncio.sleep(0)
        told.set()
        return {}

    serving.operations.add("chat", chat)

    async def main() -> None:
        client = await serving.begin("chat")
        await asyncio.wait_for(told.wait(), SECONDS)  # the operation goes on to its end
        lines = []
        while line := await client.line():
            lines.append(line)
        assert len(lines) < 1000
        assert all("status" not in line for line in lines)
        client.writer.close()

    run(serving, main)


def test_other_users_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serving = Serving(tmp_path)
    lines: list[object] = []
    monkeypatch.setattr(struct, "unpack", lambda form, data: (7, os.geteuid() + 1, 0))
    monkeypatch.setattr(control.log, "warn", lambda line, **fields: lines.append(line.format(**fields)))

    async def main() -> None:
        for _ in range(2):
            client = await serving.begin("status")
            assert await client.line() is None
            client.writer.close()

    run(serving, main)
    assert lines == [f"process 7 of user {os.geteuid() + 1} may not control this daemon"], "once a minute"


# -- the socket


def settings(folder: Path, control: str) -> Settings:
    where = {} if control == "auto" else {"control": control}
    listener = section("listener:web", address="tcp:0")
    return build([section("daemon", **where), listener, section("mount:/", app="echo")], str(folder / "ws.ini"))


def test_the_path_that_was_chosen(tmp_path: Path) -> None:
    path = tmp_path / "own.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    bound = take_socket(settings(tmp_path, f"unix:{path}"), tmp_path, {})
    assert bound is not None, "a dead daemon's file is replaced"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StartError, match="another process listens there"):
        take_socket(settings(tmp_path, f"unix:{path}"), tmp_path, {})
    bound.close()
    assert not path.exists()


def test_no_channel(tmp_path: Path) -> None:
    assert take_socket(settings(tmp_path, "none"), tmp_path, {}) is None


def test_the_path_that_the_daemon_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = take_socket(settings(tmp_path, "auto"), tmp_path, {"RUNTIME_DIRECTORY": str(tmp_path)})
    assert bound is not None
    assert (tmp_path / "control.sock").is_socket()
    bound.close()
    own = tmp_path / "run" / "name.sock"
    monkeypatch.setattr(control, "chosen_path", lambda *arguments: own)
    bound = take_socket(settings(tmp_path, "auto"), tmp_path, {})
    assert bound is not None
    assert own.is_socket()
    bound.close()


def test_the_socket_belongs_to_the_user_that_the_daemon_becomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, user, group, follow_symlinks: given.append((path, user, group, follow_symlinks)))
    monkeypatch.setattr(control, "make_directory", lambda path, user: path.mkdir())
    own = tmp_path / "run" / "name.sock"
    monkeypatch.setattr(control, "chosen_path", lambda *arguments: own)
    for chosen, names in (("auto", [own, own.parent]), (f"unix:{tmp_path}/my.sock", [tmp_path / "my.sock"])):
        given.clear()
        bound = take_socket(settings(tmp_path, chosen), tmp_path, {}, user=4321)
        assert bound is not None
        bound.close()
        assert given == [(str(name), 4321, -1, False) for name in names]


def test_a_second_start_leaves_the_directory_to_the_user_of_the_daemon_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, owners = tmp_path / "run" / "name.sock", list[object]()

    def make_directory(path: Path, user: int) -> None:
        path.mkdir(exist_ok=True)
        owners.append(user)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, user, group, follow_symlinks: owners.append(user) if path == str(own.parent) else None)
    monkeypatch.setattr(control, "make_directory", make_directory)
    monkeypatch.setattr(control, "chosen_path", lambda *arguments: own)
    bound = take_socket(settings(tmp_path, "auto"), tmp_path, {}, user=4321)
    assert bound is not None
    assert take_socket(settings(tmp_path, "auto"), tmp_path, {}, user=4321) is None
    bound.close()
    assert owners == [0, 4321, 0, 4321]


def test_a_socket_that_cannot_be_given_away_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*told: object, **options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(StartError, match="not permitted"):
        take_socket(settings(tmp_path, f"unix:{tmp_path}/my.sock"), tmp_path, {}, user=4321)
    assert not (tmp_path / "my.sock").exists()


def test_a_directory_that_cannot_be_given_away_leaves_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "run" / "name.sock"

    def chown(path: str, user: int, group: int, follow_symlinks: bool) -> None:
        if path == str(own.parent):
            raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", chown)
    monkeypatch.setattr(control, "make_directory", lambda path, user: path.mkdir())
    monkeypatch.setattr(control, "chosen_path", lambda *arguments: own)
    assert take_socket(settings(tmp_path, "auto"), tmp_path, {}, user=4321) is None
    assert not own.exists()


def test_a_daemon_that_finds_no_place_for_its_channel_goes_on_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(control.log, "warn", lambda line, **fields: told.append(line.format(**fields)))
    assert take_socket(settings(tmp_path, "auto"), tmp_path, {"RUNTIME_DIRECTORY": str(tmp_path / "none")}) is None
    path = chosen_path(tmp_path / "ws.ini", {"RUNTIME_DIRECTORY": str(tmp_path / "none")}, 0)
    assert told == [f"there is no control channel at {path}: there is no directory {path.parent}; [daemon] control chooses another path"]
