"""Random histories of clients and a daemon: cuts, drains, kills. Each subscription is compared with the broker's own log.

By default a sample of short ones; WSDAEMON_HISTORIES=1000 runs as many, each with another seed and an hour of the simulated clock.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.fake_loop import Loop
from tests.support.rooms import Hall
from tests.support.rooms_client import FakeClient, make_hall
from wsdaemon.client import Acknowledged, RoomGap, Uncertain
from wsdaemon.client.rooms.requests import KEY_SECONDS

HISTORIES = int(os.environ.get("WSDAEMON_HISTORIES", "60"))
HOURS = "WSDAEMON_HISTORIES" in os.environ
"""Whether a history goes on for an hour of the simulated clock, and has its quiet times."""
STEPS = 150
HOUR_SECONDS = 3600.0

Place = tuple[str, int]


class World:
    """A daemon that may be killed, its observer, and clients that publish, subscribe and lose their connections."""

    def __init__(self, loop: Loop, seed: int) -> None:
        self.loop = loop
        self.chance = random.Random(seed)
        self.history = self.chance.choice((3, 10, 10_000))
        self.log: dict[Place, str] = {}
        self.kills = 0
        self.published = 0
        self.replies: dict[str, Any] = {}
        self.seen: list[list[Any]] = [[], [], []]
        self.clients = [FakeClient(loop) for _ in self.seen]
        self.hall = self.new_hall()
        for client, items in zip(self.clients, self.seen, strict=True):
            client.rooms["lobby"].subscribe(items.append)

    def new_hall(self) -> Hall:
        hall = make_hall(self.loop, history=self.history)
        self.observer = hall.json()
        self.observer.ask("subscribe")
        return hall

    def observe(self) -> None:
        """Take down the broker's log."""
        for event in self.observer.take_events():
            if event["type"] == "message":
                place = event["epoch"], event["offset"]
                assert place not in self.log
                self.log[place] = event["data"]

    # -- steps

    def step(self) -> None:
        client = self.chance.choice(self.clients)
        actions: tuple[tuple[int, Callable[[], object]], ...] = (
            (30, lambda: self.publish(client)), (10, self.publish_elsewhere), (40, lambda: client.pump_up(self.chance.randint(1, 5))),
            (60, lambda: client.pump_down(self.chance.randint(1, 8))), (14, lambda: self.cut(client)), (30, lambda: self.connect(client)),
            (5, lambda: self.drain(client)), (2, self.kill), (10, lambda: self.loop.advance(self.chance.uniform(0, 20))),
            (HOURS * 2, lambda: self.loop.advance(self.chance.uniform(0, 400))),
        )  # fmt: skip
        self.chance.choices([action for _, action in actions], [weight for weight, _ in actions])[0]()
        self.loop.settle()
        self.observe()

    def publish(self, client: FakeClient) -> None:
        self.published += 1
        data = f"message {self.published}"
        self.replies[data] = client.rooms["lobby"].publish(data)

    def publish_elsewhere(self) -> None:
        self.published += 1
        self.hall.json().send(json.dumps({"type": "publish", "data": f"message {self.published}"}))

    def cut(self, client: FakeClient) -> None:
        client.cut()

    def drain(self, client: FakeClient) -> None:
        """The daemon closes in good order: all that it sent arrives."""
        client.pump_down()
        client.cut()

    def connect(self, client: FakeClient) -> None:
        if not client.connected:
            client.connect(self.hall)

    def kill(self) -> None:
        """The daemon is gone, and another one begins with empty rooms."""
        self.kills += 1
        self.observe()
        for client in self.clients:
            client.cut()
        self.hall = self.new_hall()

    def finish(self) -> None:
        """All come back, everything is delivered, and the times of keys pass."""
        for client in self.clients:
            self.connect(client)
        for _ in range(20):
            for client in self.clients:
                client.pump()
            self.loop.settle()
        self.publish_elsewhere()
        self.loop.advance(KEY_SECONDS * 1.2)
        for client in self.clients:
            client.pump()
        self.observe()

    # -- the verdict

    def check(self) -> None:
        for items in self.seen:
            self.check_stream(items)
        for data, reply in self.replies.items():
            self.check_reply(data, reply)
        data_in_log = list(self.log.values())
        assert len(data_in_log) == len(set(data_in_log)), "a message is in the log twice"
        for client in self.clients:
            assert client.failures == []

    def check_stream(self, items: list[Any]) -> None:
        last: Place | None = None
        came: set[Place] = set()
        gaps = 0
        for item in items:
            place = item.epoch, item.offset
            if isinstance(item, RoomGap):
                gaps += 1
            else:
                assert self.log[place] == item.data
                assert place not in came, "a message came twice"
                assert last is None or last == (item.epoch, item.offset - 1), f"{place} came after {last} without a gap"
                came.add(place)
            last = place
        final = max(offset for epoch, offset in self.log if epoch == self.epoch)
        assert last == (self.epoch, final), "messages are missing at the end"
        if self.history == 10_000:
            assert gaps <= self.kills, "a gap was told where nothing was lost"

    @property
    def epoch(self) -> str:
        """The epoch of the room now."""
        return next(reversed(self.log))[0]

    def check_reply(self, data: str, reply: Any) -> None:
        assert reply.done(), "a publication has no answer"
        error = reply.exception()
        places = [place for place, message in self.log.items() if message == data]
        if error is None:
            answer: Acknowledged = reply.result()
            assert places == [(answer.epoch, answer.offset)]
        else:
            assert isinstance(error, Uncertain), error
            assert len(places) <= 1


@pytest.mark.parametrize("block", range(10))
def test_histories(block: int) -> None:
    for number in range(HISTORIES // 10):
        seed = block * (HISTORIES // 10) + number
        with Loop() as loop:
            world = World(loop, seed)
            try:
                steps, begun = 0, loop.time()
                while loop.time() < begun + HOUR_SECONDS if HOURS else steps < STEPS:
                    world.step()
                    steps += 1
                world.finish()
                world.check()
            except AssertionError as error:
                error.add_note(f"the history with seed {seed}")
                raise
            finally:
                for client in world.clients:
                    client.cut()
                    client.rooms.ended(None)
