"""The listeners of a daemon as one part of it: they begin together, and their files go before they close."""

from __future__ import annotations

import asyncio
from typing import Any

from wsdaemon.daemon.listeners import Listening
from wsdaemon.settings.build import build, section


class Told:
    """A listener and its socket, as far as Listening knows them."""

    port = 8080

    def __init__(self, calls: list[str], name: str) -> None:
        self._calls, self._name = calls, name

    def start(self) -> None:
        self._calls.append(f"{self._name} accepts")

    def stop(self) -> None:
        self._calls.append(f"{self._name} stops")

    def release(self) -> None:
        self._calls.append(f"the file of {self._name} goes")


def test_listeners_begin_together_and_their_files_go_before_they_close() -> None:
    settings = build([section("listener:a", address="tcp:1"), section("listener:b", address="tcp:2"), section("mount:/", app="echo")], "x")
    calls: list[str] = []
    parts: Any = [Told(calls, "a"), Told(calls, "b")]
    listening = Listening(parts, parts, settings.listeners, ["/"])
    asyncio.run(listening.start())
    assert calls == ["a accepts", "b accepts"]
    calls.clear()
    asyncio.run(listening.stop())
    assert calls == ["the file of a goes", "a stops", "the file of b goes", "b stops"]
