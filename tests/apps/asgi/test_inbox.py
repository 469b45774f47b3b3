"""apps/asgi/inbox.py: the events of one client, in order, bounded, and one disconnect."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.fakes import Loop
from wsdaemon.apps.asgi.inbox import ClientDisconnected, Inbox
from wsdaemon.core.contract import READ_AHEAD


async def take_all(inbox: Inbox, got: list[Any]) -> None:
    while True:
        got.append(await inbox.receive())


def test_messages_and_bounds() -> None:
    async def drain(inbox: Inbox, count: int) -> list[Any]:
        return [await inbox.receive() for _ in range(count)]

    with Loop() as loop:
        inbox = Inbox(loop)
        results = [inbox.put("x") for _ in range(READ_AHEAD)]
        assert [result for result in results if result is not None] == results[-1:]
        full: Any = results[-1]
        first = loop.create_task(drain(inbox, READ_AHEAD // 2))
        loop.settle()
        assert len(first.result()) == READ_AHEAD // 2 and not full.done()
        loop.create_task(drain(inbox, 1))
        loop.settle()
        assert full.done()


def test_the_end_frees_a_reader_that_waits_for_space() -> None:
    with Loop() as loop:
        inbox = Inbox(loop)
        full: Any = [inbox.put("x") for _ in range(READ_AHEAD)][-1]
        inbox.end(1006, "")
        assert full.done()
        assert inbox.is_over


def test_two_tasks_may_wait_and_each_message_goes_to_one() -> None:
    got: list[Any] = []

    with Loop() as loop:
        inbox = Inbox(loop)
        tasks = [loop.create_task(take_all(inbox, got)) for _ in range(3)]
        loop.settle()
        for number in range(5):
            inbox.put(str(number))
            loop.settle()
        tasks[0].cancel()
        loop.settle()
        inbox.put("5")
        loop.settle()
        assert [event.get("text") for event in got] == [None, "0", "1", "2", "3", "4", "5"]
        inbox.end(1000, "bye")
        inbox.end(1006, "again")
        loop.settle()
        assert got[-1] == {"type": "websocket.disconnect", "code": 1000, "reason": "bye"}
        assert [event["type"] for event in got].count("websocket.disconnect") == 1
        for task in tasks[1:]:
            with pytest.raises(ClientDisconnected):
                task.result()


def test_a_task_that_waits_has_the_message_before_put_returns() -> None:
    got: list[Any] = []

    with Loop() as loop:
        inbox = Inbox(loop)
        loop.create_task(take_all(inbox, got))
        loop.settle()
        assert inbox.put("one") is None
        assert inbox.put(b"two") is None
        assert got[1:] == [{"type": "websocket.receive", "text": "one"}, {"type": "websocket.receive", "bytes": b"two"}]


@pytest.mark.parametrize("rest", [0, 1])
def test_a_cancelled_wait_loses_no_message(rest: int) -> None:
    """The wait ended in another task, so the message was to be taken in a later turn; the cancellation comes first."""

    async def put(inbox: Inbox, waiting: asyncio.Task[Any]) -> None:
        inbox.put("kept")
        waiting.cancel()

    with Loop() as loop:
        inbox = Inbox(loop)
        loop.create_task(inbox.receive())
        loop.settle()
        first, *others = [loop.create_task(inbox.receive()) for _ in range(1 + rest)]
        loop.settle()
        loop.create_task(put(inbox, first))
        loop.settle()
        assert first.cancelled()
        last = others[0] if others else loop.create_task(inbox.receive())
        loop.settle()
        assert last.result()["text"] == "kept"


def test_the_place_of_a_cancelled_wait_goes_to_another_one() -> None:
    with Loop() as loop:
        inbox = Inbox(loop)
        loop.create_task(inbox.receive())
        loop.settle()
        first, second = (loop.create_task(inbox.receive()) for _ in range(2))
        loop.settle()
        first.cancel()
        loop.settle()
        assert inbox.put("now") is None
        assert second.result()["text"] == "now"


def test_after_the_disconnect_receive_raises() -> None:
    async def run(inbox: Inbox) -> None:
        assert (await inbox.receive())["type"] == "websocket.connect"
        assert (await inbox.receive())["code"] == 1006
        with pytest.raises(OSError):
            await inbox.receive()

    with Loop() as loop:
        inbox = Inbox(loop)
        inbox.end(1006, "")
        task: asyncio.Task[None] = loop.create_task(run(inbox))
        loop.settle()
        task.result()
