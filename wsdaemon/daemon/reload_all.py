"""A reload with workers, in two phases: every worker prepares the new settings, and only when all have done so, all commit them.

    supervisor to worker                                      worker to supervisor
    prepare  number, sections; the text of the settings as a     prepared  number
             memory file, and the sockets of new listeners       refused   number, problems
    commit   number                                           committed number
    undo     number
    reload   number                                           reloaded  number, problems

If one worker refuses, all undo. A worker that dies meanwhile has no say. Its successor began with the settings of before; so it is
replaced when the others commit.

`reload` has every worker read certificates and secret files again; `problems` are the reasons for which old ones stay in use there.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.logger import Logger

from ..settings.difference import in_force
from ..settings.inherited import sealed_memory
from ..settings.model import Settings
from ..settings.reference import effective
from .channel import MAX_DESCRIPTORS, Message
from .children import LaunchedChild
from .control import OperationFailed
from .sockets import Bound, SocketSource, addresses_of, take_sockets

if TYPE_CHECKING:
    from .generation import Generation

MAX_NEW_LISTENERS: Final = MAX_DESCRIPTORS - 1
"""Of one reload: their sockets are in one message, with the settings."""

READY_SECONDS: Final = 60.0
"""How long a reload waits for a worker that has just been started: one that died in the midst of reloads waits up to 10 s for its start."""

LOOK_SECONDS: Final = 0.05

REFRESH_SECONDS: Final = 10.0
"""How long a worker may take to read certificates and secret files again."""

MARGIN_SECONDS: Final = 5.0
"""How long after `start_timeout` a worker that does not answer ends the reload, or is waited for no more when all others commit."""

log = Logger(namespace="wsdaemon.supervisor")


class Supervised(Protocol):
    """The part of a supervisor that a reload needs."""

    @property
    def settings(self) -> Settings:
        """Those in force."""

    @property
    def generation(self) -> Generation: ...

    def go_on_with(self, settings: Settings, text: str, added: Mapping[str, Bound]) -> None:
        """Have these settings in force, with these new sockets. Workers that are started from now on begin with `text`."""


class ReloadOfAll:
    """Applies new settings in every worker, or in none."""

    def __init__(self, supervised: Supervised, source: SocketSource) -> None:
        """`source` binds the sockets of new listeners."""
        self._supervised = supervised
        self._source = source
        self._number = 0
        self._answers: dict[LaunchedChild, asyncio.Future[Message]] = {}

    async def apply(self, new: Settings, text: str) -> None:
        """OperationFailed with every reason; then everything is as it was."""
        supervised = self._supervised
        settings = in_force(supervised.settings, new)
        text = text if settings == new else effective(settings)
        self._number += 1
        await self._until_ready()
        added = self._bind(settings)
        children = [keeper.child for keeper in supervised.generation.workers if keeper.child is not None]
        try:
            await self._prepare(children, settings, text, added)
        except BaseException:
            for child in children:
                child.channel.send("undo", number=self._number)
            for bound in added.values():
                bound.close()
            raise
        await asyncio.shield(self._commit(children, settings, text, added))

    async def refresh(self) -> list[str]:
        """Have every worker read certificates and secret files again. The reasons for which old ones stay in use, each once."""
        self._number += 1
        children = [keeper.child for keeper in self._supervised.generation.workers if keeper.child is not None and keeper.ready]
        answers, silent = await self._answers_of(children, "reload", REFRESH_SECONDS)
        reasons = [str(reason) for answer in answers for reason in answer.get("problems", ())]
        text = f"has not said within {REFRESH_SECONDS:g} s that it has read certificates and secret files"
        late = [f"{child.name} {text}" for child in silent]
        for each in late:  # a worker logs its own reasons, but not its silence
            log.warn("{problem}", problem=each)
        return [*dict.fromkeys(reasons), *late]

    async def _until_ready(self) -> None:
        """OperationFailed if a worker does not become ready: it has the old settings, and a reload would not reach it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_SECONDS
        while not all(keeper.ready for keeper in self._supervised.generation.workers):
            if loop.time() >= deadline:
                late = [keeper.name for keeper in self._supervised.generation.workers if not keeper.ready]
                raise OperationFailed(f"{', '.join(late)}: not ready; a reload needs all workers")
            await asyncio.sleep(LOOK_SECONDS)

    def _bind(self, settings: Settings) -> dict[str, Bound]:
        """The sockets of listeners that are new or have another address. OperationFailed with every one that cannot be bound."""
        added = dict[str, Bound]()
        problems = take_sockets(settings, self._source, added, addresses_of(self._supervised.settings))
        failed = None
        if problems:
            failed = OperationFailed(*problems)
        elif len(added) > MAX_NEW_LISTENERS:
            failed = OperationFailed(f"{len(added)} listeners are new or have another address; one reload takes {MAX_NEW_LISTENERS}")
        if failed is not None:
            for bound in added.values():
                bound.close()
            raise failed
        return added

    async def _prepare(
        self, children: Sequence[LaunchedChild], settings: Settings, text: str, added: Mapping[str, Bound]
    ) -> None:  # fmt: skip
        memory = sealed_memory("wsdaemon-settings", text.encode())
        try:
            descriptors = [memory, *[bound.sock.fileno() for bound in added.values()]]
            answers = await self._ask(children, "prepare", settings, descriptors, sections=list(added))
        finally:
            os.close(memory)
        problems = [str(problem) for answer in answers if answer["kind"] == "refused" for problem in answer["problems"]]
        if problems:
            raise OperationFailed(*dict.fromkeys(problems))

    async def _commit(
        self, children: Sequence[LaunchedChild], settings: Settings, text: str, added: Mapping[str, Bound]
    ) -> None:  # fmt: skip
        supervised = self._supervised
        before = supervised.settings
        supervised.go_on_with(settings, text, added)
        replaced = []
        for keeper in supervised.generation.workers:
            child = keeper.child
            if child is not None and child not in children:  # it began with the settings of before
                replaced.append(child)
                if keeper.ready:
                    child.channel.send("stop")
                else:
                    child.kill()
        hub = supervised.generation.hub.child
        if hub is not None and before.logging != settings.logging:
            hub.channel.send("levels", level=settings.logging.level, levels=dict(settings.logging.levels))
        limit = settings.daemon.start_timeout + MARGIN_SECONDS
        _, silent = await self._answers_of(children, "commit", limit)
        if silent:  # the settings are in force, so that this is no failure of the reload
            text = "{workers} has not said within {seconds:g} s that the new settings are in use: it takes them when its loop turns again"
            log.warn(text, workers=", ".join(child.name for child in silent), seconds=limit)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_SECONDS
        while any(keeper.child in replaced for keeper in supervised.generation.workers):
            if loop.time() >= deadline:  # it drains; no newcomer gets to it
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _ask(
        self, children: Sequence[LaunchedChild], kind: str, settings: Settings, descriptors: Sequence[int] = (), **fields: Any
    ) -> list[Message]:  # fmt: skip
        """The answers of the workers that have not died meanwhile. OperationFailed if one is silent."""
        limit = settings.daemon.start_timeout + MARGIN_SECONDS
        answers, silent = await self._answers_of(children, kind, limit, descriptors, **fields)
        if silent:
            raise OperationFailed(f"{', '.join(child.name for child in silent)}: no answer within {limit:g} s")
        return answers

    async def _answers_of(
        self, children: Sequence[LaunchedChild], kind: str, seconds: float, descriptors: Sequence[int] = (), **fields: Any
    ) -> tuple[list[Message], list[LaunchedChild]]:  # fmt: skip
        """The answers within so many seconds, and the workers that are silent. One that dies meanwhile counts as one that answers."""
        loop = asyncio.get_running_loop()
        self._answers = {child: loop.create_future() for child in children if child.channel.open}
        for child in self._answers:
            child.channel.send(kind, descriptors, number=self._number, **fields)
        if self._answers:
            await asyncio.wait(self._answers.values(), timeout=seconds)
        answers, self._answers = self._answers, {}
        silent = [child for child, answer in answers.items() if not answer.done()]
        return [answer.result() for answer in answers.values() if answer.done()], silent

    def received(self, child: LaunchedChild, message: Message) -> bool:
        """Take a worker's answer; False if the message is none."""
        if message["kind"] not in ("prepared", "refused", "committed", "reloaded"):
            return False
        answer = self._answers.get(child)
        if answer is not None and not answer.done() and message.get("number") == self._number:
            answer.set_result(message)
        return True

    def ended(self, child: LaunchedChild) -> None:
        """A worker has died: it has no say any more."""
        answer = self._answers.get(child)
        if answer is not None and not answer.done():
            answer.set_result({"kind": "ended"})
