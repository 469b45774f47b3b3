from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

import hiredis
import pytest
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from tests.support.redis_links import run
from wsdaemon.brokers.links import redis_pipe
from wsdaemon.brokers.links.redis_pipe import Questions, Subscriptions


class FakeConnection:
    """A connection as redis-py has it: it keeps what is written, and reads what the test puts in."""

    def __init__(self) -> None:
        self.written = b""
        self.replies: asyncio.Queue[Any] = asyncio.Queue()
        self.closed = False
        self._writer = None

    async def send_packed_command(self, command: bytes, check_health: bool = True) -> None:
        assert not check_health
        self.written += command

    async def read_response(self, disable_decoding: bool = False, disconnect_on_error: bool = True) -> Any:
        assert disable_decoding and not disconnect_on_error
        reply = await self.replies.get()
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def disconnect(self, nowait: bool = False) -> None:
        self.closed = True

    def commands(self) -> list[list[bytes]]:
        reader = hiredis.Reader()
        reader.feed(self.written)
        return list(iter(reader.gets, False))


def questions(connection: FakeConnection) -> Questions:
    made: Any = connection
    return Questions(made)


def subscriptions(connection: FakeConnection, got: list[Any]) -> Subscriptions:
    made: Any = connection
    return Subscriptions(made, lambda channel, data: got.append((channel, data)), got.append)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_answers_come_in_the_order_of_the_questions() -> None:
    async def test() -> None:
        connection = FakeConnection()
        pipe = questions(connection)
        first, second = pipe.ask("GET", "a"), pipe.ask("GET", b"b")
        await turns()
        assert connection.commands() == [[b"GET", b"a"], [b"GET", b"b"]]
        assert len(pipe) == 2
        connection.replies.put_nowait(b"1")
        connection.replies.put_nowait(ResponseError("no"))
        assert await first == b"1"
        with pytest.raises(ResponseError, match="no"):
            await second
        await pipe.close()
        assert connection.closed

    run(test())


def test_the_end_of_a_connection_fails_each_question_once() -> None:
    async def test() -> None:
        connection = FakeConnection()
        pipe = questions(connection)
        got: list[Any] = []
        pipe.tell(got.append, "GET", "a")
        pipe.tell(got.append, "GET", "b")
        connection.replies.put_nowait(OSError("reset"))
        assert "reset" in await pipe.ended
        assert [type(error) for error in got] == [ConnectionError, ConnectionError]
        with pytest.raises(ConnectionError, match="reset"):
            await pipe.ask("GET", "c")
        await pipe.close()

    run(test())


def test_an_answer_without_a_question_ends_the_connection() -> None:
    async def test() -> None:
        connection = FakeConnection()
        pipe = questions(connection)
        connection.replies.put_nowait(b"1")
        assert "without a question" in await pipe.ended
        await pipe.close()

    run(test())


def test_what_a_server_does_not_take_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is stopped reads nothing: the questions that wait for its socket must not fill the memory."""
    monkeypatch.setattr(redis_pipe, "MAX_UNSENT_BYTES", 1000)

    class Stuck(FakeConnection):
        async def send_packed_command(self, command: bytes, check_health: bool = True) -> None:
            await asyncio.Event().wait()

    async def test() -> None:
        pipe = questions(Stuck())
        asked = [pipe.ask("SET", "a", b"x" * 100) for _ in range(20)]
        assert pipe.ended.done()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(answer) for answer in answers} == {ConnectionError}
        await pipe.close()

    run(test())


def test_the_end_of_a_connection_drops_what_is_unsent() -> None:
    """The questions are asked again on the next connection, so a server that comes back must not get them from the old one."""

    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            connection = Connection(host="127.0.0.1", port=server.getsockname()[1], retry=Retry(NoBackoff(), 0))
            # The server takes nothing, as if the network were cut.
            await connection._connect()  # type: ignore[no-untyped-call]
            taken, _ = server.accept()
            with taken:
                pipe = Questions(connection)
                asked = pipe.ask("SET", "a", b"x" * (32 << 20))
                await turns(20)
                pipe.end("the test cuts it")
                with pytest.raises(ConnectionError):
                    await asked
                await pipe.close()
                taken.settimeout(20)
                received = 0

                def receive() -> None:
                    nonlocal received
                    while more := taken.recv(1 << 20):
                        received += len(more)

                with pytest.raises(ConnectionResetError):
                    receive()
                assert received < 32 << 20

    run(test())


def test_a_connection_that_the_loop_has_closed_already_ends_like_any_other() -> None:
    """A server that has died closes it so. The socket then has no descriptor any more, on which uvloop raises ValueError."""

    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            connection = Connection(host="127.0.0.1", port=server.getsockname()[1], retry=Retry(NoBackoff(), 0))
            await connection._connect()  # type: ignore[no-untyped-call]
            connection._parser.on_connect(connection)  # type: ignore[no-untyped-call]
            pipe = Questions(connection)
            asked = pipe.ask("PING")
            await turns()
            assert connection._writer is not None
            connection._writer.transport.abort()
            await turns()
            pipe.end("the server has died")
            with pytest.raises(ConnectionError, match=r"has died|closed"):
                await asked
            await asyncio.wait_for(pipe.close(), 20)

    run(test())


def test_subscribe_ends_when_it_is_confirmed_and_not_when_it_is_sent() -> None:
    async def test() -> None:
        connection = FakeConnection()
        pipe = subscriptions(connection, [])
        confirmed = pipe.subscribe("a")
        await turns()
        assert connection.commands() == [[b"SUBSCRIBE", b"a"]]
        assert not confirmed.done()
        connection.replies.put_nowait([b"subscribe", b"a", 1])
        await confirmed
        await pipe.close()

    run(test())


def test_subscriptions_go_in_batches() -> None:
    async def test() -> None:
        connection = FakeConnection()
        pipe = subscriptions(connection, [])
        futures = [pipe.subscribe(f"c{number}") for number in range(1100)]
        await turns()
        assert [len(command) - 1 for command in connection.commands()] == [512, 512, 76]
        pipe.end("over")
        assert all(isinstance(future.exception(), ConnectionError) for future in futures)
        await pipe.close()

    run(test())


def test_channels_of_several_slots_are_not_in_one_command() -> None:
    async def test() -> None:
        connection = FakeConnection()
        pipe = subscriptions(connection, [])
        for channel, slot in (("a", 1), ("b", 2), ("c", 1)):
            pipe.subscribe(channel, "SSUBSCRIBE", slot)
        pipe.unsubscribe("a", "SUNSUBSCRIBE", 1)
        await turns()
        assert connection.commands() == [[b"SSUBSCRIBE", b"a", b"c"], [b"SSUBSCRIBE", b"b"], [b"SUNSUBSCRIBE", b"a"]]
        await pipe.close()

    run(test())


def replies(connection: FakeConnection, all_of_them: Iterable[list[Any]]) -> None:
    for reply in all_of_them:
        connection.replies.put_nowait(reply)


def test_messages_and_subscriptions_that_the_server_gave_up() -> None:
    """`sunsubscribe` without a question tells of a slot that has moved."""

    async def test() -> None:
        connection = FakeConnection()
        got: list[Any] = []
        pipe = subscriptions(connection, got)
        pipe.unsubscribe("mine", "SUNSUBSCRIBE")
        replies(connection, [
            [b"message", b"a", b"1"], [b"smessage", b"b", b"2"], [b"pmessage", b"a*", b"ab", b"3"],
            [b"sunsubscribe", b"mine", 0], [b"sunsubscribe", b"moved", 0],
        ])  # fmt: skip
        await turns(20)
        assert got == [(b"a", b"1"), (b"b", b"2"), (b"ab", b"3"), b"moved"]
        await pipe.close()

    run(test())


def test_a_refused_subscription_ends_the_connection() -> None:
    async def test() -> None:
        connection = FakeConnection()
        pipe = subscriptions(connection, [])
        confirmed = pipe.subscribe("a")
        connection.replies.put_nowait(ResponseError("NOPERM"))
        with pytest.raises(ConnectionError, match="NOPERM"):
            await confirmed
        await pipe.close()

    run(test())
