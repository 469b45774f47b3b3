"""One generation with children that are no processes. test_supervisor.py has the rest of its life."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.support.fakes import Loop
from wsdaemon.daemon.generation import Generation
from wsdaemon.daemon.heartbeats import SlotState
from wsdaemon.daemon.inheritance import Role


class Sent:
    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.links: list[int] = []
        """Duplicates of the descriptors that were sent."""

    def send(self, kind: str, descriptors: Sequence[int] = (), **fields: object) -> None:
        self.kinds.append(kind)
        self.links += [os.dup(descriptor) for descriptor in descriptors]


class Child:
    def __init__(self, role: Role, number: int, descriptors: Mapping[str, int]) -> None:
        self.role, self.number, self.descriptors, self.channel = role, number, dict(descriptors), Sent()
        self.ready_since: float | None = None
        self.killed = False

    def kill(self) -> None:
        self.killed = True


@pytest.fixture
def started() -> list[Any]:
    return []


def make(loop: Loop, started: list[Any], number: int = 3, workers: int = 2) -> Generation:
    def launch(generation: Generation, role: Role, number: int, descriptors: Mapping[str, int]) -> Any:
        assert generation.heartbeats.slots[number].state is SlotState.COMING
        started.append(Child(role, number, descriptors))
        return started[-1]

    return Generation(number, workers, loop, launch=launch, ready=lambda *_: None, gave_up=lambda *_: None)


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


@pytest.mark.parametrize(("new_workers", "ready", "takers"), [(2, (1, 2), (1, 2, 1)), (3, (1, 2, 3), (1, 2, 3)), (3, (2, 3), (2, 3, 2))])
def test_workers_that_retire_are_linked_to_those_of_the_next_generation_that_are_ready(
    started: list[Any], new_workers: int, ready: tuple[int, ...], takers: tuple[int, ...]
) -> None:  # fmt: skip
    with Loop() as loop:
        old, new = make(loop, started, 1, 3), make(loop, started, 2, new_workers)
        old.start()
        former = started[1:]
        for child in former:
            child.ready_since = 1.0
        new.start()
        for number in ready:
            started[4 + number].ready_since = 1.0
        retiring = loop.create_task(old.retire(new))
        loop.settle()
        for child, number in zip(former, takers, strict=True):
            taker = started[4 + number]
            assert (child.channel.kinds, taker.channel.kinds[0]) == (["retire"], "take")
            ours, theirs = socket.socket(fileno=child.channel.links.pop(0)), socket.socket(fileno=taker.channel.links.pop(0))
            with ours, theirs:
                ours.send(b"a connection")
                assert theirs.recv(100) == b"a connection"
        assert all(not child.channel.links for child in started)
        retiring.cancel()
        loop.settle()
        old.close()
        new.close()


def test_without_room_for_a_link_the_workers_retire_alone(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with Loop() as loop:
        old, new = make(loop, started, 1), make(loop, started, 2)
        for generation in (old, new):
            generation.start()
        for child in (*started[1:3], *started[4:]):
            child.ready_since = 1.0

        def fail() -> None:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(socket, "socketpair", fail)
        retiring = loop.create_task(old.retire(new))
        loop.settle()
        assert [(child.channel.kinds, child.channel.links) for child in started[1:3]] == [(["retire"], [])] * 2
        retiring.cancel()
        loop.settle()
        old.close()
        new.close()


def test_a_worker_that_is_not_ready_when_its_generation_retires_is_killed_because_it_serves_no_client(started: list[Any]) -> None:
    with Loop() as loop:
        old, new = make(loop, started, 1), make(loop, started, 2)
        old.start()
        started[1].ready_since = 1.0
        retiring = loop.create_task(old.retire(new))
        loop.settle()
        assert [child.killed for child in started] == [False, False, True]
        assert [child.channel.kinds for child in started[1:3]] == [["retire"], []]
        retiring.cancel()
        loop.settle()
        old.close()
        new.close()
