"""client/outbox.py: messages that leave at once, and messages that wait in the queue, from the loop's thread and from others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from wsdaemon.client.errors import ClientClosed, QueueFull
from wsdaemon.client.outbox import ClientOutbox
from wsdaemon.core.connection import READY
from wsdaemon.settings.client import client_settings

SECONDS = 30


class Writer:
    """Takes `room` messages, then it is congested."""

    def __init__(self, room: int = 100) -> None:
        self.live, self.room = True, room
        self.sent: list[tuple[bytes, bool]] = []
        self.some = asyncio.Event()

    @property
    def congested(self) -> bool:
        return len(self.sent) >= self.room

    @property
    def queued(self) -> int:
        return int(self.congested)

    def send_payload(self, payload: bytes, text: bool) -> Awaitable[None] | None:
        self.sent.append((payload, text))
        self.some.set()
        return None


class Wire:
    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.turns = 0

    def together(self, call: Callable[[], object]) -> None:
        self.turns += 1
        call()


def outbox(*, ended: bool = False, **options: Any) -> ClientOutbox:
    return ClientOutbox(client_settings(options), lambda: ended)


def on_loop(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), SECONDS))


def test_a_message_leaves_at_once_while_the_connection_is_open_and_makes_no_queue() -> None:
    async def test() -> None:
        box, writer = outbox(), Writer()
        box.begin(asyncio.get_running_loop())
        box.opened(Wire(writer))  # type: ignore[arg-type]
        assert [box.send("text"), box.send(b"bytes"), box.send(bytearray(b"more"))] == [READY] * 3
        assert writer.sent == [(b"text", True), (b"bytes", False), (b"more", False)]
        assert len(box.messages) == 0 and box._backlog is None
        with pytest.raises(TypeError):
            box.send(1)  # type: ignore[arg-type]

    on_loop(test)


def test_messages_wait_in_order_while_the_client_is_away_and_leave_in_one_turn() -> None:
    async def test() -> None:
        box, writer = outbox(), Writer()
        box.begin(asyncio.get_running_loop())
        for number in range(5):
            box.send(str(number))
        assert len(box.messages) == 5
        wire = Wire(writer)
        box.opened(wire)  # type: ignore[arg-type]
        box.flush()
        assert [payload for payload, _ in writer.sent] == [b"0", b"1", b"2", b"3", b"4"]
        assert (wire.turns, len(box.messages)) == (1, 0)

    on_loop(test)


def test_no_message_overtakes_those_that_wait() -> None:
    async def test() -> None:
        box, writer = outbox(), Writer(room=2)
        box.begin(asyncio.get_running_loop())
        box.opened(Wire(writer))  # type: ignore[arg-type]
        for number in range(4):
            box.send(str(number))
        assert len(box.messages) == 2, "the server reads too slowly"
        writer.room = 3
        box.send("4")
        box.flush()
        assert [payload for payload, _ in writer.sent] == [b"0", b"1", b"2"]
        writer.room = 100
        box.flush()
        assert [payload for payload, _ in writer.sent] == [b"0", b"1", b"2", b"3", b"4"]

    on_loop(test)


def test_a_sender_waits_for_room_and_goes_on_when_there_is_some() -> None:
    async def test() -> None:
        box, writer = outbox(queue="wait", queue_messages=1), Writer()
        box.begin(asyncio.get_running_loop())
        box.send("first")
        waiting = asyncio.ensure_future(box.send("second"))
        await asyncio.sleep(0)
        assert not waiting.done()
        box.opened(Wire(writer))  # type: ignore[arg-type]
        box.flush()
        await waiting
        assert [payload for payload, _ in writer.sent] == [b"first", b"second"]

    on_loop(test)


def test_another_thread_wakes_the_loop() -> None:
    async def test() -> None:
        box, writer = outbox(), Writer()
        box.begin(asyncio.get_running_loop())
        box.opened(Wire(writer))  # type: ignore[arg-type]
        thread = threading.Thread(target=lambda: box.send("from elsewhere"))
        thread.start()
        await writer.some.wait()
        thread.join()
        assert writer.sent == [(b"from elsewhere", True)]

    on_loop(test)


def test_the_policy_of_a_full_queue() -> None:
    box = outbox(queue="refuse", queue_messages=1)
    box.send("one")
    with pytest.raises(QueueFull):
        box.send("two")
    box = outbox(queue="drop_oldest", queue_messages=1)
    for text in ("one", "two", "three"):
        box.send(text)
    assert (box.dropped, list(box.messages)) == (2, [(b"three", True)])


@pytest.mark.parametrize("early", [False, True])
def test_after_the_end_each_message_is_refused_with_the_failure(early: bool) -> None:
    box = outbox(ended=early)
    if not early:
        box.send("waits")
        box.end(OSError("no route"))
    with pytest.raises(ClientClosed, match="closed" if early else "the client has ended: no route") as caught:
        box.send("late")
    assert isinstance(caught.value.__cause__, type(None) if early else OSError)
    if not early:
        box.take_again()
        box.send("again")


def test_the_end_wakes_a_sender_that_waits() -> None:
    async def test() -> None:
        box = outbox(queue="wait", queue_messages=1)
        box.begin(asyncio.get_running_loop())
        box.send("first")
        waiting = asyncio.ensure_future(box.send("second"))
        await asyncio.sleep(0)
        box.end(None)
        with pytest.raises(ClientClosed):
            await waiting

    on_loop(test)


def test_a_queue_that_a_thread_makes_while_the_client_ends_takes_nothing() -> None:
    """With `queue = wait` its sender would wait for ever, because no connection comes."""

    def end_on_the_loop() -> bool:
        box.end(None)
        return False

    box = ClientOutbox(client_settings({"queue": "wait"}), end_on_the_loop)
    with pytest.raises(ClientClosed):
        box.send("late")
