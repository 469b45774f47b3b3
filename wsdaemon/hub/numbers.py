"""The numbers of a worker's publications, and the answers that they had, so that a publication that is asked again is not doubled.

They stand apart from the idempotency keys of the rooms: they use up no key of a room or a user, and only the worker can ask for them.
"""

from __future__ import annotations

from itertools import islice

from .protocol import MAX_QUESTIONS

NUMBERS_KEPT = MAX_QUESTIONS
"""A worker's publications that the order remembers at least: as many as the worker may ask again. At most it remembers twice as many."""

NUMBERS_SECONDS = 60.0
"""The order remembers a publication for this long at least, if there are not more."""


class Numbers:
    """The answers to one worker's latest publications, whole frames, by number.

    They are in two halves, of which the older is forgotten as a whole.
    """

    __slots__ = ("_now", "_older", "_turned", "_turns", "highest", "younger")

    def __init__(self, now: float) -> None:
        self.younger: dict[int, bytes] = {}
        """The younger half. If it has NUMBERS_KEPT, call `turn` before another one is added."""
        self._older: dict[int, bytes] = {}
        self._now = self._turned = now
        self._turns = 0
        self.highest = 0
        """The highest number so far. Look for a number with `find` only if it is not above this."""

    def __len__(self) -> int:
        return len(self.younger) + len(self._older)

    def find(self, number: int) -> bytes | None:
        """The answer to the publication with this number; None if it is new, or forgotten."""
        return self.younger.get(number) or self._older.get(number)

    def add(self, number: int, answer: bytes) -> None:
        """Remember an answer."""
        younger = self.younger
        if len(younger) >= NUMBERS_KEPT:
            self.turn()
            younger = self.younger
        younger[number] = answer
        if number > self.highest:
            self.highest = number

    def forget(self, now: float) -> None:
        """Forget the answers that are old enough. Call it every few seconds."""
        self._now = now
        if now - self._turned >= NUMBERS_SECONDS:
            self.turn()

    def since(self, mark: tuple[int, int]) -> tuple[list[tuple[int, bytes]], tuple[int, int]]:
        """The answers that were added since a mark, and the mark of now. (0, 0) is the mark of the beginning."""
        turns, count = mark
        now = self._turns, len(self.younger)
        if turns == self._turns:
            return list(islice(self.younger.items(), count, None)), now
        older = islice(self._older.items(), count if turns == self._turns - 1 else 0, None)
        return [*older, *self.younger.items()], now

    def turn(self) -> None:
        """Let the younger half be the older one, and forget that."""
        self._turns += 1
        self._older, self.younger, self._turned = self.younger, {}, self._now
