"""edge/crowd.py: a bound on clients, and which of them makes room."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.lines import Lines
from wsdaemon.core.rare_lines import RareLines
from wsdaemon.edge.crowd import Crowd, Crowded, LeastWorth, Spare, Worth, oldest


@dataclass(eq=False)
class Someone:
    """A client that leaves the crowd when it is dropped."""

    crowd: Crowd
    worth: Worth = Worth.IDLE
    kept_alive: bool = False
    gate: object = None
    dropped: int = field(default=0)

    def drop(self) -> None:
        self.dropped += 1
        self.crowd.gone(self)


def crowd_of(*worths: Worth, spare: Spare = oldest, most: int = 3) -> tuple[Crowd, list[Someone]]:
    gate: Any = None
    crowd = Crowd(gate, most, spare)
    clients = [Someone(crowd, worth) for worth in worths]
    for client in clients:
        assert crowd.make_room()
        crowd.add(client)
    return crowd, clients


def least_worth(lines: Lines) -> Spare:
    return LeastWorth(RareLines(lines, now=lambda: 0.0))


def test_the_oldest_makes_room() -> None:
    crowd, clients = crowd_of(Worth.ANSWERING, Worth.IDLE, Worth.SLOW, Worth.IDLE)
    assert [client.dropped for client in clients] == [1, 0, 0, 0]
    assert (len(crowd), crowd.crowded_out) == (3, 1)


@pytest.mark.parametrize(
    ("worths", "spared"),
    [
        ((Worth.SLOW, Worth.LEAVING, Worth.IDLE), 2),
        ((Worth.SLOW, Worth.LEAVING, Worth.ANSWERING), 1),
        ((Worth.ANSWERING, Worth.SLOW, Worth.SLOW), 1),
    ],
)
def test_the_oldest_of_those_that_are_worth_least_makes_room(worths: tuple[Worth, ...], spared: int) -> None:
    lines = Lines()
    crowd, clients = crowd_of(*worths, spare=least_worth(lines))
    assert crowd.make_room() and [client.dropped for client in clients].index(1) == spared
    assert len(crowd) == 2 and len(lines.lines) == (worths[spared] is Worth.SLOW)


def test_answers_under_way_make_no_room_and_a_minute_has_one_line() -> None:
    lines = Lines()
    crowd, clients = crowd_of(*[Worth.ANSWERING] * 3, spare=least_worth(lines))
    assert not any(crowd.make_room() for _ in range(100))
    assert [client.dropped for client in clients] == [0, 0, 0] and (len(crowd), crowd.crowded_out) == (3, 0)
    assert len(lines.lines) == 1 and "3 requests are being answered" in str(lines.lines[0])


def test_a_client_that_was_answered_is_the_youngest_and_needs_no_other_to_make_room() -> None:
    crowd, clients = crowd_of(Worth.IDLE, Worth.IDLE, Worth.IDLE)
    crowd.again(clients[0])
    assert [client.dropped for client in clients] == [0, 0, 0] and list[Crowded](crowd) == [clients[1], clients[2], clients[0]]


def test_one_that_comes_back_from_outside_makes_room_as_a_newcomer_does() -> None:
    crowd, clients = crowd_of(Worth.IDLE, Worth.IDLE, Worth.IDLE)
    back = Someone(crowd)
    crowd.again(back)
    assert [client.dropped for client in clients] == [1, 0, 0] and len(crowd) == 3
    full, _ = crowd_of(*[Worth.ANSWERING] * 3, spare=least_worth(Lines()))
    late = Someone(full)
    full.again(late)
    assert late.dropped == 1 and len(full) == 3


def test_at_the_end_idle_clients_are_dropped_and_others_are_after_their_answer() -> None:
    crowd, (answering, idle, new) = crowd_of(Worth.ANSWERING, Worth.IDLE, Worth.IDLE)
    idle.kept_alive = True
    crowd.close()
    assert [client.dropped for client in (answering, idle, new)] == [0, 1, 0]
    crowd.again(answering)
    assert answering.dropped == 1 and len(crowd) == 1
    crowd.drop()
    assert new.dropped == 1 and len(crowd) == 0
