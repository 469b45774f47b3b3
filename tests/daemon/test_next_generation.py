"""daemon/next_generation.py: as a whole or not at all, with children that are no processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent

from tests.support.fakes import Loop
from tests.support.supervised import House, settings
from wsdaemon.daemon.child_watch import LOOK_SECONDS
from wsdaemon.daemon.coming import SWITCH_SECONDS
from wsdaemon.daemon.heartbeats import SlotState
from wsdaemon.daemon.inheritance import Heritage, InheritedLog, Plan
from wsdaemon.daemon.next_generation import NextGeneration
from wsdaemon.daemon.parts import State
from wsdaemon.daemon.signals import Signals
from wsdaemon.ops.control import BUSY


class Upgraded(House):
    """A supervisor in the second half of an upgrade."""

    def begin(self, folder: Path) -> None:
        self.start()
        self.answers: list[Mapping[str, Any]] = []
        self.old = self.started[:]
        heritage = Heritage(text="new", directory=folder, log=InheritedLog(destination="stdout", prefix=""))
        plan = Plan(settings(folder, worker_timeout="20s"), heritage, {})
        self.supervisor.upgrade_by(NextGeneration(self.supervisor, plan, self.answers.append).run())
        self.loop.settle()
        self.new = self.started[3:]

    def new_is_ready(self, *numbers: int) -> None:
        assert self.supervisor._coming is not None
        generation = self.supervisor._coming.generation
        for number in numbers:
            child: Any = self.new[number]
            generation.heartbeats.slots[number].state = SlotState.READY
            self.supervisor._received(generation, child, {"kind": "ready"}, ())
            self.loop.settle()

    def order_changes(self, reason: str = "") -> None:
        """Both hubs say what has become of the order."""
        assert self.old[0].channel.sent[-1] == "switch"
        coming = self.supervisor._coming
        assert coming is not None
        new, old = self.supervisor._received, self.supervisor.generation
        self.supervisor._received(old, self.old[0], {"kind": "succession", "owner": bool(reason), "reason": reason}, ())  # type: ignore[arg-type]
        if not reason:
            new(coming.generation, self.new[0], {"kind": "succession", "owner": True, "reason": ""}, ())  # type: ignore[arg-type]
        self.loop.settle()

    def end(self, *children: Any) -> None:
        for child in children:
            child.process.returncode = 0
        self.loop.advance(LOOK_SECONDS)


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    with Loop() as loop:
        house = Upgraded(loop, monkeypatch, tmp_path)
        house.supervisor.open()
        house.begin(tmp_path)
        yield house
        house.supervisor.close()
        house.notified.close()


def test_the_new_generation_begins_with_new_settings_on_the_same_sockets(house: Upgraded) -> None:
    assert [child.name for child in house.new] == ["hub", "worker 1", "worker 2"]
    assert {child.manifest.generation for child in house.new} == {2} and {child.manifest.settings for child in house.new} == {"new"}
    old, new = house.old[1].manifest.descriptors, house.new[1].manifest.descriptors
    assert new["listener:web"] == old["listener:web"] and new["heartbeats"] != old["heartbeats"]


def test_nothing_changes_until_all_are_ready(house: Upgraded) -> None:
    house.new_is_ready(0, 1)
    assert house.supervisor.generation.number == 1 and not house.answers
    assert all("retire" not in child.channel.sent for child in house.old)
    assert not house.new[1].channel.sent, "it does not accept yet"


def test_then_the_new_one_serves_and_the_former_drains_and_ends(house: Upgraded) -> None:
    house.new_is_ready(0, 1, 2)
    assert house.supervisor.generation.number == 1, "the former hub has the order of the rooms"
    house.order_changes()
    assert house.supervisor.generation.number == 2
    assert [child.channel.sent[-1:] for child in house.new] == [["worker"], ["take"], ["take"]]
    assert [child.channel.sent[-2] for child in house.new[1:]] == ["serve", "serve"], "first they serve"
    assert [child.channel.passed.get("take", child.channel.passed.get("retire")) for child in house.old[1:] + house.new[1:]] == [1] * 4
    assert [child.channel.sent[-2:] for child in house.old] == [["successor", "switch"], ["hub", "retire"], ["hub", "retire"]]
    assert house.answers == [{"status": 0, "problems": [], "generation": 2, "connections": 0}]
    house.end(house.old[1])
    assert house.old[0].channel.sent[-1] == "switch", "the hub serves the last worker"
    house.end(house.old[2])
    assert house.old[0].channel.sent[-1] == "stop"
    with capturedLogs() as events:
        house.end(house.old[0])
    assert "generation 1 has ended: 0 connections went along, and 0 were drained, without those of worker 1, worker 2" in told(events)
    assert house.supervisor._former is None and len(house.started) == 6, "none of the former is started again"
    assert house.supervisor.state is State.READY


def told(events: Sequence[dict[str, Any]]) -> list[str | None]:
    return [formatEvent(event) for event in events]


def test_what_the_former_workers_tell_about_their_connections_is_one_line_at_the_end(house: Upgraded) -> None:
    house.new_is_ready(0, 1, 2)
    house.order_changes()
    former: Any = house.supervisor._former
    for child, went, stayed in ((house.old[1], 40, 2), (house.old[2], 38, 1)):
        house.supervisor._received(former, child, {"kind": "given", "went": went, "stayed": stayed}, ())  # type: ignore[arg-type]
    with capturedLogs() as events:
        house.end(*house.old[1:])
        house.end(house.old[0])
    assert "generation 1 has ended: 78 connections went along, and 3 were drained" in told(events)


def test_a_daemon_that_was_drained_hands_nothing_over(house: Upgraded) -> None:
    house.supervisor.drain()
    house.new_is_ready(0, 1, 2)
    house.order_changes()
    assert [(child.channel.sent[-1], child.channel.passed["retire"]) for child in house.old[1:]] == [("retire", 0)] * 2
    assert all("take" not in child.channel.sent for child in house.new)


def test_the_new_hub_inherits_the_way_to_the_former_one(house: Upgraded) -> None:
    named = house.new[0].manifest.descriptors
    assert "predecessor" in named and named["former heartbeats"] == house.old[0].manifest.descriptors["heartbeats"]


def test_a_hub_that_keeps_the_order_ends_the_upgrade(house: Upgraded) -> None:
    house.new_is_ready(0, 1, 2)
    house.order_changes("the switch has taken longer than 0.5 s")
    house.loop.advance(LOOK_SECONDS)
    assert house.supervisor.generation.number == 1 and house.answers[0]["status"] == 1
    assert house.answers[0]["problems"] == ["the new hub has not taken over the rooms: the switch has taken longer than 0.5 s"]
    assert all("retire" not in each.channel.sent for each in house.old)


def test_hubs_that_say_nothing_end_the_upgrade(house: Upgraded) -> None:
    house.new_is_ready(0, 1, 2)
    for _ in range(int(SWITCH_SECONDS / LOOK_SECONDS) + 2):
        for slot in (*house.supervisor.generation.heartbeats.slots[:3], *house.supervisor._generations[0].heartbeats.slots[:3]):
            slot.beat()
        house.loop.advance(LOOK_SECONDS)
    assert house.answers[0]["status"] == 1 and "not switched within 30 s" in house.answers[0]["problems"][0]


def test_both_generations_are_shown_while_the_former_drains(house: Upgraded) -> None:
    house.supervisor._gathering._last[1] = b"[]"
    house.new_is_ready(0, 1, 2)
    house.order_changes()
    assert sorted(each.number for each in house.supervisor._colleagues()) == [1, 2, 1001, 1002]
    assert list(house.supervisor._gathering._last) == [1001]
    house.end(house.old[1])
    assert not house.supervisor._gathering._last, "its counts are in the sum of the ended"


def test_a_child_that_does_not_start_ends_the_new_generation_as_a_whole(house: Upgraded) -> None:
    house.new_is_ready(0, 1)
    generation = house.supervisor._coming.generation  # type: ignore[union-attr]
    child: Any = house.new[2]
    with capturedLogs() as events:
        house.supervisor._received(generation, child, {"kind": "failed", "reason": "no database\nTraceback"}, ())
        child.process.returncode = 1
        house.loop.advance(LOOK_SECONDS)
        house.loop.advance(LOOK_SECONDS)
    lines = [formatEvent(event) for event in events if "upgrade failed" in formatEvent(event)]
    assert lines == ["the upgrade failed, and generation 1 goes on as before: worker 2 did not start: no database"]
    assert house.answers == [{"status": 1, "problems": ["worker 2 did not start: no database\nTraceback"]}]
    assert all(each.process.returncode is not None for each in house.new) and len(house.started) == 6
    assert house.supervisor.generation.number == 1 and house.supervisor.state is State.READY
    assert [each.channel.sent for each in house.old] == [["successor", "keep"], ["serve"], ["serve"]] and house.failures == []
    house.end(house.old[1])
    assert house.latest(1).manifest.settings == "", "and a worker that ends is started again, with the settings of before"


def test_sigterm_wins_over_an_upgrade(house: Upgraded) -> None:
    house.new_is_ready(0, 1)
    task = house.run(house.supervisor.stop())
    house.loop.advance(LOOK_SECONDS)
    assert all(each.process.returncode == -9 for each in house.new), "those that never served are killed"
    house.loop.advance(LOOK_SECONDS)
    assert [child.channel.sent[-1:] for child in house.old] == [["keep"], ["stop"], ["stop"]]
    house.end(house.old[1], house.old[2])
    house.end(house.old[0])
    assert task.done() and house.supervisor.state is State.STOPPED


def test_sigterm_while_the_former_drains_ends_both(house: Upgraded) -> None:
    house.new_is_ready(0, 1, 2)
    house.order_changes()
    task = house.run(house.supervisor.stop())
    assert [each.channel.sent[-1:] for each in (*house.old[1:], *house.new[1:])] == [["stop"]] * 4
    house.end(*house.old[1:], *house.new[1:])
    house.end(house.old[0], house.new[0])
    assert task.done() and house.supervisor.state is State.STOPPED


def failed(house: Upgraded) -> str:
    """The only problem of the upgrade, which was taken back."""
    house.loop.advance(LOOK_SECONDS)
    house.loop.advance(LOOK_SECONDS)
    [answer] = house.answers
    assert answer["status"] == 1 and house.supervisor.generation.number == 1 and house.supervisor._coming is None
    assert not house.failures and house.supervisor.state is State.READY, "the daemon goes on"
    [problem] = answer["problems"]
    return str(problem)


def test_other_operations_are_refused_until_the_former_has_ended(house: Upgraded) -> None:
    def ask(command: str) -> Any:
        return house.run(house.supervisor.operations.run(command, {}, lambda line: None)).result()

    assert ask("drain") == {"status": BUSY, "problems": ["busy: upgrade is under way"]}
    house.new_is_ready(0, 1, 2)
    house.order_changes()
    assert ask("resume")["status"] == BUSY
    house.end(house.old[1], house.old[2])
    house.end(house.old[0])
    assert ask("resume")["status"] == 0


def test_sigusr2_that_is_refused_is_logged(house: Upgraded) -> None:
    signals = Signals()

    async def reexecute(arguments: Mapping[str, Any], say: Any) -> Mapping[str, Any]:
        pytest.fail("an upgrade is under way")

    house.supervisor.allow_upgrades(reexecute, signals)
    assert signals.upgrade is not None
    with capturedLogs() as events:
        signals.upgrade()
        house.loop.settle()
    assert [formatEvent(event) for event in events] == ["SIGUSR2: busy: upgrade is under way"]


@pytest.mark.parametrize("number", [0, 1])
def test_a_child_that_ends_after_it_was_ready_ends_the_upgrade(house: Upgraded, number: int) -> None:
    house.new_is_ready(0, 1)
    house.new[number].process.returncode = 1
    assert failed(house) == f"{house.new[number].name} was ready, and then ended with status 1"
    assert len(house.started) == 6, "it is not started again"


def test_a_child_that_ends_during_the_switch_ends_the_upgrade(house: Upgraded) -> None:
    house.new_is_ready(0, 1, 2)
    house.new[2].process.returncode = 1
    assert "worker 2 was ready, and then ended with status 1" in failed(house)


def test_the_verdict_of_a_hub_before_the_switch_counts(house: Upgraded) -> None:
    coming = house.supervisor._coming
    assert coming is not None
    child: Any = house.new[0]
    house.supervisor._received(coming.generation, child, {"kind": "succession", "owner": False, "reason": "the former hub has ended"}, ())
    house.new_is_ready(0, 1, 2)
    assert failed(house) == "the new hub has not taken over the rooms: the former hub has ended"


def test_a_former_hub_that_is_being_started_again_ends_the_upgrade(house: Upgraded) -> None:
    house.supervisor.generation.hub.child = None
    house.new_is_ready(0, 1, 2)
    assert failed(house) == "the former hub has ended and is started again"


def test_a_fault_takes_the_new_generation_back_and_is_answered(house: Upgraded, monkeypatch: pytest.MonkeyPatch) -> None:
    async def break_down() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(house.supervisor._coming, "switch_order", break_down)
    house.new_is_ready(0, 1, 2)
    assert failed(house) == "OSError: [Errno 24] Too many open files"
    assert all(each.process.returncode is not None for each in house.new)


def test_a_generation_that_cannot_even_begin_is_answered(house: Upgraded, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = house.supervisor._coming.plan  # type: ignore[union-attr]
    house.run(house.supervisor.take_back())
    house.loop.advance(LOOK_SECONDS)
    house.loop.advance(LOOK_SECONDS)

    def refuse(*told: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(house.supervisor, "_make_generation", refuse)
    house.run(NextGeneration(house.supervisor, plan, house.answers.append).run())
    assert failed(house) == "OSError: [Errno 24] Too many open files"


def test_workers_without_a_link_to_the_new_hub_do_not_take_the_order_back(house: Upgraded, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(former: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(house.supervisor._coming.generation, "link_workers_of", refuse)  # type: ignore[union-attr]
    house.new_is_ready(0, 1, 2)
    house.order_changes()
    assert house.supervisor.generation.number == 2 and house.answers[0]["status"] == 0


def test_a_child_that_ends_right_after_the_switch_is_started_again(house: Upgraded) -> None:
    coming = house.supervisor._coming
    assert coming is not None
    house.new_is_ready(0, 1, 2)
    coming._owner.set_result("")
    coming.generation.workers[0].child = None
    house.supervisor._gave_up(coming.generation, "worker 1 was ready, and then ended")
    house.loop.settle()
    assert house.supervisor.generation.number == 2 and house.started[-1].name == "worker 1" and not house.failures


def test_a_child_of_the_serving_generation_that_starts_no_more_ends_the_daemon(house: Upgraded) -> None:
    house.supervisor._gave_up(house.supervisor.generation, "worker 1 did not start")
    assert house.failures == ["worker 1 did not start"]
