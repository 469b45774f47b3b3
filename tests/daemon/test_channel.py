"""Messages between the supervisor and a child arrive whole, with their descriptors, and the end of one is told to the other."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence

import pytest

from wsdaemon.daemon.channel import MAX_MESSAGE_BYTES, MAX_WAITING_MESSAGES, Channel, Message

PATIENCE = 10.0


class Two:
    """Both ends of a channel, and everything that they were told."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        ours, theirs = Channel.pair()
        self.told: list[tuple[Message, Sequence[int]]] = []
        self.ends: list[str] = []
        self.supervisor = Channel(ours, loop, self.received, lambda: self.ends.append("supervisor"))
        self.theirs = theirs
        self.loop = loop

    def received(self, message: Message, descriptors: Sequence[int]) -> None:
        self.told.append((message, descriptors))

    def child(self) -> Channel:
        return Channel(self.theirs, self.loop, self.received, lambda: self.ends.append("child"))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - conditions of several kinds, most of which have no event
            await asyncio.sleep(0)


def test_messages_arrive_in_order_and_with_their_descriptors() -> None:
    async def main() -> None:
        two = Two(asyncio.get_running_loop())
        child = two.child()
        reading, writing = os.pipe()
        two.supervisor.send("serve")
        two.supervisor.send("worker", [writing], number=2, generation=1)
        os.close(writing)
        await until(lambda: len(two.told) == 2)
        assert two.told[0] == ({"kind": "serve"}, [])
        message, (passed,) = two.told[1]
        assert message == {"kind": "worker", "number": 2, "generation": 1}
        assert not os.get_inheritable(passed)
        os.write(passed, b"x")
        assert os.read(reading, 2) == b"x"
        for descriptor in (passed, reading):
            os.close(descriptor)
        child.close()
        two.supervisor.close()

    asyncio.run(main())


def test_what_was_sent_before_the_end_arrives_before_it() -> None:
    async def main() -> None:
        two = Two(asyncio.get_running_loop())
        child = two.child()
        child.send("failed", reason="no such module")
        child.close()
        await until(lambda: two.ends)
        assert [message for message, _ in two.told] == [{"kind": "failed", "reason": "no such module"}]
        assert two.ends == ["supervisor"]
        two.supervisor.send("serve")  # nothing to raise about: the end was told

    asyncio.run(main())


def test_messages_wait_for_a_child_that_is_busy_and_a_child_that_hangs_is_given_up() -> None:
    async def main() -> None:
        two = Two(asyncio.get_running_loop())
        two.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        reading, writing = os.pipe()
        sent = 0
        while two.supervisor.open and sent < 10_000:
            two.supervisor.send("reload", [writing], number=sent)
            sent += 1
        os.close(writing)
        assert MAX_WAITING_MESSAGES < sent < 10_000
        assert two.ends == ["supervisor"]
        two.theirs.close()
        assert os.read(reading, 1) == b"", "no duplicate of a descriptor stays open"
        os.close(reading)

    asyncio.run(main())


def test_messages_that_waited_arrive_in_order() -> None:
    async def main() -> None:
        two = Two(asyncio.get_running_loop())
        sent = 0
        while not two.supervisor._waiting:
            two.supervisor.send("reload", number=sent)
            sent += 1
        two.supervisor.send("reload", number=sent)
        child = two.child()
        await until(lambda: len(two.told) == sent + 1)
        assert [message["number"] for message, _ in two.told] == list(range(sent + 1))
        child.close()
        two.supervisor.close()

    asyncio.run(main())


def test_a_message_that_is_too_long_is_a_mistake_of_the_caller() -> None:
    async def main() -> None:
        two = Two(asyncio.get_running_loop())
        with pytest.raises(ValueError, match="failed"):
            two.supervisor.send("failed", reason="x" * MAX_MESSAGE_BYTES)
        two.supervisor.close()
        two.theirs.close()

    asyncio.run(main())


def test_a_channel_that_is_finished_reads_the_last_messages_and_ends_once() -> None:
    async def main() -> None:
        two = Two(asyncio.get_running_loop())
        child = two.child()
        child.send("failed", reason="no such module")
        inherited = os.dup(two.theirs.fileno())  # by a process that the child started, which lives on
        child.close()
        two.supervisor.finish()
        assert [message for message, _ in two.told] == [{"kind": "failed", "reason": "no such module"}]
        assert two.ends == ["supervisor"]
        os.close(inherited)

    asyncio.run(main())
