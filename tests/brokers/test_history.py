from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.brokers.budget import Budget
from wsdaemon.brokers.contract import Message
from wsdaemon.brokers.history import History


def message(offset: int, size: int = 1) -> Message:
    return Message("room", "epoch", offset, b"x" * size, True, 0.0)


def filled(count: int, age: float | None = None, size: int = 1000, messages: int = 5) -> History:
    history = History(count, age, size, Budget(1 << 30))
    for offset in range(1, messages + 1):
        history.append(message(offset), float(offset))
    return history


def offsets(messages: object) -> list[int]:
    assert isinstance(messages, list | tuple)
    return [each.offset for each in messages]


def test_a_history_of_none_holds_nothing() -> None:
    history = filled(0)
    assert len(history) == history.bytes == 0
    assert history.first(5) == 6


def test_the_newest_messages_are_kept_by_number() -> None:
    history = filled(3)
    assert history.first(5) == 3
    assert offsets(history.between(1, 6, 5)) == [3, 4, 5]
    assert offsets(history.between(4, 5, 5)) == [4]
    assert offsets(history.between(6, 9, 5)) == []
    assert history.bytes == 3


def test_a_message_goes_when_it_is_as_old_as_the_age() -> None:
    history = filled(10, age=3.0)
    assert history.first(5) == 3
    history.trim(5.9)
    assert history.first(5) == 3
    history.trim(6.0)
    assert history.first(5) == 4
    history.trim(100.0)
    assert len(history) == history.bytes == 0


def test_a_message_larger_than_the_history_empties_it() -> None:
    history = filled(10, size=5)
    history.append(message(6, size=6), 6.0)
    assert len(history) == history.bytes == 0
    history.append(message(7, size=5), 7.0)
    assert offsets(history.between(1, 8, 7)) == [7]


def test_dropped_messages_are_freed() -> None:
    history = History(100, None, 10_000, Budget(1 << 30))
    for offset in range(1, 100_001):
        history.append(message(offset), 0.0)
    assert len(history._messages) <= 201


@given(
    st.one_of(st.none(), st.integers(0, 5)),
    st.one_of(st.none(), st.floats(0.5, 9.0)),
    st.integers(0, 20),
    st.lists(st.tuples(st.integers(0, 9), st.floats(0.0, 3.0))),
)
def test_the_history_is_the_longest_end_of_the_log_that_is_allowed(
    count: int | None, age: float | None, size: int, log: list[tuple[int, float]]
) -> None:
    most = 1000 if count is None else count
    history = History(most, age, size, Budget(1 << 30))
    now, published = 0.0, []
    for offset, (length, pause) in enumerate(log, 1):
        now += pause
        published.append((now, message(offset, length)))
        history.append(published[-1][1], now)
        expected: list[Message] = []
        for stamp, each in reversed(published):
            if len(expected) == most or (age is not None and now - stamp >= age):
                break
            if sum(len(other.payload) for other in expected) + len(each.payload) > size:
                break
            expected.insert(0, each)
        assert list(history.between(1, offset + 1, offset)) == expected
        assert history.bytes == sum(len(each.payload) for each in expected)


@pytest.mark.parametrize(
    ("position", "limit", "reverse", "expected", "gap"),
    [
        (None, 2, False, [3, 4], False),
        (2, 2, False, [3, 4], False),
        (1, 2, False, [3, 4], True),
        (4, 9, False, [5], False),
        (5, 9, False, [], False),
        (None, 2, True, [5, 4], False),
        (4, 9, True, [3], False),
        (3, 9, True, [], False),
        (0, 9, True, [], False),
    ],
)
def test_pages(position: int | None, limit: int, reverse: bool, expected: list[int], gap: bool) -> None:
    messages, lost = filled(3).page(position, limit, reverse, 5)
    assert (offsets(messages), lost) == (expected, gap)
