"""The shared page, and the rule by which workers share new connections."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator

import pytest

from tests.support.lines import Lines
from wsdaemon.daemon import heartbeats
from wsdaemon.daemon.heartbeats import HOLD_SECONDS, LIVE_SECONDS, Band, Heart, Heartbeats, Slot, SlotState


class Clock:
    """Monotonic time that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic_ns(self) -> int:
        return int(self.now * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(heartbeats, "time", clock)
    return clock


@pytest.fixture
def page(clock: Clock) -> Iterator[int]:
    descriptor = Heartbeats.make(4)
    yield descriptor
    os.close(descriptor)


def serving(page: Heartbeats, *counts: int) -> None:
    for number, count in enumerate(counts, start=1):
        slot = page.worker(number)
        slot.begin(SlotState.SERVING, 1)
        slot.connections = count


def test_all_processes_see_the_same_page(page: int) -> None:
    ours, theirs = Heartbeats(page), Heartbeats(page)
    ours.worker(4).begin(SlotState.COMING, 3)
    ours.worker(4).own(77)
    slot = theirs.worker(4)
    assert (slot.state, slot.generation, slot.process, slot.heartbeat, slot.connections) == (SlotState.COMING, 3, 77, 1000.0, 0)
    assert theirs.hub.state is SlotState.EMPTY


def test_the_page_has_room_for_all_workers() -> None:
    descriptor = Heartbeats.make(256)
    try:
        assert isinstance(Heartbeats(descriptor).worker(256), Slot)
    finally:
        os.close(descriptor)


def test_a_process_is_live_while_its_loop_turns(page: int, clock: Clock) -> None:
    slot = Heartbeats(page).worker(1)
    slot.begin(SlotState.COMING, 1)
    assert not slot.live, "it is not ready"
    slot.state = SlotState.READY
    assert slot.live
    clock.now += LIVE_SECONDS + 0.1
    assert not slot.live
    slot.beat()
    assert slot.live


def test_the_heart_beats_on_the_loop_and_tells_the_connections(page: int) -> None:
    async def main() -> None:
        slot = Heartbeats(page).worker(1)
        slot.begin(SlotState.READY, 1)
        heart = Heart(slot, asyncio.get_running_loop())
        heart.count = lambda: 5
        heart.start()
        assert (slot.heartbeat, slot.connections) == (1000.0, 5)
        heart.stop()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("own", "others", "accepts"),
    [
        (0, (), True),
        (500, (), True),
        (4, (0,), True),
        (5, (0,), False),
        (105, (100, 100), True),
        (106, (100, 100), False),
        (1060, (1010, 1000), False),
        (1050, (1010, 1000), True),
    ],
)
def test_a_worker_that_is_ahead_leaves_new_connections_to_others(page: int, own: int, others: tuple[int, ...], accepts: bool) -> None:
    shared = Heartbeats(page)
    serving(shared, own, *others)
    assert Band(shared, 1, lambda: own).may_accept() is accepts


def test_a_worker_that_hangs_holds_no_other_back(page: int, clock: Clock) -> None:
    shared = Heartbeats(page)
    serving(shared, 100, 0)
    band = Band(shared, 1, lambda: 100)
    assert not band.may_accept()
    clock.now += LIVE_SECONDS + 0.1
    assert band.may_accept()


def test_workers_leave_new_connections_to_one_that_is_replaced_but_not_for_long(page: int, clock: Clock) -> None:
    shared = Heartbeats(page)
    serving(shared, 100, 100)
    band = Band(shared, 1, lambda: 100)
    coming = shared.worker(2)
    coming.begin(SlotState.COMING, 1, hold=True)
    assert not band.may_accept()
    coming.own(7)
    clock.now += HOLD_SECONDS + 0.1
    coming.beat()
    assert band.may_accept(), "its app takes long to start"
    coming.become_ready()
    assert not band.may_accept(), "it is about to accept"
    clock.now += HOLD_SECONDS + 0.1
    coming.beat()
    assert band.may_accept()


def test_a_worker_that_starts_again_and_again_holds_no_other_back(page: int) -> None:
    shared = Heartbeats(page)
    serving(shared, 100, 100)
    shared.worker(2).begin(SlotState.COMING, 1)
    assert Band(shared, 1, lambda: 100).may_accept()


class Room:
    """The descriptors of a worker."""

    def __init__(self) -> None:
        self.left = True

    def __call__(self) -> bool:
        return self.left


def test_a_worker_without_descriptors_leaves_new_connections_to_others_until_it_has_some(page: int) -> None:
    shared = Heartbeats(page)
    serving(shared, 0, 100)
    room, log = Room(), Lines()
    full = Band(shared, 1, lambda: 0, room, log)
    other = Band(shared, 2, lambda: 100, lambda: True)
    assert not other.may_accept()
    room.left = False
    assert not full.may_accept()
    assert other.may_accept(), "the worker with the fewest connections takes none"
    for left in [True, False] * 100:
        room.left = left
        assert full.may_accept() is left
        assert other.may_accept() is not left
    assert len(log.lines) == 1 and "open files" in log.lines[0], "once a minute"


def test_if_no_worker_has_descriptors_each_accepts_and_refuses(page: int, clock: Clock) -> None:
    shared = Heartbeats(page)
    serving(shared, 10, 100)
    bands = [Band(shared, number, lambda: 10, lambda: False) for number in (1, 2)]
    assert not bands[0].may_accept(), "nothing is known of the other yet"
    assert bands[1].may_accept()
    assert bands[0].may_accept()


def test_a_full_worker_accepts_and_refuses_if_the_other_hangs(page: int, clock: Clock) -> None:
    shared = Heartbeats(page)
    serving(shared, 10, 0)
    band = Band(shared, 1, lambda: 10, lambda: False)
    assert not band.may_accept()
    clock.now += LIVE_SECONDS + 0.1
    assert band.may_accept()


def test_a_new_process_of_a_full_worker_is_not_full(page: int) -> None:
    slot = Heartbeats(page).worker(1)
    slot.begin(SlotState.SERVING, 1)
    slot.full = True
    assert not slot.shares
    slot.begin(SlotState.SERVING, 1)
    assert slot.shares


@pytest.mark.parametrize("workers", [2, 4])
def test_a_thousand_connections_are_shared_evenly_also_after_a_worker_was_replaced(page: int, workers: int) -> None:
    shared = Heartbeats(page)
    counts = [0] * workers
    bands = [Band(shared, number + 1, lambda number=number: counts[number]) for number in range(workers)]  # type: ignore[misc]
    serving(shared, *counts)
    draw = random.Random(7)

    def connect(count: int) -> None:
        for _ in range(count):
            # The same worker wakes first nearly every time, as with epoll.
            order = sorted(range(workers), key=lambda number: number + (draw.random() < 0.05) * 9)
            number = next(number for number in order if bands[number].may_accept())
            counts[number] += 1
            bands[number].accepted()

    connect(1000)
    assert max(counts) / (1000 / workers) <= 1.05
    lost, counts[0] = counts[0], 0
    shared.worker(1).begin(SlotState.SERVING, 1)
    connect(lost)
    assert max(counts) / (1000 / workers) <= 1.05
