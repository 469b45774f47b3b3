"""examples/vitals.py: samples for all that watch, and the past for newcomers."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any

from tests.support.fakes import Client, House, text
from wsdaemon.examples.vitals import INTERVAL, KEPT, Vitals, resident_memory

FIELDS = {"time", "cpu", "memory", "delay", "watching"}


def samples(client: Client) -> list[list[dict[str, float]]]:
    """Those of each message."""
    return [json.loads(answer.payload) for answer in client.frames() if answer.opcode == 1]


def started(made: House) -> Vitals:
    vitals = Vitals()
    do(made, vitals.start())
    return vitals


def do(made: House, work: Coroutine[Any, Any, None]) -> None:
    task = made.loop.create_task(work)
    made.loop.settle()
    task.result()


def test_a_newcomer_gets_the_past_and_then_each_sample(made: House) -> None:
    vitals = started(made)
    made.loop.advance(3 * INTERVAL)
    client = made.make_wire(vitals, ping_interval=0.0)
    past, *more = samples(client)
    assert more == []
    assert len(past) in (2, 3)
    assert all(set(sample) == FIELDS for sample in past)
    made.loop.advance(INTERVAL)
    [[sample]] = samples(client)
    assert sample["watching"] == 1
    assert sample["memory"] > 1
    do(made, vitals.stop())
    made.loop.advance(3 * INTERVAL)
    assert samples(client) == []


def test_the_past_has_a_bound(made: House) -> None:
    vitals = started(made)
    for _ in range(KEPT + 10):
        made.loop.advance(INTERVAL)
    [past] = samples(made.make_wire(vitals, ping_interval=0.0))
    assert len(past) == KEPT
    do(made, vitals.stop())


def test_a_message_comes_back_and_one_that_left_is_forgotten(made: House) -> None:
    vitals = started(made)
    client, other = (made.make_wire(vitals, ping_interval=0.0) for _ in range(2))
    samples(client), samples(other)
    client.send(text("17"))
    assert [frame.payload for frame in client.frames()] == [b"17"]
    client.vanish()
    made.loop.advance(INTERVAL)
    [[sample]] = samples(other)
    assert sample["watching"] == 1
    do(made, vitals.stop())


def test_memory_is_that_of_this_process() -> None:
    assert 2**20 < resident_memory() < 2**34
