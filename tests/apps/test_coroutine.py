"""apps/coroutine.py: the user's own coroutine, one run for each connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.support.fakes import Client, Frame, House, binary, close, closing, text
from wsdaemon.apps.coroutine import CoroutineApp, CoroutineConnection
from wsdaemon.core.closing import ConnectionClosed
from wsdaemon.core.connection import Connection
from wsdaemon.core.contract import READ_AHEAD, READ_AHEAD_BYTES
from wsdaemon.core.typed_messages import BadMessage


class Run:
    """A coroutine app with one client."""

    def __init__(self, made: House, function: Callable[[CoroutineConnection], Coroutine[Any, Any, object]], **options: Any) -> None:
        self.failures: list[tuple[str, BaseException]] = []
        self.app = CoroutineApp(function, self._failed)
        self.client: Client = made.make_wire(self.app, **options)
        made.loop.settle()

    def _failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        self.failures.append((doing, error))


def test_messages_in_both_directions(made: House) -> None:
    async def echo(connection: CoroutineConnection) -> None:
        async for message in connection:
            await connection.send(message)

    run = Run(made, echo)
    run.client.send(text("grün"), binary(b"b"))
    made.loop.settle()
    assert run.client.frames() == [Frame(1, "grün".encode()), Frame(2, b"b")]


def test_iteration_ends_when_the_client_closes(made: House) -> None:
    seen: list[object] = []

    async def app(connection: CoroutineConnection) -> None:
        async for message in connection:
            seen.append(message)  # noqa: PERF401 - one by one, as apps do
        seen.append((connection.close_code, connection.close_reason, connection.is_open))

    run = Run(made, app)
    run.client.send(text("1"), close(3000, "bye"))
    made.loop.settle()
    assert seen == ["1", (3000, "bye", False)]
    assert len(made.background) == 0
    assert run.client.frames() == [closing(3000, "bye")]
    assert run.failures == []


def test_iteration_ends_when_the_client_vanishes(made: House) -> None:
    seen: list[object] = []

    async def app(connection: CoroutineConnection) -> None:
        async for message in connection:
            seen.append(message)  # noqa: PERF401 - one by one, as apps do
        seen.append(connection.close_code)

    run = Run(made, app)
    run.client.vanish()
    made.loop.settle()
    assert seen == [1006]


@pytest.mark.parametrize("ending", ["client", "server"])
def test_what_receive_and_send_raise_says_how_it_ended(made: House, ending: str) -> None:
    seen: list[ConnectionClosed] = []

    async def app(connection: CoroutineConnection) -> None:
        for operation in (connection.receive, lambda: connection.send("x")):
            try:
                await operation()
            except ConnectionClosed as error:
                seen.append(error)

    run = Run(made, app)
    if ending == "client":
        run.client.send(close(3000, "bye"))
    else:
        run.client.wire.close(3000, "bye")
        run.client.answer_close()
    made.loop.settle()
    assert [(error.code, error.reason) for error in seen] == [(3000, "bye")] * 2
    assert run.failures == []


def test_messages_that_waited_are_still_received_after_the_close(made: House) -> None:
    seen: list[object] = []

    async def app(connection: CoroutineConnection) -> None:
        await asyncio.sleep(10)
        seen.append(connection.is_open)
        async for message in connection:
            seen.append(message)  # noqa: PERF401 - one by one, as apps do
        seen.append(connection.close_code)

    run = Run(made, app, on_disconnect="finish")
    run.client.send(text("1"), text("2"), close(1000))
    made.loop.settle()
    assert run.client.transport.lost
    made.loop.advance(10)
    assert seen == [False, "1", "2", 1000]


def test_receive_from_two_tasks(made: House) -> None:
    seen: list[object] = []

    async def app(connection: CoroutineConnection) -> None:
        other = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task is receiving"):
            await connection.receive()
        seen.append(await other)
        seen.append(await connection.receive())

    run = Run(made, app)
    run.client.send(text("1"), text("2"))
    made.loop.settle()
    assert seen == ["1", "2"]


def test_a_receive_that_is_given_up_loses_nothing(made: House) -> None:
    seen: list[object] = []

    async def app(connection: CoroutineConnection) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.receive(), 5)
        waiting = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(5)
        waiting.cancel()  # in the very turn in which a message comes
        await asyncio.sleep(0)
        seen.append(await connection.receive())

    run = Run(made, app)
    made.loop.advance(5)
    made.loop.call_later(5, run.client.send, text("1"))
    made.loop.advance(6)
    assert seen == ["1"]


@pytest.mark.parametrize(
    ("message", "most"), [(text("x"), READ_AHEAD), (binary(bytes(100_000)), -(-READ_AHEAD_BYTES // 100_000))], ids=["number", "bytes"]
)
def test_the_read_ahead_is_bounded(made: House, message: bytes, most: int) -> None:
    """A coroutine that does not receive makes its own client wait, and holds no more than this for it."""
    go_on = made.loop.create_future()
    seen: list[object] = []

    async def app(connection: CoroutineConnection) -> None:
        await go_on
        async for received in connection:
            seen.append(received)  # noqa: PERF401 - one by one, as apps do

    run = Run(made, app, ping_interval=0.0)
    for _ in range(100):
        run.client.send(message)
    made.loop.settle()
    assert not run.client.transport.reading
    assert run.client.reader.messages_in == most
    go_on.set_result(None)
    made.loop.settle()
    assert len(seen) == 100
    assert run.client.transport.reading


def test_a_client_that_vanishes_while_the_read_ahead_is_full(made: House) -> None:
    go_on = made.loop.create_future()
    seen: list[object] = []

    async def app(connection: CoroutineConnection) -> None:
        await go_on
        async for received in connection:
            seen.append(received)  # noqa: PERF401 - one by one, as apps do
        seen.append(connection.close_code)

    run = Run(made, app)
    run.client.send(*[text("x")] * READ_AHEAD)
    run.client.vanish()
    made.loop.settle()
    go_on.set_result(None)
    made.loop.settle()
    assert seen == ["x"] * READ_AHEAD + [1006]
    assert len(made.background) == 0


def test_returning_closes_with_1000(made: House) -> None:
    async def app(connection: CoroutineConnection) -> None:
        connection.send("bye")

    run = Run(made, app)
    assert run.client.frames() == [Frame(1, b"bye"), closing(1000)]
    run.client.answer_close()
    assert run.client.ended == (1000, "", "server")
    assert len(made.background) == 0


def test_returning_while_the_read_ahead_is_full(made: House) -> None:
    go_on = made.loop.create_future()

    async def app(connection: CoroutineConnection) -> None:
        await go_on

    run = Run(made, app)
    run.client.send(*[text("x")] * (READ_AHEAD + 5))
    assert not run.client.transport.reading
    go_on.set_result(None)
    made.loop.settle()
    run.client.answer_close()
    assert run.client.ended == (1000, "", "server")


@pytest.mark.parametrize("error", [RuntimeError("mine"), ConnectionClosed(1000), ExceptionGroup("all", [RuntimeError("mine")])])
def test_raising_closes_with_1011(made: House, error: Exception) -> None:
    async def app(connection: CoroutineConnection) -> None:
        raise error

    run = Run(made, app)
    assert run.failures == [("running", error)]
    assert run.client.frames() == [closing(1011, "internal error")]


def test_a_connection_closed_that_is_let_through_at_the_end_is_no_failure(made: House) -> None:
    async def app(connection: CoroutineConnection) -> None:
        while True:
            await connection.receive()

    run = Run(made, app)
    run.client.send(close(1000))
    made.loop.settle()
    assert run.failures == []
    assert len(made.background) == 0


def test_a_slow_client_makes_a_coroutine_wait_that_awaits_its_sends(made: House) -> None:
    sent: list[int] = []

    async def app(connection: CoroutineConnection) -> None:
        for number in range(100):
            await connection.send(bytes(10_000))
            sent.append(number)
        await connection.receive()

    run = Run(made, app)
    assert len(sent) == 100, "a client that reads makes nobody wait"
    stuck = made.make_wire(run.app, ping_interval=0.0)
    stuck.transport.stuck = True
    sent.clear()
    made.loop.settle()
    assert 10 < len(sent) < 40
    stuck.transport.drain()
    made.loop.settle()
    assert len(sent) == 100


def test_a_client_that_left_ends_a_coroutine_that_waits_for_something_else(made: House) -> None:
    """A coroutine that waits for a queue never receives, so it would stay for ever."""
    seen: list[object] = []

    async def app(connection: CoroutineConnection) -> None:
        try:
            await asyncio.Queue[str]().get()
        except asyncio.CancelledError:
            seen.append(connection.close_code)
            raise

    run = Run(made, app)
    clients = [run.client, *[made.make_wire(run.app) for _ in range(49)]]
    made.loop.settle()
    for client in clients:
        client.vanish()
    made.loop.advance(4.9)
    assert len(made.background) == 50 and seen == []
    made.loop.advance(0.2)
    assert seen == [1006] * 50
    assert len(made.background) == 0
    assert run.failures == []
    assert all(len(client.wheel) == 0 for client in clients)


def test_a_read_ahead_that_is_full_does_not_hide_that_the_client_left(made: House) -> None:
    async def app(connection: CoroutineConnection) -> None:
        await asyncio.Queue[str]().get()

    run = Run(made, app)
    run.client.send(*[text("x")] * (READ_AHEAD + 5))
    assert not run.client.transport.reading
    run.client.vanish()
    made.loop.advance(5.1)
    assert len(made.background) == 0


@pytest.mark.parametrize("grace", [0.5, 30.0])
def test_the_grace_is_the_mounts(made: House, grace: float) -> None:
    async def app(connection: CoroutineConnection) -> None:
        await asyncio.sleep(1000)

    run = Run(made, app, disconnect_grace=grace)
    run.client.vanish()
    made.loop.advance(grace - 0.1)
    assert len(made.background) == 1
    made.loop.advance(0.2)
    assert len(made.background) == 0


def test_work_within_the_grace_is_finished(made: House) -> None:
    seen: list[object] = []

    async def app(connection: CoroutineConnection) -> None:
        async for _ in connection:
            pass
        await asyncio.sleep(4)
        seen.append("saved")

    run = Run(made, app)
    run.client.send(close(1000))
    made.loop.advance(10)
    assert seen == ["saved"]
    assert len(run.client.wheel) == 0


def test_a_mount_may_let_coroutines_finish(made: House) -> None:
    seen: list[object] = []

    async def app(connection: CoroutineConnection) -> None:
        await connection.wait_closed()
        await asyncio.sleep(3600)
        seen.append(connection.close_code)

    run = Run(made, app, on_disconnect="finish")
    run.client.vanish()
    made.loop.advance(3601)
    assert seen == [1006]


def test_wait_closed_beside_a_queue(made: House) -> None:
    """The way for a coroutine that waits for something else than its client."""
    seen: list[object] = []

    async def app(connection: CoroutineConnection) -> None:
        queue: asyncio.Queue[str] = asyncio.Queue()
        waiting = {asyncio.ensure_future(queue.get()), asyncio.ensure_future(connection.wait_closed())}
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        seen.append((len(done), connection.close_code, connection.is_open))
        await connection.wait_closed()  # at once by now

    run = Run(made, app)
    run.client.send(close(4000))
    made.loop.settle()
    assert seen == [(1, 4000, False)]
    assert len(made.background) == 0


def test_while_the_daemon_stops_a_coroutine_has_the_drains_time(made: House) -> None:
    async def app(connection: CoroutineConnection) -> None:
        await asyncio.sleep(8)

    run = Run(made, app)
    made.background.ending = True
    run.client.vanish()
    made.loop.advance(7.9)
    assert len(made.background) == 1
    made.loop.advance(0.2)
    assert len(made.background) == 0


def test_no_task_runs_for_a_connection_whose_app_has_ended(made: House) -> None:
    async def app(connection: CoroutineConnection) -> None:
        connection.close(4000, "mine")

    run = Run(made, app)
    assert run.client.frames() == [closing(4000, "mine")]
    run.client.answer_close()
    assert run.client.ended == (4000, "mine", "server")


def test_json_in_both_directions(made: House) -> None:
    async def app(connection: CoroutineConnection) -> None:
        while True:
            await connection.send_json({"got": await connection.receive_json()})

    run = Run(made, app)
    run.client.send(text('{"a": [1, "grün"]}'), binary(b"7"))
    made.loop.settle()
    assert run.client.frames() == [Frame(1, '{"got":{"a":[1,"grün"]}}'.encode()), Frame(1, b'{"got":7}')]


def test_a_message_that_is_no_json_closes_with_1007_and_logs_nothing(made: House) -> None:
    async def app(connection: CoroutineConnection) -> None:
        await connection.receive_json()

    run = Run(made, app)
    run.client.send(text("{"))
    made.loop.settle()
    assert run.client.frames() == [closing(1007, "bad message")]
    assert run.failures == []


def test_an_app_may_answer_a_bad_message_itself(made: House) -> None:
    async def app(connection: CoroutineConnection) -> None:
        try:
            await connection.receive_json()
        except BadMessage as error:
            await connection.send_json({"error": str(error)})
            await connection.receive()

    run = Run(made, app)
    run.client.send(text("NaN"))
    made.loop.settle()
    [answer] = run.client.frames()
    assert b"error" in answer.payload
    run.client.send(close(1000))
