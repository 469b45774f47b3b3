"""Asks a link from time to time whether it is alive, and has all positions compared."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable

from ..links.contract import Link

PROBE_SECONDS = 5.0
"""Between two probes of the link."""

CHECK_SECONDS = 40.0
"""Between two comparisons of all positions."""


class LinkProbes:
    """`connected`: whether the link is. `compare` has all positions compared; True: messages may have been lost with the link."""

    def __init__(
        self, link: Link, loop: Callable[[], AbstractEventLoop], connected: Callable[[], bool], compare: Callable[[bool], object]
    ) -> None:  # fmt: skip
        self._link = link
        self._loop = loop
        self._connected = connected
        self._compare = compare
        self._compared = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._probe: Future[None] | None = None

    def open(self) -> None:
        self._compared = self._loop().time()
        self._timer = self._loop().call_later(PROBE_SECONDS, self._tick)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def lost(self) -> None:
        """The link is lost, and the probe under way with it."""
        self._probe = None

    def check(self, after_loss: bool) -> None:
        """Have all positions compared now."""
        self._compared = self._loop().time()
        self._compare(after_loss)

    def _tick(self) -> None:
        self._timer = self._loop().call_later(PROBE_SECONDS, self._tick)
        if not self._connected():
            return
        if self._probe is not None and not self._probe.done():
            self._link.cut(f"no answer to a probe for {PROBE_SECONDS:g} seconds")
            return
        self._probe = self._link.probe()
        self._probe.add_done_callback(_seen)
        if self._loop().time() - self._compared >= CHECK_SECONDS:
            self.check(after_loss=False)


def _seen(answer: Future[None]) -> None:
    """Take a probe's error: the link reports its loss itself."""
    if not answer.cancelled():
        answer.exception()
