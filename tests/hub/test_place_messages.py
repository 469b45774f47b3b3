"""hub/place_messages.py: the formats of the messages about places."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.hub import place_messages as messages
from wsdaemon.hub.places import GRANTED, KeyRate, NameLimit
from wsdaemon.hub.protocol import Malformed

some = st.binary(max_size=300)
u64 = st.integers(0, 2**64 - 1)
limits = st.lists(st.builds(NameLimit, some, st.integers(0, 2**32 - 1)), max_size=9)
positive = st.floats(0.001, 1e6)
rates = st.lists(st.builds(KeyRate, some, some, positive, st.floats(1, 1e6)), max_size=3)


@given(u64, limits, rates)
def test_a_question_is_read_as_it_was_written(number: int, limits: list[NameLimit], rates: list[KeyRate]) -> None:
    body = messages.pack_place(number, limits, rates)
    assert messages.read_place(body) == (number, limits, rates)
    with pytest.raises(Malformed):
        messages.read_place(body + b"\0")
    with pytest.raises(Malformed):
        messages.read_place(body[:-1])


@given(st.integers(GRANTED, 12), u64)
def test_verdicts_and_leaves(verdict: int, number: int) -> None:
    assert messages.read_verdict(messages.pack_verdict(verdict)) == verdict
    assert messages.read_left(messages.pack_left(number)) == number


@given(st.lists(st.tuples(u64, st.lists(some, max_size=9).map(tuple)), max_size=20))
def test_declared_places(places: list[tuple[int, tuple[bytes, ...]]]) -> None:
    body = messages.pack_held(places)
    assert messages.read_held(body) == places
    if places:
        with pytest.raises(Malformed):
            messages.read_held(body[:-1])


@given(st.binary(max_size=60))
def test_junk_is_malformed_and_nothing_else(body: bytes) -> None:
    for read in (messages.read_place, messages.read_verdict, messages.read_left, messages.read_held):
        with suppress(Malformed):
            read(body)


def test_a_rate_of_nothing_is_malformed() -> None:
    for rate in (KeyRate(b"", b"", 0.0, 1.0), KeyRate(b"", b"", 1.0, 0.5), KeyRate(b"", b"", float("nan"), 1.0)):
        with pytest.raises(Malformed):
            messages.read_place(messages.pack_place(1, [], [rate]))
