"""When a child is started again: the supervisor has one keeper for the hub and one for each worker."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, Final

from twisted.logger import Logger, LogLevel

from .children import LaunchedChild, name_of
from .inheritance import Role

FAILED_STARTS: Final = 5
"""Failed starts of one child in a row that end the daemon."""

FIRST_RETRY_SECONDS: Final = 0.1
"""Until a child that did not start is started again; the wait doubles with each failure."""

LATER_RETRY_SECONDS: Final = 0.25
"""The same once the daemon was ready: its other children still serve."""

LAST_RETRY_SECONDS: Final = 10.0
"""The longest wait before a child that starts well and dies again and again is started once more."""

LONG_LIFE_SECONDS: Final = 10.0
"""A child that was ready for so long is started again at once."""

REAP_SECONDS: Final = 0.01
"""Between two looks whether a process whose channel has ended can be reaped."""

END_SECONDS: Final = 5.0
"""How long a child whose channel has ended may take to end itself."""

log = Logger(namespace="wsdaemon.supervisor")


class Text:
    """Lines for the log that stand beneath a message, as a traceback does."""

    def __init__(self, text: str) -> None:
        self._text = text

    def getTraceback(self) -> str:
        return self._text


def beneath(text: str) -> dict[str, Any]:
    """The field of an event that puts these lines beneath its message, if there are any."""
    return {"log_failure": Text(text)} if text else {}


class Keeper:
    """Keeps one child running until the daemon stops."""

    def __init__(
        self, role: Role, number: int, loop: asyncio.AbstractEventLoop, *, launch: Callable[[], LaunchedChild],
        ready: Callable[[LaunchedChild], None], lost: Callable[[LaunchedChild, float], None], gave_up: Callable[[str], None],
    ) -> None:  # fmt: skip
        """`launch` starts the child. `ready` is called when its start is over, `lost` when it has ended and is to be started again,
        with the seconds until then, and `gave_up` with the reason after FAILED_STARTS failed starts in a row."""
        self.role = role
        self.number = number
        self.child: LaunchedChild | None = None
        self.later = False
        """Whether the daemon was ready already."""
        self.attempts = FAILED_STARTS
        """Failed starts in a row after which the keeper gives up. With 1 it gives up at the end of a child that was ready, too."""
        self._loop = loop
        self._launch, self._ready, self._lost, self._gave_up = launch, ready, lost, gave_up
        self._failures = 0
        self._deaths = 0
        self._told = ""
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._stopping = self._killed = False
        self._ended: asyncio.Future[None] | None = None

    @property
    def name(self) -> str:
        return name_of(self.role, self.number)

    @property
    def ready(self) -> bool:
        """Whether the child serves, or could."""
        return self.child is not None and self.child.ready_since is not None

    def start(self) -> None:
        """Start the child; it did not start if the system has no room for it."""
        self._timer = None
        try:
            self.child = self._launch()
        except OSError as error:
            hint = "; the user of --uid must be able to read the Python installation" if isinstance(error, PermissionError) else ""
            self._did_not_start(f"the system cannot start {sys.executable}: {error.strerror}{hint}")

    def became_ready(self) -> None:
        """The child says that its start is over."""
        assert self.child is not None
        self.child.ready_since = self._loop.time()
        self._failures, self._told = 0, ""
        log.info("{child} is ready (process {process})", child=self.name, process=self.child.process.pid)
        self._ready(self.child)

    def channel_ended(self, child: LaunchedChild) -> None:
        """The child ends, or it has closed its channel and would live on without a supervisor."""
        self._loop.call_later(END_SECONDS, child.kill)
        self.look()

    def look(self) -> None:
        """Notice the end of the child."""
        child = self.child
        if child is None:
            return
        if child.process.poll() is None:
            if not child.channel.open and self._looking is None:
                self._looking = self._loop.call_later(REAP_SECONDS, self._look_again)
            return
        if child.channel.open:  # its last words, and its owner's account of it, come before its end: by channel_ended()
            child.channel.finish()
            return
        self.child = None
        child.forget()
        self._end(child)

    def _look_again(self) -> None:
        self._looking = None
        self.look()

    def _end(self, child: LaunchedChild) -> None:
        if self._stopping:
            if child.process.returncode and not self._killed:
                log.warn("{child} {how}", child=self.name, how=child.how_it_ended())
            self._finish()
        elif child.ready_since is None:
            self._did_not_start(child.reason or f"it {child.how_it_ended()}", child)
        elif self.attempts == 1:
            self._gave_up(f"{self.name} was ready, and then {child.how_it_ended()}")
        else:
            lived = self._loop.time() - child.ready_since
            self._deaths = 0 if lived >= LONG_LIFE_SECONDS else self._deaths + 1
            wait = 0.0 if self._deaths < 2 else min(LATER_RETRY_SECONDS * 2 ** (self._deaths - 2), LAST_RETRY_SECONDS)
            when = f"in {wait:g} s" if wait else "at once"
            log.error("{child} {how}; it is started again {when}", child=self.name, how=child.how_it_ended(), when=when)
            self._again(child, wait)

    def _did_not_start(self, reason: str, child: LaunchedChild | None = None) -> None:
        self._failures += 1
        if self._stopping:
            self._finish()
            return
        if self._failures >= self.attempts:
            times = f" {self.attempts} times in a row" if self.attempts > 1 else ""
            self._gave_up(f"{self.name} did not start{times}: {reason}")
            return
        wait = (LATER_RETRY_SECONDS if self.later else FIRST_RETRY_SECONDS) * 2 ** (self._failures - 1)
        if reason == self._told:
            reason = "the reason is the same"
        else:
            self._told = reason
        first, _, rest = reason.partition("\n")
        log.emit(
            LogLevel.error, "{child} did not start ({count} of {most}): {reason}; the next attempt is in {wait:g} s",
            child=self.name, count=self._failures, most=self.attempts, reason=first, wait=wait, **beneath(rest),
        )  # fmt: skip
        self._again(child, wait)

    def _again(self, child: LaunchedChild | None, wait: float) -> None:
        self._timer = self._loop.call_later(wait, self.start)
        if child is not None:
            self._lost(child, wait)

    # -- the end

    def release(self, *, killed: bool = False) -> None:
        """Start the child no more. `killed`: it is to be killed, and the log does not tell how it ends."""
        self._stopping, self._killed = True, killed
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def ended(self) -> None:
        """Until the child has ended. Call release() first."""
        if self.child is not None:
            self._ended = self._loop.create_future()
            await self._ended

    def _finish(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
