"""The user's hooks: who may enter, who may publish, and what is published.

    class Policy:
        async def enter(self, visitor: Visitor, room: str) -> bool: ...
        async def enter_pattern(self, visitor: Visitor, pattern: str) -> bool: ...
        async def publish(self, visitor: Visitor, room: str, message: str | bytes) -> str | bytes | None: ...

Each may be left out, and each may be a plain function as well. `enter` and `enter_pattern` say whether the visitor may; where there is an
`enter` and no `enter_pattern`, nobody may subscribe to patterns, for they would show rooms that `enter` was not asked about. `publish`
answers the message that is to be published in the place of this one, or None to drop it; whoever publishes in a room, or looks into its
history, without being in it is asked about with `enter` first. To refuse, raise Refused with a reason for the client. Any other exception
refuses too, and is logged, and so does a hook that takes longer than the mount's hook_timeout.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from ...core.connection import Connection
from ...core.handshake import Handshake, Peer
from ...core.identity import Identity
from .hooks import EnterHook, EnterPatternHook, PublishHook


class Refused(Exception):
    """A hook's refusal; the text is told to the client."""


class Visitor:
    """The client that a hook decides about. Its `handshake` is whole for as long as the connection is open."""

    __slots__ = ("handshake", "id")

    def __init__(self, id: str, handshake: Handshake) -> None:
        self.id = id
        """Its member id, which is its connection's."""
        self.handshake = handshake

    @property
    def identity(self) -> Identity | None:
        """The authenticated user; None on a mount without `auth`."""
        return self.handshake.identity

    @property
    def peer(self) -> Peer:
        return self.handshake.peer

    def __repr__(self) -> str:
        return f"<Visitor {self.id} {self.peer}>"


class Policy:
    """Calls the hooks of the user's object. `failed` is told of those that raise or take longer than `timeout` seconds."""

    def __init__(self, hooks: object, timeout: float, failed: Callable[[Connection, str, BaseException], None]) -> None:
        self._enter = hooks.enter if isinstance(hooks, EnterHook) else None
        self._enter_pattern = hooks.enter_pattern if isinstance(hooks, EnterPatternHook) else None
        self._publish = hooks.publish if isinstance(hooks, PublishHook) else None
        self._timeout = timeout
        self._failed = failed
        if not any(map(callable, (self._enter, self._enter_pattern, self._publish))):
            raise TypeError("a policy has at least one of the methods enter, enter_pattern and publish")

    async def enter(self, connection: Connection, visitor: Visitor | None, room: str) -> None:
        """Refused unless the visitor may enter the room."""
        if self._enter is not None and await self._ask(connection, self._enter, visitor, room) is not True:
            raise Refused("not allowed here")

    async def enter_pattern(self, connection: Connection, visitor: Visitor | None, pattern: str) -> None:
        """Refused unless the visitor may subscribe to the pattern."""
        if self._enter_pattern is None:
            if self._enter is not None:
                raise Refused("patterns are not allowed here")
        elif await self._ask(connection, self._enter_pattern, visitor, pattern) is not True:
            raise Refused("not allowed here")

    async def publish(
        self, connection: Connection, visitor: Visitor | None, room: str, payload: bytes, text: bool
    ) -> tuple[bytes, bool] | None:  # fmt: skip
        """The payload to publish, and whether it is text; None: it is dropped. Refused when the visitor may not."""
        if self._publish is None:
            return payload, text
        answer = await self._ask(connection, self._publish, visitor, room, payload.decode() if text else payload)
        try:
            if isinstance(answer, str):
                return answer.encode(), True
        except UnicodeEncodeError as error:
            self._failed(connection, "asking the policy", error)
            raise Refused("not allowed here") from None
        if answer is None or isinstance(answer, bytes):
            return None if answer is None else (answer, False)
        self._failed(connection, "asking the policy", TypeError(f"publish() answers str, bytes or None, not {type(answer).__name__}"))
        raise Refused("not allowed here")

    async def _ask(self, connection: Connection, hook: Callable[..., Any], *arguments: object) -> object:
        try:
            answer: object = hook(*arguments)
            if inspect.isawaitable(answer):
                answer = await self._in_time(answer)
        except Refused:
            raise
        except Exception as error:
            self._failed(connection, "asking the policy", error)
            raise Refused("not allowed here") from None
        return answer

    async def _in_time(self, answer: Awaitable[object]) -> object:
        async with asyncio.timeout(self._timeout):
            return await answer
