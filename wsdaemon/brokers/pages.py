"""The part of a page of a history that goes into one answer."""

from __future__ import annotations

from collections.abc import Sequence

from .contract import HistoryPage, Message


def first_messages(messages: Sequence[Message], max_bytes: int, envelope_bytes: int = 0) -> Sequence[Message]:
    """The first messages: at least one, and no more than fit into `max_bytes`, each with `envelope_bytes` besides its payload."""
    size = 0
    for count, message in enumerate(messages):
        size += len(message.payload) + envelope_bytes
        if size > max_bytes and count:
            return messages[:count]
    return messages


def has_more(page: HistoryPage, messages: Sequence[Message], reverse: bool) -> bool:
    """Whether the room holds more messages in that direction than `messages`, which are the first of the page's."""
    if not messages:
        return False
    return messages[-1].offset > page.first if reverse else messages[-1].offset < page.offset
