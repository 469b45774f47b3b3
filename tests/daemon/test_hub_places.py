"""daemon/hub_places.py with hub/shared.py: no limit is passed over all workers, and no place is lost, whatever happens to the links."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any, Self

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.fakes import Loop
from tests.support.hub_links import FakeHub, FakeLink
from tests.support.lines import Lines
from wsdaemon.daemon.hub_places import MAX_AWAY_SECONDS, PATIENCE_SECONDS, HubPlace, HubPlaces
from wsdaemon.edge.shared import FULL, SharedLimit, SharedRate
from wsdaemon.hub import shared
from wsdaemon.hub.client import HubAway
from wsdaemon.hub.shared import GATHERING_SECONDS, SharedCounts

MOST = {b"all": 4, b"mount": 3, b"ada": 1}
WORKERS = 3
LIMITS = {"all": (b"all",), "mount": (b"all", b"mount"), "ada": (b"all", b"mount", b"ada")}


def limits_of(names: tuple[bytes, ...]) -> list[SharedLimit]:
    return [SharedLimit(name, MOST[name], FULL if name != b"ada" else "user_connections") for name in names]


class Client:
    """A client that asks for a place, and the naive view of it: it is in as soon as its answer says so, until it leaves."""

    def __init__(self, worker: Worker, names: tuple[bytes, ...]) -> None:
        self.names = names
        self.request: HubPlace = worker.places.ask(limits_of(names), [], 5.0)
        self.gone = False

    @property
    def is_in(self) -> bool:
        answer = self.request.answer
        return not self.gone and answer.done() and not answer.cancelled() and answer.result() is None


class Worker:
    def __init__(self, loop: Loop, max_away: float) -> None:
        self.link = FakeLink(loop)
        self.places = HubPlaces(self.link, loop, loop.time, Lines(), max_away)
        self.clients: list[Client] = []


class Everything(RuleBasedStateMachine):
    """Workers ask, clients vanish and leave, workers end, links are cut and begin anew, and hubs are replaced, in any order."""

    max_away = MAX_AWAY_SECONDS

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        self.loop.__enter__()
        self.workers = [Worker(self.loop, self.max_away) for _ in range(WORKERS)]
        self.limits: SharedCounts | None = None
        self.replace_hub()

    def teardown(self) -> None:
        self.settle()
        for worker in self.workers:
            for client in list(worker.clients):
                self.leave(worker, client)
        self.settle()
        assert self.limits is not None
        assert len(self.limits.places) == self.limits.places.names == 0, "a place has leaked"
        assert [len(worker.places) for worker in self.workers] == [0] * WORKERS
        assert not self.loop.problems
        self.limits.close()
        self.loop.__exit__()

    @property
    def clients(self) -> list[Client]:
        return [client for worker in self.workers for client in worker.clients]

    def leave(self, worker: Worker, client: Client) -> None:
        worker.clients.remove(client)
        client.request.answer.cancel()  # as an arrival does whose client is gone
        client.request.leave()
        client.gone = True

    def settle(self) -> None:
        """Let everything arrive, and let the time pass that a new hub waits for workers that declare nothing."""
        for _ in range(2):
            moved = True
            while moved:
                moved = sum(worker.link.pump_to_hub() or worker.link.pump_to_worker() for worker in self.workers) > 0
                self.loop.settle()
            self.loop.advance(GATHERING_SECONDS + 0.1)

    # -- what may happen

    @rule(worker=st.integers(0, WORKERS - 1), limits=st.sampled_from(sorted(LIMITS)))
    def ask(self, worker: int, limits: str) -> None:
        one = self.workers[worker]
        one.clients.append(Client(one, LIMITS[limits]))

    @precondition(lambda self: any(worker.clients for worker in self.workers))
    @rule(data=st.data())
    def vanish_or_leave(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from([worker for worker in self.workers if worker.clients]))
        self.leave(worker, data.draw(st.sampled_from(worker.clients)))

    @rule(worker=st.integers(0, WORKERS - 1), count=st.integers(1, 4))
    def frames_reach_the_hub(self, worker: int, count: int) -> None:
        for _ in range(count):
            self.workers[worker].link.pump_to_hub()
        self.loop.settle()

    @rule(worker=st.integers(0, WORKERS - 1), count=st.integers(1, 4))
    def frames_reach_the_worker(self, worker: int, count: int) -> None:
        for _ in range(count):
            self.workers[worker].link.pump_to_worker()
        self.loop.settle()

    @rule(worker=st.integers(0, WORKERS - 1))
    def a_worker_is_too_slow(self, worker: int) -> None:
        self.workers[worker].link.slow()

    @rule(worker=st.integers(0, WORKERS - 1))
    def a_worker_is_killed(self, worker: int) -> None:
        """Its clients are gone with it. Another takes its place."""
        for client in self.workers[worker].clients:
            client.gone = True
        hub = self.workers[worker].link.hub
        self.workers[worker].link.cut()
        self.workers[worker] = Worker(self.loop, self.max_away)
        if hub is not None:
            self.workers[worker].link.attach(hub)

    @rule()
    def replace_hub(self) -> None:
        if self.limits is not None:
            self.limits.close()
        hub = FakeHub(self.loop)
        for worker in self.workers:
            worker.link.cut()
        self.loop.settle()
        self.limits = SharedCounts(hub.server, WORKERS)
        for worker in self.workers:
            worker.link.attach(hub)

    @rule()
    def all_is_quiet(self) -> None:
        """The hub counts exactly the clients that are in, and every question has its answer."""
        self.settle()
        assert self.limits is not None
        counts = Counter(name for client in self.clients if client.is_in for name in client.names)
        assert {name: self.limits.places.count(name) for name in MOST} == {name: counts[name] for name in MOST}
        assert all(client.request.answer.done() for client in self.clients)
        for worker in self.workers:
            worker.clients = [client for client in worker.clients if client.is_in]


class InTime(Everything):
    """No worker decides alone, and a new hub hears of all places before its patience ends: then no limit is ever passed."""

    max_away = PATIENCE_SECONDS - 0.1

    @invariant()
    def no_limit_is_passed(self) -> None:
        counts = Counter(name for client in self.clients if client.is_in for name in client.names)
        assert all(counts[name] <= most for name, most in MOST.items())


class Late(Everything):
    """Workers decide alone while there is no hub, and a hub begins without those that declare too late. Still no place is lost."""

    @rule(seconds=st.sampled_from([0.1, GATHERING_SECONDS, MAX_AWAY_SECONDS + 1]))
    def time_passes(self, seconds: float) -> None:
        self.loop.advance(seconds)

    @rule()
    def a_hub_is_gone(self) -> None:
        """And no other is there yet."""
        for worker in self.workers:
            worker.link.cut()
        self.loop.settle()

    def settle(self) -> None:
        if all(worker.link.hub is None for worker in self.workers):
            self.replace_hub()
        super().settle()


SETTINGS = settings(stateful_step_count=40, max_examples=50, deadline=None)
TestInTime: Any = InTime.TestCase
TestInTime.settings = SETTINGS
TestLate: Any = Late.TestCase
TestLate.settings = SETTINGS


# -- one after the other


class Two:
    """A hub and two workers."""

    def __init__(self, loop: Loop, declared: bool = True) -> None:
        self.loop = loop
        self.lines = Lines()
        self.one, self.other = FakeLink(loop), FakeLink(loop)
        self.mine = HubPlaces(self.one, loop, loop.time, self.lines)
        self.theirs = HubPlaces(self.other, loop, loop.time, Lines())
        self.new_hub()
        if declared:
            self.pump()

    def new_hub(self) -> None:
        hub = FakeHub(self.loop)
        self.limits = SharedCounts(hub.server, 2)
        self.one.attach(hub)
        self.other.attach(hub)

    def pump(self, *links: FakeLink) -> None:
        while sum(link.pump_to_hub() or link.pump_to_worker() for link in links or (self.one, self.other)):
            self.loop.settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.limits.close()


@pytest.fixture
def two() -> Iterator[Two]:
    with Loop() as loop, Two(loop) as made:
        yield made


def answered(place: HubPlace) -> tuple[int, str] | None:
    """The refusal; None: the place is taken."""
    refused = place.answer.result()
    return None if refused is None else (refused.status, refused.reason)


ADA = limits_of(LIMITS["ada"])


def test_a_limit_holds_over_both_workers(two: Two) -> None:
    first, second = two.mine.ask(ADA, [], 5.0), two.theirs.ask(ADA, [], 7.0)
    two.pump()
    assert answered(first) is None
    assert answered(second) == (429, "user_connections")
    refused = second.answer.result()
    assert refused is not None and refused.headers == (("Retry-After", "7"),)
    second.leave()  # as every arrival does that was refused
    first.leave()
    third = two.theirs.ask(ADA, [], 5.0)
    two.pump()
    assert answered(third) is None


def test_what_is_full_is_503_and_a_rate_429(two: Two) -> None:
    full = two.mine.ask([SharedLimit(b"all", 0, FULL)], [], 5.0)
    two.pump()
    rates = [SharedRate(b"listener:web", b"192.0.2.7", 0.001, 1.0)]
    asked = [places.ask([], rates, 5.0) for places in (two.mine, two.theirs)]
    two.pump()
    assert answered(full) == (503, "max_connections")
    assert [answered(place) for place in asked] == [None, (429, "address_rate")]


def test_a_client_that_vanished_before_its_grant_has_no_place(two: Two) -> None:
    """The leave follows the question, so the hub frees the place as soon as it has granted it."""
    place = two.mine.ask(ADA, [], 5.0)
    two.one.pump_to_hub()
    assert two.limits.places.count(b"ada") == 1, "the grant is under way"
    place.answer.cancel()
    place.leave()
    two.pump()
    assert two.limits.places.count(b"ada") == 0
    assert len(two.mine) == 0


def test_a_new_hub_answers_when_it_knows_all_places(two: Two) -> None:
    """Or it would give away a place that another worker's client has."""
    held = two.theirs.ask(ADA, [], 5.0)
    two.pump()
    two.new_hub()
    two.loop.settle()
    two.pump(two.one)
    late = two.mine.ask(ADA, [], 5.0)
    two.pump(two.one)
    assert not late.answer.done()
    two.pump()
    assert answered(held) is None
    assert answered(late) == (429, "user_connections")


def test_a_new_hub_waits_no_longer_than_a_second_for_a_worker_that_hangs() -> None:
    with Loop() as loop, Two(loop, declared=False) as two:
        two.pump(two.one)
        place = two.mine.ask(ADA, [], 5.0)
        two.pump(two.one)
        loop.advance(GATHERING_SECONDS - 0.1)
        two.pump(two.one)
        assert not place.answer.done()
        loop.advance(0.2)
        two.pump(two.one)
        assert answered(place) is None


def test_a_worker_that_ends_while_the_hub_waits_leaves_nothing() -> None:
    with Loop() as loop, Two(loop, declared=False) as two:
        two.pump(two.one)
        two.mine.ask(ADA, [], 5.0)
        two.pump(two.one)
        two.one.cut()
        two.pump()
        loop.advance(GATHERING_SECONDS)
        assert len(two.limits.places) == 0


def test_what_waits_for_a_new_hub_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MAX_WAITING", 1)
    with Loop() as loop, Two(loop, declared=False) as two:
        two.pump(two.one)
        one, other = two.mine.ask(ADA, [], 5.0), two.mine.ask(ADA, [], 5.0)
        two.pump(two.one)
        assert not one.answer.done()
        assert answered(other) == (503, "hub_away")
        assert len(two.mine) == 1


def test_a_worker_that_begins_anew_keeps_its_places_meanwhile(two: Two) -> None:
    two.mine.ask(ADA, [], 5.0)
    two.pump()
    two.one.slow()
    two.one.pump_to_worker()
    two.one.pump_to_hub()
    other = two.theirs.ask(ADA, [], 5.0)
    two.pump()
    assert answered(other) == (429, "user_connections")
    assert two.limits.places.count(b"ada") == 1


def test_a_hub_that_is_replaced_at_once_admits_no_client_above_a_limit(two: Two) -> None:
    """Clients wait for it, up to a second."""
    kept = two.theirs.ask(ADA, [], 5.0)
    two.pump()
    two.one.cut()
    two.other.cut()
    late = two.mine.ask(ADA, [], 5.0)
    two.loop.advance(PATIENCE_SECONDS - 0.1)
    assert not late.answer.done()
    two.new_hub()
    two.pump()
    assert answered(kept) is None
    assert answered(late) == (429, "user_connections")
    assert two.lines.all == []


def test_while_the_hub_is_away_own_counts_decide_for_five_seconds(two: Two) -> None:
    two.one.cut()
    kept = [two.mine.ask(ADA, [], 5.0), two.mine.ask(ADA, [], 5.0)]
    two.loop.advance(PATIENCE_SECONDS)
    assert [answered(place) for place in kept] == [None, None], "the listener has asked its own counts before"
    two.loop.advance(MAX_AWAY_SECONDS - 2 * PATIENCE_SECONDS - 0.1)
    late = two.mine.ask(ADA, [], 5.0)
    two.loop.advance(PATIENCE_SECONDS)
    assert answered(late) is None
    two.loop.advance(0.2)
    assert answered(two.mine.ask(ADA, [], 5.0)) == (503, "hub_away")
    assert answered(two.mine.ask(ADA, [], 5.0)) == (503, "hub_away")
    assert [level for level, _ in two.lines.all] == ["warn", "error"]
    two.new_hub()
    two.pump()
    assert two.lines.all[-1] == ("info", "the hub is back: limits hold over all workers again")
    assert two.limits.places.count(b"ada") == 3


def test_a_hub_that_hangs_is_away_too(two: Two) -> None:
    first = two.theirs.ask(ADA, [], 5.0)
    two.pump()
    second = two.mine.ask(ADA, [], 5.0)
    two.loop.advance(PATIENCE_SECONDS)
    assert answered(second) is None
    two.loop.advance(MAX_AWAY_SECONDS)
    third = two.mine.ask(ADA, [], 5.0)
    assert answered(third) == (503, "hub_away")
    two.pump()
    assert answered(first) is None
    assert two.limits.places.count(b"ada") == 2, "the hub has refused what this worker decided alone, and counts it all the same"
    fourth = two.mine.ask(ADA, [], 5.0)
    two.pump()
    assert answered(fourth) == (429, "user_connections")


def test_too_many_questions_are_no_endless_loop(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(kind: int, body: bytes, read: object) -> asyncio.Future[int]:
        future: asyncio.Future[int] = two.loop.create_future()
        future.set_exception(HubAway("65536 questions wait for the hub"))
        return future

    monkeypatch.setattr(two.one, "ask", full)
    place = two.mine.ask(ADA, [], 5.0)
    two.loop.settle()
    assert not place.answer.done()
    two.loop.advance(PATIENCE_SECONDS)
    assert answered(place) is None


def test_a_question_that_a_hub_took_with_it_is_asked_again(two: Two) -> None:
    place = two.mine.ask(ADA, [], 5.0)
    two.one.pump_to_hub()
    two.new_hub()
    two.loop.settle()
    two.pump()
    assert answered(place) is None
    assert two.limits.places.count(b"ada") == 1


def test_a_place_moves_from_one_worker_to_another_though_its_limit_is_reached() -> None:
    with Loop() as loop:
        hub = FakeHub(loop)
        counts = SharedCounts(hub.server, 2)
        old, new = Worker(loop, MAX_AWAY_SECONDS), Worker(loop, MAX_AWAY_SECONDS)

        def pump() -> None:
            while any(each.link.pump_to_hub() or each.link.pump_to_worker() for each in (old, new)):
                loop.settle()

        for worker in (old, new):
            worker.link.attach(hub)
        pump()
        ada = Client(old, LIMITS["ada"])
        pump()
        assert ada.is_in
        moved = new.places.move(limits_of(LIMITS["ada"]))
        assert moved.answer.result() is None
        ada.request.leave()
        pump()
        assert (counts.places.count(b"ada"), len(old.places), len(new.places)) == (1, 0, 1)
        new.link.attach(hub)  # it declares the place with all others
        pump()
        assert counts.places.count(b"ada") == 1
        moved.leave()
        pump()
        assert counts.places.count(b"ada") == 0
        counts.close()
