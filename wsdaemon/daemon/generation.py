"""A generation: the hub and the workers that were started together, and the parts that only they share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from .children import LaunchedChild
from .heartbeats import Heartbeats, Slot, SlotState
from .hub_pairs import HubPairs
from .inheritance import Role
from .keeper import FAILED_STARTS, Keeper

HUB_END_SECONDS: Final = 5.0
"""How long the hub may take to end once all workers have ended."""


class LaunchChild(Protocol):
    """Starts a child of a generation, which inherits these descriptors besides those of every child. OSError if it cannot."""

    def __call__(self, generation: Generation, role: Role, number: int, descriptors: Mapping[str, int]) -> LaunchedChild: ...


class Generation:
    """One hub and its workers: their keepers, their heartbeats and the socketpairs between them."""

    def __init__(
        self, number: int, workers: int, loop: asyncio.AbstractEventLoop, *, launch: LaunchChild,
        ready: Callable[[Generation, LaunchedChild], None], gave_up: Callable[[Generation, str], None], page: int = -1,
    ) -> None:  # fmt: skip
        """`ready` is called when the start of a child is over, and `gave_up` with the reason when one does not start any more.

        `page`: the heartbeats of a generation that runs already, whose children adopt() gives.
        """
        self.number = number
        self.page = Heartbeats.make(workers) if page < 0 else page
        self.heartbeats = Heartbeats(self.page)
        self.pairs = HubPairs(workers if page < 0 else 0)
        self.given: dict[int, tuple[int, int]] = {}
        """Of each worker that has retired: how many of its connections went along, and how many it drains."""
        self._loop = loop
        self._launch = launch
        self._succeeds: socket.socket | None = None
        self._former_page = -1

        def keeper(role: Role, of: int, launch_it: Callable[[], LaunchedChild]) -> Keeper:
            return Keeper(role, of, loop, launch=launch_it, ready=partial(ready, self), lost=self._lost, gave_up=partial(gave_up, self))

        self.hub = keeper(Role.HUB, 0, self._launch_hub)
        self.workers = [keeper(Role.WORKER, of, partial(self._launch_worker, of)) for of in range(1, workers + 1)]

    @property
    def keepers(self) -> list[Keeper]:
        """The hub's first."""
        return [self.hub, *self.workers]

    @property
    def ready(self) -> bool:
        """Whether all its children are ready."""
        return all(keeper.ready for keeper in self.keepers)

    def keeper(self, child: LaunchedChild) -> Keeper:
        """The keeper of a child of this generation."""
        return self.hub if child.role is Role.HUB else self.workers[child.number - 1]

    def slot(self, child: LaunchedChild) -> Slot:
        """The child's part of the page of heartbeats."""
        return self.heartbeats.slots[child.number]

    def start(self) -> None:
        """Start the hub and the workers."""
        for keeper in self.keepers:
            keeper.start()

    def adopt(self, child: LaunchedChild) -> None:
        """Take over a child that runs already, and whose start is over."""
        keeper = self.keeper(child)
        keeper.child, keeper.later = child, True

    def succeed(self, former: Generation) -> None:
        """Before start(): have the hub take over the order of the rooms from the former hub (see hub.succession)."""
        mine, theirs = socket.socketpair()
        self._succeeds, self._former_page = mine, former.page
        with theirs:
            if former.hub.child is not None:
                former.hub.child.channel.send("successor", [theirs.fileno()])

    def link_workers_of(self, former: Generation) -> None:
        """The hub has the order: give the workers of the former generation links to it."""
        for keeper in former.workers:
            if keeper.child is not None and self.hub.child is not None:
                hubs, workers = socket.socketpair()
                with hubs, workers:
                    self.hub.child.channel.send("worker", [hubs.fileno()], number=keeper.number, generation=former.number)
                    keeper.child.channel.send("hub", [workers.fileno()])

    def try_once(self) -> None:
        """Until let_serve(), give up at the first child that does not start."""
        for keeper in self.keepers:
            keeper.attempts = 1

    def let_serve(self) -> None:
        """The start of all is over: the workers accept clients. A child that fails from now on leaves the others to serve."""
        for keeper in self.keepers:
            keeper.later, keeper.attempts = True, FAILED_STARTS
        self.tell_workers("serve")

    def tell_workers(self, kind: str, **fields: float | None) -> None:
        """Send a message to each worker that runs."""
        for keeper in self.workers:
            if keeper.child is not None:
                keeper.child.channel.send(kind, (), **fields)

    def tell_all(self, kind: str, descriptors: Sequence[int] = ()) -> None:
        """Send a message to the hub and each worker that runs."""
        for keeper in self.keepers:
            if keeper.child is not None:
                keeper.child.channel.send(kind, descriptors)

    def release(self) -> None:
        """Start no child again."""
        for keeper in self.keepers:
            keeper.release()

    async def kill(self) -> None:
        """End all children at once."""
        for keeper in self.keepers:
            keeper.release(killed=True)
            if keeper.child is not None:
                keeper.child.kill()
        await asyncio.gather(*[keeper.ended() for keeper in self.keepers])

    async def end(self) -> None:
        """Drain the workers, and end the hub after them."""
        self.release()
        self.tell_workers("stop")
        await self._until_ended()

    async def retire(self, successor: Generation | None) -> None:
        """As end(), but the workers complete their opening handshakes, and hand connections over to those of `successor`.

        None: all connections are drained. A worker that is not ready yet, because the one before it has just died, serves no client: it is
        killed.
        """
        self.release()
        takers = [] if successor is None else [keeper.child for keeper in successor.workers if keeper.ready and keeper.child is not None]
        for keeper in self.workers:
            if keeper.child is not None and not keeper.ready:
                keeper.release(killed=True)
                keeper.child.kill()
            elif keeper.child is not None:
                _retire(keeper.child, takers[(keeper.number - 1) % len(takers)] if takers else None)
        await self._until_ended()

    async def _until_ended(self) -> None:
        await asyncio.gather(*[keeper.ended() for keeper in self.workers])
        child = self.hub.child
        if child is not None:
            child.channel.send("stop")
            killing = self._loop.call_later(HUB_END_SECONDS, child.kill)
            await self.hub.ended()
            killing.cancel()

    def close(self) -> None:
        """Close the parts that the children shared. Does nothing if called again."""
        self.pairs.close()
        if self.page >= 0:
            os.close(self.page)
            self.page = -1

    # -- the start of one child

    def _launch_hub(self) -> LaunchedChild:
        pairs = self.pairs
        for keeper in self.workers:
            if keeper.number not in pairs.for_hub:
                pairs.connect(keeper.number)
        links = {f"worker:{number}": sock.fileno() for number, sock in pairs.for_hub.items()}
        with contextlib.ExitStack() as stack:
            if (end := self._succeeds) is not None:
                self._succeeds = None
                links |= {"predecessor": stack.enter_context(end).fileno(), "former heartbeats": self._former_page}
            child = self._begin(Role.HUB, 0, links)
        for keeper in self.workers:
            pairs.hub_has(keeper.number)
            if keeper.child is not None and keeper.number in pairs.for_worker:
                keeper.child.channel.send("hub", [pairs.for_worker[keeper.number].fileno()])
                pairs.worker_has(keeper.number)
        return child

    def _launch_worker(self, number: int) -> LaunchedChild:
        pairs = self.pairs
        if number not in pairs.for_worker:
            pairs.connect(number)
            if self.hub.child is not None:
                self.hub.child.channel.send("worker", [pairs.for_hub[number].fileno()], number=number, generation=self.number)
                pairs.hub_has(number)
        child = self._begin(Role.WORKER, number, {"hub": pairs.for_worker[number].fileno()})
        pairs.worker_has(number)
        return child

    def _begin(self, role: Role, number: int, descriptors: Mapping[str, int]) -> LaunchedChild:
        slot = self.heartbeats.slots[number]
        if slot.state is not SlotState.COMING:
            slot.begin(SlotState.COMING, self.number)
        return self._launch(self, role, number, {**descriptors, "heartbeats": self.page})

    def _lost(self, child: LaunchedChild, wait: float) -> None:
        """A child has ended. If its successor comes at once, the other workers leave new connections to it, see Band."""
        self.slot(child).begin(SlotState.EMPTY if wait else SlotState.COMING, self.number, hold=not wait)


def _retire(child: LaunchedChild, taker: LaunchedChild | None) -> None:
    """Have a worker retire, and give both ends of a link to it and to the worker that takes its connections."""
    with contextlib.ExitStack() as stack:
        link: list[int] = []
        if taker is not None:
            with contextlib.suppress(OSError):  # too many open files: then the connections are drained
                ours, theirs = socket.socketpair()
                link = [stack.enter_context(ours).fileno()]
                taker.channel.send("take", [stack.enter_context(theirs).fileno()])
        child.channel.send("retire", link)
