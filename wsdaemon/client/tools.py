"""The parts that all clients of one loop share: the wheel, the turns, the frame reader, and a wire policy for each set of settings."""

from __future__ import annotations

import asyncio
import itertools
from functools import lru_cache

from twisted.internet.task import Clock

from ..core.background import Background
from ..core.connection import Connection
from ..core.threads import ThreadCalls
from ..core.wheel import Due, Wheel
from ..core.wire_halves import Counts
from ..settings.client import ClientSettings
from ..wire.client import ClientApp, ClientWires
from ..wire.deflate.negotiation import DeflateOptions
from ..wire.deflate.resting import Resting
from ..wire.frames import Frames, load_client
from ..wire.policy import WirePolicy
from ..wire.turns import Turns
from ..wire.writer import make_flusher


class Silent:
    """The watcher of a client's wires. Each session is told by its wire."""

    def opened(self, connection: Connection) -> None:
        """Unused: the session knows."""

    def closed(self, connection: Connection, counts: Counts) -> None:
        """Unused: the session knows."""

    def app_failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        """A fault of ours, or an error of a session that has ended: the loop's handler of exceptions has it."""
        context = {"message": f"wsdaemon.client: an error while {doing}", "exception": error}
        connection.loop.call_exception_handler(context)


class Tools:
    """One object for each loop that has clients."""

    def __init__(self, loop: asyncio.AbstractEventLoop, frames: Frames | None = None, turns: Turns | None = None) -> None:
        self.loop = loop
        self.calls = ThreadCalls(loop)
        self.wheel = Wheel(loop, self._failed)
        self._frames = frames or load_client("auto")
        self._flusher = make_flusher(loop.call_soon)
        self._turns = Turns(loop.call_soon) if turns is None else turns
        self._resting = Resting(self.wheel)
        self._background = Background()
        self._numbers = itertools.count(1)
        self._watcher = Silent()
        self._app = ClientApp()
        self.wires = lru_cache(maxsize=64)(self._make_wires)
        """The wires of clients with these settings."""

    def _failed(self, item: Due, error: Exception) -> None:
        self.loop.call_exception_handler({"message": "wsdaemon.client: a timer failed", "exception": error})

    def _make_wires(self, settings: ClientSettings) -> ClientWires:
        policy = WirePolicy(
            settings=settings.on_the_wire(), app=self._app, watcher=self._watcher, wheel=self.wheel, flusher=self._flusher,
            turns=self._turns, resting=self._resting, calls=self.calls, background=self._background, broadcast=_no_broadcast,
            frames=self._frames, next_id=lambda: f"client-{next(self._numbers)}",
        )  # fmt: skip
        return ClientWires(policy, Clock())


def _no_broadcast(message: object, where: object) -> None:
    raise RuntimeError("a client has one connection")


@lru_cache(maxsize=64)
def deflate_options(settings: ClientSettings) -> DeflateOptions | None:
    """The compression that a client offers; None for none."""
    if not settings.compression:
        return None
    return DeflateOptions(
        level=settings.compression_level, window_bits=settings.compression_window_bits, memory_level=settings.compression_memory_level,
        threshold=settings.compression_threshold, server_context_takeover=settings.compression_server_context_takeover,
        client_context_takeover=settings.compression_client_context_takeover,
    )  # fmt: skip


PLACE = "_wsdaemon_client_tools"
"""The tools are an attribute of their loop, because thousands of clients must not have thousands of wheels. They go with the loop."""


def tools_of(loop: asyncio.AbstractEventLoop) -> Tools:
    """The tools of a loop, made for its first client."""
    found: Tools | None = getattr(loop, PLACE, None)
    if found is None:
        found = Tools(loop)
        setattr(loop, PLACE, found)
    return found
