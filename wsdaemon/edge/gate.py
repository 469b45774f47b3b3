"""From an accepted transport to an admitted opening handshake: request head, route, admission, and then the wire.

Nothing of Autobahn has seen a byte before the request was read by our own strict reader and let in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.logger import Logger

from ..core.handshake import Handshake, Peer
from ..core.registry import Count, Place, take_place
from ..core.routing import Routes
from ..core.wheel import Wheel
from ..wire.output import Native
from ..wire.policy import Opening
from ..wire.protocol import Wire
from .request import BadRequest, Head, HeadReader, Upgrade, upgrade
from .responses import error_response

LINGER = 1.0
"""Seconds to go on reading after a refusal, so that the client gets to see the answer rather than a reset."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """A mount as the gate sees it."""

    mount: str
    wire_class: type[Wire]
    count: Count
    subprotocols: tuple[str, ...] = ()


class Arrivals(Protocol):
    """Where a listener keeps those whose opening handshake is not finished."""

    def gone(self, arrival: Arrival) -> None: ...


class Gate:
    """What all arrivals of one listener share."""

    def __init__(
        self,
        *,
        listener: str,
        secure: bool,
        routes: Routes[Entrance],
        counts: tuple[Count, ...],
        wheel: Wheel,
        handshake_timeout: float,
        retry_after: float,
        closed: Callable[[], bool] = lambda: False,
    ) -> None:
        self.listener = listener
        self.secure = secure
        self.routes = routes
        self.counts = counts
        self.wheel = wheel
        self.handshake_timeout = handshake_timeout
        self.retry_after = retry_after
        self.closed = closed
        self.refused: dict[str, int] = {}
        self.log = Logger(namespace="wsdaemon.edge")

    def admit(self, head: Head, wanted: Upgrade, peer: Peer, local: Peer) -> tuple[Wire, Handshake, Place]:
        """The wire for a request, or BadRequest that says why not."""
        if self.closed():
            raise self._unavailable("draining", "the server is shutting down")
        found = self.routes.match(head.path)
        if found is None:
            raise BadRequest(404, "no_mount", "nothing is mounted at this path")
        entrance, params = found
        wire = entrance.wire_class.make()  # runs the constructor of a mounted class, which may raise: before a place is taken
        place = take_place(entrance.count, *self.counts)
        if place is None:
            raise self._unavailable("max_connections", "the server has as many connections as it may")
        chosen = next((name for name in entrance.subprotocols if name in wanted.subprotocols), None)
        handshake = Handshake(
            target=head.target,
            path=head.path,
            raw_path=head.raw_path,
            query_string=head.query_string,
            headers=head.headers,
            params=params,
            peer=peer,
            local=local,
            secure=self.secure,
            http_version=head.version,
            subprotocols=wanted.subprotocols,
            subprotocol=chosen,
            listener=self.listener,
            mount=entrance.mount,
        )
        return wire, handshake, place

    def _unavailable(self, reason: str, detail: str) -> BadRequest:
        return BadRequest(503, reason, detail, (("Retry-After", str(max(1, round(self.retry_after)))),))

    def refusal(self, error: BadRequest, peer: Peer) -> bytes:
        """Count and log a refusal; the HTTP answer for it."""
        self.refused[error.reason] = self.refused.get(error.reason, 0) + 1
        self.log.debug("refused {peer} on {listener}: {error}", peer=str(peer), listener=self.listener, error=str(error))
        return error_response(error)


class Arrival(asyncio.Protocol):
    """One accepted connection until its opening handshake is answered."""

    __slots__ = ("_arrivals", "_descriptor", "_gate", "_local", "_native", "_peer", "_reader", "_refused", "due_bucket", "task")

    def __init__(self, gate: Gate, arrivals: Arrivals, peer: Peer, local: Peer, descriptor: int) -> None:
        self._gate = gate
        self._arrivals = arrivals
        self._peer = peer
        self._local = local
        self._descriptor = descriptor
        self._native: Native | None = None
        self._reader: HeadReader | None = HeadReader()
        self._refused = False
        self.due_bucket = 0
        self.task: asyncio.Task[None] | None = None
        gate.wheel.set(self, gate.handshake_timeout)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._native = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._reader is None or self._native is None:
            return  # refused: what else comes is not looked at
        try:
            head = self._reader.feed(data)
            if head is not None:
                self._let_in(head, self._reader.rest)
        except BadRequest as error:
            self._refuse(error)
        except Exception:
            self._gate.log.failure("request from {peer}", peer=str(self._peer))
            self._refuse(BadRequest(500, "internal_error", "internal error"))

    def _let_in(self, head: Head, rest: bytes) -> None:
        gate, native = self._gate, self._native
        assert native is not None
        wanted = upgrade(head)
        wire, handshake, place = gate.admit(head, wanted, self._peer, self._local)
        self._leave()
        wire.open(native, self._descriptor, handshake, place, Opening(wanted.key, wanted.extensions, head.raw))
        if rest:
            wire.data_received(rest)

    def _refuse(self, error: BadRequest) -> None:
        self._reader, self._refused = None, True
        native = self._native
        if native is None:
            return
        native.write(self._gate.refusal(error, self._peer))
        if self._gate.secure or self._descriptor < 0:
            native.close()
        else:
            native.write_eof()
        self._gate.wheel.set(self, LINGER)

    def due(self) -> None:
        """The handshake took too long, or the client does not go after a refusal."""
        if self._refused or self._native is None or self._reader is None:
            self.drop()
        else:
            self._refuse(BadRequest(408, "handshake_timeout", "the opening handshake took too long"))

    def drop(self) -> None:
        """End it without an answer."""
        if self._native is not None:
            self._native.abort()
        elif self.task is not None:
            self.task.cancel()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._native = None
        self._leave()

    def _leave(self) -> None:
        self._gate.wheel.clear(self)
        self._reader = None
        self._arrivals.gone(self)
