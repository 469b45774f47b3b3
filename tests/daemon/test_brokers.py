"""brokers.py: the app rooms as a mount: its options, its policy, its subprotocol, and real wires."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import PYTHON, Client, Frame, House, Watcher, binary, request, text
from tests.support.rooms import memory_of
from wsdaemon.apps.loading import LoadError
from wsdaemon.apps.rooms import RoomsApp, Visitor
from wsdaemon.apps.rooms.requests import FIELDS
from wsdaemon.core.connection import Connection
from wsdaemon.core.handshake import Handshake
from wsdaemon.daemon.apps import load_app
from wsdaemon.daemon.listeners import make_entrance
from wsdaemon.daemon.mounts import Mount, MountMaker
from wsdaemon.settings.build import build, section
from wsdaemon.settings.ini import load
from wsdaemon.settings.problems import SettingsError
from wsdaemon.settings.reference import effective
from wsdaemon.settings.rooms import RoomsOptions
from wsdaemon.settings.schema import keys_of
from wsdaemon.wire.turns import Turns
from wsdaemon.wire.writer import make_flusher


class Gate:
    def enter(self, visitor: Visitor, room: str) -> bool:
        return room == "lobby"


class Broken:
    def __init__(self) -> None:
        raise ValueError("no configuration")


def mount(made: House, path: str = "/rooms/{room}", watcher: Watcher | None = None, **options: Any) -> Mount:
    settings = build([section("listener:a", address="tcp:0"), section(f"mount:{path}", app="rooms", **options)], "test").mounts[0]
    watcher = watcher or Watcher()
    maker = MountMaker(
        watcher=watcher, wheel=made.wheel(), flusher=make_flusher(made.loop.call_soon, now=lambda: 0.0),
        turns=Turns(made.loop.call_soon, now=lambda: 0.0), frames=PYTHON, fast=True,
        next_id=iter(map(str, range(1000))).__next__, reactor=object(), calls=made.calls, background=made.background,
        broadcast=made.broadcast,
    )  # fmt: skip
    return maker.make(settings, load_app(settings, watcher.app_failed))


class Room:
    """One mount, whose clients come to its rooms as the router would let them in."""

    def __init__(self, made: House, **options: Any) -> None:
        self.made = made
        self.watcher = Watcher()
        self.mount = mount(made, watcher=self.watcher, **options)
        self.mount.wires.protocols.prepare()
        open_it = self.mount.app.open

        def opened(connection: Connection, handshake: Handshake) -> Any:
            return open_it(connection, replace(handshake, params={"room": handshake.path.rpartition("/")[2]}))

        self.mount.app.open = opened

    def client(self, room: str = "lobby", **headers: str) -> Client:
        wires = self.mount.wires
        return Client(self.made.loop, wires, self.watcher, wires.policy.wheel, request(f"/rooms/{room}", **headers), -1)


def frames(made: House, client: Client) -> list[Frame]:
    made.loop.settle()
    return client.frames()


def test_messages_go_from_wire_to_wire(made: House) -> None:
    room = Room(made)
    a, b, other = room.client(), room.client(), room.client("other")
    a.send(text("grüße"), binary(b"\x00"))
    assert frames(made, b) == [Frame(1, "grüße".encode()), Frame(2, b"\x00")]
    assert frames(made, a) == frames(made, other) == []
    assert len(b.transport.writes) == 2  # the opening handshake, and both messages


def test_one_that_leaves_is_a_member_no_more(made: House) -> None:
    room = Room(made)
    a, b = room.client(), room.client()
    b.vanish()
    a.send(text("x"))
    made.loop.settle()
    assert memory_of(room.mount.app).presence("lobby").count == 1
    assert room.watcher.failures == []


def test_the_subprotocol_is_offered_by_itself(made: House) -> None:
    room = Room(made, subprotocols="chat.v1")
    assert room.mount.subprotocols == ("chat.v1", "rooms.v1.json")
    assert make_entrance(room.mount, None).subprotocols == room.mount.subprotocols
    client, plain = room.client(sec_websocket_protocol="rooms.v1.json"), room.client(sec_websocket_protocol="chat.v1")
    assert "rooms.v1.json" in client.head
    client.send(text('{"type":"subscribe","id":1}'))
    [answer] = frames(made, client)
    assert json.loads(answer.payload)["room"] == "lobby"
    plain.send(text("x"))
    [event] = frames(made, client)
    assert json.loads(event.payload)["data"] == "x"
    assert mount(made, subprotocols="rooms.v1.json, x").subprotocols == ("rooms.v1.json", "x")


def test_a_long_history_is_not_too_much_for_a_small_backlog(made: House) -> None:
    room = Room(made, history=1000, history_bytes="4MiB", send_backlog="64KiB")
    a = room.client()
    for number in range(200):
        a.send(binary(bytes([number]) * 5000))
    made.loop.settle()
    page = memory_of(room.mount.app).history("lobby")
    slow = room.client(sec_websocket_protocol="rooms.v1.json")
    slow.transport.stuck = True
    slow.send(text(json.dumps({"type": "subscribe", "since": {"epoch": page.epoch, "offset": 0}})))
    rounds = 0
    while slow.reader.waiting is not None:
        made.loop.settle()
        assert slow.writer.live and 0 < slow.transport.unsent < 64 * 1024
        slow.transport.drain()
        slow.transport.stuck = True
        made.loop.settle()
        rounds += 1
    assert rounds > 10
    *earlier, answer = [json.loads(frame.payload) for frame in slow.frames()]
    assert [event["offset"] for event in (*earlier, *answer["messages"])] == list(range(1, 201))


def test_a_room_that_is_full_says_so(made: House) -> None:
    room = Room(made, max_members=1)
    room.client()
    late = room.client()
    [closing] = frames(made, late)
    assert (closing.code, closing.reason) == (1013, "room_full")
    late.answer_close()
    assert late.ended == (1013, "room_full", "server")


def test_the_options_reach_the_broker(made: House) -> None:
    app = mount(
        made, publish="server", echo_to_sender=True, room_names="[a-z]+", max_rooms=5, max_members=6, max_subscriptions=7, max_patterns=8,
        room_messages_per_second=9, history=10, history_age="1h", history_bytes="1KiB", latest=True, room_idle="5s", hook_timeout="3s",
        slow_client="latest", send_backlog="40KiB",
    ).app  # fmt: skip
    limits, rules = memory_of(app).limits, app.rooms.rules
    assert (limits.max_rooms, limits.max_members, limits.max_subscriptions, limits.max_patterns) == (5, 6, 7, 8)
    assert (limits.rate, limits.burst, limits.room_idle, limits.latest) == (9, 18, 5.0, True)
    assert (limits.history, limits.history_age, limits.history_bytes, limits.name_pattern.pattern) == (10, 3600.0, 1024, "[a-z]+")
    assert (rules.publish, rules.echo_to_sender, rules.parameters, rules.drops_messages) == ("server", True, ("room",), True)
    assert (rules.hook_timeout, app.rooms.page_bytes) == (3.0, 10 * 1024)


def test_history_by_age_alone_or_not_at_all(made: House) -> None:
    assert memory_of(mount(made).app).limits.history_count == 0
    assert memory_of(mount(made, history_age="1h").app).limits.history_count == 10_000
    assert memory_of(mount(made, history=5).app).limits.history_count == 5
    assert mount(made, "/a/{x}/{y}").app.rooms.rules.parameters == ("x", "y")


@pytest.mark.parametrize("policy", [f"{__name__}:Gate", Gate, Gate()])
def test_the_policy_is_loaded(made: House, policy: object) -> None:
    room = Room(made, policy=policy)
    late = room.client("other")
    made.loop.settle()
    assert late.protocol.localCloseCode == 1008
    assert isinstance(room.mount.app, RoomsApp)


@pytest.mark.parametrize(
    ("policy", "message"),
    [("nowhere:Policy", "no module nowhere"), (f"{__name__}:Broken", "no configuration"), (object(), "at least one of the methods")],
)
def test_a_policy_that_cannot_be_had(made: House, policy: object, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        mount(made, policy=policy)


def test_the_docs_name_every_option_request_and_answer() -> None:
    docs = (Path(__file__).resolve().parents[2] / "docs" / "rooms.md").read_text()
    for name in (*keys_of(RoomsOptions), *FIELDS, *{field for fields in FIELDS.values() for field in fields}):
        assert f"`{name}`" in docs, name
    for code in ["bad_json", "bad_message", "forbidden", "rate_limited", "room_full", "not_subscribed", "too_many_errors", "bad_since"]:
        assert f"`{code}`" in docs, code
    for block in re.findall(r"```json\n(.*?)```", docs, re.DOTALL):
        for line in re.split(r"\n(?=\{)", block.strip()):
            assert isinstance(json.loads(line)["type"], str)


def test_the_options_are_written_as_they_are_read(tmp_path: Path) -> None:
    rooms = section("mount:/r/{room}", app="rooms", room_names="[a-z,;#]+", policy="my.code:Policy", history_age="90s", publish="none")
    settings = build([section("listener:a", address="tcp:0"), rooms], "test")
    (tmp_path / "ws.ini").write_text(effective(settings))
    assert load(tmp_path / "ws.ini").mounts == settings.mounts
    assert "room_names = [a-z,;#]+\n" in effective(settings)


@pytest.mark.parametrize(("key", "value"), [("room_names", "["), ("room_names", ""), ("policy", "not one"), ("publish", "all")])
def test_options_that_are_none(made: House, key: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=key):
        mount(made, **{key: value})
