"""brokers/contract.py: the values that pass through a broker."""

from __future__ import annotations

import pytest

from wsdaemon.brokers.contract import MAX_PAGE, Message, check_limit


def test_a_message_never_shows_its_payload() -> None:
    shown = repr(Message("lobby", "e1", 3, b"a secret", True, 0.0))
    assert shown == "<Message 'lobby' e1:3 text, 8 bytes>"


@pytest.mark.parametrize("limit", [1, MAX_PAGE])
def test_a_page_has_one_entry_at_least_and_a_bound(limit: int) -> None:
    check_limit(limit)
    for wrong in (0, -1, MAX_PAGE + 1):
        with pytest.raises(ValueError, match=f"from 1 to {MAX_PAGE}"):
            check_limit(wrong)
