"""From an accepted transport to an open connection: the request head is read, admission is asked, and the wire takes over.

Nothing of Autobahn has seen a byte before the request was read by our own strict reader and let in.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure

from ..core.handshake import ClientCertificate, Peer
from ..core.registry import Count
from ..core.routing import Routes
from ..core.wheel import Wheel
from ..wire.writer import Native
from .admission import Admission, Candidate, Entrance
from .auth.contract import Identity
from .forwarded import ForwardedHeader, Networks
from .hosts import Hosts
from .limits import AddressLimits, Key, Tally
from .request import BadRequest, Head, HeadReader, wants_upgrade
from .responses import error_response

__all__ = ["Arrival", "Arrivals", "Entrance", "Gate"]

LINGER = 1.0
"""Seconds to go on reading after a refusal, so that the client gets to see the answer rather than a reset."""


AnswerPage = Callable[[Head], bytes | None]
"""The whole answer to a request for a web page; None where there is no such page. May raise BadRequest."""


class Arrivals(Protocol):
    """Where a listener keeps those whose opening handshake is not finished."""

    def gone(self, arrival: Arrival) -> None: ...


class Gate(Admission):
    """What all arrivals of one listener share."""

    def __init__(
        self, *, listener: str, secure: bool, routes: Routes[Entrance], counts: tuple[Count, ...], wheel: Wheel, handshake_timeout: float,
        retry_after: float, closed: Callable[[], bool] = lambda: False, limits: AddressLimits | None = None,
        trusted: Networks | None = None, show_certificate: Callable[[Any], ClientCertificate | None] | None = None,
        now: Callable[[], float] = time.time, pages: AnswerPage | None = None, forwarded_header: ForwardedHeader = "x-forwarded-for",
        users: Tally | None = None, hosts: Hosts | None = None,
    ) -> None:  # fmt: skip
        """`handshake_timeout`: seconds from the accept to the end of the opening handshake, whatever it is made of.

        `pages` is asked about requests that are no opening handshakes.
        """
        super().__init__(
            listener=listener, secure=secure, routes=routes, counts=counts, wheel=wheel, retry_after=retry_after, closed=closed,
            limits=limits, trusted=trusted, show_certificate=show_certificate, now=now, forwarded_header=forwarded_header,
            users=users, hosts=hosts,
        )  # fmt: skip
        self.handshake_timeout = handshake_timeout
        self.pages = pages
        self.log = Logger(namespace="wsdaemon.edge")

    @property
    def refused(self) -> dict[str, int]:
        """Clients turned away, by reason."""
        return self.refusals.counts

    @property
    def refused_by_mount(self) -> dict[str, dict[str, int]]:
        """The same by the mount that they asked for; under "" those who were turned away before that was known."""
        return self.refusals.by_mount

    def refusal(self, error: BadRequest, peer: Peer, mount: str = "", head_only: bool = False) -> bytes:
        """Count and log a refusal; the HTTP answer for it. `head_only`: the answer to HEAD."""
        told = error.status in (429, 503) and error.reason != "draining"
        self.refusals.add(error.reason, peer, f": {error.status} {error.detail}", told, mount)
        return error_response(error, head_only=head_only)


class Phase(enum.Enum):
    """How far an arrival has come."""

    READING = "reading"
    """Its transport is being made, or its request read."""
    ASKING = "asking"
    """Somebody finds out who it is."""
    REFUSED = "refused"
    """It was answered, with a page or a refusal, and may read that before it is dropped."""
    GONE = "gone"
    """It is a connection, or nothing any more."""


class Arrival(asyncio.Protocol):
    """One accepted connection until its opening handshake is answered."""

    __slots__ = (
        "_arrivals", "_candidate", "_descriptor", "_early", "_gate", "_native", "_phase", "_question", "_reader", "connecting",
        "due_bucket", "key", "local", "peer", "stop_connecting",
    )  # fmt: skip

    def __init__(self, gate: Gate, arrivals: Arrivals, peer: Peer, local: Peer, descriptor: int, key: Key | None = None) -> None:
        """`descriptor` is the plain socket's, -1 for TLS. Under `key` a handshake was entered in the gate's limits; it leaves with this."""
        self._gate = gate
        self._arrivals = arrivals
        self._descriptor = descriptor
        self._native: Native | None = None
        self._phase = Phase.READING
        self._reader = HeadReader()
        self._candidate: Candidate | None = None
        self._question: asyncio.Future[Identity | None] | None = None
        self._early = b""
        self.peer = peer
        self.local = local
        self.key = key
        self.due_bucket = 0
        self.connecting: asyncio.Task[None] | None = None
        """What makes the transport, for as long as that takes."""
        self.stop_connecting: Callable[[], object] | None = None
        """Ends that early. None before it has begun: then it ends by itself when it sees that this is gone."""
        gate.wheel.set(self, gate.handshake_timeout)

    @property
    def gone(self) -> bool:
        """It is a connection, or nothing any more."""
        return self._phase is Phase.GONE

    # -- the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._phase is Phase.GONE:  # dropped while the transport was made
            transport.abort()  # type: ignore[attr-defined]
        else:
            self._native = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._native is None:
            return
        try:
            if self._phase is Phase.READING:
                head = self._reader.feed(data)
                if head is not None:
                    self._ask(head)
            elif self._phase is Phase.ASKING:
                self._keep(data)
            # refused: what else comes is not looked at
        except BadRequest as error:
            self._refuse(error)
        except Exception:
            self._broken(Failure())

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._native = None
        self._leave()

    # -- admission

    def _ask(self, head: Head) -> None:
        gate, native = self._gate, self._native
        tls_object = native.get_extra_info("ssl_object") if gate.show_certificate is not None else None  # type: ignore[union-attr]
        candidate = self._candidate = Candidate(head, self.peer, self.local, gate.secure, self.key)
        try:
            gate.receive(candidate, tls_object)
        finally:  # a handshake may have been entered under its key before it was refused, and must leave with this
            self.key = candidate.key
        page = None if gate.pages is None or wants_upgrade(head) else gate.pages(head)
        if page is not None:
            self._answer(page, gate.handshake_timeout)
            return
        answer = gate.ask(candidate)
        if answer is None or isinstance(answer, Identity):
            self._let_in(candidate, answer)
        else:
            self._wait(answer)

    def _wait(self, answer: Awaitable[Identity | None]) -> None:
        """Until it is known who the client is. The deadline of the handshake runs on."""
        self._phase = Phase.ASKING
        self._question = asyncio.ensure_future(answer)
        self._question.add_done_callback(self._answered)
        if self._reader.rest:
            self._keep(self._reader.rest)

    def _keep(self, data: bytes) -> None:
        """What a client sends before it was let in waits, and with that nothing more is read from it.

        Until then its socket is read, for only so is it seen that a client goes away.
        """
        self._early += data
        self._native.pause_reading()  # type: ignore[union-attr]

    def _answered(self, question: asyncio.Future[Identity | None]) -> None:
        self._question = None
        if self._phase is not Phase.ASKING:
            if not question.cancelled():
                question.exception()  # seen: nobody is there any more to be told
            return
        assert self._candidate is not None
        try:
            self._let_in(self._candidate, question.result())
        except BadRequest as error:
            self._refuse(error)
        except asyncio.CancelledError:
            self._refuse(self._gate.unavailable("auth_cancelled", "it could not be found out who the client is"))
        except Exception:
            self._broken(Failure())

    def _let_in(self, candidate: Candidate, identity: Identity | None) -> None:
        gate, native = self._gate, self._native
        handshake, place = gate.let_in(candidate, identity)
        assert native is not None
        if self._early:  # it was paused in _keep(); from here on the wire decides
            native.resume_reading()
        wanted, early, time_left = candidate.wanted, self._early or self._reader.rest, gate.wheel.left(self)
        try:
            wire = candidate.entrance.wires.open(
                native, self._descriptor, handshake, place,
                key=wanted.key, extensions=wanted.extensions, time_left=time_left, refusals=gate.refusals, early=early,
            )  # fmt: skip
        except BaseException:
            place.leave()
            if native.get_protocol() is not self:  # it was the wire's already, and may have been answered
                self._native = None
                self._leave()
                native.abort()
            raise
        self._native = None
        self._leave()
        gate.opened(wire, candidate.entrance, identity, place)

    # -- the end

    def _refuse(self, error: BadRequest) -> None:
        candidate = self._candidate
        if self._native is None:
            return
        if candidate is None:
            self._answer(self._gate.refusal(error, self.peer), LINGER)
        else:
            self._answer(self._gate.refusal(error, candidate.peer, candidate.mount, candidate.head.method == "HEAD"), LINGER)

    def _answer(self, answer: bytes, linger: float) -> None:
        """Write a last answer, and give the client `linger` seconds to read it."""
        native = self._native
        assert native is not None
        self._phase = Phase.REFUSED
        native.write(answer)
        if self._early:
            self._early = b""
            native.resume_reading()
        if self._gate.secure or self._descriptor < 0:
            native.close()
        else:
            native.write_eof()
        self._gate.wheel.set(self, linger)

    def _broken(self, failure: Failure) -> None:
        """Our own fault, or an authenticator's."""
        self._gate.log.failure("request from {peer}", failure=failure, peer=str(self.peer))
        self._refuse(BadRequest(500, "internal_error", "internal error"))

    def due(self) -> None:
        """The handshake took too long, or the client does not go after a refusal."""
        if self._native is None or self._phase is Phase.REFUSED:
            if self._phase is not Phase.REFUSED:
                self._gate.refusals.add("handshake_timeout", self.peer)
            self.drop()
        elif self._phase is Phase.ASKING:
            self._forget_question()
            self._refuse(self._gate.unavailable("auth_timeout", "it took too long to find out who the client is"))
        else:
            self._refuse(BadRequest(408, "handshake_timeout", "the opening handshake took too long"))

    def drop(self) -> None:
        """End it without an answer. Its place among the handshakes is free at once."""
        native, self._native = self._native, None
        self._leave()
        if native is not None:
            native.abort()
        elif self.stop_connecting is not None:
            self.stop_connecting()

    def _leave(self) -> None:
        if self._phase is Phase.GONE:
            return
        self._phase = Phase.GONE
        self._gate.wheel.clear(self)
        self._forget_question()
        if self.key is not None and self._gate.limits is not None:
            self._gate.limits.handshakes.leave(self.key)
        self._arrivals.gone(self)

    def _forget_question(self) -> None:
        question, self._question = self._question, None
        if question is not None:
            # Not before its first step: a coroutine that is cancelled unborn leaves what it was to await behind.
            question.get_loop().call_soon(question.cancel)
