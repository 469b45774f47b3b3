from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import MAX_PAGE
from wsdaemon.brokers.errors import BadPattern, BadRoom, TooManyRooms
from wsdaemon.brokers.patterns import MAX_TOKENS, PatternIndex, check_known, check_pattern, check_room, matches

TOKENS = st.sampled_from(["a", "b", "c", ""])
NAMES = st.lists(TOKENS, min_size=1, max_size=4).map(".".join).filter(bool)
PATTERNS = (
    st.tuples(st.lists(st.one_of(TOKENS, st.just("*")), max_size=4), st.booleans())
    .map(lambda drawn: ".".join([*drawn[0], ">"] if drawn[1] else drawn[0]))
    .filter(bool)
)


def matches_naively(pattern: str, name: str) -> bool:
    expression = ""
    for token in pattern.split("."):
        expression += r"\." + {"*": "[^.]*", ">": ".*"}.get(token, re.escape(token))
    return re.fullmatch(expression, "." + name) is not None


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("prices.*", "prices.eur", True),
        ("prices.*", "prices", False),
        ("prices.*", "prices.eur.spot", False),
        ("prices.>", "prices.eur", True),
        ("prices.>", "prices.eur.spot", True),
        ("prices.>", "prices", False),
        ("*.eur", "prices.eur", True),
        (">", "prices", True),
        ("prices", "prices", True),
        ("prices", "price", False),
        ("pr.ces", "prxces", False),
    ],
)
def test_what_matches(pattern: str, name: str, expected: bool) -> None:
    check_pattern(pattern)
    assert matches(pattern, name) is expected


@given(PATTERNS, NAMES)
def test_one_pattern_against_a_regular_expression(pattern: str, name: str) -> None:
    check_pattern(pattern)
    assert matches(pattern, name) is matches_naively(pattern, name)


@given(st.lists(st.tuples(PATTERNS, st.sampled_from("xyz"), st.booleans()), max_size=30), st.lists(NAMES, min_size=1, max_size=5))
def test_the_index_against_one_pattern_at_a_time(changes: list[tuple[str, str, bool]], names: list[str]) -> None:
    index: PatternIndex[str] = PatternIndex()
    model: set[tuple[str, str]] = set()
    for pattern, key, add in changes:
        version = index.version
        if add:
            index.add(pattern, key, key.upper())
            model.add((pattern, key))
        elif (pattern, key) in model:
            index.remove(pattern, key)
            model.discard((pattern, key))
        else:
            with pytest.raises(KeyError):
                index.remove(pattern, key)
            continue
        assert index.version > version
        assert len(index) == len(model)
        for name in names:
            assert index.match(name) == {key: key.upper() for pattern, key in model if matches_naively(pattern, name)}
    for pattern, key in model:
        index.remove(pattern, key)
    assert not index._root.below  # nothing is left of what was taken out


@pytest.mark.parametrize("pattern", ["", "pri*", "a.>.b", ">.a", "a.b>", "**", "a.*>", "x" * 257, "é" * 129, "\ud800.*"])
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(BadPattern):
        check_pattern(pattern)


@pytest.mark.parametrize("name", ["", "a b", "a\n", "a.*", ">", "a>b", "x" * 257, "é" * 129, "\ud800", "a\x7f"])
def test_bad_room_names(name: str) -> None:
    with pytest.raises(BadRoom):
        check_room(name, Limits())


@pytest.mark.parametrize("name", ["lobby", "a.b.c", "x" * 256, "é" * 128, "a/b:c@d", "chambre-à-part"])
def test_good_room_names(name: str) -> None:
    check_room(name, Limits())


def test_the_settings_say_what_a_room_name_is() -> None:
    limits = Limits(name_pattern=re.compile("[a-z]+|.*[*]"), max_name=5)
    check_room("abcde", limits)
    for name in ("abcdef", "ab1", "a\n", "a.*"):
        with pytest.raises(BadRoom):
            check_room(name, limits)


def test_what_a_pattern_can_recover() -> None:
    check_known("a.*", ["a.b", "a.c"])
    with pytest.raises(BadRoom):
        check_known("a.*", ["a.b", "b.c"])
    with pytest.raises(TooManyRooms):
        check_known("a.*", [f"a.{number}" for number in range(MAX_PAGE + 1)])


def test_a_pattern_has_only_so_many_tokens() -> None:
    """Each one more would double the ways in which patterns can match one name."""
    check_pattern(".".join("*" * MAX_TOKENS))
    with pytest.raises(BadPattern, match="tokens"):
        check_pattern(".".join("*" * (MAX_TOKENS + 1)))


def test_a_name_may_have_more_tokens_than_any_pattern() -> None:
    index: PatternIndex[str] = PatternIndex()
    for pattern in (">", "a.>", ".".join("a" * MAX_TOKENS), ".".join("*" * MAX_TOKENS), ".".join(["a"] * (MAX_TOKENS - 1) + [">"])):
        index.add(pattern, pattern, pattern)
    for length in range(1, MAX_TOKENS + 4):
        name = ".".join("a" * length)
        assert set(index.match(name)) == {pattern for pattern in index.match(name) if matches(pattern, name)}
    assert set(index.match(".".join("a" * (MAX_TOKENS + 3)))) == {">", "a.>", ".".join(["a"] * (MAX_TOKENS - 1) + [">"])}
    assert ".".join("*" * MAX_TOKENS) in index.match(".".join("a" * MAX_TOKENS))
