"""The workers that follow rooms: by name and by pattern, each once, and forgotten without a trace."""

from __future__ import annotations

import itertools
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.brokers.errors import BadPattern
from wsdaemon.brokers.patterns import matches
from wsdaemon.hub.followers import Followers
from wsdaemon.hub.server import WorkerLink

NAMES = ("a", "b", "a.b")
PATTERNS = ("a", ">", "*", "a.*")


def followers() -> Followers:
    numbers = itertools.count()
    return Followers(lambda: f"{next(numbers):016}")


links = tuple(cast("WorkerLink", object()) for _ in range(3))
step = st.tuples(st.sampled_from(("follow", "unfollow", "pattern", "no pattern", "forget")), st.integers(0, 2), st.integers(0, 3))


@given(st.lists(step, max_size=40))
def test_the_followers_of_a_room_are_those_of_a_naive_model(steps: list[tuple[str, int, int]]) -> None:
    made = followers()
    names, patterns = set[tuple[int, str]](), set[tuple[int, str]]()
    for kind, one, which in steps:
        link, name, pattern = links[one], NAMES[which % 3], PATTERNS[which]
        match kind:
            case "follow":
                made.follow(link, name, False)
                names.add((one, name))
            case "unfollow":
                made.unfollow(link, name)
                names.discard((one, name))
            case "pattern":
                made.follow_pattern(link, pattern)
                patterns.add((one, pattern))
            case "no pattern":
                made.unfollow_pattern(link, pattern)
                patterns.discard((one, pattern))
            case _:
                made.forget(link)
                names = {entry for entry in names if entry[0] != one}
                patterns = {entry for entry in patterns if entry[0] != one}
        for name in NAMES:
            expected = {links[n] for n, room in names if room == name} | {links[n] for n, each in patterns if matches(each, name)}
            targets = made.targets.get(name) or made.find(name)
            assert set(targets) == expected
            assert len(targets) == len(expected)
    for link in links:
        made.forget(link)
    assert made.rooms == {}


def test_a_roster_begins_a_new_life_when_it_was_followed_by_none() -> None:
    made = followers()
    made.follow(links[0], "lobby", True)
    first = made.rooms["lobby"].position
    made.follow(links[0], "lobby", False)
    assert made.rooms["lobby"].links == {links[0]: True}
    made.unfollow(links[0], "lobby")
    made.follow(links[1], "lobby", False)
    assert made.rooms["lobby"].position.epoch != first.epoch
    assert made.rooms["lobby"].links == {links[1]: False}


def test_a_strange_pattern_is_refused() -> None:
    made = followers()
    with pytest.raises(BadPattern):
        made.follow_pattern(links[0], "a*")
    made.forget(links[0])
