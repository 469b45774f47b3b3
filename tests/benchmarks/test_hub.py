"""The benchmark of the hub: it measures, and it ends its processes."""

from __future__ import annotations

import os

import pytest

from benchmarks import hub


def test_it_measures_a_hub_and_two_workers_in_processes_of_their_own() -> None:
    figures = hub.measure(200, hub.UNDER_WAY)
    assert figures.hub_us > 0
    assert figures.p50_ms > 0
    with pytest.raises(ChildProcessError):
        os.wait()


def test_the_memory_broker_stands_beside_it() -> None:
    assert hub.memory_us(100) > 0
