"""The last messages of a room."""

from __future__ import annotations

from collections.abc import Sequence

from .budget import Budget
from .contract import Message


class History:
    """The newest messages of a room, bounded by number, by age and by bytes.

    A list and the index of its oldest element: appending and dropping cost O(1) on average (dropped slots are cut off once they are half
    of the list), and any slice of k messages is one copy of k references. The offsets held are always contiguous.

    `count`: messages held at most; 0 holds none. `age`: seconds, None for no limit. `size`: bytes of payload held at most; if a message
    is larger, neither it nor any message before it is held. The messages count in `budget`. The history has no clock of its own: `now`
    comes with each call, in seconds, and never goes back.
    """

    __slots__ = ("_age", "_budget", "_count", "_head", "_messages", "_size", "_stamps", "bytes")

    def __init__(self, count: int, age: float | None, size: int, budget: Budget) -> None:
        self._budget = budget
        self._count = count
        self._age = age
        self._size = size
        self._messages: list[Message | None] = []
        self._stamps: list[float] = []  # used only where there is an age
        self._head = 0
        self.bytes = 0
        """Bytes of payload that are held."""

    def __len__(self) -> int:
        return len(self._messages) - self._head

    def append(self, message: Message, now: float) -> None:
        """Keep the message whose offset follows the last one, and drop the oldest messages above the limits."""
        if not self._count:
            if self._messages:  # of the time before the limits changed
                self.clear()
            return
        messages = self._messages
        messages.append(message)
        if self._age is not None:
            self._stamps.append(now)
        self.bytes += len(message.payload)
        if len(messages) - self._head > self._count:
            self._budget.exchange(message, self._take_oldest())
        else:
            self._budget.hold(message)
        while self.bytes > self._size:
            self.drop()
        if self._age is not None:
            self.trim(now)

    def change_limits(self, count: int, age: float | None, size: int, now: float) -> bool:
        """Have other limits from now on; messages count as new then if they had no age. Whether messages are held above the limits: these
        stay until `shorten`."""
        if age is None:
            self._stamps = []
        elif self._age is None:
            self._stamps = [now] * len(self._messages)
        self._count, self._age, self._size = count, age, size
        return self._is_above_limits()

    def _is_above_limits(self) -> bool:
        return len(self) > self._count or self.bytes > self._size

    def shorten(self, most: int) -> int:
        """Drop up to `most` of the messages above the limits; how many there were of them."""
        dropped = 0
        while dropped < most and self._is_above_limits():
            self.drop()
            dropped += 1
        return dropped

    def trim(self, now: float) -> None:
        """Drop the messages that are as old as `age`, or older."""
        if self._age is None:
            return
        stamps = self._stamps
        while self._head < len(stamps) and now - stamps[self._head] >= self._age:
            self.drop()

    def clear(self) -> None:
        """Drop all messages."""
        while self._head < len(self._messages):
            self.drop()

    def first(self, offset: int) -> int:
        """The oldest offset held, if `offset` is the newest of the room; `offset + 1` if none is held."""
        return offset - len(self) + 1

    def between(self, start: int, stop: int, offset: int) -> Sequence[Message]:
        """The messages held with offsets from `start` to `stop - 1`, in order, if `offset` is the newest of the room."""
        shift = self._head - self.first(offset)
        return self._messages[max(self._head, start + shift) : max(self._head, stop + shift)]  # type: ignore[return-value]

    def stamps(self, start: int, stop: int, offset: int) -> Sequence[float]:
        """The times at which the messages of `between` were appended; empty without an age."""
        shift = self._head - self.first(offset)
        return self._stamps[max(self._head, start + shift) : max(self._head, stop + shift)]

    def page(self, position: int | None, limit: int, reverse: bool, offset: int) -> tuple[tuple[Message, ...], bool]:
        """Up to `limit` messages, oldest first, from just after `position` or from the oldest; and whether messages before these are lost.

        With `reverse`: newest first, from just before `position` or from the newest. `offset` is the newest of the room.
        """
        first = self.first(offset)
        if reverse:
            stop = offset + 1 if position is None else position
            return tuple(reversed(self.between(max(first, stop - limit), stop, offset))), False
        start = first if position is None else max(first, position + 1)
        return tuple(self.between(start, start + limit, offset)), position is not None and position + 1 < first

    def drop(self) -> None:
        """Drop the oldest message, which must exist."""
        self._budget.release(self._take_oldest())

    def _take_oldest(self) -> Message:
        messages, head = self._messages, self._head
        message = messages[head]
        assert message is not None
        messages[head] = None
        self.bytes -= len(message.payload)
        self._head = head = head + 1
        if head * 2 >= len(messages):
            del messages[:head]
            del self._stamps[:head]
            self._head = 0
        return message
