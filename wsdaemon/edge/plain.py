"""The requests without an upgrade on one connection: an Exchange has the transport for each, and the arrival reads the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..core.contract import PlainApp
from ..core.limits import Key
from ..core.registry import Place
from .candidate import Candidate
from .crowd import Worth
from .entering import Entering
from .exchange import Exchange
from .site import Answering, Site, give_page

if TYPE_CHECKING:
    from ..wire.writer import Native
    from .gate import Gate

STUCK_SECONDS = 60.0
"""How long a client may take nothing of an app's answer, if the mount sets no send_backlog_age."""


class Lender(Protocol):
    """The arrival, which lends its transport to an exchange."""

    @property
    def gate(self) -> Gate: ...

    def let_go(self, hosted: bool, /) -> tuple[Native, bytes]:
        """The transport, for an exchange, and bytes that came early. `hosted`: this is no handshake any more, and its place stays taken."""

    def come_back(self, native: Native, key: Key | None, /) -> None:
        """The client has its answer: read its next request, under the same key."""

    def data_received(self, data: bytes, /) -> None:
        """The beginning of that request."""

    def transport_gone(self) -> None:
        """The connection has ended while an exchange had it."""


class PlainRequests:
    """A part of an arrival, made for its first request without an upgrade."""

    __slots__ = ("_begun", "_exchange", "_key", "_lender", "_place")

    def __init__(self, lender: Lender, key: Key | None) -> None:
        """Under `key` the arrival was entered in the limits on handshakes before its head was read."""
        self._lender = lender
        self._key = key
        self._begun = False
        self._exchange: Exchange | None = None
        self._place: Place | None = None

    @property
    def worth(self) -> Worth | None:
        """Whether the client may make room for a newcomer, while it is answered; else None."""
        return None if self._exchange is None else self._exchange.worth

    def show_page(self, candidate: Candidate, site: Site, seconds: float) -> bool:
        """Whether the listener's pages answer. A request for one has `seconds` left, until its answer."""
        found = site.find(candidate)
        if found is None:
            return False
        exchange = self._new(candidate, site.max_body, self._lender.gate.handshake_timeout, whole=True)
        session = found(exchange) if callable(found) else None
        self._start(exchange, session, seconds)
        if not callable(found):
            give_page(exchange, found)
        return True

    def ask_app(self, candidate: Candidate, app: PlainApp, entry: Entering) -> None:
        """Let the app answer. An exception of the app comes before anything has changed."""
        assert candidate.entrance is not None
        policy = candidate.entrance.wires.policy
        exchange = self._new(candidate, policy.settings.max_message, policy.backlog_age or STUCK_SECONDS)
        exchange.handshake = entry.handshake
        session = app.answer(entry.handshake, candidate.head.method, exchange)
        policy.background.add(session.work, exchange)
        self._place = entry.place
        self._start(exchange, session, hosted=True)

    def _new(self, candidate: Candidate, max_body: int, patience: float, whole: bool = False) -> Exchange:
        return Exchange(self._lender.gate, candidate, self, max_body=max_body, patience=patience, whole=whole)

    def _start(self, exchange: Exchange, session: Answering | None, seconds: float = 0.0, hosted: bool = False) -> None:
        native, early = self._lender.let_go(hosted)
        if not self._begun:
            native.set_write_buffer_limits(high=0)
            self._begun = True
        self._exchange = exchange
        exchange.start(native, session, early, seconds)

    def next_request(self, native: Native, early: bytes, ended: bool) -> None:
        """As Requester says: all checks and limits of the first request apply to this one."""
        self._exchange = None
        self._lender.come_back(native, self._key)
        if early:
            self._lender.data_received(early)
        if ended and (self._exchange is None or not self._exchange.eof_received()):
            native.close()

    def exchange_over(self) -> None:
        """As Requester says."""
        self._exchange = None
        self._lender.transport_gone()

    def drop(self) -> None:
        """End the exchange under way, if there is one."""
        if self._exchange is not None:
            self._exchange.drop()

    def leave_place(self) -> None:
        """Give the place on the mount of the last request back."""
        place, self._place = self._place, None
        if place is not None:
            place.leave()
