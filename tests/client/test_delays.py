"""Delays between attempts: full jitter, and the hints of servers."""

from __future__ import annotations

import pytest

from wsdaemon.client.delays import Backoff, hint, is_about_the_token, is_final
from wsdaemon.client.errors import BadHandshake, CertificateRejected, ConnectFailed, OpeningRefused
from wsdaemon.core.closing import ConnectionClosed
from wsdaemon.core.handshake import Headers


def refused(status: int, retry_after: float | None = None) -> OpeningRefused:
    return OpeningRefused(status, "", Headers(), b"", retry_after)


class Draws:
    """Writes down the ranges that numbers are drawn from, and gives their ends."""

    def __init__(self) -> None:
        self.ranges: list[tuple[float, float]] = []

    def __call__(self, least: float, most: float) -> float:
        self.ranges.append((least, most))
        return most


def test_the_window_doubles_up_to_the_longest() -> None:
    draws = Draws()
    backoff = Backoff(1.0, 60.0, draws)
    for _ in range(100):
        backoff.delay(ConnectFailed("x"))
    assert draws.ranges[:8] == [(0.0, window) for window in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0)]
    assert draws.ranges[-1] == (0.0, 60.0)
    backoff.reset()
    assert backoff.delay(ConnectFailed("x")) == 1.0


def test_delays_are_spread_over_the_whole_window() -> None:
    delays = sorted(Backoff(10.0, 60.0).delay(ConnectFailed("x")) for _ in range(1000))
    assert 0 <= delays[0] < 0.2
    assert 9.8 < delays[-1] <= 10.0
    assert 4.0 < delays[500] < 6.0


@pytest.mark.parametrize(
    ("reason", "seconds"),
    [
        ("restart; retry=12", 12.0), ("restart; retry=0.5", 0.5), ("retry=3", 3.0), ("a;retry = 4 ;b", 4.0), ("restart", None),
        ("restart; retry=soon", None), ("restart; noretry=3", None), ("retry=-1", None), ("retry=999999", 3600.0),
    ],
)  # fmt: skip
def test_the_hint_of_a_drain(reason: str, seconds: float | None) -> None:
    assert hint(reason) == seconds


def test_a_drains_hint_is_the_delay_because_the_server_drew_it() -> None:
    assert Backoff(1.0, 60.0).delay(ConnectionClosed(1012, "restart; retry=17")) == 17.0


def test_a_server_that_always_sends_its_clients_away_is_not_asked_at_once_for_ever() -> None:
    draws = Draws()
    backoff = Backoff(1.0, 60.0, draws)
    delays = [backoff.delay(ConnectionClosed(1012, "restart; retry=0")) for _ in range(4)]
    assert delays == [0.0, 2.0, 4.0, 8.0]


def test_retry_after_is_kept_to_and_a_draw_is_added() -> None:
    assert 30.0 <= Backoff(1.0, 60.0).delay(refused(503, 30.0)) <= 31.0
    assert 90.0 <= Backoff(1.0, 60.0).delay(refused(429, 90.0)) <= 91.0


def test_1013_draws_from_the_whole_range_at_once() -> None:
    draws = Draws()
    backoff = Backoff(1.0, 60.0, draws)
    backoff.delay(ConnectionClosed(1013, "try again later"))
    assert draws.ranges == [(1.0, 60.0)]


def test_a_reconnect_of_the_client_itself_waits_for_nothing() -> None:
    backoff = Backoff(1.0, 60.0)
    backoff.skip()
    assert backoff.delay(ConnectionClosed(1000)) == 0.0
    assert backoff.failures == 0


FINAL = [refused(401), refused(403), refused(404), refused(400), refused(302), CertificateRejected("x"), ConnectionClosed(4401)]
NOT_FINAL = [
    refused(408), refused(429), refused(500), refused(502), refused(503), ConnectFailed("x"), BadHandshake("x"), ConnectionClosed(1000),
    ConnectionClosed(1006), ConnectionClosed(1012), ConnectionClosed(4000), OSError(),
]  # fmt: skip


@pytest.mark.parametrize("error", FINAL, ids=repr)
def test_failures_that_are_final(error: Exception) -> None:
    assert is_final(error)


@pytest.mark.parametrize("error", NOT_FINAL, ids=repr)
def test_failures_that_are_not(error: Exception) -> None:
    assert not is_final(error)


def test_failures_that_another_token_may_mend() -> None:
    assert [error for error in FINAL if is_about_the_token(error)] == [FINAL[0], FINAL[-1]]
    assert not any(map(is_about_the_token, NOT_FINAL))
