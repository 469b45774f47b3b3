"""The choice among several targets: the fewest connections, and no target that has just failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ...settings.proxy import ProxyTarget


class Backend:
    """One target, with its connections and its failures."""

    __slots__ = ("connections", "down_until", "failures", "order", "target")

    def __init__(self, target: ProxyTarget, order: int) -> None:
        self.target = target
        self.order = order
        self.connections = 0
        self.failures = 0
        """In a row."""
        self.down_until = 0.0


class Balancer:
    """Orders the targets for each client. `clock` gives seconds."""

    def __init__(
        self, targets: Sequence[ProxyTarget], max_failures: int, fail_timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:  # fmt: skip
        self.backends = [Backend(target, number) for number, target in enumerate(targets)]
        self._max_failures = max_failures
        self._fail_timeout = fail_timeout
        self._clock = clock
        self._turn = 0

    def order(self) -> list[Backend]:
        """All targets, the best one first: those that are up before those that are down, then by their connections, then in turn."""
        now, count, self._turn = self._clock(), len(self.backends), self._turn + 1
        return sorted(self.backends, key=lambda each: (each.down_until > now, each.connections, (each.order - self._turn) % count))

    def failed(self, backend: Backend) -> bool:
        """A target could not be connected to, or gave no good answer. Whether it counts as down because of this."""
        backend.failures += 1
        if backend.failures < self._max_failures:
            return False
        was_up = backend.down_until <= self._clock()
        backend.down_until = self._clock() + self._fail_timeout
        return was_up

    def succeeded(self, backend: Backend) -> None:
        backend.failures, backend.down_until = 0, 0.0
