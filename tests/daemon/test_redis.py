from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.redis_servers import free_port
from wsdaemon.brokers import Limits
from wsdaemon.brokers.links import redis_servers
from wsdaemon.brokers.remote import RemoteBroker
from wsdaemon.core.registry import Connections
from wsdaemon.daemon import order, redis
from wsdaemon.daemon.order import redis_brokers
from wsdaemon.daemon.parts import StartError
from wsdaemon.daemon.redis import RedisBrokers
from wsdaemon.daemon.resources import Resources
from wsdaemon.daemon.sockets import ListenError
from wsdaemon.settings.build import build, section
from wsdaemon.settings.model import Settings


@dataclass
class FakeHandshake:
    mount: str


@dataclass
class FakeConnection:
    id: str
    handshake: FakeHandshake
    closed: list[tuple[int, str]] = field(default_factory=list)

    def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


def settings(**broker: Any) -> Settings:
    broker.setdefault("url", f"redis://127.0.0.1:{free_port()}")
    return build(
        [
            section("listener:a", address="tcp:0"),
            section("mount:/a", app="rooms"),
            section("mount:/b", app="rooms"),
            section("broker", **broker),
        ],
        "ws.ini",
    )


def make(made: Settings, connections: Connections | None = None) -> RedisBrokers:
    brokers = redis_brokers(made, connections or Connections())
    assert brokers is not None
    return brokers


def make_broker(brokers: RedisBrokers, made: Settings, number: int = 0) -> RemoteBroker:
    loop = asyncio.get_running_loop
    maker = brokers(made.mounts[number], Limits())
    broker = maker(
        lambda member, error: None, bulk=lambda members, messages: None, held=None, loop=loop, later=lambda delay, call: None,
        clock=lambda: 0.0, grace=lambda: 0.0,
    )  # fmt: skip
    assert isinstance(broker, RemoteBroker)
    return broker


def test_without_the_section_or_with_memory_there_are_none() -> None:
    plain = build([section("listener:a", address="tcp:0"), section("mount:/a", app="rooms")], "ws.ini")
    assert redis_brokers(plain, Connections()) is None
    assert redis_brokers(settings(kind="memory"), Connections()) is None


def test_each_mount_has_its_link() -> None:
    async def test() -> None:
        made = settings(readyz=True)
        brokers = make(made)
        assert not brokers.away()
        for number in (0, 1):
            make_broker(brokers, made, number)
        assert brokers.counts() == {"/a": (False, 0), "/b": (False, 0)}
        assert brokers.away()
        quiet = make(settings())
        make_broker(quiet, made)
        assert not quiet.away()

    asyncio.run(test())


@pytest.mark.parametrize(("when_lost", "expected"), [("keep", []), ("close", [(1013, "the rooms cannot be reached now")])])
def test_members_of_a_lost_mount(when_lost: str, expected: list[Any]) -> None:
    async def test() -> None:
        made, connections = settings(when_lost=when_lost), Connections()
        mine, other = FakeConnection("1", FakeHandshake("/a")), FakeConnection("2", FakeHandshake("/b"))
        for each in (mine, other):
            connections._open[each.id] = each  # type: ignore[assignment]
        broker = make_broker(make(made, connections), made)
        broker.lost("cut")
        for _ in range(5):
            await asyncio.sleep(0)
        assert (mine.closed, other.closed) == (expected, [])

    asyncio.run(test())


def test_the_members_of_a_lost_mount_are_not_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their clients would all come back in the same moment, and the loop would stand still meanwhile."""
    monkeypatch.setattr(redis, "CLOSING_SECONDS", 1000.0)

    async def test() -> None:
        made, connections = settings(when_lost="close"), Connections()
        members = [FakeConnection(str(number), FakeHandshake("/a")) for number in range(1000)]
        for each in members:
            connections._open[each.id] = each  # type: ignore[assignment]
        brokers = make(made, connections)
        make_broker(brokers, made).lost("cut")
        for _ in range(20):
            await asyncio.sleep(0)
        assert 1 <= sum(1 for each in members if each.closed) <= 500
        await brokers.stop()
        await asyncio.sleep(0)
        assert not brokers._closing

    asyncio.run(test())


def test_redis_that_is_away_ends_no_start() -> None:
    async def test() -> None:
        made = settings()
        brokers = make(made)
        make_broker(brokers, made)
        await brokers.start()
        await brokers.stop()

    asyncio.run(test())


def test_redis_that_cannot_be_used_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def find(servers: Any) -> Any:
        raise redis_servers.Unfit("127.0.0.1:1 is Redis 6.2; expected 7.0 or later, or Valkey")

    async def test() -> None:
        made = settings()
        brokers = make(made)
        make_broker(brokers, made)
        monkeypatch.setattr(redis_servers.Servers, "find", find)
        with pytest.raises(StartError, match=r"ws\.ini: \[broker\] url: 127.0.0.1:1 is Redis 6\.2"):
            await brokers.start()

    asyncio.run(test())


def test_redis_py_that_is_missing_is_a_problem_of_the_section(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(order, "find_spec", lambda name: None)
    monkeypatch.setattr("wsdaemon.daemon.resources.has_redis", order.has_redis)

    class NoSockets:
        def take(self, section: str, address: Any, backlog: int) -> Any:
            raise ListenError("no socket here")

    resources = Resources(settings(), NoSockets(), lambda *arguments: None, tmp_path)
    assert [str(problem) for problem in resources.problems if "redis" in str(problem)] == [
        "ws.ini: [broker] kind = redis: redis-py is not installed; expected pip install 'wsdaemon[redis]'"
    ]
