"""Calls the user's hooks, which decide which clients may enter and publish, and which messages are published.

    class Policy:
        async def enter(self, visitor: Visitor, room: str) -> bool: ...
        async def enter_pattern(self, visitor: Visitor, pattern: str) -> bool: ...
        async def publish(self, visitor: Visitor, room: str, message: str | bytes) -> str | bytes | None: ...

Each method is optional, and may be a plain function. `enter` and `enter_pattern` return whether the visitor may. If a policy has `enter`
and no `enter_pattern`, no client may subscribe to patterns, because a pattern shows rooms that `enter` was not asked about. `publish`
returns the message to publish in place of this one, or None to drop it. If a client publishes in a room that it is not in, or asks for its
history or presence, `enter` is called first. To refuse, a hook raises Refused with a reason for the client. If a hook raises another
exception, or takes longer than the mount's hook_timeout, it refuses too, and the daemon logs it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from ...core.connection import Connection
from .hooks import EnterHook, EnterPatternHook, PublishHook
from .visitor import Refused, Visitor


class Policy:
    """Calls the hooks of the user's object. `failed` is called if a hook raises or takes longer than `timeout` seconds."""

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
        """The payload to publish, and whether it is text; None drops the message. Refused unless the visitor may publish."""
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
