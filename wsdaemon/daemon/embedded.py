"""A daemon on the loop of an asyncio program that runs already: the loop, the signals and the garbage collector stay the program's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.base import DelayedCall
from twisted.internet.posixbase import PosixReactorBase

from ..edge.site import AnswerPage
from ..settings.model import Settings
from .daemon import Daemon
from .parts import Step


class EmbeddedDaemon:
    """One daemon on the running loop, from start() to stop()."""

    def __init__(self, settings: Settings, pages: AnswerPage | None, before: Sequence[Step]) -> None:
        """`before` are started before the apps, and stopped after them. RuntimeError if no loop runs."""
        self.loop = asyncio.get_running_loop()
        self._reactor = reactor_on(self.loop)
        handler = self.loop.get_exception_handler()
        self.daemon = Daemon(settings, self.loop, self._reactor, pages=pages, before=before)
        self.loop.set_exception_handler(handler)
        self._over = asyncio.Event()

    async def start(self) -> None:
        """Start all parts; clients are served then. StartError, and nothing stays open."""
        try:
            self.daemon.open()
            await self.daemon.start()
        except BaseException:
            self._release()
            raise

    def end_soon(self) -> None:
        """Let wait() return. From any thread, as long as the loop is open."""
        self.loop.call_soon_threadsafe(self._over.set)

    async def wait(self) -> None:
        """Until end_soon()."""
        await self._over.wait()

    async def stop(self) -> None:
        """Drain and stop. A cancellation meanwhile drops the connections, and the rest of the stop goes on."""
        stopping = asyncio.ensure_future(self.daemon.stop())
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            self.daemon.drop()
            await stopping
            raise
        finally:
            self._release()

    def _release(self) -> None:
        if isinstance(self._reactor, GuestReactor):
            self._reactor.leave()


class GuestReactor(AsyncioSelectorReactor):
    """A Twisted reactor on a loop that is not its own: it neither runs nor stops the loop, and needs no descriptor to wake it.

    An Autobahn class may use it as `self.factory.reactor`: timers, threads and connections work.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.startRunning(installSignalHandlers=False)

    def installWaker(self) -> None:
        """Nothing to do: calls of other threads come over the loop."""

    def crash(self) -> None:
        """The reactor's end, and not the loop's."""
        PosixReactorBase.crash(self)

    def leave(self) -> None:
        """Stop its threads, close its connections and cancel its timers."""
        self.fireSystemEvent("shutdown")
        for call in self.getDelayedCalls():
            cast(DelayedCall, call).cancel()
        if self._timerHandle is not None:
            self._timerHandle.cancel()


def reactor_on(loop: asyncio.AbstractEventLoop) -> Any:
    """A Twisted reactor on this loop: the installed one if it is on the same loop, else a new one."""
    installed = sys.modules.get("twisted.internet.reactor")
    return installed if getattr(installed, "_asyncioEventloop", None) is loop else GuestReactor(loop)
