"""One process over a fake link, and members that note all that they are told in its order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.support.fake_link import FakeLink, FakeOrder
from tests.support.fake_loop import Loop
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Member, Message, Notice, Position, Subscribed
from wsdaemon.brokers.links.contract import Publication
from wsdaemon.brokers.remote import RemoteBroker


class Seat:
    """A member. `told`: payloads of messages, breaks as they were told, and changes of presence as "+ada" and "-ada"."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.identity: Mapping[str, Any] = {}
        self.told: list[Any] = []
        self.messages: list[Message] = []

    def deliver(self, message: Message) -> None:
        self.messages.append(message)
        self.told.append(message.payload.decode())

    def presence_changed(self, notice: Notice) -> None:
        self.told += [f"{'+' if change.kind == 'joined' else '-'}{change.who.id}" for change in notice.changes]

    def interrupted(self, room: str, answer: Subscribed, pattern: str | None = None) -> None:
        assert answer.gap and answer.room == room
        self.told.append(answer if pattern is None else (pattern, answer))


class OneProcess:
    """A broker, its link, and an order to which others publish too."""

    def __init__(self, loop: Loop, limits: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.loop = loop
        self.order = FakeOrder(loop, Limits(**{"inline": 0, **limits}))
        self.link = FakeLink(self.order, "A")
        self.other = FakeLink(self.order, "B")
        self.other.connected = True
        self.others = 0
        self.failed: list[Member] = []
        self.broker = RemoteBroker(
            self.order.limits, self.link, lambda member, error: self.failed.append(member), loop=lambda: loop, later=loop.call_later,
            clock=loop.time, **options,
        )  # fmt: skip
        self.broker.open()

    def settle(self) -> None:
        self.link.settle()
        self.loop.settle()

    def run(self, work: Any) -> Any:
        """The answer to something asked, when all has come to rest."""
        task = self.begin(work)
        self.settle()
        return task.result()

    def begin(self, work: Any) -> Any:
        async def answer() -> Any:
            return await work

        task = self.loop.create_task(answer())
        self.loop.settle()
        return task

    def join(self, *names: str, room: str = "room", since: Position | None = None, presence: bool = False) -> list[Seat]:
        seats = [Seat(name) for name in names]
        for seat in seats:
            self.run(self.broker.subscribe(room, seat, since, presence=presence))
        return seats

    def publish(self, *payloads: str, room: str = "room") -> None:
        """Publications of another process, on their way here."""
        for payload in payloads:
            self.others += 1
            self.order.publish(self.other, Publication(self.others, room, payload.encode(), True))

    def position(self, room: str = "room") -> Position:
        return self.order.rooms[room].position

    def pass_time(self, seconds: float) -> None:
        """Let time pass while the order answers within a second."""
        end = self.loop.time() + seconds
        while self.loop.time() < end:
            self.settle()
            self.loop.advance(min(1.0, end - self.loop.time()))
        self.settle()

    def questions(self) -> int:
        """The number of questions under way."""
        self.loop.settle()
        return len(self.link.asked)


@contextmanager
def one_process(connected: bool = True, options: Mapping[str, Any] | None = None, **limits: Any) -> Iterator[OneProcess]:
    with Loop() as loop:
        made = OneProcess(loop, {"history": 100, **limits}, options or {})
        if connected:
            made.link.connect()
        made.settle()
        yield made
        made.settle()
        assert loop.problems == []
