"""The generation that an upgrade starts beside the one that serves, until it serves itself or is taken back."""

from __future__ import annotations

import asyncio
from typing import Final

from twisted.logger import Logger

from .channel import Message
from .generation import Generation
from .inheritance import Plan
from .parts import StartError

SWITCH_SECONDS: Final = 30.0
"""How long the hubs may take until the new one has the order. Publications pause for a small part of it."""

log = Logger(namespace="wsdaemon.supervisor")


class Coming:
    """A new generation that does not serve yet. If one of its processes fails, the upgrade fails, and the daemon goes on."""

    def __init__(self, generation: Generation, plan: Plan, former: Generation, loop: asyncio.AbstractEventLoop) -> None:
        """`plan` has the settings that it begins with; `former` serves."""
        self.generation = generation
        self.plan = plan
        self._former = former
        self._all_ready: asyncio.Future[None] = loop.create_future()
        self._owner: asyncio.Future[str] = loop.create_future()
        """The end of the switch: empty if the new hub has the order, else the reason why the former one keeps it."""

    def start(self) -> None:
        """Start its hub and its workers. OSError if the system has no room for them."""
        new = self.generation
        log.info("starting generation {number}: the hub and {count} workers", number=new.number, count=len(new.workers))
        new.try_once()
        new.succeed(self._former)
        new.start()

    async def until_ready(self) -> None:
        """Until all its children are ready. StartError if one does not start."""
        await self._all_ready

    async def switch_order(self) -> None:
        """Have the former hub give the order of the rooms to the new one. StartError if it keeps the order."""
        if not self._owner.done():  # a hub that ends before the switch has told its verdict already
            if self._former.hub.child is None:
                raise StartError("the former hub has ended and is started again")
            self._former.hub.child.channel.send("switch")
        try:
            async with asyncio.timeout(SWITCH_SECONDS):
                reason = await self._owner
        except TimeoutError:
            reason = f"the hubs have not switched within {SWITCH_SECONDS:g} s"
        if reason:
            raise StartError(f"the new hub has not taken over the rooms: {reason}")
        try:
            self.generation.link_workers_of(self._former)
        except OSError as error:  # the new hub has the order already, so that nothing can be taken back
            log.error("workers of the former generation have no link to the new hub: {problem}", problem=error)

    async def take_back(self) -> None:
        """End it, which never served, as a whole."""
        if self._former.hub.child is not None:
            self._former.hub.child.channel.send("keep")
        await self.generation.kill()
        self.generation.close()

    # -- told by children

    def became_ready(self) -> None:
        """The start of one of its children is over."""
        if self.generation.ready and not self._all_ready.done():
            self._all_ready.set_result(None)

    def gave_up(self, reason: str) -> None:
        """One of its children does not start, or has ended."""
        if not self._all_ready.done():
            self._all_ready.set_exception(StartError(reason))
        elif not self._owner.done():
            self._owner.set_result(reason)

    def order_changed(self, generation: Generation, message: Message) -> None:
        """The hub of `generation`, its own or the former one, says whether the order is its own now."""
        if self._owner.done():
            return
        if generation is self.generation:
            self._owner.set_result("" if message["owner"] else str(message["reason"]))
        elif message["owner"]:
            self._owner.set_result(str(message["reason"]))
