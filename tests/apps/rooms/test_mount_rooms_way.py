"""The way of a room message, from the session of its publisher to the transports of its members: short, and the same each time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest

import wsdaemon
from tests.support.fakes import READERS, house
from tests.support.rooms import in_memory
from wsdaemon.apps.rooms import RoomsApp, RoomsRules, SendToAll
from wsdaemon.apps.rooms.plain import PlainSession
from wsdaemon.apps.rooms.subprotocol import JsonSession
from wsdaemon.core.connection import Connection
from wsdaemon.core.handshake import Handshake
from wsdaemon.wire.fan import send_to_all

FOLDER = Path(wsdaemon.__file__).parent
MAX_FILES = 7
MAX_CROSSINGS = 2


def files_called(act: Callable[[], object]) -> list[str]:
    """The files of wsdaemon/ whose functions run, in the order in which control passes between them."""
    way: list[str] = []

    def look(frame: Any, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(FOLDER)):
            name = str(Path(frame.f_code.co_filename).relative_to(FOLDER))
            if not way or way[-1] != name:
                way.append(name)

    sys.setprofile(look)
    try:
        act()
    finally:
        sys.setprofile(None)
    return way


def to_the_transport(way: list[str]) -> list[str]:
    """The way up to the last step in wire/."""
    last = max(number for number, name in enumerate(way) if name.startswith("wire/"))
    return way[: last + 1]


def crossings(way: list[str]) -> int:
    """How often the way goes from apps/ to brokers/ or back."""
    rooms = [room for name in way if (room := name.split("/")[0]) in ("apps", "brokers")]
    return sum(one != other for one, other in pairwise(rooms))


class Lobby(RoomsApp):
    """Every client is in one room, and has an id of its own."""

    opened = 0

    def open(self, connection: Connection, handshake: Handshake) -> PlainSession | JsonSession:
        self.opened += 1
        connection._number = f"m{self.opened}"
        return super().open(connection, replace(handshake, params={"room": "lobby"}))


def test_a_message_passes_few_files() -> None:
    """As in production over TCP: frames are made in C, where that is there, and written to the socket itself."""
    with house() as made:
        policy = RoomsRules(parameters=("room",))
        app = Lobby(policy, in_memory(inline=0), cast("SendToAll", send_to_all), lambda *failure: pytest.fail(str(failure)))
        sent: list[int] = []

        def send(descriptor: int, data: bytes) -> int:
            sent.append(descriptor)
            return len(data)

        frames = replace(READERS["c" if "c" in READERS else "python"][0], send=send)
        clients = [made.make_wire(app, frames=frames, descriptor=number) for number in range(3)]
        session = clients[0].wire.session

        def publish() -> None:
            assert session.received_payload(b"hello", True) is None
            made.loop.turn()

        publish()
        sent.clear()
        way = to_the_transport(files_called(publish))
        assert sent == [1, 2]
        assert len(set(way)) <= MAX_FILES, way
        assert crossings(way) <= MAX_CROSSINGS, way
