"""One line in the log for each refused credential: for the operator, and for programs that lock addresses out, such as fail2ban.

    failed login from 203.0.113.5 at "/chat" as "ada": auth_refused

The address comes first, before anything that a client chooses, so no name can imitate it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

from .rare_lines import MINUTE, LineBudget, LineLog

LINES_PER_ADDRESS = 10
"""Lines a minute about one address."""

LINES_IN_ALL = 600
"""Lines a minute about all addresses together."""

MAX_USER_CHARACTERS = 255
"""Characters of a user's name in a line."""

MAX_PATH_CHARACTERS = 200
"""Characters of a path in a line."""


def call_later(delay: float, callback: Callable[[], None]) -> object:
    """The running loop's timer."""
    return asyncio.get_running_loop().call_later(delay, callback)


class FailedLogins:
    """Logs failed logins. The lines above the limits are counted, and the count is logged a minute after the first of them."""

    __slots__ = ("_budget", "_later", "_left_out", "_log")

    def __init__(
        self,
        log: LineLog,
        now: Callable[[], float] = time.monotonic,
        later: Callable[[float, Callable[[], None]], object] = call_later,
    ) -> None:
        """`now` gives seconds; `later` calls a function after so many seconds."""
        self._log = log
        self._budget = LineBudget(LINES_PER_ADDRESS, LINES_IN_ALL, now)
        self._later = later
        self._left_out = 0

    def add(self, address: str, path: str, reason: str, user: str | None = None) -> None:
        """A credential was refused. `address` is an IP address or "unix", `reason` one word of ours; `user` is the name that was shown."""
        if self._budget.take(address) is None:
            self._left_out += 1
            if self._left_out == 1:
                self._later(MINUTE, self._tell_left_out)
            return
        shown = f" as {_quoted(user[:MAX_USER_CHARACTERS])}" if user is not None else ""
        self._log.warn(
            "failed login from {address} at {path}{user}: {reason}",
            address=address,
            path=_quoted(path[:MAX_PATH_CHARACTERS]),
            user=shown,
            reason=reason,
        )

    def _tell_left_out(self) -> None:
        count, self._left_out = self._left_out, 0
        self._log.warn("{count} more failed logins in the last minute have no line of their own", count=count)


def _quoted(text: str) -> str:
    """In double quotes and on one line, whatever the client wrote."""
    return json.dumps(text)
