"""The order in which --against and --bar run samples, and their results."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks.__main__ import PAIRS, ROUNDS, arguments, chosen_peers, take_turns, verdicts_of, wanted
from benchmarks.catalogue import BEFORE, DEFAULT_PEERS, GOALS, LIMIT, PEERS, SUBJECT, TESTS, Server
from benchmarks.preparing import CannotRun
from benchmarks.results import Pair, Results
from benchmarks.running import Machine
from benchmarks.subject import check_tree

OURS = {"echo": "/echo", "coroutine": "/coroutine", "asgi": "/asgi", "proxy": "/proxy", "sub": "/rooms/bench", "pub": "/rooms/bench"}
SERVERS = (Server(SUBJECT, deflate="", paths=OURS), Server(BEFORE, deflate="", paths=OURS), *(PEERS[name] for name in DEFAULT_PEERS))


class FakeMachine:
    """Takes samples whose cost grows with each one taken, so that the order is seen; BEFORE always costs twice as much."""

    def __init__(self) -> None:
        self.taken: list[Pair] = []

    def measure(self, server: Server, test: Any) -> dict[str, Any]:
        self.taken.append((test.name, server.name))
        cost = 10.0 * len(self.taken) * (2 if server.name == BEFORE else 1)
        return {"cost": cost, "foreign": 0.0, "rate": 1.0, "p50_us": 1.0, "p99_us": 1.0, "client_cpu": 0.5}


def measured(*words: str) -> tuple[argparse.Namespace, list[Pair], Results]:
    options = arguments(words)
    pairs = wanted(options, [server for server in SERVERS if server.name in (SUBJECT, *chosen_peers(options), options.against and BEFORE)])
    machine = FakeMachine()
    found = [server for server in SERVERS if any(server.name == name for _, name in pairs)]
    results = take_turns(cast(Machine, machine), found, pairs, options.rounds)
    return options, machine.taken, results


def test_against_alone_takes_nine_pairs_and_no_peers() -> None:
    _, taken, _ = measured("--against", "before")
    assert Counter(taken) == {(test, server): PAIRS for test in ("echo64", "echo64-mounts") for server in (SUBJECT, BEFORE)}


def test_the_trees_alternate_who_is_first() -> None:
    _, taken, _ = measured("--against", "before", "--tests", "room", "--rounds", "4")
    pairs = [tuple(server for _, server in taken[at : at + 2]) for at in range(0, len(taken), 2)]
    assert pairs == [(SUBJECT, BEFORE), (BEFORE, SUBJECT)] * 2


def test_bar_and_against_take_pairs_of_the_trees_and_three_rounds_of_the_rest() -> None:
    _, taken, _ = measured("--bar", "--against", "before")
    counted = Counter(taken)
    assert counted["echo64", SUBJECT] == counted["echo64", BEFORE] == PAIRS
    assert counted["echo64", "picows"] == counted["echo64", LIMIT] == counted["churn", SUBJECT] == ROUNDS
    assert ("churn", BEFORE) not in counted


def test_bar_alone_runs_nothing_before_and_judges_none_of_it() -> None:
    options, taken, results = measured("--bar", "--rounds", "1")
    assert BEFORE not in {server for _, server in taken}
    judged = [verdict.goal for verdict in verdicts_of(results, options)]
    assert judged == [goal for goal in GOALS if goal.server != BEFORE]


def test_against_judges_the_goals_about_another_tree_by_the_median_of_the_pairs() -> None:
    options, _, results = measured("--against", "before")
    verdicts = verdicts_of(results, options)
    assert [verdict.goal.server for verdict in verdicts] == [BEFORE, BEFORE]
    for verdict in verdicts:
        samples = zip(results.samples[verdict.goal.test, SUBJECT], results.samples[verdict.goal.test, BEFORE], strict=True)
        ratios = sorted(one["cost"] / other["cost"] for one, other in samples if one and other)
        assert verdict.measured == ratios[PAIRS // 2]
        assert verdict.reached


def test_other_tests_against_another_tree_have_no_verdict() -> None:
    options, taken, results = measured("--against", "before", "--tests", "churn")
    assert Counter(taken) == {("churn", SUBJECT): PAIRS, ("churn", BEFORE): PAIRS}
    assert verdicts_of(results, options) == []


def test_every_goal_is_about_a_test_that_its_servers_can_run() -> None:
    servers = {server.name: server for server in SERVERS}
    for goal in GOALS:
        for test, server in goal.needs:
            assert servers[server].can(TESTS[test]), (goal, server)


def test_what_is_no_source_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="no source tree"):
        check_tree(tmp_path)
