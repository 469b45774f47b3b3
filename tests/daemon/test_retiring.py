"""Parts that a reload has replaced: stopped with their last connection, or with the daemon."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent

from tests.support.inside import run_inside, until
from wsdaemon.daemon import retiring
from wsdaemon.daemon.retiring import Retiring


class Part:
    """A step that writes its end down."""

    def __init__(self, name: str, ended: list[str]) -> None:
        self.name, self._ended = name, ended

    async def start(self) -> None:
        """It has been started."""

    async def stop(self) -> None:
        self._ended.append(self.name)


def of(app: object, factory: object = None) -> Any:
    """A connection that this app, or this factory, serves."""
    return SimpleNamespace(_wire=SimpleNamespace(policy=SimpleNamespace(app=app), protocol=SimpleNamespace(factory=factory)))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retiring, "LOOK_SECONDS", 0.0)


def test_a_part_stops_after_its_last_connection_and_handshake() -> None:
    async def life() -> None:
        app, factory, ended, arriving = object(), object(), list[str](), [True]
        connections: Any = [of(app), of(None, factory)]
        parts = Retiring(connections, 30.0)
        parts.add([Part("one", ended), Part("two", ended)], [app], lambda: bool(arriving))
        parts.add([Part("three", ended)], [factory], lambda: False)
        for _ in range(5):
            await asyncio.sleep(0)
        assert ended == []
        connections.pop()
        await until(lambda: ended == ["three"])
        connections.clear()
        for _ in range(5):
            await asyncio.sleep(0)
        assert (ended, len(parts)) == (["three"], 1)
        arriving.clear()
        await until(lambda: not len(parts) and len(ended) == 3)
        assert ended == ["three", "two", "one"]
        parts.add([Part("four", ended)], [], lambda: False)
        await until(lambda: len(ended) == 4)

    run_inside(life())


def test_at_the_end_of_the_daemon_all_stop() -> None:
    async def life() -> None:
        app, ended = object(), list[str]()
        connections: Any = [of(app)]
        parts = Retiring(connections, 30.0)
        await parts.start()
        parts.add([Part("one", ended)], [app], lambda: False)
        await parts.stop()
        assert ended == ["one"]
        await Retiring(connections, 30.0).stop()

    run_inside(life())


class Hanging(Part):
    async def stop(self) -> None:
        await asyncio.get_running_loop().create_future()


def test_a_part_that_does_not_stop_holds_no_other() -> None:
    async def life() -> None:
        ended = list[str]()
        connections: Any = []
        parts = Retiring(connections, 30.0)
        parts.add([Part("one", ended), Hanging("hanging", ended), Part("two", ended)], [], lambda: False)
        parts.add([Part("three", ended)], [], lambda: False)
        await until(lambda: len(ended) == 3)
        parts.add([Part("four", ended)], [], lambda: False)
        await until(lambda: len(ended) == 4)

    run_inside(life())


def test_a_part_that_does_not_stop_is_given_up_after_a_while() -> None:
    async def life() -> None:
        connections: Any = []
        parts = Retiring(connections, 0.0)
        parts.add([Hanging("mount /old", [])], [], lambda: False)
        await until(lambda: not len(parts))
        await parts.stop()

    with capturedLogs() as lines:
        run_inside(life())
    text = "mount /old, which a reload has removed, has not stopped within 0 s ([daemon] drain_timeout) and is given up"
    assert [formatEvent(line) for line in lines] == [text]
