"""daemon/handover_here.py: two workers' parts of an upgrade, in one process, under clients that we did not write."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest
from twisted.logger import capturedLogs, formatEvent
from websockets.exceptions import ConnectionClosed

from tests.daemon.test_handover import GREETING, INI, client, two
from tests.support import moving_app
from tests.support.inside import run_inside, until
from wsdaemon.core.sizes import counted
from wsdaemon.daemon import handover, handover_here
from wsdaemon.daemon.daemon import Daemon
from wsdaemon.daemon.handover_here import HandoverHere


def begin(old: Daemon, new: Daemon) -> tuple[HandoverHere, HandoverHere, asyncio.Task[tuple[int, int]]]:
    ours, theirs = socket.socketpair()
    giver, taker = HandoverHere(old), HandoverHere(new)
    taker.take_from(theirs)
    return giver, taker, asyncio.create_task(giver.give_to(ours))


def test_what_can_go_goes_and_both_sides_tell_how_many(tmp_path: Path) -> None:
    async def story() -> None:
        async with two(tmp_path) as (old, new), contextlib.AsyncExitStack() as stack:
            talking, listening = [await stack.enter_async_context(client(old, path)) for path in ("/echo", "/tick")]
            await stack.enter_async_context(client(old, "/rooms/lobby", subprotocols=["rooms.v1.json"]))
            await listening.recv()
            with capturedLogs() as events:
                _, taker, giving = begin(old, new)
                assert await giving == (2, 1)
                await until(lambda: not taker._tasks)
            assert {formatEvent(event) for event in events if event["log_namespace"] == "wsdaemon"} == {
                "2 connections went along to the next generation; 1 to drain (kept_by_app 1)",
                "2 connections of the former generation came along",
            }
            await talking.send("hello")
            assert await talking.recv() == "hello"
            assert (len(old.connections), len(new.connections)) == (1, 2)
            assert not taker._taking

    run_inside(story())


def test_without_a_successor_all_stay(tmp_path: Path) -> None:
    async def story() -> None:
        async with two(tmp_path) as (old, _), client(old, "/echo"):
            assert await HandoverHere(old).give_to(None) == (0, 1)

    run_inside(story())


def test_a_taker_that_ends_at_once_leaves_all_with_the_giver(tmp_path: Path) -> None:
    async def story() -> None:
        async with two(tmp_path) as (old, _), client(old, "/echo") as talking:
            ours, theirs = socket.socketpair()
            theirs.close()
            assert await HandoverHere(old).give_to(ours) == (0, 1)
            await talking.send("hello")
            assert await talking.recv() == "hello"

    run_inside(story())


@pytest.mark.parametrize("ends", ["giver", "taker"])
def test_a_side_that_stops_ends_the_hand_over_and_no_connection_is_lost(tmp_path: Path, ends: str) -> None:
    """Each client can talk on, with one side or the other."""

    async def story() -> None:
        async with two(tmp_path) as (old, new), contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(client(old, "/echo")) for _ in range(30)]
            giver, taker, giving = begin(old, new)
            await until(lambda: len(new.connections) > 0)
            with capturedLogs() as events:
                await (giver if ends == "giver" else taker).end()
                went, stayed = await giving
            told = [line for event in events if "went along" in (line := str(formatEvent(event)))]
            reasons = f" (link {stayed})" if stayed else ""
            assert told == [f"{counted(went, 'connection')} went along to the next generation; {stayed} to drain{reasons}"]
            assert (went, stayed) == (len(new.connections), len(old.connections))
            assert went + stayed == 30
            for each in clients:
                await each.send("still there")
                assert await each.recv() == "still there"
            again, late = socket.socketpair()
            if ends == "giver":
                await giver.give_to(again)
            else:
                taker.take_from(again)
            assert late.recv(1) == b"", "afterwards neither gives nor takes"
            late.close()

    run_inside(story())


def test_a_taker_that_answers_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover_here, "HAND_OVER_SECONDS", 0.05)

    async def story() -> None:
        async with two(tmp_path) as (old, _), client(old, "/echo") as talking:
            ours, theirs = socket.socketpair()
            theirs.sendall(GREETING)
            assert await HandoverHere(old).give_to(ours) == (0, 1)
            theirs.close()
            await talking.send("hello")
            assert await talking.recv() == "hello"

    run_inside(story())


@pytest.mark.parametrize("refused", [False, True])
def test_an_app_that_never_goes_on_holds_up_no_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    """In the new worker, or in the old one, to which the connection comes back."""
    monkeypatch.setattr(handover_here, "HAND_OVER_SECONDS", 0.05)
    monkeypatch.setattr(handover_here, "END_SECONDS", 0.05)
    never = asyncio.Event()

    async def wait(session: moving_app.MovingSession) -> None:
        await never.wait()

    monkeypatch.setattr(moving_app.MovingSession, "_come", wait)
    moving = INI.replace("app = echo", "app = tests.support.moving_app:Moving")
    other = moving.replace("[mount:/echo]", "[mount:/other]") if refused else moving

    async def story() -> None:
        async with two(tmp_path, moving, other) as (old, new), client(old, "/echo"):
            _, taker, giving = begin(old, new)
            assert await giving == ((0, 1) if refused else (1, 0))
            await taker.end()
            assert len(new.connections) == (0 if refused else 1)
            never.set()

    run_inside(story())


def test_a_fault_in_the_hand_over_is_logged_and_what_was_on_its_way_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with two(tmp_path) as (old, new), client(old, "/echo") as talking:
            fault = RuntimeError("too many open files")

            def fail(*_: object) -> bool:
                raise fault

            with capturedLogs() as events:
                _, _, giving = begin(old, new)
                await until(lambda: len(old.connections) == 1)
                monkeypatch.setattr(handover.HandingOver, "_wait_while", fail)
                assert await giving == (0, 1)
            assert [event["log_failure"].value for event in events if "log_failure" in event] == [fault]
            monkeypatch.undo()
            await talking.send("hello")
            assert await talking.recv() == "hello"

    run_inside(story())


def test_a_connection_of_rooms_without_a_hub_is_drained(tmp_path: Path) -> None:
    async def story() -> None:
        async with two(tmp_path) as (old, new), client(old, "/rooms/lobby", subprotocols=["rooms.v1.json"]) as member:
            assert await begin(old, new)[2] == (0, 1)
            await old.stop()
            with pytest.raises(ConnectionClosed):
                await member.recv()
            assert member.close_code == 1012
            assert str(member.close_reason).startswith("restart; retry=")

    run_inside(story())
