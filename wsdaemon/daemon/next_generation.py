"""The second half of an upgrade, in the new program: a new generation starts beside the former one, and then takes its place.

The former generation accepts clients until all processes of the new one are ready. If one of them does not start, the new generation ends
as a whole, and the former one goes on. When the new one serves, the workers of the former stop accepting, complete their opening
handshakes, drain as at a stop, and end; its hub ends after them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger, LogLevel

from ..settings.inherited import InheritedFile
from ..settings.model import Settings
from .control import OperationFailed
from .generation import Generation
from .inheritance import Heritage
from .keeper import beneath
from .parts import StartError

if TYPE_CHECKING:
    from .supervisor import Supervisor

HUB_END_SECONDS: Final = 5.0
"""How long a hub may take to end once all its workers have ended."""

log = Logger(namespace="wsdaemon.supervisor")


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a generation, and everything that its children inherit from the settings."""

    settings: Settings
    heritage: Heritage
    files: Mapping[str, InheritedFile]


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
        new = supervisor.begin_generation(self._plan)
        try:
            await supervisor.until_ready(new)
        except StartError as error:
            await self._take_back(str(error))
            return
        except asyncio.CancelledError:
            await self._take_back("the daemon stops")
            raise
        connections = former.heartbeats.connections
        supervisor.change_generation(self._plan)
        log.info(
            "generation {new} serves; the {count} connections of generation {former} are drained", new=new.number, count=connections,
            former=former.number,
        )  # fmt: skip
        self._answered({"status": 0, "problems": [], "generation": new.number, "draining": connections})
        await end_generation(former, "retire")
        supervisor.forget_former()
        log.info("generation {former} has ended", former=former.number)

    async def _take_back(self, reason: str) -> None:
        await self._supervisor.take_back()
        first, _, rest = reason.partition("\n")
        self._supervisor.log_failed_upgrade(first, rest)
        self._answered({"status": 1, "problems": OperationFailed(reason).problems})


async def end_generation(generation: Generation, how: str = "stop") -> None:
    """Drain the workers, and end the hub after them. `how`: the message to the workers, stop or retire."""
    generation.release()
    generation.tell_workers(how)
    await asyncio.gather(*[keeper.ended() for keeper in generation.workers])
    child = generation.hub.child
    if child is not None:
        child.channel.send("stop")
        killing = asyncio.get_running_loop().call_later(HUB_END_SECONDS, child.kill)
        await generation.hub.ended()
        killing.cancel()


def log_failure(generation: int, reason: str, details: str) -> None:
    """The one line about an upgrade that failed."""
    log.emit(
        LogLevel.error, "the upgrade failed, and generation {generation} goes on as before: {reason}", generation=generation, reason=reason,
        **beneath(details),
    )  # fmt: skip
