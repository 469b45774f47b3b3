"""The answers to a worker's publications: found again by number, and bounded by number and time."""

from __future__ import annotations

import pytest

from wsdaemon.hub import numbers as numbers_module
from wsdaemon.hub.numbers import NUMBERS_SECONDS, Numbers


def test_an_answer_is_found_again_by_its_number() -> None:
    numbers = Numbers(0.0)
    assert numbers.highest == 0
    numbers.add(2, b"two")
    numbers.add(1, b"one")
    assert numbers.highest == 2
    assert [numbers.find(number) for number in (1, 2, 3)] == [b"one", b"two", None]


def test_answers_are_kept_for_a_minute_at_least_and_two_at_most() -> None:
    numbers = Numbers(0.0)
    numbers.forget(NUMBERS_SECONDS - 1)
    numbers.add(1, b"one")
    numbers.forget(NUMBERS_SECONDS)
    assert numbers.find(1) == b"one"
    numbers.forget(2 * NUMBERS_SECONDS - 0.1)
    assert numbers.find(1) == b"one"
    numbers.forget(2 * NUMBERS_SECONDS)
    assert numbers.find(1) is None
    assert len(numbers) == 0


def test_answers_are_bounded_however_fast_a_worker_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers_module, "NUMBERS_KEPT", 10)
    numbers = Numbers(0.0)
    for number in range(1, 1001):
        numbers.add(number, b"answer")
        assert len(numbers) <= 20
        assert all(numbers.find(one) for one in range(max(1, number - 9), number + 1))


def test_a_younger_half_that_was_full_is_not_taken_for_an_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers_module, "NUMBERS_KEPT", 10)
    numbers = Numbers(0.0)
    numbers.forget(NUMBERS_SECONDS - 1)
    for number in range(1, 12):
        numbers.add(number, b"answer")
    numbers.forget(NUMBERS_SECONDS)
    assert numbers.find(1) == b"answer"
