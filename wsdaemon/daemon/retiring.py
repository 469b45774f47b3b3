"""Apps that no mount runs any more after a reload: each is stopped once its last connection has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from twisted.logger import Logger

from ..core.registry import Connections
from ..wire.policy import server_of
from .parts import Step, name_of, stop_in_order

LOOK_SECONDS: Final = 0.5
"""Between two looks whether the last connection has ended."""

log = Logger(namespace="wsdaemon")


@dataclass(frozen=True, slots=True)
class _Retired:
    steps: Sequence[Step]
    servers: Collection[int]
    """The ids of the apps and Autobahn factories, see `server_of`."""
    arriving: Callable[[], bool]


class Retiring:
    """The parts of a daemon that earlier settings began and that still serve. At the daemon's end they are stopped with it.

    Each is stopped by itself, so that one whose stop() hangs holds no other.
    """

    name = "retired apps"

    def __init__(self, connections: Connections, patience: float) -> None:
        """`patience`: seconds that the stop of a part may take, `drain_timeout`."""
        self.patience = patience
        self._connections = connections
        self._ending: set[asyncio.Task[None]] = set()
        self._retired: list[_Retired] = []
        self._looking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Reloads whose old parts still serve."""
        return len(self._retired)

    def add(self, steps: Sequence[Step], servers: Iterable[object], arriving: Callable[[], bool]) -> None:
        """Stop these steps, the last one first, once none of `servers` has a connection and no handshake of before is `arriving`."""
        self._retired.append(_Retired(steps, {id(each) for each in servers}, arriving))
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        while self._retired:
            await asyncio.sleep(LOOK_SECONDS)
            in_use = {id(server_of(connection)) for connection in self._connections}
            for each in list(self._retired):
                if in_use.isdisjoint(each.servers) and not each.arriving():
                    self._retired.remove(each)
                    self._end(each)
        self._looking = None

    def _end(self, retired: _Retired) -> None:
        for step in reversed(retired.steps):
            task = asyncio.get_running_loop().create_task(self._stop(step))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _stop(self, step: Step) -> None:
        try:
            async with asyncio.timeout(self.patience):
                await stop_in_order([step])
        except TimeoutError:
            text = "{step}, which a reload has removed, has not stopped within {seconds:g} s ([daemon] drain_timeout) and is given up"
            log.error(text, step=name_of(step), seconds=self.patience)

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """The daemon stops, and its connections have ended."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        while self._retired:
            self._end(self._retired.pop())
        if self._ending:
            await asyncio.wait(self._ending)
