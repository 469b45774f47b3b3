"""A worker's link to the order in the hub, over real socketpairs: each method, each error, loss, declaration and return."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest

from tests.support.hub import PATH, Hub, Worker
from tests.support.inside import until
from tests.support.links import ShiftedLoop, run
from wsdaemon.brokers import Limits, errors
from wsdaemon.brokers.contract import Change, Position, Presence
from wsdaemon.brokers.errors import BrokerUnavailable, RateLimited

Work = Callable[[Hub, Worker, Worker], Awaitable[None]]


def two_workers(work: Work, limits: Limits | None = None) -> None:
    async def all_of_it(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        one, two = await hub.worker(1, limits), await hub.worker(2, limits)
        await work(hub, one, two)
        hub.close(one, two)
        assert hub.lines == []

    run(all_of_it)


def test_a_publication_reaches_the_followers_on_all_workers_and_no_others() -> None:
    async def work(hub: Hub, one: Worker, two: Worker) -> None:
        position = await one.join("lobby", "ada")
        await two.join("other", "bob")
        first = await two.publish("lobby", b"1")
        second = await one.publish("lobby", b"2")
        assert (first.epoch, first.offset, first.members) == (position.epoch, 1, 1)
        assert second.offset == 2
        await until(lambda: len(one.recorder.messages) == 2)
        assert one.recorder.payloads == [b"1", b"2"]
        assert two.recorder.messages == []
        one.link.leave("lobby", "ada")
        one.link.unfollow("lobby")
        assert (await one.publish("lobby", b"3")).members == 0
        assert len(one.recorder.messages) == 2

    two_workers(work)


def test_a_room_of_two_workers_is_counted_once_and_rooms_without_members_too() -> None:
    async def work(hub: Hub, one: Worker, two: Worker) -> None:
        await one.join("lobby", "ada")
        await two.join("lobby", "bob")
        await two.publish("news", b"1")
        assert [await one.link.room_count(), await two.link.room_count()] == [2, 2]

    two_workers(work)


def test_patterns_follow_rooms_that_come_later_and_a_worker_gets_each_message_once() -> None:
    async def work(hub: Hub, one: Worker, two: Worker) -> None:
        assert await one.link.follow_pattern("prices.*") > 0
        await one.link.follow_pattern("prices.*")
        await one.link.follow_pattern(">")
        await one.join("prices.eur", "ada")
        await two.publish("prices.eur", b"1")
        await two.publish("weather", b"2")
        await until(lambda: len(one.recorder.messages) == 2)
        one.link.unfollow_pattern(">")
        one.link.unfollow_pattern("prices.*")
        one.link.unfollow_pattern("prices.*")
        await one.publish("weather", b"3")
        await two.publish("prices.eur", b"4")
        await until(lambda: len(one.recorder.messages) == 3)
        assert one.recorder.payloads == [b"1", b"2", b"4"]
        with pytest.raises(errors.BadPattern):
            await one.link.follow_pattern("pri*")

    two_workers(work)


def test_a_publication_that_is_asked_again_is_not_published_again_and_uses_no_key_of_the_room() -> None:
    async def work(hub: Hub, one: Worker, two: Worker) -> None:
        await two.join("lobby", "bob")
        first = await one.publish("lobby", b"1", number=1)
        again = await one.publish("lobby", b"1", number=1)
        assert again == first
        assert not again.duplicate
        other = await two.publish("lobby", b"2", number=1)
        assert other.offset == 2
        order = hub.rooms.order(PATH)
        assert order is not None
        assert order.key_count == 0

    two_workers(work)


def test_idempotency_keys_are_those_of_the_room_for_all_workers() -> None:
    async def work(hub: Hub, one: Worker, two: Worker) -> None:
        first = await one.publish("lobby", b"1", key="k")
        again = await two.publish("lobby", b"1", key="k")
        assert (again.epoch, again.offset, again.duplicate, again.members) == (first.epoch, first.offset, True, 0)
        for key in ("", "x" * 257):
            with pytest.raises(errors.BadKey):
                await one.publish("lobby", b"2", key=key)

    two_workers(work)


def test_the_limits_hold_for_all_workers_together() -> None:
    async def work(hub: Hub, one: Worker, two: Worker) -> None:
        await one.join("lobby", "a")
        await two.join("lobby", "b")
        with pytest.raises(errors.RoomFull):
            await one.join("lobby", "c")
        await two.join("other", "b")
        with pytest.raises(errors.TooManyRooms):
            await two.join("third", "b")
        with pytest.raises(errors.BadRoom):
            await two.join("Lobby", "b")
        with pytest.raises(errors.BadRoom):
            await two.publish("lobby\ud800", b"")
        with pytest.raises(errors.MemoryFull):
            await two.publish("lobby", bytes(400_000))
        with pytest.raises(errors.DuplicateMember):
            await two.join("lobby", "a")
        for worker in (one, two):
            await worker.publish("other", b"")
        with pytest.raises(RateLimited) as limited:
            await one.publish("other", b"")
        assert 0 < limited.value.retry_after <= 1

    two_workers(work, Limits(max_members=2, max_rooms=2, name_pattern=re.compile("[a-z]+"), rate=1, burst=2, memory=300_000, history=5))


def test_one_owner_has_its_share_over_all_workers() -> None:
    async def work(hub: Hub, one: Worker, two: Worker) -> None:
        await one.join("a", "ada")
        await one.publish("a", bytes(20_000), owner="user ada")
        with pytest.raises(errors.MemoryFull, match="eighth"):
            await two.publish("b", bytes(20_000), owner="user ada")
        await two.publish("b", bytes(20_000), owner="user bob")

    two_workers(work, Limits(memory=300_000, history=5))


def test_a_join_has_the_missed_messages_and_a_gap_if_some_are_gone() -> None:
    async def work(hub: Hub, one: Worker, two: Worker) -> None:
        await one.join("lobby", "ada")
        epoch = ""
        for number in range(5):
            epoch = (await one.publish("lobby", b"%d" % number)).epoch
        bob = Presence("bob", {})
        joined = await two.link.join("lobby", bob, Position(epoch, 3), watch=False, owner="")
        assert (joined.position, joined.gap, joined.latest, joined.roster) == (Position(epoch, 5), False, None, None)
        assert [message.offset for message in joined.messages] == [4, 5]
        again = await two.link.join("lobby", bob, Position(epoch, 1), watch=True, owner="")
        assert again.gap
        assert again.messages == ()
        assert again.latest is not None
        assert again.latest.payload == b"4"
        assert again.roster is not None
        assert [member.id for member in again.roster.members] == ["ada", "bob"]

    two_workers(work, Limits(history=3, latest=True))


def test_changes_of_a_roster_reach_the_workers_that_watch() -> None:
    async def work(hub: Hub, one: Worker, two: Worker) -> None:
        joined = await one.link.join("lobby", Presence("ada", {"name": "Ada"}), None, watch=True, owner="")
        assert joined.roster is not None
        await two.join("lobby", "bob")
        two.link.leave("lobby", "bob")
        await until(lambda: len(one.recorder.rosters) == 3)
        ada, bob = Presence("ada", {"name": "Ada"}), Presence("bob", {"name": "bob"})
        assert [changes for _, _, changes in one.recorder.rosters] == [
            (Change("joined", ada),), (Change("joined", bob),), (Change("left", bob),),
        ]  # fmt: skip
        first = joined.roster.position
        assert [position for _, position, _ in one.recorder.rosters] == [Position(first.epoch, first.offset + n) for n in range(3)]
        assert two.recorder.rosters == []
        roster = await two.link.roster("lobby")
        assert roster == (Position(first.epoch, first.offset + 2), (ada,))
        assert await two.link.roster("nowhere") is None

    two_workers(work)


def test_questions_about_rooms() -> None:
    async def work(hub: Hub, one: Worker, two: Worker) -> None:
        epoch = (await one.join("b", "ada")).epoch
        for number in range(4):
            await one.publish("b", b"%d" % number)
        await two.publish("a", b"x")
        page = await two.link.history("b", Position(epoch, 2), 1, False)
        assert (page.epoch, page.offset, page.first, page.gap, [m.offset for m in page.messages]) == (epoch, 4, 2, False, [3])
        gap = await two.link.history("b", Position("another", 2), 10, False)
        assert gap.gap
        assert gap.latest is not None
        assert [message.offset for message in gap.messages] == [2, 3, 4]
        assert (await two.link.history("nowhere", None, 1, False)).epoch == ""
        presence = await two.link.presence("b", None)
        assert (presence.count, [member.id for member in presence.members]) == (1, ["ada"])
        assert (await two.link.presence("nowhere", 5)).count == 0
        rooms = await two.link.rooms("", 1, None)
        assert ([room.room for room in rooms.rooms], rooms.after) == (["a"], "a")
        rooms = await two.link.rooms("a", 10, ">")
        assert [(room.room, room.offset, room.members, room.held) for room in rooms.rooms] == [("b", 4, 1, 3)]
        standings = await two.link.standings(["a", "b", "nowhere"])
        assert set(standings) == {"a", "b"}
        assert standings["b"].position == Position(epoch, 4)
        assert standings["b"].roster is not None
        assert standings["a"].roster is None
        assert standings["b"].time <= standings["a"].time
        changed = await two.link.changed(">", standings["a"].time, "", 10)
        assert [name for name, _ in changed.rooms] == ["a"]
        await two.link.probe()

    two_workers(work, Limits(history=3, latest=True))


def test_a_held_room_is_told_to_all_workers_until_the_last_holder_lets_go_or_ends() -> None:
    async def work(hub: Hub, one: Worker, two: Worker) -> None:
        for worker, held in ((one, True), (two, True), (one, False)):
            worker.link.hold("lobby", held)
            await worker.link.probe()
        three = await hub.worker(3)
        assert three.recorder.holds == [("lobby", True)]
        assert one.recorder.holds == two.recorder.holds == [("lobby", True)]
        two.client.close()
        await until(lambda: len(one.recorder.holds) == 2)
        assert one.recorder.holds[-1] == ("lobby", False)
        three.client.close()

    two_workers(work)


def test_publishers_go_on_while_the_worker_that_holds_their_room_hangs() -> None:
    async def work(hub: Hub, one: Worker, two: Worker) -> None:
        two.link.hold("lobby", True)
        await until(lambda: one.recorder.holds == [("lobby", True)])
        hub.silent.add(2)
        await until(lambda: one.recorder.holds[-1] == ("lobby", False))
        hub.silent.clear()
        await until(lambda: one.recorder.holds[-1] == ("lobby", True))
        two.link.hold("lobby", False)
        await until(lambda: one.recorder.holds[-1] == ("lobby", False))

    two_workers(work)


def test_when_a_worker_ends_its_members_leave_with_one_notice() -> None:
    async def work(hub: Hub, one: Worker, two: Worker) -> None:
        await one.join("lobby", "ada", watch=True)
        for number in range(20):
            await two.join("lobby", f"bob {number}")
        await two.link.follow_pattern("lobby")
        await until(lambda: len(one.recorder.rosters) == 21)
        written = two.link.publish(two.publication("lobby", b"the last words"))
        two.client.close()
        with pytest.raises(BrokerUnavailable):
            await written
        await until(lambda: len(one.recorder.rosters) == 22)
        assert one.recorder.payloads == [b"the last words"]
        assert [change.kind for change in one.recorder.rosters[-1][2]] == 20 * ["left"]
        assert (await one.link.presence("lobby", None)).count == 1
        order = hub.rooms.order(PATH)
        assert order is not None
        assert order.budget.used < 10_000

    two_workers(work)


def test_without_a_hub_every_question_is_unavailable() -> None:
    async def work(loop: ShiftedLoop) -> None:
        worker = Worker(1, loop, Limits())
        for question in (worker.publish("a", b""), worker.join("a", "ada"), worker.link.probe(), worker.link.roster("a")):
            with pytest.raises(BrokerUnavailable):
                await question
        worker.link.leave("a", "ada")
        assert worker.recorder.events == []
        hub = Hub(loop)
        hub.connect(worker)
        await until(lambda: worker.recorder.events == ["restored"])
        await worker.link.probe()
        hub.close(worker)

    run(work)


def test_a_new_hub_is_told_the_members_patterns_and_holds_that_there_are() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        one = await hub.worker(1)
        before = await one.join("lobby", "ada", watch=True)
        hub.close()
        await until(lambda: one.recorder.events == ["restored", "lost"])
        one.recorder.declare("lobby", "ada", *(f"bob {number}" for number in range(2500)), watch=True, held=True)
        one.recorder.declare("empty")
        one.recorder.followed_patterns.append("prices.*")
        hub = Hub(loop, b"hub-two-")
        two = await hub.worker(2)
        hub.connect(one)
        await until(lambda: one.recorder.events == ["restored", "lost", "restored"])
        assert (await two.link.presence("lobby", 0)).count == 2501
        assert ("lobby", True) in one.recorder.holds
        for room in ("lobby", "empty", "prices.eur"):
            answer = await two.publish(room, room.encode())
            assert answer.epoch != before.epoch
        assert one.recorder.payloads == [b"lobby", b"empty", b"prices.eur"]
        await two.join("lobby", "cy")
        await until(lambda: one.recorder.rosters[-1][2][0].who.id == "cy")
        hub.close(one, two)

    run(work)


def test_a_link_that_is_cut_declares_anew_and_others_notice_only_the_difference() -> None:
    async def work(hub: Hub, one: Worker, two: Worker) -> None:
        await one.join("lobby", "ada", watch=True)
        for name in ("bob", "cy"):
            await two.join("lobby", name)
        position = Position((await one.publish("lobby", b"1")).epoch, 1)
        under_way = two.link.publish(two.publication("lobby", b"2", number=50))
        two.recorder.declare("lobby", "bob", "dan")
        two.link.cut("it was silent")
        two.link.cut("again")
        with pytest.raises(BrokerUnavailable):
            await under_way
        await until(lambda: two.recorder.events == ["restored", "lost", "restored"])
        again = await two.publish("lobby", b"2", number=50)
        assert (again.epoch, again.offset) == (position.epoch, 2)
        await until(lambda: len(one.recorder.rosters) == 5)
        told = [(change.kind, change.who.id) for _, _, changes in one.recorder.rosters[3:] for change in changes]
        assert told == [("joined", "dan"), ("left", "cy")]
        assert one.recorder.payloads == [b"1", b"2"]
        assert one.recorder.events == ["restored"]
        await one.publish("lobby", b"3")
        await until(lambda: two.recorder.payloads[-1:] == [b"3"])

    two_workers(work)


def test_a_link_that_is_lost_while_it_declares_begins_again_with_the_next_hub() -> None:
    async def work(loop: ShiftedLoop) -> None:
        worker = Worker(1, loop, Limits())
        worker.recorder.declare("lobby", *(f"m{number}" for number in range(3000)))
        hub = Hub(loop)
        hub.connect(worker)
        await until(lambda: worker.links.mounts.by_number)
        hub.close()
        await asyncio.sleep(0)
        assert worker.recorder.events == []
        hub = Hub(loop, b"hub-two-")
        hub.connect(worker)
        await until(lambda: worker.recorder.events == ["restored"])
        assert (await worker.link.presence("lobby", 0)).count == 3000
        hub.close(worker)

    run(work)


def test_a_closed_link_takes_its_members_along_and_hears_no_more() -> None:
    async def work(hub: Hub, one: Worker, two: Worker) -> None:
        await one.join("lobby", "ada")
        await two.join("lobby", "bob")
        one.link.close()
        one.link.close()
        assert [member.id for member in (await two.link.presence("lobby", None)).members] in (["ada", "bob"], ["bob"])
        await until(lambda: PATH and one.client.is_there)
        await two.publish("lobby", b"1")
        assert [member.id for member in (await two.link.presence("lobby", None)).members] == ["bob"]
        assert one.recorder.messages == []
        with pytest.raises(BrokerUnavailable):
            await one.link.probe()

    two_workers(work)
