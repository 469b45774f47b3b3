"""One accepted connection: its request is read, admission is asked, and the wire takes over.

Nothing of Autobahn has seen a byte before the request was read by our own strict reader and admitted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.python.failure import Failure

from ..core.acceptance import HandshakeRefused, check_acceptance
from ..core.contract import Acceptance
from ..core.handshake import Handshake, Peer
from ..core.identity import Identity
from ..core.limits import Key
from ..core.registry import Place
from ..wire.factory import NotServed
from ..wire.writer import Native
from .candidate import Candidate, Entrance
from .crowd import Arrivals, Worth
from .entering import Entering, Progress, abandon, give_up, look_at, waited_for
from .gate import Gate
from .request import BadRequest, Head, HeadReader
from .request_body import LINGER_SECONDS
from .upgrade import wants_upgrade

if TYPE_CHECKING:
    from .plain import PlainRequests


class Arrival(asyncio.Protocol):
    """One accepted connection until its opening handshake is answered."""

    __slots__ = (
        "_accepted_key", "_arrivals", "_candidate", "_descriptor", "_early", "_entry", "_gate", "_native", "_plain", "_progress",
        "_question", "_reader", "connecting", "due_bucket", "key", "local", "peer", "secure", "stop_connecting",
    )  # fmt: skip

    def __init__(self, gate: Gate, arrivals: Arrivals, peer: Peer, local: Peer | str, descriptor: int, key: Key | None = None) -> None:
        """`descriptor` is the plain socket's, -1 for TLS. Under `key` a handshake was entered in the gate's limits; it leaves with this."""
        self._gate = gate
        self._arrivals = arrivals
        self._descriptor = descriptor
        self._native: Native | None = None
        self._progress = Progress.READING
        self._reader: HeadReader | None = None
        self._candidate: Candidate | None = None
        self._question: asyncio.Future[Any] | None = None
        self._entry: Entering | None = None
        self._plain: PlainRequests | None = None
        self._early = b""
        self.peer, self.local, self.key = peer, local, key
        self.secure = gate.secure
        """Whether the client came over TLS, here or at a load balancer that says so in a PROXY header."""
        self.due_bucket = 0
        self.connecting: asyncio.Task[None] | None = None
        """The task that reads a PROXY header, while it does."""
        self.stop_connecting: Callable[[], object] | None = None
        """Gives up the header or the transport that is being made. None before that has begun, because it then sees `gone` by itself."""
        gate.wheel.set(self, gate.handshake_timeout)

    @property
    def gate(self) -> Gate:
        """The gate that its request began at. A reload may have given its listener another one since."""
        return self._gate

    @property
    def gone(self) -> bool:
        """It is a connection, or nothing any more."""
        return self._progress is Progress.GONE

    @property
    def kept_alive(self) -> bool:
        """Whether a request was answered, and nothing of another one has come."""
        return self._plain is not None and self._progress is Progress.READING and self._reader is None

    @property
    def worth(self) -> Worth:
        """Whether this one may make room for a newcomer."""
        if self._plain is not None and (worth := self._plain.worth) is not None:
            return worth
        if self._progress is Progress.READING:
            return Worth.IDLE if self.kept_alive else Worth.SLOW
        return Worth.ANSWERING if self._progress is Progress.ASKING else Worth.LEAVING

    # -- the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.stop_connecting = None
        if self._progress is Progress.GONE:  # dropped while the transport was made
            transport.abort()  # type: ignore[attr-defined]
        else:
            self._native = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._native is None:
            return
        try:
            if self._progress is Progress.READING:
                self._read(data)
            elif self._progress is Progress.ASKING:
                self._keep(data)
            # refused: what else comes is not looked at
        except (BadRequest, HandshakeRefused) as error:
            self._refuse(error)
        except Exception:
            self._broken(Failure())

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._native = None
        self._leave()

    def _read(self, data: bytes) -> None:
        """Read the request. Only one that comes in pieces needs a reader."""
        if self._reader is None:
            if self._plain is not None:
                self._gate = self._arrivals.gate
            whole = self._gate.read_head(data, self._gate.max_body, self._gate.max_body > 0)
            if whole is not None:
                head, self._early = whole
                self._ask(head)
                return
            self._reader = HeadReader(self._gate.max_body, self._gate.max_body > 0)
            if self._plain is not None:  # it was idle until now
                self._gate.wheel.set(self, self._gate.handshake_timeout)
        head_after_all = self._reader.feed(data)
        if head_after_all is not None:
            self._early = self._reader.rest
            self._ask(head_after_all)

    # -- admission

    def _ask(self, head: Head) -> None:
        gate, admission, native = self._gate, self._gate.admission, self._native
        tls_object = native.get_extra_info("ssl_object") if admission.show_certificate is not None else None  # type: ignore[union-attr]
        self._leave_kept_place()
        self._accepted_key = self.key
        candidate = self._candidate = Candidate(head, self.peer, self.local, self.secure, self.key)
        try:
            admission.receive(candidate, tls_object)
        finally:  # a handshake may have been entered under its key before it was refused, and must leave with this
            self.key = candidate.address
        if gate.site is not None and not wants_upgrade(head):
            seconds = gate.handshake_timeout if self._reader is None else gate.wheel.left(self)
            if self._plain_requests().show_page(candidate, gate.site, seconds):
                return
        answer = admission.ask(candidate)
        if answer is None or isinstance(answer, Identity):
            self._let_in(candidate, answer)
        else:
            self._wait(answer)

    def _wait(self, answer: Awaitable[object]) -> None:
        """Wait for authentication, or for the app. The deadline of the handshake runs on."""
        waits_already, self._progress = self._progress is Progress.ASKING, Progress.ASKING
        if self._plain is not None and self._reader is None and not waits_already:  # it was idle until now
            self._gate.wheel.set(self, self._gate.handshake_timeout)
        self._question = asyncio.ensure_future(answer)
        self._question.add_done_callback(self._answered)
        if self._early and not waits_already:
            self._keep(b"")

    def _keep(self, data: bytes) -> None:
        """Keep bytes that a client sends before it was let in, and then read no more of them.

        Until then its socket is read, because only reading shows that a client goes away.
        """
        self._early += data
        self._native.pause_reading()  # type: ignore[union-attr]

    def _answered(self, question: asyncio.Future[Any]) -> None:
        if question is not self._question or self._progress is not Progress.ASKING:
            look_at(question)  # the client is gone, or was answered
            return
        self._question, entry = None, self._entry
        assert self._candidate is not None
        try:
            if entry is None:
                self._let_in(self._candidate, question.result())
            elif entry.waits_for_place:
                self._place_answered(self._candidate, entry, question.result())
            else:
                self._open_as_accepted(self._candidate, entry, question.result())
        except (BadRequest, HandshakeRefused) as error:
            self._refuse(error)
        except asyncio.CancelledError:
            reason, _, text = waited_for(entry)
            self._refuse(self._gate.admission.unavailable(reason, f"{text} was given up"))
        except Exception:
            self._broken(Failure())

    def _let_in(self, candidate: Candidate, identity: Identity | None) -> None:
        gate, entrance = self._gate, candidate.entrance
        assert entrance is not None
        handshake, place = gate.admission.admit(candidate, entrance, identity)
        if gate.admission.places.shared is not None:
            self._entry = Entering(handshake, place, identity, waits_for_place=True)
            self._wait(candidate.request.answer)
            return
        if entrance.wires.policy.admit is None:
            self._open(candidate, handshake, place, identity)
        else:
            self._ask_app(candidate, entrance, Entering(handshake, place, identity))

    def _ask_app(self, candidate: Candidate, entrance: Entrance, entry: Entering) -> None:
        """The app decides about the opening handshake, or answers the request without an upgrade."""
        policy = entrance.wires.policy
        assert policy.admit is not None
        self._entry = entry
        if self._gate.secure:
            from .tls import tls_session  # here, because many daemons have a TLS proxy in front

            tls = tls_session(self._native.get_extra_info("ssl_object"))  # type: ignore[union-attr]
            self._entry = entry = replace(entry, handshake=replace(entry.handshake, tls=tls))
        if candidate.plain is None:
            self._wait(policy.admit(entry.handshake))
        else:
            self._plain_requests().ask_app(candidate, candidate.plain, entry)

    def _plain_requests(self) -> PlainRequests:
        if self._plain is None:
            from .plain import PlainRequests  # here, because many daemons answer opening handshakes alone

            self._plain = PlainRequests(self, self._accepted_key)
        return self._plain

    def let_go(self, hosted: bool) -> tuple[Native, bytes]:  # as Lender says, and the next two
        native, early, self._native, self._early = self._native, self._early, None, b""
        assert native is not None
        if early and self._progress is Progress.ASKING:
            native.resume_reading()
        if hosted:
            self._entry = None
            self._leave(keep_place=True)
        else:
            self._progress = Progress.ANSWERING
            self._gate.wheel.clear(self)
        return native, early

    def come_back(self, native: Native, key: Key | None) -> None:
        gate, entered = self._gate, self._progress is Progress.ANSWERING
        if not entered or key is not self.key:
            gate.clients.end(self.key if entered else None)
            gate.clients.again(key)
        self.key, self._native, self._progress, self._reader, self._candidate = key, native, Progress.READING, None, None
        native.set_protocol(self)
        gate.wheel.set(self, gate.handshake_timeout)
        self._arrivals.again(self)

    def transport_gone(self) -> None:
        self._leave()
        self._leave_kept_place()
        self._plain = None  # which knows this one: they would be a cycle

    def _place_answered(self, candidate: Candidate, entry: Entering, refusal: BadRequest | None) -> None:
        """The counts over all workers have a place for the client, or refuse it."""
        if refusal is not None:
            raise refusal
        self._gate.admission.check_open()
        assert candidate.entrance is not None
        if candidate.entrance.wires.policy.admit is None:
            self._entry = None  # from here on its place is the connection's
            self._open(candidate, entry.handshake, entry.place, entry.identity)
        else:
            self._ask_app(candidate, candidate.entrance, replace(entry, waits_for_place=False))

    def _open_as_accepted(self, candidate: Candidate, entry: Entering, answer: object) -> None:
        """The app has decided that the client may come in."""
        accepted = None
        try:
            accepted = check_acceptance(answer, entry.handshake.subprotocols)
            self._gate.admission.check_open()
            handshake = entry.handshake
            if accepted.subprotocol is not None:
                handshake = replace(handshake, subprotocol=accepted.subprotocol or None)
            self._entry = None  # from here on its place is the connection's
            self._open(candidate, handshake, entry.place, entry.identity, accepted)
        except BaseException:
            abandon(answer)
            raise

    def _open(
        self, candidate: Candidate, handshake: Handshake, place: Place, identity: Identity | None, accepted: Acceptance | None = None
    ) -> None:  # fmt: skip
        gate, native, entrance = self._gate, self._native, candidate.entrance
        assert native is not None
        assert entrance is not None
        if self._early and self._progress is Progress.ASKING:  # it was paused in _keep(); from here on the wire decides
            native.resume_reading()
        wanted, early = candidate.wanted, self._early
        time_left = 0.0 if entrance.wires.protocols.mounted is None else gate.wheel.left(self)
        try:
            wire = entrance.wires.open(
                native, self._descriptor, handshake, place, key=wanted.key, extensions=wanted.extensions, time_left=time_left,
                refusals=gate.refusals, early=early, accepted=accepted,
            )  # fmt: skip
        except NotServed:
            place.leave()
            raise gate.admission.unavailable("factory", "the mount's factory serves no more clients now") from None
        except BaseException:
            place.leave()
            if native.get_protocol() is not self:  # it was the wire's already, and may have been answered
                self._native = None
                self._leave()
                native.abort()
            raise
        self._native = None
        self._leave()
        gate.opened(wire, entrance, identity, place)

    # -- the end

    def _refuse(self, error: BadRequest | HandshakeRefused) -> None:
        candidate = self._candidate
        if self._native is None:
            return
        if candidate is None:
            assert isinstance(error, BadRequest)
            self._answer(self._gate.refusal(error, self.peer))
        elif isinstance(error, HandshakeRefused):
            self._answer(self._gate.refusal_of_app(error, candidate.peer, candidate.mount))
        else:
            self._answer(self._gate.refusal(error, candidate.peer, candidate.mount, candidate.head.method == "HEAD"))

    def _answer(self, answer: bytes) -> None:
        """Write a last answer, and give the client time to read it."""
        native = self._native
        assert native is not None
        paused = self._early and self._progress is Progress.ASKING
        self._progress = Progress.REFUSED
        self._leave_place()
        native.write(answer)
        self._early = b""
        self._gate.say_farewell(native, bool(paused))
        self._gate.wheel.set(self, LINGER_SECONDS)

    def _broken(self, failure: Failure) -> None:
        """A fault of the daemon, or of an authenticator."""
        self._gate.broken(failure, self.peer)
        self._refuse(BadRequest(500, "internal_error", "internal error"))

    def due(self) -> None:
        """The handshake took too long, or the client does not go after a refusal."""
        if self._native is None or self._progress is Progress.REFUSED:
            if self._progress is not Progress.REFUSED:
                self._gate.refusals.add("handshake_timeout", self.peer)
            self.drop()
        elif self._progress is Progress.ASKING:
            self._forget_question()
            _, reason, text = waited_for(self._entry)
            self._refuse(self._gate.admission.unavailable(reason, f"{text} took too long"))
        elif self.kept_alive:
            self.drop()  # it had nothing more to ask
        else:
            self._refuse(BadRequest(408, "handshake_timeout", "the opening handshake took too long"))

    def drop(self) -> None:
        """End it without an answer. Its place among the handshakes is free at once."""
        native, plain, self._native = self._native, self._plain, None
        self._leave()
        if native is not None:
            native.abort()
        elif plain is not None:
            plain.drop()
        elif self.stop_connecting is not None:
            self.stop_connecting()

    def _leave(self, keep_place: bool = False) -> None:
        if self._progress is Progress.GONE:
            return
        self._progress = Progress.GONE
        self._gate.wheel.clear(self)
        self._forget_question()
        self._leave_place()
        if not keep_place:
            self._leave_kept_place()
            self._plain = None
        self._gate.clients.end(self.key)
        self._arrivals.gone(self)

    def _forget_question(self) -> None:
        question, self._question = self._question, None
        give_up(question)

    def _leave_kept_place(self) -> None:
        if self._plain is not None:
            self._plain.leave_place()

    def _leave_place(self) -> None:
        entry, self._entry = self._entry, None
        if entry is not None:
            entry.place.leave()
