"""With a session that answers when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import AskError, MovedError, ResponseError, TryAgainError

from tests.support.redis_links import run
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Published
from wsdaemon.brokers.errors import BrokerUnavailable, RateLimited, TooManyRooms
from wsdaemon.brokers.links.contract import Publication
from wsdaemon.brokers.links.redis_keys import Names
from wsdaemon.brokers.links.redis_publishing import Publishing
from wsdaemon.brokers.links.redis_servers import RedisPlace

NUMBER, LOWEST, CREATE = 4, 5, 18
"""Places of arguments of the script, after those that every script has."""


class FakeSession:
    clustered = False

    def __init__(self) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.asked: list[tuple[Callable[[Any], None], tuple[Any, ...], RedisPlace | None]] = []
        self.waits: list[asyncio.Future[int]] = []

    def tell(self, done: Any, script: str, keys: Any, arguments: Any, publishing: bool, asking: RedisPlace | None) -> None:
        assert publishing
        self.asked.append((done, arguments, asking))

    def redirect(self, error: Exception) -> RedisPlace | None:
        return RedisPlace("there", 1) if isinstance(error, AskError) and not isinstance(error, MovedError) else None

    def failed(self, error: Exception) -> BrokerUnavailable:
        return BrokerUnavailable(str(error))

    def wait(self, key: str, milliseconds: int) -> asyncio.Future[int]:
        self.waits.append(asyncio.get_running_loop().create_future())
        return self.waits[-1]

    def answer(self, *reply: Any) -> tuple[Any, ...]:
        """Answer the oldest question, and return its arguments."""
        done, arguments, _ = self.asked.pop(0)
        done(reply[0] if isinstance(reply[0], Exception) else list(reply))
        return arguments

    def numbers(self) -> list[int]:
        return [arguments[NUMBER] for _, arguments, _ in self.asked]


class World:
    def __init__(self, limits: Limits | None = None, replica: float = 0.0) -> None:
        self.fake = FakeSession()
        self.session: Any = self.fake
        self.reserved: list[tuple[str, str]] = []
        self.refuse: Exception | None = None
        self.publishing = Publishing(
            Names("p", "/rooms"),
            limits or Limits(),
            "node",
            common=lambda room: ("fresh", 0, "channel", "PUBLISH"),
            reserve=self.reserve,
            replica=replica,
        )

    async def reserve(self, session: Any, room: str, owner: str) -> None:
        self.reserved.append((room, owner))
        await asyncio.sleep(0)
        if self.refuse is not None:
            raise self.refuse

    def publish(self, number: int, room: str = "lobby") -> asyncio.Future[Published]:
        return self.publishing.publish(self.session, Publication(number, room, b"x", True, owner=f"user {number}"))

    async def until_asked(self, count: int) -> None:
        while len(self.fake.asked) < count:  # noqa: ASYNC110 - what a task does shows only here
            await asyncio.sleep(0.001)


def test_after_the_first_publication_the_others_go_out_at_once() -> None:
    async def test() -> None:
        world = World()
        first, second = world.publish(1), world.publish(2)
        assert world.fake.numbers() == [1]
        arguments = world.fake.answer(b"ok", b"e", b"1", 3)
        assert (arguments[LOWEST], arguments[CREATE]) == (1, 0)
        third = world.publish(3)
        assert world.fake.numbers() == [2, 3]
        world.fake.answer(b"known", b"e", b"9", 0)
        world.fake.answer(b"ok", b"e", b"10", 0)
        assert await first == Published("e", 1, False, 3)
        assert await second == Published("e", 9, True, 0)
        assert (await third).offset == 10

    run(test())


def test_a_new_room_gets_its_place_and_then_its_publications_in_order() -> None:
    async def test() -> None:
        world = World()
        asked = [world.publish(number) for number in (1, 2)]
        world.fake.answer(b"absent")
        asked.append(world.publish(3))  # must not overtake
        await world.until_asked(1)
        assert world.reserved == [("lobby", "user 1")]
        assert world.fake.numbers() == [1]
        assert world.fake.answer(b"ok", b"e", b"1", 0)[CREATE] == 1
        assert world.fake.numbers() == [2, 3]
        for number in (2, 3):
            world.fake.answer(b"ok", b"e", b"%d" % number, 0)
        await asyncio.gather(*asked)

    run(test())


@pytest.mark.parametrize("error", [MovedError("1 there:1"), AskError("1 there:1"), TryAgainError("later")])
def test_a_slot_that_moves_changes_no_order(error: Exception) -> None:
    """One that is sent again goes alone: while a slot migrates, some answers say so, and later ones may be taken."""

    async def test() -> None:
        world = World()
        world.publish(1)
        for number in (2, 3, 4):
            world.publish(number)
        world.fake.answer(b"ok", b"e", b"1", 0)
        for _ in range(3):
            world.fake.answer(error)
        world.publish(5)
        await world.until_asked(1)
        assert world.fake.numbers() == [2]
        place = RedisPlace("there", 1) if type(error) is AskError else None
        assert world.fake.asked[0][2] == place
        world.fake.answer(error)
        await world.until_asked(1)
        assert world.fake.numbers() == [2]
        world.fake.answer(b"ok", b"e", b"2", 0)
        assert world.fake.numbers() == [3, 4, 5]
        assert {asking for _, _, asking in world.fake.asked} == {place}
        assert world.reserved == []

    run(test())


def test_one_owner_without_a_place_does_not_refuse_the_others() -> None:
    async def test() -> None:
        world = World()
        first, second = world.publish(1), world.publish(2)
        world.refuse = TooManyRooms("an eighth")
        world.fake.answer(b"absent")
        with pytest.raises(TooManyRooms):
            await first
        await world.until_asked(1)
        world.refuse = None
        world.fake.answer(b"absent")
        await world.until_asked(1)
        world.fake.answer(b"ok", b"e", b"1", 0)
        assert (await second).offset == 1
        assert world.reserved == [("lobby", "user 1"), ("lobby", "user 2")]
        assert world.publishing._lines == {}

    run(test())


def test_a_number_that_failed_is_asked_again_as_such() -> None:
    async def test() -> None:
        world = World()
        first = world.publish(1)
        world.fake.answer(ConnectionError("cut"))
        with pytest.raises(BrokerUnavailable):
            await first
        world.publish(2)
        assert world.fake.answer(b"ok", b"e", b"1", 0)[LOWEST] == 1  # the order must remember 1 still
        again = world.publish(1)
        world.fake.answer(b"again", b"e", b"1", 0)
        assert await again == Published("e", 1, False, 0)
        world.publish(3)
        assert world.fake.answer(b"ok", b"e", b"2", 0)[LOWEST] == 3

    run(test())


def test_lines_of_rooms_are_forgotten() -> None:
    async def test() -> None:
        world = World()
        for number in range(50):
            world.publish(number, f"room{number}")
            world.fake.answer(b"ok", b"e", b"1", 0)
        assert world.publishing._lines == {}

    run(test())


def test_the_rate_of_a_room_is_told_with_the_time_to_wait() -> None:
    async def test() -> None:
        world = World(Limits(rate=2))
        refused = world.publish(1)
        world.fake.answer(b"rate", b"250")
        with pytest.raises(RateLimited) as caught:
            await refused
        assert caught.value.retry_after == 0.25

    run(test())


def test_a_session_that_ends_while_publications_stall_fails_them() -> None:
    async def test() -> None:
        world = World()
        stalled, other = world.publish(1), world.publish(2)
        world.fake.ended.set_result("cut")
        world.fake.answer(ResponseError("cut"))
        for asked in (stalled, other):
            with pytest.raises(BrokerUnavailable):
                await asked

    run(test())


def test_with_replicas_a_publication_is_acknowledged_when_one_has_it() -> None:
    async def test() -> None:
        world = World(replica=1.0)
        first = world.publish(1)
        world.fake.answer(b"ok", b"e", b"1", 0)
        second = world.publish(2)
        world.fake.answer(b"ok", b"e", b"2", 0)
        await asyncio.sleep(0)
        assert not first.done()
        world.fake.waits[0].set_result(1)
        assert (await first).offset == 1
        world.fake.waits[1].set_result(0)
        with pytest.raises(BrokerUnavailable, match="replica"):
            await second

    run(test())
