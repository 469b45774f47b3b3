"""How many clients one listener turned away, by reason and by mount."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .rare_lines import LineBudget, LineLog

if TYPE_CHECKING:
    from .handshake import Peer


class Refusals:
    """Counts the clients that one listener turns away, and logs those that met a limit: once a minute for each reason."""

    __slots__ = ("_budget", "_listener", "_log", "_told", "by_mount", "counts")

    def __init__(self, listener: str, log: LineLog, now: Callable[[], float] = time.monotonic) -> None:
        self.counts: dict[str, int] = {}
        """By reason."""
        self.by_mount: dict[str, dict[str, int]] = {}
        """By the mount that was asked for, and by reason; under "" the clients whose mount was not known yet."""
        self._listener = listener
        self._log = log
        self._budget = LineBudget(now=now)
        self._told: dict[str, int] = {}

    def add(self, reason: str, peer: Peer, detail: str = "", told: bool = False, mount: str = "") -> None:
        """Count a client. `reason` is one word of ours; `told`: the operator should know of it."""
        count = self.counts[reason] = self.counts.get(reason, 0) + 1
        here = self.by_mount.setdefault(mount, {})
        here[reason] = here.get(reason, 0) + 1
        self._log.debug(
            "refused {peer} on {listener}: {reason}{detail}", peer=str(peer), listener=self._listener, reason=reason, detail=detail
        )
        if told and self._budget.take(reason) is not None:
            before, self._told[reason] = self._told.get(reason, 0), count
            self._log.warn(
                "{listener} turns clients away: {reason}{detail}; {count} since this was last said, the latest {peer}",
                listener=self._listener, reason=reason, detail=detail, count=count - before, peer=str(peer),
            )  # fmt: skip
