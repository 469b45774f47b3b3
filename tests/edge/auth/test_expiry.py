"""edge/auth/expiry.py: the end of a token, on a clock that a test turns."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.task import Clock as Timers

from tests.support.auth import NOW, Clock
from wsdaemon.core.absence import Handle
from wsdaemon.core.closing import may_be_sent
from wsdaemon.core.wheel import Due, Wheel
from wsdaemon.edge.auth.expiry import EXPIRIES_PER_PASS, TOKEN_EXPIRED, Expiry, SystemClock


class Loop:
    """The wheel's clock and the system's, turned together."""

    def __init__(self) -> None:
        self.timers = Timers()
        self.system = Clock()
        self.failures: list[Exception] = []
        self.wheel = Wheel(self, self._failed)
        self.clock = SystemClock(self.wheel, self.system)

    def time(self) -> float:
        return self.timers.seconds()

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Handle:
        return self.timers.callLater(delay, callback)

    def _failed(self, item: Due, error: Exception) -> None:
        self.failures.append(error)

    def advance(self, seconds: float) -> None:
        step = 0.05
        for _ in range(round(seconds / step)):
            self.system.now += step
            self.timers.advance(step)


def heard(told: list[object]) -> Callable[[float], bool]:
    """A warning that is written down."""

    def warn(left: float) -> bool:
        told.append(left)
        return True

    return warn


def test_the_code_may_be_sent() -> None:
    assert TOKEN_EXPIRED == 4401 and may_be_sent(TOKEN_EXPIRED)


def test_the_end() -> None:
    loop, told = Loop(), []
    Expiry(loop.clock, NOW + 10, lambda: told.append("end"))
    loop.advance(9.9)
    assert told == []
    loop.advance(0.3)
    assert told == ["end"]
    loop.advance(100)
    assert told == ["end"] and len(loop.wheel) == 0


def test_the_warning_before_it() -> None:
    loop = Loop()
    told: list[object] = []
    Expiry(loop.clock, NOW + 10, lambda: told.append("end"), warning=4, warn=heard(told))
    loop.advance(5.9)
    assert told == []
    loop.advance(0.3)
    assert told == [pytest.approx(4, abs=0.2)]
    loop.advance(4)
    assert told[1:] == ["end"]


def test_a_warning_that_is_late_comes_at_once() -> None:
    loop = Loop()
    told: list[object] = []
    Expiry(loop.clock, NOW + 3, lambda: told.append("end"), warning=60, warn=heard(told))
    loop.advance(0.2)
    assert told == [pytest.approx(3, abs=0.2)]


def test_a_warning_that_fails_ends_the_connection_all_the_same() -> None:
    loop, told = Loop(), []

    def warn(left: float) -> bool:
        raise RuntimeError("broken")

    Expiry(loop.clock, NOW + 2, lambda: told.append("end"), warning=1, warn=warn)
    loop.advance(3)
    assert told == ["end"]
    assert len(loop.failures) == 1


def test_a_warning_that_nobody_hears_comes_again_and_does_not_put_off_the_end() -> None:
    loop = Loop()
    told: list[object] = []

    def warn(left: float) -> bool:
        told.append(round(left, 1))
        return False

    Expiry(loop.clock, NOW + 10, lambda: told.append("end"), warning=2.5, warn=warn)
    loop.advance(10.2)
    assert told == [pytest.approx(2.4, abs=0.2), pytest.approx(1.4, abs=0.2), pytest.approx(0.4, abs=0.2), "end"]
    assert len(loop.wheel) == 0


def test_no_warning_unless_asked() -> None:
    loop = Loop()
    told: list[object] = []
    Expiry(loop.clock, NOW + 1, lambda: told.append("end"), warn=heard(told))
    loop.advance(2)
    assert told == ["end"]


def test_cancel() -> None:
    loop, told = Loop(), []
    expiry = Expiry(loop.clock, NOW + 1, lambda: told.append("end"))
    expiry.cancel()
    expiry.cancel()
    loop.advance(2)
    assert told == [] and len(loop.wheel) == 0


@pytest.mark.parametrize("hours", [1, 24 * 365])
def test_a_clock_that_is_set_forward_is_noticed_within_two_seconds(hours: int) -> None:
    loop, told = Loop(), []
    Expiry(loop.clock, NOW + hours * 3600, lambda: told.append("end"))
    loop.advance(10)
    loop.system.now += hours * 3600
    loop.advance(2)
    assert told == ["end"]
    assert len(loop.wheel) == len(loop.clock) == 0


def test_a_clock_that_is_set_back_gives_the_token_its_time() -> None:
    loop, told = Loop(), []
    Expiry(loop.clock, NOW + 10, lambda: told.append("end"))
    loop.system.now -= 60
    loop.advance(69)
    assert told == []
    loop.advance(2)
    assert told == ["end"]


def test_a_warning_too_is_noticed() -> None:
    loop = Loop()
    told: list[object] = []
    Expiry(loop.clock, NOW + 7200, lambda: told.append("end"), warning=60, warn=heard(told))
    loop.system.now += 7170
    loop.advance(2)
    assert told == [pytest.approx(30, abs=2)]


def test_the_clocks_are_compared_only_while_tokens_wait() -> None:
    loop = Loop()
    first, second = (Expiry(loop.clock, NOW + 100, lambda: None) for _ in range(2))
    assert len(loop.wheel) == 3
    first.cancel()
    assert len(loop.wheel) == 2
    second.cancel()
    assert len(loop.wheel) == 0
    loop.system.now += 1000  # while there were none
    told: list[str] = []
    Expiry(loop.clock, NOW + 1010, lambda: told.append("end"))
    loop.advance(9)
    assert told == []
    loop.advance(2)
    assert told == ["end"]


def test_after_a_jump_many_are_measured_in_parts() -> None:
    loop = Loop()
    count = 2 * EXPIRIES_PER_PASS + 1
    ended: list[int] = []
    expiries = [Expiry(loop.clock, NOW + 3600, lambda: ended.append(1)) for _ in range(count)]
    loop.system.now += 7200
    for expiry in expiries[:100]:
        expiry.cancel()
    loop.clock.due()
    assert len(loop.clock._stale) == count - 100 - EXPIRIES_PER_PASS
    loop.advance(2)
    assert len(ended) == count - 100 and len(loop.wheel) == 0 and not loop.clock._stale


def test_an_end_that_has_passed() -> None:
    loop, told = Loop(), []
    Expiry(loop.clock, NOW - 5, lambda: told.append("end"))
    loop.advance(0.2)
    assert told == ["end"]
