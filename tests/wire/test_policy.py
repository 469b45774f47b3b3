"""wire/policy.py: the rules that follow from a mount's settings."""

from __future__ import annotations

import pytest

from tests.support.fakes import App, House, Watcher
from wsdaemon.wire.policy import HIGH_WATER_BYTES


@pytest.mark.parametrize(
    ("slow_client", "high_water", "age"),
    [("close", 500, 60.0), ("drop_oldest", 500, 0.0), ("latest", 500, 0.0), ("wait", 0, 60.0)],
)
def test_when_a_sender_waits_and_when_a_client_is_too_slow(made: House, slow_client: str, high_water: int, age: float) -> None:
    policy = made.policy(App(), Watcher(), slow_client=slow_client, send_backlog=1000)
    assert (policy.high_water, policy.backlog_age) == (high_water, age)


def test_a_large_backlog_does_not_make_senders_wait_later(made: House) -> None:
    assert made.policy(App(), Watcher(), send_backlog=1 << 30).high_water == HIGH_WATER_BYTES
