"""edge/gate.py: how much is made for a client on its way in, and what a gate tells of those it refuses."""

from __future__ import annotations

import sys
from collections import Counter
from types import FrameType
from typing import Any

import pytest

from tests.support.admission import ADA, Chain, Door
from tests.support.fakes import PEER, App, House, request
from tests.support.lines import Lines
from wsdaemon.core.connection import Connection
from wsdaemon.core.handshake import Handshake
from wsdaemon.edge.origins import Origins


class Making:
    """Counts objects of the edge, the core and the apps as they are made, by their constructors; those that are gone at once, too."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_name in ("__init__", "trusted", "_make"):
            arguments = frame.f_locals
            first = arguments[frame.f_code.co_varnames[0]]
            kind = first if isinstance(first, type) else type(first)
            if kind.__module__.startswith(("wsdaemon.edge", "wsdaemon.core", "wsdaemon.apps")):
                self.made[kind.__name__] += 1


class Counting(App):
    """Stops counting when its app opens a connection."""

    def open(self, connection: Connection, handshake: Handshake) -> Any:
        sys.setprofile(None)
        return super().open(connection, handshake)


@pytest.mark.parametrize("known", [False, True])
def test_four_objects_are_made_between_accept_and_open(made: House, known: bool) -> None:
    making, before = Making(), sys.getprofile()
    door = Door(made, app=Counting(), chain=Chain(lambda asked: ADA) if known else None)
    sys.setprofile(making)
    try:
        visitor = door.arrive(request("/chat"))
    finally:
        sys.setprofile(before)
    assert visitor.status == 101
    values = {"Head", "Headers", "Upgrade", "Place"}
    assert {name: count for name, count in making.made.items() if name not in values} == {
        "Arrival": 1,
        "Candidate": 1,
        "Draft": 1,  # it becomes the Handshake
        "Connection": 1,
    }
    assert all(making.made[name] <= 1 for name in values), "of the values that these hold there is one each"


def test_a_refused_page_is_told_once_a_minute_for_each_origin(made: House) -> None:
    log = Lines()
    door = Door(made, origins=Origins.parse(["https://a.example"]), log=log)
    for _ in range(3):
        for origin in ("https://b.example", "https://c.example"):
            assert door.arrive(request("/chat", origin=origin)).status == 403
    assert log.lines == [
        f"web refused a page of {origin} on /chat: origins in [mount:/chat] does not name it; the latest came from {PEER}"
        for origin in ("https://b.example", "https://c.example")
    ]


def test_made_up_origins_do_not_fill_the_log(made: House) -> None:
    log = Lines()
    door = Door(made, origins=Origins.parse(["https://a.example"]), log=log)
    for number in range(200):
        assert door.arrive(request("/chat", origin=f"https://{number}.example{'x' * 1000}")).status == 403
    assert len(log.lines) == 20
    assert all(len(line) < 500 for line in log.lines)
    assert door.gate.refused == {"origin": 200}


def test_a_fault_of_ours_is_told_once_a_minute_for_each_kind(made: House) -> None:
    errors: list[Exception] = [ValueError("one"), KeyError("two")]

    def broken(asked: object) -> Any:
        raise errors[0]

    log = Lines()
    door = Door(made, chain=Chain(broken), log=log)
    for _ in range(5):
        assert door.arrive(request("/chat")).status == 500
        errors.reverse()
    assert log.lines == [f"request from {PEER}"] * 2


def test_connections_of_a_mount_share_what_is_the_same(made: House) -> None:
    """Each of these objects would cost every idle connection some fifty bytes."""
    app = App()
    door = Door(made, app=app)
    for _ in range(2):
        assert door.arrive(request("/chat")).status == 101
    one, two = [connection.handshake for connection in app.connections]
    assert (one.path, one.raw_path) == ("/chat", b"/chat")
    assert one.path is two.path
    assert one.raw_path is two.raw_path
    assert door.arrive(request("/c%68at")).status == 101
    assert (app.connections[2].handshake.path, app.connections[2].handshake.raw_path) == ("/chat", b"/c%68at")
