"""brokers/pages.py: how much of a history goes into one answer."""

from __future__ import annotations

import pytest

from wsdaemon.brokers.contract import HistoryPage, Message
from wsdaemon.brokers.pages import first_messages, has_more

MESSAGES = tuple([Message("r", "e", offset, bytes(50), False, 0.0) for offset in range(3, 8)])
EACH = 50 + 7


@pytest.mark.parametrize(("max_bytes", "count"), [(0, 1), (EACH, 1), (2 * EACH - 1, 1), (2 * EACH, 2), (5 * EACH, 5), (1000 * EACH, 5)])
def test_as_many_as_fit_and_at_least_one(max_bytes: int, count: int) -> None:
    assert first_messages(MESSAGES, max_bytes, 7) == MESSAGES[:count]
    assert first_messages((), max_bytes) == ()


def test_whether_there_is_more() -> None:
    page = HistoryPage("r", "e", 9, 3, MESSAGES)
    assert has_more(page, MESSAGES, False)
    assert not has_more(HistoryPage("r", "e", 7, 3, MESSAGES), MESSAGES, False)
    assert has_more(HistoryPage("r", "e", 7, 3, MESSAGES), MESSAGES[:2], False)
    assert not has_more(page, MESSAGES[::-1], True)
    assert has_more(page, MESSAGES[:0:-1], True)
    assert not has_more(page, (), False)
