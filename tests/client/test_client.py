"""WebSocketClient: sending, receiving, callbacks, threads."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.support.fake_frames import frame
from tests.support.fake_server import story
from wsdaemon.client import ClientClosed, ConnectFailed, QueueFull, WebSocketClient
from wsdaemon.core.connection import READY
from wsdaemon.settings.problems import SettingsError


def test_messages_go_both_ways() -> None:
    with story() as here:
        end = here.open()
        assert here.client.send("text ä") is READY
        here.client.send(b"binary")
        here.client.send(bytearray(b"more"))
        here.loop.settle()
        assert end.messages() == ["text ä", b"binary", b"more"]
        end.send("hello", b"\xff")
        assert here.heard.messages == ["hello", b"\xff"]
        counts = here.client.counts()
        assert counts is not None
        assert (counts.messages_in, counts.messages_out) == (2, 3)


def test_replies_to_one_read_leave_in_one_write() -> None:
    with story(on_message=lambda client, message: client.send(message)) as here:
        end = here.open()
        before = len(end.transport.writes)
        end.send(*map(str, range(16)))
        assert len(end.transport.writes) == before + 1
        assert end.messages() == list(map(str, range(16)))


def test_only_messages_are_sent() -> None:
    with story() as here:
        here.open()
        with pytest.raises(TypeError, match="str"):
            here.client.send(5)  # type: ignore[arg-type]


def test_messages_wait_while_the_client_is_away() -> None:
    with story(queue_messages=3) as here:
        here.client.send("before")
        end = here.open()
        assert end.messages() == ["before"]
        end.lose()
        for number in range(3):
            here.client.send(str(number))
        with pytest.raises(QueueFull):
            here.client.send("too many")
        assert here.client.queued == 3
        assert here.next_end().messages() == ["0", "1", "2"]


def test_the_queue_may_drop_the_oldest() -> None:
    with story(queue="drop_oldest", queue_messages=2) as here:
        for number in range(5):
            here.client.send(str(number))
        assert here.client.dropped == 3
        assert here.open().messages() == ["3", "4"]


def test_a_sender_on_the_loop_may_wait() -> None:
    with story(queue="wait", queue_messages=1) as here:
        sent: list[int] = []

        async def work() -> None:
            for number in range(4):
                await here.client.send(str(number))
                sent.append(number)

        end = here.begin()
        task = here.loop.create_task(work())
        here.loop.settle()
        assert sent == [0]
        end.accept()
        assert task.done()
        assert end.messages() == ["0", "1", "2", "3"]


def test_messages_wait_for_a_server_that_reads_too_slowly_and_keep_their_order() -> None:
    with story(queue_messages=5) as here:
        end = here.open()
        end.transport.stuck = True
        here.client.send(b"x" * 200_000)
        here.loop.settle()
        for number in range(5):
            here.client.send(str(number))
        assert here.client.queued == 5
        with pytest.raises(QueueFull):
            here.client.send("too many")
        end.transport.drain()
        here.loop.settle()
        assert end.messages()[1:] == ["0", "1", "2", "3", "4"]


def test_a_send_says_when_there_is_room_again() -> None:
    with story() as here:
        end = here.open()
        end.transport.stuck = True
        here.client.send(b"x" * 200_000)
        here.loop.settle()
        end.transport.drain()
        assert here.client.send("y") is READY


def test_after_close_nothing_is_taken() -> None:
    with story() as here:
        end = here.open()
        here.client.close()
        end.close()
        with pytest.raises(ClientClosed):
            here.client.send("x")


def test_messages_of_the_queue_are_sent_before_the_close_frame() -> None:
    with story() as here:
        end = here.open()
        here.client.send("last")
        here.client.close()
        here.loop.settle()
        assert [sent.opcode for sent in end.frames()] == [1, 8]


def test_an_iteration_goes_over_all_connections_and_ends_with_close() -> None:
    with story(on_message=None) as here:
        seen: list[str | bytes] = []

        async def work() -> None:
            async for message in here.client:
                seen.append(message)  # noqa: PERF401 - each one as it comes

        task = here.loop.create_task(work())
        here.loop.settle()
        here.end.accept()
        here.end.send("a", "b")
        here.end.lose()
        here.next_end().send("c")
        assert seen == ["a", "b", "c"]
        here.client.close()
        here.end.close()
        assert task.done()
        assert task.exception() is None


def test_an_iteration_raises_a_final_failure() -> None:
    with story(lambda end: end.refuse(403), on_message=None) as here:

        async def work() -> None:
            async for _ in here.client:
                pass

        task = here.loop.create_task(work())
        here.loop.advance(5.0)
        assert "403" in str(task.exception())


def test_a_slow_iteration_stops_the_reading_and_loses_nothing() -> None:
    with story(on_message=None) as here:
        end = here.open()
        for start in range(0, 1000, 10):
            end.send(*[str(number) for number in range(start, start + 10)])
        assert not end.transport.reading
        seen: list[str | bytes] = []

        async def work() -> None:
            seen.extend([await here.client.receive() for _ in range(1000)])

        task = here.loop.create_task(work())
        here.loop.settle()
        assert task.done()
        assert seen == [str(number) for number in range(1000)]
        assert end.transport.reading


def test_a_coroutine_stops_the_reading_and_keeps_the_order() -> None:
    seen: list[str | bytes] = []

    async def slow(client: WebSocketClient, message: str | bytes) -> None:
        await asyncio.sleep(1.0)
        seen.append(message)

    with story(on_message=slow) as here:
        here.open().send("a", "b", "c")
        here.loop.advance(2.5)
        assert seen == ["a", "b"]
        here.loop.advance(1.0)
        assert seen == ["a", "b", "c"]


def test_a_result_that_cannot_be_awaited_is_nothing_to_wait_for() -> None:
    with story(on_message=lambda client, message: len(message)) as here:
        here.open().send("a", "b")
        assert here.heard.errors == []
        assert here.client.is_open


def test_exceptions_of_callbacks_are_told_and_change_nothing() -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("mine")

    async def fail_later(*arguments: object) -> None:
        raise RuntimeError("mine, later")

    with story(on_open=fail, on_message=fail_later, on_close=fail_later, on_reconnect=fail) as here:
        end = here.open()
        end.send("a", "b")
        end.lose()
        here.next_end()
        assert here.client.is_open
        told = [str(error) for error in here.heard.errors]
        assert sorted(told) == ["mine"] * 3 + ["mine, later"] * 3


def test_an_error_without_on_error_goes_to_the_loop() -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("mine")

    with story(on_error=None, on_open=fail) as here:
        here.open()
        assert [str(problem["exception"]) for problem in here.loop.problems] == ["mine"]
        here.loop.problems.clear()
    with story(on_error=fail, on_open=fail) as here:
        here.open()
        assert len(here.loop.problems) == 1
        here.loop.problems.clear()


def test_a_masked_frame_of_a_server_ends_the_connection() -> None:
    with story() as here:
        end = here.open()
        end.give(frame(1, b"masked"))
        assert end.frames()[-1].code == 1002
        assert here.heard.messages == []
    with story() as here:
        end = here.open()
        end.give(frame(8, b"\x03\xe8"))
        assert end.frames()[-1].code == 1002


def test_a_message_over_the_limit_ends_the_connection() -> None:
    with story(max_message="1KiB") as here:
        end = here.open()
        end.send("x" * 1024, "y" * 1025)
        assert here.heard.messages == ["x" * 1024]
        assert end.frames()[-1].code == 1009


def test_pings_of_the_server_are_answered() -> None:
    with story() as here:
        end = here.open()
        end.give(frame(9, b"are you there", mask=None))
        [sent] = end.frames()
        assert (sent.opcode, sent.payload) == (10, b"are you there")


def test_messages_right_behind_the_answer_are_not_lost() -> None:
    with story() as here:
        end = here.begin()
        end.accept(also=frame(1, b"early", mask=None))
        assert here.heard.messages == ["early"]


def test_compression_is_offered_and_used_both_ways() -> None:
    with story(compression_threshold=10) as here:
        end = here.begin()
        assert "permessage-deflate" in (end.header("Sec-WebSocket-Extensions") or "")
        end.accept(extensions="permessage-deflate; client_max_window_bits=9")
        here.client.send("compress me " * 100)
        here.loop.settle()
        [sent] = end.frames()
        assert sent.rsv == 4
        assert len(sent.payload) < 100
        end.give(frame(1, sent.payload, rsv=4, mask=None))
        assert here.heard.messages == ["compress me " * 100]


def test_compression_may_be_off() -> None:
    with story(compression=False) as here:
        end = here.begin()
        assert end.header("Sec-WebSocket-Extensions") is None
        end.accept(extensions="permessage-deflate")
        assert "not offered" in str(here.heard.errors[0])


def test_all_problems_of_the_options_come_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        WebSocketClient("ws://a/", reconnect="60s-1s", max_message="lots", ping_intervall=5)  # type: ignore[call-arg]
    assert len(caught.value.problems) == 3
    assert "did you mean ping_interval" in str(caught.value)
    with pytest.raises(ValueError, match="ws://"):
        WebSocketClient("gopher://a/")


def test_connect_waits_for_the_opening_and_raises_the_final_failure() -> None:
    with story(ConnectFailed("x")) as here:
        task = here.loop.create_task(here.client.connect())
        here.loop.advance(2.0)
        assert not task.done()
        here.end.accept()
        assert task.done()
    with story(lambda end: end.refuse(404)) as here:
        task = here.loop.create_task(here.client.connect())
        here.loop.settle()
        assert "404" in str(task.exception())


def test_a_client_begins_on_one_loop() -> None:
    with story() as here:
        here.open()
        with pytest.raises(RuntimeError, match="loop runs"):
            here.client.run_forever()


def test_calls_of_other_threads() -> None:
    with story() as here:
        end = here.open()

        def work() -> None:
            for number in range(3):
                here.client.send(str(number))
            here.client.close(4001, "by a thread")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        here.loop.settle()
        frames = end.frames()
        assert [sent.opcode for sent in frames] == [1, 1, 1, 8]
        assert frames[-1].code == 4001


def test_a_client_may_run_again() -> None:
    with story(on_message=None) as here:
        end = here.open()
        here.client.close()
        end.close()
        end = here.begin()
        end.accept()
        here.client.send("again")
        here.loop.settle()
        assert end.messages() == ["again"]


def test_the_text_of_a_client_has_no_password() -> None:
    made: Any = WebSocketClient("ws://ada:secret@example.com/x", token="hidden")
    assert "secret" not in repr(made) + made.url
    assert made.ws is made
