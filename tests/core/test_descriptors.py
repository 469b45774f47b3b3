"""edge/descriptors.py: the limit on open files, and the descriptors that no client gets."""

from __future__ import annotations

import fcntl
import os
import resource
from typing import Any

import pytest

from wsdaemon.core.descriptors import first_reserved, has_room, raise_limit

INFINITE = resource.RLIM_INFINITY


class Limits:
    """The limits of a process."""

    def __init__(self, soft: int, hard: int, refuses: bool = False) -> None:
        self.soft, self.hard, self.refuses = soft, hard, refuses

    def get(self, kind: int) -> tuple[int, int]:
        assert kind == resource.RLIMIT_NOFILE
        return self.soft, self.hard

    def set(self, kind: int, limits: tuple[int, int]) -> None:
        assert kind == resource.RLIMIT_NOFILE and limits[1] == self.hard
        if self.refuses:
            raise ValueError("not allowed to raise maximum limit")
        self.soft = limits[0]


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch, request: Any) -> Limits:
    made = Limits(*request.param)
    monkeypatch.setattr(resource, "getrlimit", made.get)
    monkeypatch.setattr(resource, "setrlimit", made.set)
    return made


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        ((1024, 524_288), 10_064),
        ((1024, 4096), 4096),
        ((65_536, 524_288), 65_536),
        ((1024, INFINITE), 10_064),
        ((INFINITE, INFINITE), 10_064),
        ((1024, 524_288, True), 1024),
    ],
    indirect=["limits"],
)
def test_the_soft_limit_is_raised_as_far_as_it_is_needed(limits: Limits, limit: int) -> None:
    before = limits.soft
    assert raise_limit(10_000) == limit
    assert limits.soft == before or limits.soft == limit


@pytest.mark.parametrize(("limits", "first"), [((1024, 1024), 960), ((64, 64), 56), ((INFINITE, INFINITE), 1 << 31)], indirect=["limits"])
def test_the_last_descriptors_are_no_clients(limits: Limits, first: int) -> None:
    assert first_reserved() == first


@pytest.mark.parametrize(("limits", "room"), [((1024, 1024), True), ((110, 110), False)], indirect=["limits"])
def test_there_is_room_for_a_client_while_the_lowest_free_descriptor_is_not_reserved(
    limits: Limits, room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    def lowest_free(*arguments: Any) -> int:
        return fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 100)

    monkeypatch.setattr(os, "eventfd", lowest_free)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert has_room() is room
    assert len(os.listdir("/proc/self/fd")) == before, "the descriptor is free again"  # noqa: PTH208


def test_there_is_no_room_if_the_system_gives_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "eventfd", fail)
    assert not has_room()
