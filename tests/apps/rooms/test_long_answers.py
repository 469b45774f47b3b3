"""apps/rooms/long_answers.py: one page of a history, or one list of members, in each turn of the loop."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.fakes import Loop
from tests.support.rooms import hall
from wsdaemon.apps.rooms.long_answers import LongAnswers

START = {"epoch": "here", "offset": 0}


def test_turns_are_first_come_first_served_and_one_in_each_turn_of_the_loop() -> None:
    with Loop() as loop:
        answers, done = LongAnswers(), list[int]()

        async def answer(number: int) -> None:
            await answers.turn()
            done.append(number)

        tasks = [loop.create_task(answer(number)) for number in range(4)]
        loop.turn()
        assert done == [0] and len(answers) == 3
        tasks[1].cancel()
        counts = []
        for _ in range(6):
            loop.turn()
            counts.append(len(done))
        assert done == [0, 2, 3] and max(b - a for a, b in zip([1, *counts], counts, strict=False)) == 1
        assert len(answers) == 0
        tasks.append(loop.create_task(answer(4)))
        loop.turn()
        assert done[-1] == 4


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        ({"type": "subscribe", "presence": True}, "subscribed"),
        ({"type": "history", "limit": 1000}, "history"),
        ({"type": "presence", "limit": 1000}, "presence"),
        ({"type": "subscribe", "since": START}, "subscribed"),
        ({"type": "subscribe", "pattern": "*", "since": {"lobby": START}}, "subscribed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_many_clients_that_ask_at_once_are_answered_one_in_each_turn(request_: dict[str, Any], kind: str) -> None:
    with hall(history=100) as made:
        for _ in range(50):
            made.memory.publish("lobby", b"x" * 100, True)
        made.memory._rooms["lobby"].epoch = "here"
        clients = [made.json() for _ in range(30)]
        for client in clients:
            client.begin(json.dumps(request_))
        most = answered = 0
        while answered < len(clients):
            made.loop.turn()
            now = sum(any(f'"type":"{kind}"' in str(message) for message in client.wire.sent) for client in clients)
            most, answered = max(most, now - answered), now
        assert most <= 2, "the first may be answered in the turn in which it asks, beside one that waits"
