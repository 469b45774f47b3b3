"""How far an arrival has come, and what it waits for after the checks of the gate: the counts over all workers, and the app."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass
from typing import Any

from ..core.contract import Acceptance
from ..core.handshake import Handshake
from ..core.identity import Identity
from ..core.registry import Place


class Progress(enum.Enum):
    """How far an arrival has come."""

    READING = "reading"
    """Its transport is being made, or its request read."""
    ASKING = "asking"
    """Authentication is under way, or the app's own decision."""
    ANSWERING = "answering"
    """An exchange answers with a page; it has the transport."""
    REFUSED = "refused"
    """The client may read its refusal before the connection is dropped."""
    GONE = "gone"
    """It is a connection, or nothing any more."""


@dataclass(frozen=True, slots=True)
class Entering:
    """A client that passed all checks of the gate, with its places, while the app decides."""

    handshake: Handshake
    place: Place
    identity: Identity | None
    waits_for_place: bool = False
    """Whether the counts over all workers are asked first."""


def waited_for(entry: Entering | None) -> tuple[str, str, str]:
    """The part that an arrival waits for: the reason if that is cancelled, the reason if it takes too long, and the part in words."""
    if entry is None:
        return "auth_cancelled", "auth_timeout", "authentication"
    if entry.waits_for_place:
        return "hub_cancelled", "hub_timeout", "the check of limits over all workers"
    return "app_cancelled", "app_timeout", "the app"


def look_at(question: asyncio.Future[Any]) -> None:
    """The outcome of a question that nothing waits for any more. Looked at, or the loop would log its exception."""
    if not question.cancelled() and question.exception() is None:
        abandon(question.result())


def give_up(question: asyncio.Future[Any] | None) -> None:
    """Cancel a question, if there is one, because its answer is of no use any more."""
    if question is not None:
        # After its first step: a coroutine that is cancelled before it leaves its awaitable behind, never awaited.
        question.get_loop().call_soon(question.cancel)


def abandon(answer: object) -> None:
    """Tell the app that its acceptance is not used."""
    if isinstance(answer, Acceptance) and answer.abandoned is not None:
        answer.abandoned()
