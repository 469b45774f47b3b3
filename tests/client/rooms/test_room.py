"""A room's methods make the requests of rooms.v1.json, and may be awaited or waited for."""

from __future__ import annotations

import threading
from typing import Any

from tests.support.fake_loop import Loop
from tests.support.rooms_client import FakeClient, make_hall
from wsdaemon.client.rooms.room import ClientRoom
from wsdaemon.client.rooms.values import Past


def test_histories_are_read_page_by_page() -> None:
    with Loop() as loop:
        client = FakeClient(loop)
        client.connect(make_hall(loop))
        room = client.rooms["lobby"]
        assert isinstance(room, ClientRoom)
        for number in range(5):
            room.publish(str(number))
        client.pump()

        def page(*arguments: Any, **options: Any) -> Past:
            reply = room.history(*arguments, **options)
            client.pump()
            return reply.result()

        first = page(limit=2)
        assert ([message.data for message in first.messages], first.more, first.first, first.offset) == (["0", "1"], True, 1, 5)
        last = first.messages[-1]
        rest = page((last.epoch, last.offset))
        assert ([message.data for message in rest.messages], rest.more) == (["2", "3", "4"], False)
        assert [message.data for message in page(limit=2, reverse=True).messages] == ["4", "3"]


def test_results_may_be_awaited_and_waited_for_in_a_thread() -> None:
    with Loop() as loop:
        client = FakeClient(loop)
        client.connect(make_hall(loop))
        reply = client.rooms["lobby"].publish("x")

        async def wait() -> int:
            return (await reply).offset

        task = loop.create_task(wait())
        offsets: list[int] = []
        thread = threading.Thread(target=lambda: offsets.append(reply.result(30).offset))
        thread.start()
        client.pump()
        thread.join()
        loop.settle()
        assert offsets == [task.result()] == [1]
