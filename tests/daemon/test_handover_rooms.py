"""Members of rooms go along from one daemon to another, over a hub in the same process, under clients that we did not write."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.daemon.test_handover import hand_over
from tests.support.inside import inside, run_inside, until
from tests.support.links import ShiftedLoop
from tests.support.succession import HubInMemory
from wsdaemon.apps.rooms import going_along, mount_rooms
from wsdaemon.brokers.contract import Message
from wsdaemon.brokers.links.contract import Joined
from wsdaemon.daemon import brokers, handover
from wsdaemon.daemon.daemon import Daemon
from wsdaemon.daemon.hub_brokers import HubBrokers, make_client
from wsdaemon.hub.room_messages import MOVE
from wsdaemon.hub.room_server import RoomServer
from wsdaemon.wire.resumption import resume

INI = """
[listener:main]
address = tcp:0:interface=127.0.0.1
[mount:/rooms/{room}]
app = rooms
history = 0
requests_per_second = 0
"""

JSON = [Subprotocol("rooms.v1.json")]


class Generations:
    """Two daemons, the former and the next, and the hub of both."""

    def __init__(self, old: Daemon, new: Daemon, rooms: RoomServer) -> None:
        self.old, self.new, self.rooms = old, new, rooms


@contextlib.asynccontextmanager
async def generations(folder: Path, old_text: str = INI, new_text: str = INI) -> AsyncIterator[Generations]:
    loop: Any = asyncio.get_running_loop()
    loop_of_hub: ShiftedLoop = loop
    hub = HubInMemory(loop_of_hub, b"hub-one-")
    async with contextlib.AsyncExitStack() as stack:
        daemons = []
        for generation, text in enumerate((old_text, new_text), 1):
            client = make_client(1, generation, loop)
            hub.attach(client)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(brokers, "memory_brokers", HubBrokers(client))
                (folder / str(generation)).mkdir()
                daemons.append(await stack.enter_async_context(inside(folder / str(generation), text)))
            stack.callback(client.close)
        await until(lambda: sum(len(order.links) for order in hub.rooms.orders) == 2)
        hub.rooms.begin()
        yield Generations(daemons[0], daemons[1], hub.rooms)
    hub.close()
    await asyncio.sleep(0)


def member(daemon: Daemon, path: str = "/rooms/lobby", **options: Any) -> Any:
    return connect(f"ws://127.0.0.1:{daemon.listeners[0].port}{path}", ping_interval=None, **options)


class Told:
    """All that a client is told, in its order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[Any] = []
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in self.socket:
                self.events.append(json.loads(message) if self.socket.subprotocol else message)

    async def ask(self, **request: Any) -> dict[str, Any]:
        id = f"q{len(self.events)}"
        await self.socket.send(json.dumps({"id": id, **request}))
        await until(lambda: any(event.get("id") == id for event in self.events))
        return next(event for event in self.events if event.get("id") == id)

    @property
    def data(self) -> list[str]:
        """The messages."""
        if not self.socket.subprotocol:
            return self.events
        return [event["data"] for event in self.events if event["type"] == "message"]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]


async def subscribed(stack: contextlib.AsyncExitStack, daemon: Daemon, **request: Any) -> Told:
    told = Told(await stack.enter_async_context(member(daemon, subprotocols=JSON)))
    answer = await told.ask(type="subscribe", **request)
    assert answer["type"] == "subscribed"
    return told


def test_members_go_along_under_traffic_and_publish_from_there(tmp_path: Path) -> None:
    """Plain members, and members that watch presence, in a room without a history. A member publishes all the time, and goes along too."""

    async def story() -> None:
        async with generations(tmp_path) as both, contextlib.AsyncExitStack() as stack:
            plain = [Told(await stack.enter_async_context(member(both.old))) for _ in range(4)]
            watching = [await subscribed(stack, both.old, presence=True) for _ in range(3)]
            publisher = await subscribed(stack, both.old)
            everyone = [*plain, *watching, publisher]
            stop = asyncio.Event()
            sent: list[str] = []

            async def publish() -> None:
                while not stop.is_set():
                    answer = await publisher.ask(type="publish", room="lobby", data=str(len(sent)), echo=True)
                    assert answer["type"] == "published"
                    sent.append(str(len(sent)))

            publishing = asyncio.create_task(publish())
            await until(lambda: len(sent) > 10)
            await until(lambda: len(watching[0].of("joined")) >= 3)
            before = [len(each.of("joined")) for each in watching]
            departures = await hand_over(both.old, both.new)
            assert (departures.went, dict(departures.stayed)) == (8, {})
            now = len(sent)
            await until(lambda: len(sent) > now + 10)
            await plain[0].socket.send("from a plain member")
            await until(lambda: "from a plain member" in publisher.data)
            stop.set()
            await publishing
            await until(lambda: all(each.data[-1:] == sent[-1:] or each.data[-2:-1] == sent[-1:] for each in everyone))
            for each in everyone:
                numbers = [data for data in each.data if data.isdigit()]
                assert numbers == sent
                assert each.data.count("from a plain member") == (each is not plain[0])
            assert [len(each.of("joined")) for each in watching] == before
            assert not any(each.of("left") or each.of("gap") for each in watching)
            answer = await publisher.ask(type="presence", room="lobby")
            assert answer["count"] == 8
            await watching[0].socket.close()
            await until(lambda: watching[1].of("left"))

    run_inside(story())


def test_members_that_the_new_generation_refuses_come_back_as_if_nothing_had_been(tmp_path: Path) -> None:
    async def story() -> None:
        async with generations(tmp_path, new_text=INI.replace("/rooms/", "/other/")) as both, contextlib.AsyncExitStack() as stack:
            plain = Told(await stack.enter_async_context(member(both.old)))
            watching = await subscribed(stack, both.old, presence=True)
            departures = await hand_over(both.old, both.new)
            assert (departures.went, dict(departures.stayed)) == (0, {"mount": 2})
            await watching.ask(type="publish", room="lobby", data="one")
            await plain.socket.send("two")
            await until(lambda: plain.data == ["one"] and watching.data == ["two"])
            assert not watching.of("left") and not watching.of("joined")
            assert (await watching.ask(type="presence", room="lobby"))["count"] == 2
            await plain.socket.close()
            await until(lambda: watching.of("left"))
            await watching.ask(type="unsubscribe", room="lobby")
            assert (await watching.ask(type="presence", room="lobby"))["count"] == 0

    run_inside(story())


def test_a_member_with_a_pattern_stays(tmp_path: Path) -> None:
    async def story() -> None:
        async with generations(tmp_path) as both, contextlib.AsyncExitStack() as stack:
            told = await subscribed(stack, both.old, pattern="prices.*")
            departures = await hand_over(both.old, both.new)
            assert (departures.went, dict(departures.stayed)) == (0, {"kept_by_app": 1})
            await told.ask(type="publish", room="prices.eur", data="one", echo=True)
            await until(lambda: told.data == ["one"])

    run_inside(story())


def test_a_member_of_more_rooms_than_a_state_holds_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(going_along, "MAX_STATE_BYTES", 300)

    async def story() -> None:
        async with generations(tmp_path) as both, contextlib.AsyncExitStack() as stack:
            few, many = await subscribed(stack, both.old), await subscribed(stack, both.old)
            for told, count in ((few, 2), (many, 9)):
                for number in range(count):
                    await told.ask(type="subscribe", room=f"room-{number}")
            departures = await hand_over(both.old, both.new)
            assert (departures.went, dict(departures.stayed)) == (1, {"kept_by_app": 1})
            await many.ask(type="publish", room="room-1", data="one", echo=True)
            await until(lambda: few.data == many.data == ["one"])

    run_inside(story())


def test_a_member_whose_messages_are_lost_is_told_of_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub has forgotten the messages that were published meanwhile."""
    monkeypatch.setattr(mount_rooms, "CLOSING_SECONDS", 0.0)

    async def story() -> None:
        async with generations(tmp_path) as both, contextlib.AsyncExitStack() as stack:
            plain = Told(await stack.enter_async_context(member(both.old)))
            told = await subscribed(stack, both.old, presence=True)
            order = both.rooms.order("/rooms/{room}")
            assert order is not None
            order.recent = None
            order.table["lobby"].offset += 1
            assert (await hand_over(both.old, both.new)).went == 2
            await plain.socket.wait_closed()
            assert plain.socket.close_code == 4410
            [gap] = told.of("gap")
            assert (gap["offset"], gap["count"]) == (1, 2)

    run_inside(story())


def test_a_member_that_is_told_of_lost_changes_is_given_each_message_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub has the messages of the meantime, and not the changes of presence."""

    async def story() -> None:
        async with generations(tmp_path) as both, contextlib.AsyncExitStack() as stack:
            told = await subscribed(stack, both.old, presence=True)
            order = both.rooms.order("/rooms/{room}")
            assert order is not None and order.recent is not None
            recent, move = order.recent, order.move
            monkeypatch.setattr(recent, "changes_after", lambda *places: None)

            def move_late(*question: Any) -> Joined:
                room = order.table["lobby"]
                room.offset += 1
                recent.message(Message("lobby", room.epoch, room.offset, b"one", True, 0.0))
                order.followers.rooms["lobby"].changes += 1
                return move(*question)

            monkeypatch.setattr(order, "move", move_late)
            assert (await hand_over(both.old, both.new)).went == 1
            await until(lambda: bool(told.of("gap")))
            [gap] = told.of("gap")
            assert (told.data, gap["count"], gap.get("messages")) == (["one"], 1, None)

    run_inside(story())


def test_a_gap_has_the_latest_message(tmp_path: Path) -> None:
    async def story() -> None:
        text = INI + "latest = on\n"
        async with generations(tmp_path, text, text) as both, contextlib.AsyncExitStack() as stack:
            told = await subscribed(stack, both.old)
            await told.ask(type="publish", room="lobby", data="one")
            order = both.rooms.order("/rooms/{room}")
            assert order is not None
            move = order.move

            def move_in_another_life(*question: Any) -> Joined:
                order.table["lobby"].epoch = "another life...."
                return move(*question)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(order, "move", move_in_another_life)
                assert (await hand_over(both.old, both.new)).went == 1
            await until(lambda: bool(told.of("gap")))
            assert [message["data"] for message in told.of("gap")[0]["messages"]] == ["one"]

    run_inside(story())


@pytest.mark.parametrize("moment", ["landing", "resuming"])
def test_members_that_are_lost_on_their_way_back_leave_their_rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    async def land(loop: asyncio.AbstractEventLoop, sock: Any) -> Any:
        sock.close()
        raise OSError("no transport")

    def resume_and_close(*arguments: Any) -> Any:
        wire, resumed = resume(*arguments)
        wire.connection.close(1000, "")
        return wire, resumed

    monkeypatch.setattr(handover, *(("land", land) if moment == "landing" else ("resume", resume_and_close)))

    async def story() -> None:
        async with generations(tmp_path, new_text=INI.replace("/rooms/", "/other/")) as both, contextlib.AsyncExitStack() as stack:
            plain = Told(await stack.enter_async_context(member(both.old)))
            told = await subscribed(stack, both.old)
            assert dict((await hand_over(both.old, both.new)).stayed) == {"mount": 2}
            for each in (plain, told):
                await each.socket.wait_closed()
            order = both.rooms.order("/rooms/{room}")
            assert order is not None
            await until(lambda: not order.table["lobby"].members)

    run_inside(story())


def test_members_are_sent_away_if_the_hub_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsdaemon.daemon.hub_brokers.TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr("wsdaemon.brokers.followed.moving.MAX_ATTEMPTS", 1)

    async def story() -> None:
        async with generations(tmp_path) as both, contextlib.AsyncExitStack() as stack:
            plain = Told(await stack.enter_async_context(member(both.old)))
            told = await subscribed(stack, both.old)
            server = both.rooms._server
            server.replace(MOVE, lambda link, request, body: None)
            assert (await hand_over(both.old, both.new)).went == 2
            for each in (plain, told):
                await each.socket.wait_closed()
                assert (each.socket.close_code, each.socket.close_reason) == (1013, "unavailable")
            assert not both.new.connections

    run_inside(story())
