"""edge/shared.py: refusals by limits over all workers are those of the listener's own limits."""

from __future__ import annotations

import pytest

from wsdaemon.edge.limits import CONNECTIONS, USER_CONNECTIONS
from wsdaemon.edge.shared import FULL, SharedLimit, SharedRate, refusal


@pytest.mark.parametrize(
    ("limit", "status", "reason"),
    [
        (SharedLimit(b"all", 5, FULL), 503, "max_connections"),
        (SharedLimit(b"address", 5, CONNECTIONS), 429, "address_connections"),
        (SharedLimit(b"user", 5, USER_CONNECTIONS), 429, "user_connections"),
        (SharedRate(b"listener", b"a", 1.0, 3.0), 429, "address_rate"),
    ],
)
def test_each_refusal_says_when_to_come_back(limit: SharedLimit | SharedRate, status: int, reason: str) -> None:
    error = refusal(limit, 6.5)
    assert (error.status, error.reason) == (status, reason)
    assert ("Retry-After", "7") in error.headers
