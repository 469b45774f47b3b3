"""apps/function.py: the user's own function, one run for each connection, in a thread."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest

from tests.support.fakes import Frame, House, close, closing, text
from tests.support.functions import SECONDS, FunctionRun
from tests.support.lines import Lines
from wsdaemon.core.acceptance import HandshakeRefused
from wsdaemon.core.blocking import BlockingConnection
from wsdaemon.core.closing import ConnectionClosed
from wsdaemon.core.contract import Acceptance


def decide(made: House, run: FunctionRun) -> Acceptance:
    """The app's answer to one more client."""
    task = made.loop.create_task(run.app.admit(run.client.wire.connection.handshake))
    made.loop.settle()
    return task.result()


def test_each_connection_has_a_thread_of_its_own(made: House) -> None:
    """It is named after the connection, and does not keep the process from ending."""
    seen: list[threading.Thread] = []

    def app(connection: BlockingConnection) -> None:
        seen.append(threading.current_thread())
        connection.send("begun")
        connection.receive()

    run = FunctionRun(made, app)
    run.until(lambda: run.client.wire.connection.counts().messages_out)
    assert [thread.name for thread in seen] == [f"wsdaemon connection {run.client.wire.connection.id}"]
    assert seen[0].daemon and run.threads.now == len(made.background) == 1
    run.client.send(text("x"))
    run.until_ended()
    assert len(made.background) == 0


def test_returning_closes_with_1000(made: House) -> None:
    run = FunctionRun(made, lambda connection: connection.send("bye"))
    run.until_ended()
    assert run.client.frames() == [Frame(1, b"bye"), closing(1000)]
    run.client.answer_close()
    assert run.client.ended == (1000, "", "server")
    assert run.failures == []


@pytest.mark.parametrize("error", [RuntimeError("mine"), ConnectionClosed(1000), SystemExit(1)])
def test_raising_closes_with_1011(made: House, error: BaseException) -> None:
    def app(connection: BlockingConnection) -> None:
        raise error

    run = FunctionRun(made, app)
    run.until_ended()
    assert run.failures == [("running", error)]
    assert run.client.frames() == [closing(1011, "internal error")]


def test_a_bad_message_closes_with_1007(made: House) -> None:
    run = FunctionRun(made, lambda connection: connection.receive_json())
    run.client.send(text("no JSON"))
    run.until_ended()
    assert run.client.frames() == [closing(1007, "bad message")]
    assert run.failures == []


def test_a_connection_closed_that_is_let_through_at_the_end_is_no_failure(made: House) -> None:
    run = FunctionRun(made, lambda connection: connection.receive())
    run.client.send(close(1000))
    run.until_ended()
    assert run.failures == []


def test_a_function_that_returns_a_coroutine(made: House) -> None:
    """A decorator may hide an `async def`."""

    async def hidden(connection: object) -> None: ...

    run = FunctionRun(made, partial(hidden))
    run.until_ended()
    assert run.client.frames() == [closing(1011, "internal error")]
    assert "write `async def`" in str(run.failures[0][1])


def test_the_threads_are_bounded_before_the_101(made: House) -> None:
    go_on = threading.Event()
    run = FunctionRun(made, lambda connection: go_on.wait(SECONDS), max_threads=2)
    accepted = decide(made, run)
    assert run.threads.now == 2
    for _ in range(2):
        with pytest.raises(HandshakeRefused) as refused:
            decide(made, run)
    assert refused.value.status == 503 and ("Retry-After", "5") in refused.value.headers
    assert run.log.lines == ["/: max_threads = 2 functions run"]  # once a minute
    assert accepted.abandoned is not None
    accepted.abandoned()
    assert run.threads.now == 1
    go_on.set()
    run.until_ended()


def test_a_place_lasts_until_the_function_ends_not_the_connection(made: House) -> None:
    go_on = threading.Event()
    run = FunctionRun(made, lambda connection: go_on.wait(SECONDS))
    run.client.vanish()
    made.loop.advance(60)
    assert run.threads.now == len(made.background) == 1
    go_on.set()
    run.until_ended()


def test_a_thread_that_cannot_be_started_leaves_no_place(made: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    run = FunctionRun(made, lambda connection: None)
    assert run.client.frames()[0].payload[:2] == (1011).to_bytes(2)
    assert run.threads.now == len(made.background) == 0


def test_a_stop_waits_for_threads_and_names_those_that_it_leaves(made: House) -> None:
    go_on, log = threading.Event(), Lines()
    run = FunctionRun(made, lambda connection: go_on.wait(SECONDS))
    stopping: asyncio.Task[Any] = made.loop.create_task(made.background.finish(10, log))
    made.loop.advance(9.9)
    assert not stopping.done() and log.lines == []
    made.loop.advance(0.2)
    assert stopping.done()
    name = run.client.wire.connection.id
    assert log.lines == [f"left running in threads, because drain_timeout is over: an app at /, connection {name}"]
    go_on.set()
    run.until_ended()
