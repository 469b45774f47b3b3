"""daemon/handover.py: all connections of one daemon go on in another, over a real socketpair, under clients that we did not write."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support import moving_app
from tests.support.inside import inside, run_inside, until
from wsdaemon.daemon import handover
from wsdaemon.daemon.daemon import Daemon
from wsdaemon.daemon.handover import Departures, HandingOver, Home, TakingOver
from wsdaemon.wire import handover as wire_handover
from wsdaemon.wire.handover import BUSY, Obstacle, Parting

INI = """
[listener:main]
address = tcp:0:interface=127.0.0.1
[mount:/echo]
app = echo
compression = on
[mount:/tick]
app = ticker
interval = 50ms
[mount:/rooms/{room}]
app = rooms
"""

GREETING = b"\0\0\0\2\0" + bytes(8) + b"\0\1"
"""The frame HELLO of this version."""


def home_of(daemon: Daemon) -> Home:
    return Home(asyncio.get_running_loop(), daemon.connections, {each.name: each.gate for each in daemon.listeners})


@contextlib.asynccontextmanager
async def two(folder: Path, old_text: str = INI, new_text: str = INI) -> AsyncIterator[tuple[Daemon, Daemon]]:
    for name in ("old", "new"):
        (folder / name).mkdir(exist_ok=True)
    async with inside(folder / "old", old_text) as old, inside(folder / "new", new_text) as new:
        yield old, new


async def hand_over(old: Daemon, new: Daemon) -> Departures:
    ours, theirs = socket.socketpair()
    handing, taking = HandingOver(ours, home_of(old)), TakingOver(theirs, home_of(new))
    departures = await handing.give_all()
    await taking.finished()
    assert taking.taken == departures.went
    return departures


def client(daemon: Daemon, path: str, **options: Any) -> Any:
    return connect(f"ws://127.0.0.1:{daemon.listeners[0].port}{path}", ping_interval=None, **options)


async def talk(socket: ClientConnection, stop: asyncio.Event) -> int:
    """Send numbered messages, several on their way at once, and check that the echoes come in order. Returns how many."""
    sent = heard = 0
    while not stop.is_set() or heard < sent:
        while not stop.is_set() and sent < heard + 5:
            await socket.send(f"{sent} " + "x" * (sent % 700))
            sent += 1
        message = await socket.recv()
        assert message == f"{heard} " + "x" * (heard % 700)
        heard += 1
    return heard


def test_echo_under_traffic(tmp_path: Path) -> None:
    """Compressed, with the client's context taken over: no message is lost, doubled or out of order, and there is no Close frame."""

    async def story() -> None:
        async with two(tmp_path) as (old, new), contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(client(old, "/echo")) for _ in range(10)]
            stop = asyncio.Event()
            talks = [asyncio.create_task(talk(each, stop)) for each in clients]
            await until(lambda: all(each.counts().messages_in > 20 for each in old.connections))
            ids = {each.id for each in old.connections}
            departures = await hand_over(old, new)
            assert departures.went == 10, departures
            assert len(old.connections) == 0
            assert {each.id for each in new.connections} == ids
            before = {each.id: each.counts().messages_in for each in new.connections}
            await until(lambda: all(each.counts().messages_in > before[each.id] + 20 for each in new.connections))
            stop.set()
            counts = await asyncio.gather(*talks)
            assert sum(each.counts().messages_in for each in new.connections) == sum(counts)
            assert (old.mounts[0].count.now, new.mounts[0].count.now) == (0, 10)
            assert (old.mounts[0].count.total, new.mounts[0].count.total) == (10, 0)

    run_inside(story())


def test_ticks_go_on_in_their_order(tmp_path: Path) -> None:
    async def story() -> None:
        async with two(tmp_path) as (old, new), client(old, "/tick") as listening:
            ticks = [json.loads(await listening.recv())["tick"] for _ in range(3)]
            assert (await hand_over(old, new)).went == 1
            ticks += [json.loads(await listening.recv())["tick"] for _ in range(3)]
            assert ticks == list(range(1, 7))

    run_inside(story())


def test_what_cannot_go_stays_and_is_served_on(tmp_path: Path) -> None:
    """Another app at that mount: the new daemon refuses, and the old one takes the connection back, as if nothing had been."""
    other = INI.replace("app = ticker\ninterval = 50ms", "app = wsdaemon.examples.chat:chat")

    async def story() -> None:
        async with two(tmp_path, new_text=other) as (old, new), client(old, "/tick") as listening, client(old, "/echo") as talking:
            await listening.recv()
            departures = await hand_over(old, new)
            assert (departures.went, dict(departures.stayed)) == (1, {"app": 1})
            tick = json.loads(await listening.recv())["tick"]
            assert json.loads(await listening.recv())["tick"] == tick + 1
            await talking.send("hello")
            assert await talking.recv() == "hello"
            assert (len(old.connections), len(new.connections)) == (1, 1)
            assert (old.mounts[1].count.now, new.mounts[1].count.now) == (1, 0)

    run_inside(story())


def test_a_limit_of_the_new_worker_and_a_missing_mount_leave_the_connection_with_the_old_one(tmp_path: Path) -> None:
    fewer = INI.replace("app = echo", "app = echo\nmax_connections = 2").replace("[mount:/tick]", "[mount:/tock]")

    async def story() -> None:
        async with two(tmp_path, new_text=fewer) as (old, new), contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(client(old, "/echo")) for _ in range(3)]
            listening = await stack.enter_async_context(client(old, "/tick"))
            departures = await hand_over(old, new)
            assert (departures.went, departures.stayed["limits"], departures.stayed["mount"]) == (2, 1, 1)
            for each in clients:
                await each.send("still there")
                assert await each.recv() == "still there"
            await listening.recv()
            assert (old.mounts[0].count.now, new.mounts[0].count.now) == (1, 2)

    run_inside(story())


def test_the_end_of_a_token_goes_along(tmp_path: Path) -> None:
    """The client of a token that has ended meanwhile is closed by the new worker, with the code for that."""
    (tmp_path / "key").write_bytes(b"k" * 32)
    (tmp_path / "key").chmod(0o600)
    text = INI.replace("app = echo", "app = echo\nauth = staff") + f"""
[auth:staff]
kind = jwt
algorithms = HS256
key_file = {tmp_path}/key
token_from = query:token
"""

    async def story() -> None:
        async with two(tmp_path, text, text) as (old, new):
            token = jwt.encode({"sub": "ada", "exp": time.time() + 3600}, b"k" * 32, "HS256")
            async with client(old, f"/echo?token={token}") as talking:
                assert (await hand_over(old, new)).went == 1
                [connection] = new.connections
                assert connection.identity is not None
                assert connection.identity.name == "ada"
                place: Any = connection._wire.place  # type: ignore[attr-defined]
                place._expiry._clock._now = lambda: time.time() + 7200
                place._expiry.due()
                with pytest.raises(ConnectionClosed) as closed:
                    await talking.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4401

    run_inside(story())


def test_another_version_of_the_protocol_leaves_all_where_they_are(tmp_path: Path) -> None:
    async def story() -> None:
        async with two(tmp_path) as (old, _), client(old, "/echo") as talking:
            ours, theirs = socket.socketpair()
            theirs.sendall(b"\0\0\0\2\0" + bytes(8) + b"\0\2")
            departures = await HandingOver(ours, home_of(old)).give_all()
            theirs.close()
            assert (departures.went, departures.stayed["link"], len(old.connections)) == (0, 1, 1)
            await talking.send("hello")
            assert await talking.recv() == "hello"

    run_inside(story())


def test_a_new_worker_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "ANSWER_SECONDS", 0.1)

    async def story() -> None:
        async with two(tmp_path) as (old, _), client(old, "/echo") as talking:
            ours, theirs = socket.socketpair()
            theirs.sendall(GREETING)
            departures = await HandingOver(ours, home_of(old)).give_all()
            assert (departures.went, departures.stayed["link"], len(old.connections)) == (0, 1, 1)
            with pytest.raises(BrokenPipeError):
                theirs.sendall(b"\0\0\0\0\2" + bytes(7) + b"\1")
            theirs.close()
            await talking.send("hello")
            assert await talking.recv() == "hello"

    run_inside(story())


def test_a_connection_with_a_message_under_way_is_tried_again_and_then_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "PATIENCE_SECONDS", 0.1)

    async def story() -> None:
        async with two(tmp_path) as (old, new), client(old, "/echo", compression=None) as talking:
            more = asyncio.Event()

            async def fragments() -> AsyncIterator[str]:
                yield "one "
                await more.wait()
                yield "two"

            [connection] = old.connections
            sending = asyncio.create_task(talking.send(fragments()))
            wire: Any = connection._wire
            await until(lambda: wire.reader.fallback is not None)
            wire.protocol._isMessageCompressed = True  # such a message cannot go before its end
            departures = await hand_over(old, new)
            assert (departures.went, departures.stayed["message_under_way"]) == (0, 1)
            wire.protocol._isMessageCompressed = False
            assert (await hand_over(old, new)).went == 1
            more.set()
            await sending
            assert await talking.recv() == "one two"

    run_inside(story())


def test_a_new_worker_that_dies_leaves_all_with_the_old_one(tmp_path: Path) -> None:
    """It has greeted, and reads nothing: the connections on their way come back."""

    async def story() -> None:
        async with two(tmp_path) as (old, _), contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(client(old, "/echo")) for _ in range(5)]
            ours, theirs = socket.socketpair()
            handing = HandingOver(ours, home_of(old))
            theirs.sendall(GREETING)
            giving = asyncio.create_task(handing.give_all())
            await until(lambda: len(old.connections) == 0)
            for each in clients:
                await each.send("meanwhile")
            theirs.close()
            departures = await giving
            assert (departures.went, departures.stayed["link"]) == (0, 5)
            assert len(old.connections) == 5
            assert [await each.recv() for each in clients] == ["meanwhile"] * 5
            assert old.mounts[0].count.now == 5

    run_inside(story())


@pytest.mark.parametrize("fails", [False, True])
def test_a_session_that_goes_on_later_is_read_later_and_its_former_one_is_told_then(tmp_path: Path, fails: bool) -> None:
    moving = INI.replace("app = echo", "app = tests.support.moving_app:Moving")

    async def story() -> None:
        async with two(tmp_path, moving, moving) as (old, new), client(old, "/echo") as talking:
            moving_app.EVENTS.clear()
            await talking.send("a")
            assert await talking.recv() == "1"
            if fails:
                moving_app.FAILS.append(RuntimeError("mine"))
            giving = asyncio.create_task(hand_over(old, new))
            await until(lambda: "left" in moving_app.EVENTS)
            await talking.send("b")
            assert (await giving).went == 1
            came = ["received 1", "left", "resumed 1", "goes on"]
            if fails:
                with pytest.raises(ConnectionClosed) as closed:
                    await talking.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1011
                assert moving_app.EVENTS[:4] == came
                assert "handed over" in moving_app.EVENTS
                assert "received 2" not in moving_app.EVENTS
            else:
                assert await talking.recv() == "2"
                assert moving_app.EVENTS[:4] == came
                assert sorted(moving_app.EVENTS[4:]) == ["handed over", "received 2"]

    run_inside(story())


@pytest.mark.parametrize("app", ["ticker", "tests.support.moving_app:Moving"])
def test_another_app_at_the_mount_does_not_go_on_with_a_connection(tmp_path: Path, app: str) -> None:
    async def story() -> None:
        async with two(tmp_path, INI, INI.replace("app = echo", f"app = {app}")) as (old, new), client(old, "/echo") as talking:
            assert (await hand_over(old, new)).stayed == {"app": 1}
            await talking.send("a")
            assert await talking.recv() == "a"

    run_inside(story())


@pytest.mark.parametrize("fails", [False, True])
def test_a_connection_stays_if_the_new_app_does_not_take_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """It is asked before the old worker lets go. An app that fails then has not agreed."""
    moving = INI.replace("app = echo", "app = tests.support.moving_app:Moving")

    def can_resume(app: object, state: bytes) -> bool:
        assert state == b"1"
        if fails:
            raise RuntimeError("no idea")
        return False

    monkeypatch.setattr(moving_app.Moving, "can_resume", can_resume, raising=False)

    async def story() -> None:
        async with two(tmp_path, moving, moving) as (old, new), client(old, "/echo") as talking:
            await talking.send("a")
            assert await talking.recv() == "1"
            assert (await hand_over(old, new)).stayed == {"state": 1}
            await talking.send("b")
            assert await talking.recv() == "2"
            assert len(old.connections) == 1

    run_inside(story())


def test_a_session_that_comes_back_is_not_told_that_it_has_gone(tmp_path: Path) -> None:
    moving = INI.replace("app = echo", "app = tests.support.moving_app:Moving")

    async def story() -> None:
        async with two(tmp_path, moving, INI.replace("[mount:/echo]", "[mount:/other]")) as (old, new), client(old, "/echo") as talking:
            moving_app.EVENTS.clear()
            await talking.send("a")
            assert await talking.recv() == "1"
            assert (await hand_over(old, new)).stayed == {"mount": 1}
            await talking.send("b")
            assert await talking.recv() == "2"
            assert moving_app.EVENTS == ["received 1", "left", "resumed 1", "goes on", "received 2"]

    run_inside(story())


def test_a_connection_that_has_to_wait_is_tried_again_while_others_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client is not read meanwhile, so it must not wait for thousands of others."""
    monkeypatch.setattr(handover, "RETRY_SECONDS", 0.0)
    tried: list[str] = []

    def part(wire: Any, warned: bool) -> Parting | Obstacle:
        tried.append(wire.connection.id)
        return BUSY if len(tried) == 1 else wire_handover.part(wire, warned)

    monkeypatch.setattr(handover, "part", part)

    async def story() -> None:
        async with two(tmp_path) as (old, new), contextlib.AsyncExitStack() as stack:
            for _ in range(30):
                await stack.enter_async_context(client(old, "/echo"))
            assert (await hand_over(old, new)).went == 30
            assert tried[1:].index(tried[0]) < 10
            assert (len(tried), len(set(tried))) == (31, 30)

    run_inside(story())
