"""The second half of an upgrade, in the new program: a new generation starts beside the former one, and then takes its place.

The former generation accepts clients until all processes of the new one are ready. If one of them does not start, the new generation ends
as a whole, and the former one goes on. When the new one serves, the workers of the former stop accepting, complete their opening
handshakes, hand their connections over to the new workers, drain the rest as at a stop, and end; its hub ends after them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from ..core.sizes import counted
from .control import OperationFailed
from .generation import Generation
from .inheritance import Plan
from .parts import StartError, State

if TYPE_CHECKING:
    from .supervisor import Supervisor

log = Logger(namespace="wsdaemon.supervisor")


class NextGeneration:
    """Replaces the generation of a supervisor by a new one, as a whole or not at all."""

    def __init__(self, supervisor: Supervisor, plan: Plan, answered: Callable[[Mapping[str, Any]], object]) -> None:
        """`answered` gets the answer to the command `upgrade` as soon as the new generation serves, or has failed."""
        self._supervisor = supervisor
        self._plan = plan
        self._answered = answered

    async def run(self) -> None:
        """Until the former generation has ended, or the new one is taken back. If it is cancelled, the new one is taken back too."""
        supervisor, former = self._supervisor, self._supervisor.generation
        try:
            coming = supervisor.begin_generation(self._plan)
            await coming.until_ready()
            await coming.switch_order()
        except StartError as error:
            await self._take_back(str(error))
            return
        except asyncio.CancelledError:
            await self._take_back("the daemon stops")
            raise
        except Exception as error:
            log.failure("a fault in the second half of an upgrade")
            await self._take_back(f"{type(error).__name__}: {error}")
            return
        new, connections = coming.generation, former.heartbeats.connections
        supervisor.change_generation(self._plan)
        log.info(
            "generation {new} serves; generation {former} has {connections} to hand over or to drain", new=new.number,
            connections=counted(connections, "connection"), former=former.number,
        )  # fmt: skip
        self._answered({"status": 0, "problems": [], "generation": new.number, "connections": connections})
        await former.retire(None if supervisor.state is State.DRAINED else new)
        supervisor.forget_former()
        _log_end(former)

    async def _take_back(self, reason: str) -> None:
        await self._supervisor.take_back()
        self._supervisor.log_failed_upgrade(reason)
        self._answered({"status": 1, "problems": OperationFailed(reason).problems})


def _log_end(former: Generation) -> None:
    """The one line about its connections. A worker that has died, or whose version hands over nothing, has told nothing."""
    told = former.given.values()
    silent = [keeper.name for keeper in former.workers if keeper.number not in former.given]
    log.info(
        "generation {former} has ended: {went} went along, {stayed} drained{silent}",
        former=former.number, went=counted(sum(went for went, _ in told), "connection"), stayed=sum(stayed for _, stayed in told),
        silent=f", without those of {', '.join(silent)}" if silent else "",
    )  # fmt: skip
