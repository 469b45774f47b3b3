"""daemon/watch.py: closing lines, and failures that a client can cause."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from twisted.logger import Logger

from tests.support.fakes import PEER
from tests.support.lines import Lines
from wsdaemon.core.connection import Connection
from wsdaemon.core.handshake import Handshake
from wsdaemon.core.registry import Connections
from wsdaemon.core.wire_halves import Counts
from wsdaemon.daemon import watch as module
from wsdaemon.daemon.watch import UncaughtFailures, Watch
from wsdaemon.ops.log_format import JsonRenderer, TextRenderer, TextShape


class Wire:
    messages_in = messages_out = bytes_in = bytes_out = 1
    live = congested = False

    @property
    def writer(self) -> Wire:
        return self


def connection(mount: str = "/chat") -> Connection:
    handshake = Handshake(target="/chat", path="/chat", raw_path=b"/chat", peer=PEER, listener="web", mount=mount)
    wire: Any = Wire()
    return Connection(wire, handshake, "x-1")


def test_a_connection_is_in_the_registry_while_it_is_open() -> None:
    connections, one = Connections(), connection()
    watch = Watch(connections, lines=False)
    watch.opened(one)
    assert one in connections
    one._ended(1000, "", "client")
    watch.closed(one, Counts(1, 1, 1, 1))
    assert one not in connections
    assert watch.totals.place("/chat", "web").closed == {("1000", "client"): 1}


def test_the_closing_line_in_the_operators_own_format(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Any] = []
    observer: Any = events.append
    monkeypatch.setattr(module, "connection_log", Logger("wsdaemon.connection", observer=observer))
    for text in ("", "{peer} {path}"):
        watch, one = Watch(Connections(), True, text), connection()
        watch.opened(one)
        one._ended(1000, "", "client")
        watch.closed(one, Counts(1, 1, 1, 1))
    lines = [TextRenderer(TextShape.PREFIXED)(event) for event in events]
    assert lines[0] is not None and b": closed x-1 " in lines[0]
    assert lines[1] == f"<6>wsdaemon.connection: {PEER} /chat\n".encode()
    entry = json.loads(JsonRenderer()(events[1]) or b"")
    assert entry["message"] == f"{PEER} /chat" and entry["code"] == 1000 and "line" not in entry


def test_failures_of_an_app_are_logged_once_a_minute_for_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Lines()
    monkeypatch.setattr(module, "app_log", log)
    watch = Watch(Connections(), lines=False)
    for _ in range(100):
        watch.app_failed(connection(), "receiving", ValueError())
        watch.app_failed(connection(), "receiving", KeyError())
        watch.app_failed(connection(), "closing", ValueError())
        watch.app_failed(connection("/news"), "receiving", ValueError())
    assert len(log.lines) == 4


def test_failures_that_no_caller_caught_are_logged_once_a_minute_for_each_place() -> None:
    log = Lines()
    failures = UncaughtFailures(log)
    loop: Any = None
    for number in range(100):
        try:
            raise OSError(number) if number % 2 else ValueError
        except (OSError, ValueError) as error:
            failures.in_loop(loop, {"message": f"accept failed {number}", "exception": error})
        failures.in_loop(loop, {"message": f"odd {number}"})
        item: Any = asyncio
        failures.of_deadline(item, ValueError())
    assert log.all == [("failure", "accept failed 0"), ("error", "odd 0"), ("failure", "a timer failed"), ("failure", "accept failed 1")]


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError()])
def test_a_client_that_goes_is_no_failure(error: Exception) -> None:
    log = Lines()
    loop: Any = None
    UncaughtFailures(log).in_loop(loop, {"message": "lost", "exception": error})
    assert log.all == []
