"""daemon/colleagues.py: a worker's process as questions to all workers see it."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wsdaemon.daemon.colleagues import RunningWorker
from wsdaemon.daemon.heartbeats import Heartbeats, SlotState


@pytest.mark.parametrize(
    ("ready_since", "slot", "state", "beats"),
    [
        (None, SlotState.COMING, "starting", False),
        (1.0, SlotState.READY, "ready", True),
        (1.0, SlotState.SERVING, "ready", True),
        (1.0, SlotState.STOPPING, "draining", True),
    ],
)
def test_the_state_of_a_worker(ready_since: float | None, slot: SlotState, state: str, beats: bool) -> None:
    sent: list[Any] = []
    channel = SimpleNamespace(send=lambda kind, descriptors, **fields: sent.append((kind, descriptors, fields)))
    child = SimpleNamespace(number=2, process=SimpleNamespace(pid=99), ready_since=ready_since, channel=channel)
    page = Heartbeats.make(2)
    try:
        words = Heartbeats(page).worker(2)
        words.begin(slot, 1)
        worker = RunningWorker(cast(Any, child), words)
        assert (worker.number, worker.pid, worker.state, worker.beats) == (2, 99, state, beats)
        worker.send("asked", [5], request=1)
        assert sent == [("asked", [5], {"request": 1})]
    finally:
        os.close(page)
