"""Places over all workers, as one worker asks the hub for them.

A hub that has died is replaced within a second, so each client waits that long for its answer. If none comes, because the hub is away for
longer or hangs, the worker's own counts decide. When it has been away for MAX_AWAY_SECONDS, clients are refused with 503. When a hub is
back, the worker declares all places that it holds, those that it gave out by itself included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from twisted.logger import Logger

from ..core.rare_lines import LineLog, RareLines
from ..edge.request import BadRequest, unavailable
from ..edge.shared import SharedLimit, SharedRate, refusal
from ..hub.client import HubAway
from ..hub.place_messages import PLACE, PLACE_LEFT, PLACE_MOVED, PLACES_HELD, pack_held, pack_left, pack_place, read_verdict
from ..hub.places import GRANTED, KeyRate, NameLimit

PATIENCE_SECONDS = 1.0
"""Seconds that a client waits for the hub."""

MAX_AWAY_SECONDS = 5.0
"""Seconds for which the worker's own counts decide alone."""

T = TypeVar("T")

log = Logger(namespace="wsdaemon.hub")


class AskedHub(Protocol):
    """The part of hub.client.HubClient that is used here."""

    is_there: bool
    lost: list[Callable[[str], None]]
    returned: list[Callable[[bool], None]]

    def ask(self, kind: int, body: bytes, read: Callable[[bytes], T]) -> asyncio.Future[T]: ...

    def tell(self, kind: int, body: bytes = b"") -> bool: ...


class HubPlace:
    """One place that was asked for: edge.shared.SharedRequest."""

    __slots__ = ("_places", "answer", "asked_at", "limits", "number", "rates", "retry_after")

    def __init__(
        self, places: HubPlaces, number: int, answer: asyncio.Future[BadRequest | None], limits: Sequence[SharedLimit],
        rates: Sequence[SharedRate], retry_after: float,
    ) -> None:  # fmt: skip
        self._places = places
        self.number = number
        self.answer = answer
        self.limits = limits
        self.rates = rates
        self.retry_after = retry_after
        self.asked_at = 0.0

    def leave(self) -> None:
        self._places.left(self)


class HubPlaces:
    """The places of one worker's connections in the hub: edge.shared.SharedPlaces."""

    def __init__(
        self, link: AskedHub, loop: asyncio.AbstractEventLoop, now: Callable[[], float], line_log: LineLog = log,
        max_away: float = MAX_AWAY_SECONDS,
    ) -> None:  # fmt: skip
        """`now` gives seconds. The hub counts as away until it has welcomed the worker for the first time.

        `max_away`: seconds for which the worker's own counts decide alone.
        """
        self._link = link
        self._loop = loop
        self._now = now
        self._lines = RareLines(line_log)
        self._max_away = max_away
        self._last_number = 0
        self._undecided: dict[int, HubPlace] = {}  # in the order in which they were asked for
        self._held: dict[int, HubPlace] = {}
        self._away_since: float | None = None if link.is_there else now()
        self._told = 0  # of this absence: nothing, that own counts decide, that clients are refused
        self._timer: asyncio.TimerHandle | None = None
        link.lost.append(self._lost)
        link.returned.append(self._returned)

    def __len__(self) -> int:
        """Places that are held or asked for."""
        return len(self._undecided) + len(self._held)

    def ask(self, limits: Sequence[SharedLimit], rates: Sequence[SharedRate], retry_after: float) -> HubPlace:
        """Ask the hub. If it has been away for longer than `max_away`, the refusal is there at once."""
        self._last_number += 1
        place = HubPlace(self, self._last_number, self._loop.create_future(), limits, rates, retry_after)
        place.asked_at = self._now()
        self._undecided[place.number] = place
        if self._link.is_there:
            self._ask(place)
        self._look()
        return place

    def move(self, limits: Sequence[SharedLimit]) -> HubPlace:
        """As in SharedPlaces. If the hub is away, it is told with all other places when it is back."""
        self._last_number += 1
        place = HubPlace(self, self._last_number, self._loop.create_future(), limits, (), 0.0)
        place.answer.set_result(None)
        self._held[place.number] = place
        self._link.tell(PLACE_MOVED, pack_held([(place.number, [limit.name for limit in limits])]))
        return place

    def left(self, place: HubPlace) -> None:
        """The client of this place is gone, or was refused. The hub reads this after the question, so it may be under way."""
        here = self._undecided.pop(place.number, None) or self._held.pop(place.number, None)
        if here is not None:
            self._link.tell(PLACE_LEFT, pack_left(place.number))

    def _ask(self, place: HubPlace) -> None:
        limits = [NameLimit(each.name, each.most) for each in place.limits]
        rates = [KeyRate(each.scope, each.key, each.per_second, each.burst) for each in place.rates]
        question = self._link.ask(PLACE, pack_place(place.number, limits, rates), read_verdict)
        question.add_done_callback(partial(self._answered, place))

    def _answered(self, place: HubPlace, question: asyncio.Future[int]) -> None:
        error = None if question.cancelled() else question.exception()
        if isinstance(error, HubAway):
            return  # it is asked again when the hub is back
        if error is not None:
            self._lines.error("failed", "the hub could not answer a question for a place: {error}", error=str(error))
            self._refuse(place, unavailable("hub_away", "the server cannot count its connections now", place.retry_after))
            return
        verdict = question.result()
        if self._link.is_there:
            self._heard()
        if place.number in self._held:
            if verdict != GRANTED:  # this worker had decided alone meanwhile
                self._declare()
        elif verdict == GRANTED:
            self._grant(place)
        else:
            asked: list[SharedLimit | SharedRate] = [*place.limits, *place.rates]
            self._refuse(place, refusal(asked[verdict], place.retry_after))

    def _grant(self, place: HubPlace) -> None:
        """Nothing happens if it was given back meanwhile: the hub reads that after the question."""
        if self._undecided.pop(place.number, None) is not None:
            self._held[place.number] = place
            if not place.answer.done():
                place.answer.set_result(None)

    def _refuse(self, place: HubPlace, error: BadRequest) -> None:
        if self._undecided.pop(place.number, None) is not None and not place.answer.done():
            place.answer.set_result(error)

    def _declare(self) -> None:
        """Tell the hub of all places that are held."""
        self._link.tell(PLACES_HELD, pack_held((each.number, [limit.name for limit in each.limits]) for each in self._held.values()))

    # -- while the hub is away

    def _look(self) -> None:
        """Decide about the places that have waited for the hub long enough."""
        now = self._now()
        while self._undecided:
            first = next(iter(self._undecided.values()))
            away = 0.0 if self._away_since is None else now - self._away_since
            if away <= self._max_away and now < (due := first.asked_at + PATIENCE_SECONDS):
                if self._timer is None:
                    self._timer = self._loop.call_later(due - now, self._time_is_up)
                return
            if self._away_since is None:
                self._away_since = first.asked_at
            self._decide_alone(first, now - self._away_since)

    def _time_is_up(self) -> None:
        self._timer = None
        self._look()

    def _decide_alone(self, place: HubPlace, away: float) -> None:
        """The worker's own counts have a place for the client already. `away`: for how many seconds the hub has been away."""
        if away <= self._max_away:
            if self._told < 1:
                self._told = 1
                self._lines.warn(
                    "away", "the hub is away: limits over all workers are those of each worker for up to {n:g} s", n=self._max_away
                )
            self._grant(place)
            return
        if self._told < 2:
            self._told = 2
            self._lines.error("refused", "the hub has been away for more than {n:g} s: clients are refused", n=self._max_away)
        self._refuse(place, unavailable("hub_away", "the server cannot count its connections now", place.retry_after))
        self._link.tell(PLACE_LEFT, pack_left(place.number))  # a hub that hangs may still read the question

    def _heard(self) -> None:
        """The hub is there."""
        self._away_since, told, self._told = None, self._told, 0
        if told:
            self._lines.info("back", "the hub is back: limits hold over all workers again")

    def _lost(self, reason: str) -> None:
        if self._away_since is None:
            self._away_since = self._now()

    def _returned(self, same: bool) -> None:
        """Declare before the first question: until the hub has read it, it gives no place to others that this worker's clients have."""
        self._heard()
        self._declare()
        for place in list(self._undecided.values()):
            self._ask(place)
