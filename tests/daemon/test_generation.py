"""One generation with children that are no processes. test_supervisor.py has the rest of its life."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.fakes import Loop
from wsdaemon.daemon.generation import Generation
from wsdaemon.daemon.heartbeats import SlotState
from wsdaemon.daemon.inheritance import Role


class Sent:
    def __init__(self) -> None:
        self.kinds: list[str] = []

    def send(self, kind: str, descriptors: object = (), **fields: object) -> None:
        self.kinds.append(kind)


class Child:
    def __init__(self, role: Role, number: int, descriptors: Mapping[str, int]) -> None:
        self.role, self.number, self.descriptors, self.channel = role, number, dict(descriptors), Sent()
        self.ready_since: float | None = None


@pytest.fixture
def started() -> list[Any]:
    return []


def make(loop: Loop, started: list[Any], number: int = 3) -> Generation:
    def launch(generation: Generation, role: Role, number: int, descriptors: Mapping[str, int]) -> Any:
        assert generation.heartbeats.slots[number].state is SlotState.COMING
        started.append(Child(role, number, descriptors))
        return started[-1]

    return Generation(number, 2, loop, launch=launch, ready=lambda *_: None, gave_up=lambda *_: None)


def test_the_hub_and_each_worker_begin_with_their_ends_of_one_socketpair(started: list[Any]) -> None:
    with Loop() as loop:
        generation = make(loop, started)
        generation.start()
        assert [sorted(child.descriptors) for child in started] == [["heartbeats", "worker:1", "worker:2"], *[["heartbeats", "hub"]] * 2]
        assert not generation.pairs.for_hub and not generation.pairs.for_worker, "the supervisor keeps no end"
        assert [generation.keeper(child).number for child in started] == [0, 1, 2]
        assert [slot.generation for slot in generation.heartbeats.slots[:3]] == [3, 3, 3]
        generation.close()


def test_it_is_ready_when_all_are_and_only_workers_are_told_to_serve(started: list[Any]) -> None:
    with Loop() as loop:
        generation = make(loop, started)
        generation.start()
        started[0].ready_since = started[1].ready_since = 1.0
        assert not generation.ready
        started[2].ready_since = 1.0
        assert generation.ready
        generation.let_serve()
        assert [child.channel.kinds for child in started] == [[], ["serve"], ["serve"]]
        generation.tell_all("drop")
        assert [child.channel.kinds[-1] for child in started] == ["drop"] * 3
        generation.close()


def test_two_generations_share_no_page(started: list[Any]) -> None:
    with Loop() as loop:
        old, new = make(loop, started, 1), make(loop, started, 2)
        old.heartbeats.worker(1).connections = 5
        assert new.heartbeats.worker(1).connections == 0
        page = old.page
        old.close()
        old.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(page)
        new.close()
