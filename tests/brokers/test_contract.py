"""brokers/contract.py: the values that pass through a broker, and its errors."""

from __future__ import annotations

import re

import pytest

from wsdaemon.brokers import contract
from wsdaemon.brokers.contract import MAX_PAGE, Message, check_limit
from wsdaemon.brokers.errors import BrokerError, RateLimited

ERRORS = [one for one in vars(contract).values() if isinstance(one, type) and issubclass(one, BrokerError) and one is not BrokerError]


def test_a_message_never_shows_its_payload() -> None:
    shown = repr(Message("lobby", "e1", 3, b"a secret", True, 0.0))
    assert shown == "<Message 'lobby' e1:3 text, 8 bytes>"


@pytest.mark.parametrize("limit", [1, MAX_PAGE])
def test_a_page_has_one_entry_at_least_and_a_bound(limit: int) -> None:
    check_limit(limit)
    for wrong in (0, -1, MAX_PAGE + 1):
        with pytest.raises(ValueError, match=f"from 1 to {MAX_PAGE}"):
            check_limit(wrong)


def test_each_error_has_a_code_of_its_own_that_programs_can_rely_on() -> None:
    codes = [error.code for error in ERRORS]
    assert len(codes) > 10
    assert len(set(codes)) == len(codes)
    for error in ERRORS:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
        assert (error.__doc__ or "").endswith(".")


def test_a_limit_on_a_rate_says_when_to_come_back() -> None:
    error = RateLimited("the room takes 5 publications a second", 0.2)
    assert (str(error), error.retry_after) == ("the room takes 5 publications a second", 0.2)
