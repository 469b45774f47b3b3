from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.lines import Lines
from tests.support.redis_links import make_settings, run
from tests.support.redis_servers import SPEED, Cluster, Server, running, wait_until
from wsdaemon.brokers.links import redis_tickets
from wsdaemon.brokers.links.redis_servers import Layout, RedisPlace
from wsdaemon.brokers.links.redis_tickets import RedisTickets

pytestmark = pytest.mark.live


def test_a_ticket_is_taken_once(either: Server) -> None:
    async def test() -> None:
        one, two = (RedisTickets(make_settings(either.url), Lines()) for _ in range(2))
        assert await one.put("pages", "a", b"content", 30.0, 2)
        answers = await asyncio.gather(*[each.take("pages", "a") for each in (one, two, one, two)])
        assert sorted(answers, key=str) == [None, None, None, b"content"] or answers.count(b"content") == 1
        assert await two.take("pages", "b") is None
        await one.close()
        await two.close()

    run(test())


def test_tickets_are_bounded_and_expire(server: Server) -> None:
    async def test() -> None:
        tickets = RedisTickets(make_settings(server.url), Lines())
        assert await tickets.put("pages", "a", b"1", 30.0, 2)
        assert await tickets.put("pages", "b", b"2", 1.0, 2)
        assert not await tickets.put("pages", "c", b"3", 30.0, 2)
        assert await tickets.put("others", "c", b"3", 30.0, 2)
        with server.client() as client:
            assert all(client.pttl(key) != -1 for key in client.keys("*ticket*"))
            await asyncio.to_thread(wait_until, lambda: len(client.keys("*:b")) == 0, "the ticket expires")
        assert await tickets.take("pages", "b") is None
        assert await tickets.put("pages", "d", b"4", 30.0, 2)
        await tickets.close()

    run(test())


def test_redis_that_goes_and_comes_back(tmp_path: Path) -> None:
    server = Server(tmp_path, SPEED)

    async def test() -> None:
        lines = Lines()
        tickets = RedisTickets(make_settings(server.url, timeout=0.5), lines)
        for _ in range(3):
            with pytest.raises(OSError, match=str(server.port)):
                await tickets.take("pages", "a")
        assert len(lines.lines) == 1
        await asyncio.to_thread(server.start)
        assert await tickets.put("pages", "a", b"1", 30.0, 2)
        server.pause()
        with pytest.raises(OSError, match="no answer"):
            await tickets.take("pages", "x")
        server.go_on()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        assert await tickets.put("pages", "a", b"1", 30.0, 2)
        await tickets.close()

    try:
        run(test())
    finally:
        server.kill()


def test_a_server_that_does_not_answer_is_left(tmp_path: Path) -> None:
    """Its connection stays open, and the next question must find the server that took its place."""
    server = Server(tmp_path, SPEED)

    async def test() -> None:
        tickets = RedisTickets(make_settings(server.url, timeout=0.5), Lines())
        assert await tickets.put("pages", "a", b"1", 30.0, 2)
        session = tickets._session
        assert session is not None
        server.pause()
        with pytest.raises(OSError, match="no answer"):
            await tickets.take("pages", "a")
        assert session.ended.result() == "no answer"
        server.go_on()
        assert await tickets.put("pages", "b", b"2", 30.0, 3)
        assert tickets._session is not session
        await tickets.close()

    try:
        server.start()
        run(test())
    finally:
        server.kill()


def test_a_primary_that_was_demoted_is_left(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_tickets, "LOOK_SECONDS", 0.0)

    async def test() -> None:
        with running(tmp_path) as other:
            tickets = RedisTickets(make_settings(server.url), Lines())
            assert await tickets.put("pages", "a", b"1", 30.0, 2)
            session = tickets._session

            async def find() -> Layout:
                return Layout((RedisPlace("127.0.0.1", other.port),))

            assert await tickets.put("pages", "b", b"1", 30.0, 9)
            assert tickets._session is session
            monkeypatch.setattr(tickets._servers, "find", find)
            assert await tickets.put("pages", "c", b"1", 30.0, 9)
            with other.client() as client:
                assert len(client.keys("*tickets*:c")) == 1
            await tickets.close()

    run(test())


def test_questions_are_bounded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_tickets, "MAX_ASKING", 3)

    async def test() -> None:
        tickets = RedisTickets(make_settings(server.url), Lines())
        answers = await asyncio.gather(*[tickets.take("pages", "a") for _ in range(5)], return_exceptions=True)
        assert [type(answer) for answer in answers] == [type(None)] * 3 + [ConnectionError] * 2
        await tickets.close()

    run(test())


def test_a_cluster(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)

    async def test() -> None:
        tickets = RedisTickets(make_settings(cluster.url), Lines())
        for section in ("a", "b", "c", "d"):
            assert await tickets.put(section, "a", section.encode(), 30.0, 2)
        assert [await tickets.take(section, "a") for section in ("a", "b", "c", "d")] == [b"a", b"b", b"c", b"d"]
        await tickets.close()

    try:
        cluster.start()
        run(test())
    finally:
        cluster.stop()
