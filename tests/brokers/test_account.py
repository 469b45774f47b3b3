"""brokers/account.py: what one owner may have."""

from __future__ import annotations

import pytest

from wsdaemon.brokers.account import Account, share


@pytest.mark.parametrize(("total", "part"), [(1, 1), (8, 1), (9, 2), (80, 10), (10_000, 1250), (256 << 20, 32 << 20)])
def test_a_share_is_an_eighth_and_at_least_one(total: int, part: int) -> None:
    assert share(total) == part


def test_an_account_begins_with_nothing() -> None:
    account = Account(5)
    assert (account.most, account.bytes, account.rooms, account.patterns, len(account.idle), len(account.keys)) == (5, 0, 0, 0, 0, 0)
