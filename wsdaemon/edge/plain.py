"""One request without an upgrade, and its answer by an app. Both may be streams, and neither goes faster than the other side can follow.

Our own strict reader has read the head. The body comes by its length, or in chunks (chunks.py). After a whole answer the connection waits
for its next request as an Arrival again, with all checks and limits of the first one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from twisted.python.failure import Failure

from ..core.contract import PlainApp, RequestSession
from ..core.handshake import Handshake
from ..core.registry import Place
from .candidate import Candidate
from .plain_head import PlainHead, make_head
from .request import BadRequest
from .request_body import CONTINUE, LINGER_SECONDS, RequestBody, expects_continue, wants_close

if TYPE_CHECKING:
    from ..wire.writer import Native
    from .gate import Gate

HELD_BYTES = 64 * 1024
"""Bytes of a body, or of the next request, that may wait here; then the client is not read any more."""

STUCK_SECONDS = 60.0
"""How long a client may take nothing of its answer, if the mount sets no send_backlog_age."""

class PlainExchange(asyncio.Protocol):
    """One request and its answer. For the app it is the answer; see PlainAnswer."""

    __slots__ = (
        "_body", "_candidate", "_come_back", "_context", "_early", "_expects", "_gate", "_head", "_held", "_last", "_native", "_out",
        "_over", "_place", "_reading", "_session", "_waiters", "_work", "_writable", "_written", "due_bucket", "handshake",
    )  # fmt: skip

    def __init__(
        self, gate: Gate, native: Native, candidate: Candidate, handshake: Handshake, place: Place,
        come_back: Callable[[Place, bytes], None],
    ) -> None:  # fmt: skip
        """`come_back` takes the connection for its next request, with its place and with bytes that came early."""
        head = candidate.head
        self._gate = gate
        self._native: Native | None = native
        self._candidate = candidate
        self.handshake = handshake
        self._place: Place | None = place
        self._come_back = come_back
        self._context = copy_context()
        self._session: RequestSession | None = None
        self._body = RequestBody(head, self._policy.settings.max_message)
        self._held = 0
        self._early = b""
        self._expects = expects_continue(head)
        self._reading = True
        self._last = wants_close(head)
        self._head: PlainHead | None = None
        self._written = self._over = False
        self._out = 0
        self._writable = True
        self._waiters: list[asyncio.Future[None]] = []
        self._work: tuple[asyncio.Future[Any], ...] = ()
        self.due_bucket = 0

    @property
    def id(self) -> str:
        """The request, as the log names it."""
        return f"of {self._candidate.head.method} {self.handshake.path}"

    def start(self, app: PlainApp, early: bytes) -> None:
        """Let the app begin. `early` are bytes that followed the head. An exception of the app is raised before anything has changed."""
        native, head, policy = self._native, self._candidate.head, self._policy
        assert native is not None
        session = self._session = app.answer(self.handshake, head.method, self)
        native.set_protocol(self)
        native.set_write_buffer_limits(high=0)
        policy.background.add(session.work, self)
        if not head.has_body:
            session.body(b"", False)
            self._keep(early)
        elif early:
            self.data_received(early)
        self._arm()

    @property
    def _policy(self) -> Any:
        entrance = self._candidate.entrance
        assert entrance is not None
        return entrance.wires.policy

    @property
    def _body_is_read(self) -> bool:
        return self._body.over

    # -- the request's body

    def data_received(self, data: bytes) -> None:
        if self._native is None or (self._over and self._last):
            return
        if self._body_is_read:  # perhaps the next request, sent before the client has the whole answer
            self._keep(data)
        elif self._body.waiting:
            self._body.hold(data)
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        try:
            self._take_body(data)
        except BadRequest as error:
            self._refuse(error)
        except Exception:
            self._gate.broken(Failure(), self._candidate.peer)
            self.fail()
        else:
            self._arm()

    def _take_body(self, data: bytes) -> None:
        session = self._session
        assert session is not None
        data, more = self._body.feed(data)
        if not more:
            self._early = self._body.rest
        elif self._body.waiting:
            asyncio.get_running_loop().call_soon(self._take_more_chunks, context=self._context)
        self._held += len(data)
        if data or not more:
            session.body(data, more)
        self._read_within_bounds()

    def _take_more_chunks(self) -> None:
        """Others have had their turn."""
        if self._native is not None and not self._over and not self._body.over:
            self._take(b"")

    def _keep(self, data: bytes) -> None:
        """Bytes of the next request."""
        self._early += data
        self._read_within_bounds()

    def _read_within_bounds(self) -> None:
        wanted = not self._body.waiting and self._held <= HELD_BYTES and len(self._early) <= HELD_BYTES
        if wanted != self._reading and self._native is not None:
            self._reading = wanted
            (self._native.resume_reading if wanted else self._native.pause_reading)()

    def read_on(self) -> None:
        """The app waits for the body."""
        if self._expects and not self._body.taken and not self._written and self._native is not None:
            self._native.write(CONTINUE)
        self._expects = False
        self._held = 0
        self._read_within_bounds()
        self._arm()

    # -- the answer

    def begin(self, status: int, headers: Any) -> None:
        """As PlainAnswer says."""
        self._must_be_there()
        self._head = make_head(status, headers)
        asyncio.get_running_loop().call_soon(self._write_head_alone)

    def send(self, data: bytes, more: bool) -> Awaitable[None] | None:
        """As PlainAnswer says."""
        native, head = self._must_be_there(), self._head
        assert head is not None
        asked_for_head, whole = self._candidate.head.method == "HEAD", len(data)
        bodiless = asked_for_head or not head.has_body
        if bodiless:
            data = b""
        elif head.length is not None:
            self._out += len(data)
            if self._out > head.length or (not more and self._out < head.length):
                raise ValueError(f"the body is {'longer' if self._out > head.length else 'shorter'} than its Content-Length")
        chunked = not bodiless and head.length is None and (more or self._written)
        if not self._written:
            # Many apps give no body to HEAD: then its length is not known (RFC 9110 8.6).
            known = not chunked and not more and (whole > 0 or not asked_for_head)
            native.write(self._render(whole if known else None) + self._framed(data, more, chunked))
        elif framed := self._framed(data, more, chunked):
            native.write(framed)
        if not more:
            self._answered()
        elif not self._writable:
            return self._wait()
        return None

    def _framed(self, data: bytes, more: bool, chunked: bool) -> bytes:
        if not chunked:
            return data
        framed = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        return framed if more else framed + b"0\r\n\r\n"

    def _render(self, length: int | None) -> bytes:
        """The head. `length`: that of the whole body, if it is known without the app's word."""
        head = self._head
        assert head is not None
        self._written = True
        self._last = self._last or head.last or not self._body_is_read or self._gate.admission.closed()
        if head.length is not None or not head.has_body:
            length = head.length if head.status != 204 else None
        chunked = length is None and head.has_body and self._candidate.head.method != "HEAD"
        return head.render(self._last, self._gate.date(), length, chunked)

    def _write_head_alone(self) -> None:
        """The app has given no body in the turn of its head: the client sees at least that."""
        if self._head is not None and not self._written and not self._over and self._native is not None:
            self._native.write(self._render(None))

    def _must_be_there(self) -> Native:
        if self._native is None or self._over:
            raise ConnectionAbortedError("the client has gone, or has its answer already")
        return self._native

    async def _wait(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        await future

    def pause_writing(self) -> None:
        self._writable = False
        self._arm()

    def resume_writing(self) -> None:
        self._writable = True
        self._wake()
        if self._over:
            self._go_back()
        else:
            self._arm()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for future in waiters:
            if not future.done():
                future.set_result(None)

    # -- the end

    def _answered(self) -> None:
        """The whole answer was written."""
        self._over = True
        self._tell_session()
        if self._last or not self._body_is_read:
            self._linger()
        elif self._writable:
            # Not within the app's task: the next request must not inherit its context.
            asyncio.get_running_loop().call_soon(self._go_back, context=self._context)
        else:
            self._arm()

    def _go_back(self) -> None:
        """The client has its answer: wait for its next request."""
        native, place = self._native, self._place
        if native is None or place is None or self._last or not self._writable:
            return
        self._native = self._place = None
        self._gate.wheel.clear(self)
        if not self._reading:
            native.resume_reading()
        self._come_back(place, self._early)

    def fail(self) -> None:
        """As PlainAnswer says."""
        if self._native is None or self._over:
            return
        if self._written:
            self.drop()
        else:
            self._refuse(BadRequest(500, "internal_error", "internal error"))

    def _refuse(self, error: BadRequest) -> None:
        """Answer in the place of the app. If its answer has begun, its end in the middle says that it failed."""
        native, candidate = self._native, self._candidate
        if native is None or self._written:
            self.drop()
            return
        self._over = self._written = self._last = True
        native.write(self._gate.refusal(error, candidate.peer, candidate.mount, candidate.head.method == "HEAD"))
        self._tell_session()
        self._linger()

    def _linger(self) -> None:
        """The client may read to the end before the connection is dropped."""
        native = self._native
        assert native is not None
        self._last = True
        self._early = b""
        if not self._reading:
            self._reading = True
            native.resume_reading()
        native.write_eof()
        self._gate.wheel.set(self, LINGER_SECONDS if self._writable else self._patience)

    @property
    def _patience(self) -> float:
        return self._policy.backlog_age or STUCK_SECONDS

    def _arm(self) -> None:
        """Set the deadline for the client's next move; none while it is the app's turn."""
        if self._native is None or (self._over and self._last):
            return
        if not self._writable:
            self._gate.wheel.set(self, self._patience)
        elif not self._over and not self._body_is_read and self._reading:
            self._gate.wheel.set(self, self._gate.handshake_timeout)
        else:
            self._gate.wheel.clear(self)

    def due(self) -> None:
        """The client has sent nothing of its body, or taken nothing of its answer, for too long; or it has had its time to leave."""
        if self._over or not self._writable:
            self.drop()
        else:
            self._refuse(BadRequest(408, "body_timeout", "the request's body took too long"))

    def drop(self) -> None:
        """End the connection at once."""
        native = self._native
        if native is not None:
            native.abort()
            self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._native is None:
            return
        self._native, place, self._place = None, self._place, None
        self._over = True
        self._gate.wheel.clear(self)
        if place is not None:
            place.leave()
        self._wake()
        self._tell_session()

    def _tell_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.closed()
