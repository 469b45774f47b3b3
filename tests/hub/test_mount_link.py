"""Two apps of one worker at one mount, as after a reload: both are in the same rooms, and neither takes anything from the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count

import pytest

from tests.support.hub import PATH, Hub, Recorder, Worker
from tests.support.inside import until
from tests.support.links import ShiftedLoop, run
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Presence
from wsdaemon.brokers.errors import BrokerUnavailable, RoomFull
from wsdaemon.brokers.links.contract import Publication
from wsdaemon.hub.link import LINKS_WITH_OWN_NUMBERS, HubLink

OLD, NEW = Limits(history=100, max_members=3), Limits(history=2, max_members=4)


class Two:
    """A worker with an app from before a reload and one from after it, and another worker."""

    def __init__(self, hub: Hub, one: Worker, other: Worker) -> None:
        self.hub, self.one, self.other = hub, one, other
        self.recorder = Recorder()
        self.link: HubLink = one.links.make(PATH, NEW)

    async def open(self) -> None:
        self.link.open(self.recorder)
        await until(lambda: self.recorder.events)

    async def publish(self, number: int, payload: bytes) -> int:
        return (await self.link.publish(Publication(number, "lobby", payload, True))).offset

    async def join(self, name: str) -> None:
        await self.link.join("lobby", Presence(name, {}), None, watch=False, owner="")


def two_apps(work: Callable[[Two], Awaitable[None]]) -> None:
    async def all_of_it(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        one, other = await hub.worker(1, OLD), await hub.worker(2, OLD)
        await work(Two(hub, one, other))
        hub.close(one, other)
        assert hub.lines == []

    run(all_of_it)


def test_members_of_both_apps_are_in_one_room_and_each_publication_has_its_own_number() -> None:
    async def work(two: Two) -> None:
        await two.one.join("lobby", "ada", watch=True)
        for number in range(1, 4):
            await two.one.publish("lobby", b"old %d" % number)
        await two.open()
        assert (await two.other.link.presence("lobby", None)).count == 1, "the new app takes out no member of the old one"
        await two.join("bob")
        assert [await two.publish(number, b"new %d" % number) for number in range(1, 4)] == [4, 5, 6], "no retries of the first three"
        assert await two.publish(3, b"new 3") == 6, "this is one"
        await two.other.publish("lobby", b"other")
        await until(lambda: len(two.recorder.messages) == 4 and len(two.one.recorder.messages) == 7)
        assert two.recorder.payloads == [b"new 1", b"new 2", b"new 3", b"other"] == two.one.recorder.payloads[3:]
        assert all(ours is not theirs for ours, theirs in zip(two.recorder.messages, two.one.recorder.messages[3:], strict=True))
        assert two.one.recorder.rosters[-1][2][0].who.id == "bob"

    two_apps(work)


def test_a_worker_may_have_made_any_number_of_links() -> None:
    """A number of a publication has 64 bits on its way to the hub: without an end of the rows, publications fail from some reload on."""

    async def work(two: Two) -> None:
        two.one.links._made = count(LINKS_WITH_OWN_NUMBERS)
        two.link = two.one.links.make(PATH, NEW)
        await two.open()
        assert await two.publish(1, b"1") == 1

    two_apps(work)


@pytest.mark.parametrize("new_ends", [True, False])
def test_the_end_of_one_app_takes_nothing_from_the_other(new_ends: bool) -> None:
    async def work(two: Two) -> None:
        await two.open()
        await two.one.join("lobby", "ada")
        await two.join("bob")
        await two.join("cy")
        for link in (two.one.link, two.link):
            await link.follow_pattern("news.*")
            link.hold("lobby", True)
        await until(lambda: two.other.recorder.holds == [("lobby", True)])
        ending, staying, left = (two.link, two.one, 1) if new_ends else (two.one.link, two, 2)
        for name in ("bob", "cy") if new_ends else ("ada",):
            ending.leave("lobby", name)
        ending.unfollow("lobby")
        ending.close()
        assert (await two.other.link.presence("lobby", None)).count == left
        with pytest.raises(BrokerUnavailable):
            await ending.probe()
        await two.other.publish("lobby", b"1")
        await two.other.publish("news.eu", b"2")
        await until(lambda: staying.recorder.payloads == [b"1", b"2"])
        assert two.other.recorder.holds == [("lobby", True)], "the other app holds it too"
        staying.link.hold("lobby", False)
        await until(lambda: two.other.recorder.holds[-1] == ("lobby", False))
        staying.link.close()
        assert (await two.other.link.presence("lobby", None)).count == 0

    two_apps(work)


def test_the_rooms_patterns_and_holds_of_an_app_that_ends_end_with_it() -> None:
    async def work(two: Two) -> None:
        await two.open()
        await two.join("bob")
        await two.link.follow_pattern("news.*")
        two.link.hold("lobby", True)
        await until(lambda: two.other.recorder.holds == [("lobby", True)])
        two.link.close()
        await until(lambda: two.other.recorder.holds[-1] == ("lobby", False))
        assert (await two.other.link.presence("lobby", None)).count == 0
        await two.other.publish("news.eu", b"2")
        await two.one.link.probe()
        assert two.recorder.messages == two.one.recorder.messages == []

    two_apps(work)


def test_a_new_hub_is_told_of_both_apps() -> None:
    async def work(two: Two) -> None:
        await two.open()
        for recorder, name in ((two.one.recorder, "ada"), (two.recorder, "bob")):
            recorder.declare("lobby", name, held=name == "bob")
            recorder.followed_patterns.append("news.*")
        two.one.client.begin_anew("as after a loss")
        await until(lambda: two.recorder.events == two.one.recorder.events == ["restored", "lost", "restored"])
        assert (await two.other.link.presence("lobby", None)).count == 2
        assert set(two.one.recorder.holds) == set(two.recorder.holds) == {("lobby", True)}
        two.link.unfollow("lobby")
        await two.other.publish("lobby", b"1")
        await until(lambda: two.one.recorder.payloads == [b"1"])

    two_apps(work)


def test_an_app_that_comes_to_a_held_room_knows_it() -> None:
    async def work(two: Two) -> None:
        two.other.link.hold("lobby", True)
        await until(lambda: two.one.recorder.holds == [("lobby", True)])
        await two.open()
        assert two.recorder.holds == [("lobby", True)]

    two_apps(work)


def test_the_limits_are_those_of_the_latest_app_and_the_rooms_stay() -> None:
    async def work(two: Two) -> None:
        for name in ("a", "b", "c"):
            await two.other.join("lobby", name)
        for number in range(5):
            await two.other.publish("lobby", b"%d" % number)
        with pytest.raises(RoomFull):
            await two.one.join("lobby", "d")
        await two.open()
        await two.join("d")
        order = two.hub.rooms.order(PATH)
        assert order is not None
        order.sweep(1000)
        page = await two.other.link.history("lobby", None, 100, False)
        assert ([message.payload for message in page.messages], page.offset) == ([b"3", b"4"], 5)
        two.link.leave("lobby", "d")
        two.link.close()  # the reload is taken back
        await two.one.link.probe()
        with pytest.raises(RoomFull):
            await two.one.join("lobby", "d")

    two_apps(work)


def test_a_reload_while_the_link_is_away_brings_its_limits_when_the_link_is_back() -> None:
    async def work(two: Two) -> None:
        two.one.client.begin_anew("as after a loss")
        two.link.open(two.recorder)
        two.one.link.close()
        await until(lambda: two.recorder.events)
        await two.link.probe()
        order = two.hub.rooms.order(PATH)
        assert order is not None
        assert order.limits == NEW

    two_apps(work)


def test_limits_of_an_earlier_generation_change_nothing() -> None:
    async def work(two: Two) -> None:
        order = two.hub.rooms.order(PATH)
        assert order is not None
        assert (order.limits, order.generation) == (OLD, 1)
        order.change_limits(OLD, 2)
        await two.open()
        await two.link.probe()
        assert order.limits == OLD

    two_apps(work)
