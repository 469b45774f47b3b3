"""Protocols of a rooms policy, which has at least one of these methods, each a plain function or a coroutine function."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, runtime_checkable

from .visitor import Visitor


@runtime_checkable
class EnterHook(Protocol):
    """A policy that decides which clients may enter a room."""

    def enter(self, visitor: Visitor, room: str, /) -> bool | Awaitable[bool]:
        """True lets the client in. Any other answer, or raising Refused, refuses."""


@runtime_checkable
class EnterPatternHook(Protocol):
    """A policy that decides which clients may subscribe to a pattern such as prices.*."""

    def enter_pattern(self, visitor: Visitor, pattern: str, /) -> bool | Awaitable[bool]:
        """True lets the client subscribe. Any other answer, or raising Refused, refuses."""


@runtime_checkable
class PublishHook(Protocol):
    """A policy that decides which messages are published."""

    def publish(self, visitor: Visitor, room: str, message: str | bytes, /) -> str | bytes | Awaitable[str | bytes | None] | None:
        """The message to publish in place of this one; None drops it. Raising Refused refuses."""


Hooks = EnterHook | EnterPatternHook | PublishHook
"""A policy has at least one of them."""
