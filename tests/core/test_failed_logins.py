"""core/failed_logins.py: a line for each refused credential, with bounds, and a count of the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.auth import Clock
from wsdaemon.core.failed_logins import LINES_IN_ALL, LINES_PER_ADDRESS, FailedLogins


class Lines:
    """A log that keeps its lines, and the timers that were set."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def warn(self, format: str, **fields: Any) -> None:
        self.lines.append(format.format(**fields))

    debug = info = error = warn

    def failure(self, format: str, failure: Any, **fields: Any) -> None:
        raise AssertionError("a failed login is no fault")

    def later(self, delay: float, callback: Callable[[], None]) -> None:
        self.timers.append((delay, callback))


def test_one_line_with_address_and_user() -> None:
    log = Lines()
    failed = FailedLogins(log, Clock(), log.later)
    failed.add("203.0.113.5", "/chat", "auth_refused", "ada")
    failed.add("2001:db8::1", "/chat", "auth_signature")
    assert log.lines == [
        'failed login from 203.0.113.5 at "/chat" as "ada": auth_refused',
        'failed login from 2001:db8::1 at "/chat": auth_signature',
    ]
    assert not log.timers


@pytest.mark.parametrize("name", ['x" : auth_refused\nfailed login from 198.51.100.1 at "/"', "\x1b[31m", "\u2028", "x" * 5000])
def test_no_name_makes_a_line_of_its_own(name: str) -> None:
    log = Lines()
    FailedLogins(log, Clock(), log.later).add("203.0.113.5", name, "auth_refused", name)
    (line,) = log.lines
    assert line.isprintable() and line.startswith("failed login from 203.0.113.5 at ") and len(line) < 3000


def test_an_address_has_its_lines_and_then_a_count() -> None:
    log, clock = Lines(), Clock()
    failed = FailedLogins(log, clock, log.later)
    for number in range(16):
        failed.add("203.0.113.5", "/", "auth_refused", f"user{number}")
    assert len(log.lines) == LINES_PER_ADDRESS
    failed.add("203.0.113.6", "/", "auth_refused")
    assert len(log.lines) == LINES_PER_ADDRESS + 1
    ((delay, tell),) = log.timers
    assert delay == 60
    clock.now += 60
    tell()
    assert log.lines[-1] == "6 more failed logins in the last minute have no line of their own"
    failed.add("203.0.113.5", "/", "auth_refused")
    assert log.lines[-1].startswith("failed login from 203.0.113.5")


def test_all_addresses_together_have_a_bound() -> None:
    log = Lines()
    failed = FailedLogins(log, Clock(), log.later)
    for number in range(5000):
        failed.add(f"198.18.{number // 250}.{number % 250}", "/", "auth_refused")
    assert len(log.lines) == LINES_IN_ALL and len(log.timers) == 1
    assert len(failed._budget) <= 3 * LINES_IN_ALL
    log.timers[0][1]()
    assert log.lines[-1].startswith("4400 more failed logins")
