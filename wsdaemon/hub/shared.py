"""The hub's answers about places: the state that limits over all workers need, behind the links to the workers.

A new hub knows of no place until the workers have declared theirs. It answers no question before, so that it admits no client that a limit
refuses: until each worker that is expected has declared, or GATHERING_SECONDS have passed, because a worker that hangs must not keep the
others waiting. While a worker says hello anew, it keeps its places until it declares again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .place_messages import PLACE, PLACE_LEFT, PLACE_MOVED, PLACES_HELD, pack_verdict, read_held, read_left, read_place
from .places import HeldPlaces
from .server import HubServer, RefusedByHub, WorkerLink

GATHERING_SECONDS = 1.0
"""A worker whose loop does not turn for so long counts as hung everywhere in the daemon."""

MAX_WAITING = 100_000
"""Questions and leaves of all workers that may wait until the places are known. Further questions are refused."""


class SharedCounts:
    """The counts over all workers, asked by their links."""

    def __init__(self, server: HubServer, workers: int, places: HeldPlaces | None = None) -> None:
        """`workers` are expected to declare their places."""
        self.places = HeldPlaces() if places is None else places
        self._server = server
        self._expected = workers
        self._declared: set[WorkerLink] = set()
        self._waiting: list[tuple[WorkerLink, Callable[[], None]]] | None = []
        self._timer = server.loop.call_later(GATHERING_SECONDS, self.begin)
        server.handle(PLACE, self._ask)
        server.handle(PLACE_LEFT, self._left)
        server.handle(PLACES_HELD, self._declare)
        server.handle(PLACE_MOVED, self._moved)
        server.ended.append(self._ended)

    def close(self) -> None:
        self._timer.cancel()

    def wait(self) -> None:
        """Answer nothing until `begin` is called, because the places come from a former hub."""
        self._timer.cancel()

    def _ask(self, link: WorkerLink, request: int, body: bytes) -> None:
        number, limits, rates = read_place(body)

        def answer() -> None:
            self._server.answer(link, request, pack_verdict(self.places.ask(link, number, limits, rates)))

        if self._waiting is None:
            answer()
        elif len(self._waiting) < MAX_WAITING:
            self._waiting.append((link, answer))
        else:
            raise RefusedByHub("busy", f"{MAX_WAITING} questions wait until the places of all workers are known")

    def _left(self, link: WorkerLink, request: int, body: bytes) -> None:
        leave = partial(self.places.leave, link, read_left(body))
        if self._waiting is None:
            leave()
        else:
            self._waiting.append((link, leave))

    def _declare(self, link: WorkerLink, request: int, body: bytes) -> None:
        self.places.declare(link, read_held(body))
        self._known(link)

    def _moved(self, link: WorkerLink, request: int, body: bytes) -> None:
        self.places.move_in(link, read_held(body))

    def _ended(self, link: WorkerLink) -> None:
        self.places.gone(link)
        self._known(link)

    def _known(self, link: WorkerLink) -> None:
        """The places of this link are known. Its earlier questions are void."""
        if self._waiting is None:
            return
        self._waiting = [entry for entry in self._waiting if entry[0] is not link]
        self._declared.add(link)
        if len(self._declared) >= self._expected:
            self.begin()

    def begin(self) -> None:
        """Answer from now on."""
        self._timer.cancel()
        waiting, self._waiting = self._waiting or [], None
        self._declared.clear()
        for _, call in waiting:
            call()
