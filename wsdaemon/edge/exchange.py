"""One HTTP/1.1 request and its answer: a page, or the work of an app. The only place for this, whatever the socket is for.

    +-------+ head of the answer +-----------+  its end  +----------+ the client has taken it
    | ASKED | -----------------> | ANSWERING | --------> | ANSWERED | ----------------------> GONE (see Requester.next_request)
    +-------+                    +-----------+           +----------+
        |  the answer is the last: refused, too late, `close`, or  |
        |  a body that nothing reads                               v
        |                                                    +---------+ the client has read to the end, or has had its time
        +--------------------------------------------------> | LEAVING | ----------------------> GONE
                                                             +---------+

An Arrival has read the head and made its checks. After a whole answer it gets the connection back, and reads the next head with all checks
and limits of the first one. The body comes by its length, or in chunks (request_body.py).

An app has both its request and its answer as streams, and neither goes faster than the other side can follow. A page has its whole request
before it begins, and its answer in one piece; from the head to the answer it has one time limit.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol

from twisted.python.failure import Failure

from ..core.handshake import Handshake
from .candidate import Candidate
from .crowd import Worth
from .plain_head import PIECE_BYTES, TURN_BYTES, PlainHead, framed, make_head
from .request import BadRequest
from .request_body import CONTINUE, LINGER_SECONDS, RequestBody, expects_continue, wants_close
from .site import Answering

if TYPE_CHECKING:
    from ..wire.writer import Native
    from .gate import Gate

HELD_BYTES = 64 * 1024
"""Bytes of a body, or of the next request, that may wait here; then the client is not read any more."""

SLOW_BYTES = 16 * 1024
"""Bytes of a body, or its rest, that must come within `handshake_timeout`: a byte now and then holds no place."""


class Phase(enum.IntEnum):
    """How far the answer has come."""

    ASKED = 0
    ANSWERING = 1
    ANSWERED = 2
    LEAVING = 3
    GONE = 4


class Requester(Protocol):
    """The part that an exchange has its connection from."""

    def next_request(self, native: Native, early: bytes, ended: bool) -> None:
        """The client has its answer: read its next request. `early` are bytes that it has sent already; `ended`: it sends no more."""

    def exchange_over(self) -> None:
        """The connection has ended."""


class Exchange(asyncio.Protocol):
    """One request and its answer. For the app it is the answer; see PlainAnswer."""

    __slots__ = (
        "_body", "_candidate", "_context", "_early", "_ended", "_expects", "_gate", "_head", "_held", "_last", "_native", "_out",
        "_patience", "_phase", "_reading", "_requester", "_session", "_slow_until", "_spent", "_waiters", "_whole", "_work",
        "_writable", "due_bucket", "handshake",
    )  # fmt: skip

    def __init__(
        self, gate: Gate, candidate: Candidate, requester: Requester, *, max_body: int, patience: float, whole: bool = False
    ) -> None:  # fmt: skip
        """`max_body` in bytes. `patience`: seconds in which a client may take nothing of its answer.

        `whole`: the body is read to its end before there is an answer, in the time that `start` gives for both.
        """
        head = candidate.head
        self._gate = gate
        self._native: Native | None = None
        self._candidate = candidate
        self._requester = requester
        self._patience = patience
        self._whole = whole
        self.handshake: Handshake
        """The handshake that an app was given; pages have none."""
        self._context = None if whole else copy_context()
        self._session: Answering | None = None
        self._phase = Phase.ASKED
        self._body = RequestBody(head, max_body)
        self._held = self._out = self._spent = 0
        self._early, self._ended = b"", False
        """Bytes of the next request, and whether the client sends no more."""
        self._expects = expects_continue(head)
        self._reading = self._writable = True
        self._last = wants_close(head)
        self._head: PlainHead | None = None
        self._waiters: tuple[asyncio.Future[None], ...] = ()
        self._work: tuple[asyncio.Future[Any], ...] = ()
        self._slow_until = self.due_bucket = 0

    @property
    def id(self) -> str:
        """The request, as the log names it."""
        return f"of {self._candidate.head.method} {self.handshake.path}"

    @property
    def worth(self) -> Worth:
        """Whether this one may make room for a newcomer."""
        if self._phase >= Phase.ANSWERED:
            return Worth.LEAVING
        return Worth.ANSWERING if self._body.over else Worth.SLOW

    def start(self, native: Native, session: Answering | None, early: bytes, seconds: float) -> None:
        """Take the transport over. `early` are bytes that followed the head, `seconds` the time limit of a page.

        Without a session an answer follows at once.
        """
        self._native = native
        native.set_protocol(self)
        self._session = session
        if self._body.over:
            if early:
                self._keep(early)
            if session is not None:
                self._take(b"")
        elif session is not None:
            if early:
                self.data_received(early)
            if self._whole and self._phase is Phase.ASKED and not self._body.over:
                self.read_on()
            self._arm()
        if self._whole and self._phase is Phase.ASKED:
            self._gate.wheel.set(self, seconds)

    # -- the request's body

    def data_received(self, data: bytes) -> None:
        if self._phase >= Phase.LEAVING:
            return  # a body that nothing reads
        if self._body.over:  # perhaps the next request, sent before the client has the whole answer
            self._keep(data)
        elif self._body.waiting:
            self._body.hold(data)
        else:
            self._take(data)

    def eof_received(self) -> bool:
        """The client sends no more. If its request is for a page, and is whole, it still waits for the answer."""
        self._ended = True
        if not self._whole or self._phase >= Phase.LEAVING:
            return False
        return bool(self._early) if self._phase is Phase.ANSWERED else self._body.over or self._body.waiting

    def _take(self, data: bytes) -> None:
        try:
            self._take_body(data)
        except BadRequest as error:
            self.refuse(error)
        except Exception:
            self.broken(Failure())
        else:
            self._arm()

    def _take_body(self, data: bytes) -> None:
        session = self._session
        assert session is not None
        data, more = (b"", False) if self._body.over else self._body.feed(data)
        if not more:
            self._early += self._body.rest
        elif self._body.waiting:
            asyncio.get_running_loop().call_soon(self._take_more_chunks, context=self._context)
        if not self._whole:
            self._held += len(data)
        if data or not more:
            session.body(data, more)
        self._read_within_bounds()

    def _take_more_chunks(self) -> None:
        """Others have had their turn."""
        if self._phase <= Phase.ANSWERING and not self._body.over:
            self._take(b"")
            if self._ended and not self._body.over and not self._body.waiting:
                self.drop()  # the rest of this request never comes

    def _keep(self, data: bytes) -> None:
        """Bytes of the next request."""
        self._early += data
        self._read_within_bounds()

    def _read_within_bounds(self) -> None:
        wanted = not self._body.waiting and self._held <= HELD_BYTES and len(self._early) <= HELD_BYTES
        if wanted != self._reading and self._native is not None and self._phase is not Phase.LEAVING:
            self._reading = wanted
            (self._native.resume_reading if wanted else self._native.pause_reading)()

    def read_on(self) -> None:
        """The app waits for the body."""
        if self._expects and not self._body.taken and self._phase is Phase.ASKED and self._native is not None:
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

    def give(self, head: PlainHead, body: bytes) -> None:
        """The whole answer."""
        if self._phase is Phase.ASKED:
            self._head = head
            self.send(body, False)

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
        begun = self._phase is Phase.ANSWERING
        chunked = not bodiless and head.length is None and (more or begun)
        if not begun:
            # Many apps give no body to HEAD: then its length is not known (RFC 9110 8.6).
            known = not chunked and not more and (whole > 0 or not asked_for_head)
            native.write(self._render(whole if known else None) + framed(data, more, chunked))
        elif piece := framed(data, more, chunked):
            native.write(piece)
        self._spent += max(whole, PIECE_BYTES)
        if not more:
            self._answered()
        elif not self._writable or self._spent >= TURN_BYTES:
            return self._wait()
        return None

    def _render(self, length: int | None) -> bytes:
        """The head. `length`: that of the whole body, if it is known without the app's word."""
        head = self._head
        assert head is not None
        self._phase = Phase.ANSWERING
        last = self._last or head.last or not self._body.over or (self._ended and not self._early) or self._gate.admission.closed()
        self._last = last
        if head.length is not None or not head.has_body:
            length = head.length if head.status != 204 else None
        chunked = length is None and head.has_body and self._candidate.head.method != "HEAD"
        return head.render(last, self._gate.date(), length, chunked)

    def _write_head_alone(self) -> None:
        """The app has given no body in the turn of its head: the client sees at least that."""
        if self._head is not None and self._phase is Phase.ASKED and self._native is not None:
            self._native.write(self._render(None))

    def _must_be_there(self) -> Native:
        if self._native is None or self._phase >= Phase.ANSWERED:
            raise ConnectionAbortedError("the client has gone, or has its answer already")
        return self._native

    async def _wait(self) -> None:
        self._spent = 0
        if self._writable:
            await asyncio.sleep(0)
        else:
            future = asyncio.get_running_loop().create_future()
            self._waiters += (future,)
            await future

    def pause_writing(self) -> None:
        self._writable = False
        self._arm()

    def resume_writing(self) -> None:
        self._writable = True
        self._wake()
        if self._phase is Phase.ANSWERED:
            self._go_back()
        else:
            self._arm()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, ()
        for future in waiters:
            if not future.done():
                future.set_result(None)

    # -- the end

    def _answered(self) -> None:
        """The whole answer was written."""
        self._phase = Phase.ANSWERED
        self._tell_session()
        if self._last or not self._body.over:
            self._leave()
        elif self._whole and self._writable and not self._early:
            self._go_back()
        elif self._writable:
            # Not within the app's task: the next request must not inherit its context. And requests that wait here take turns.
            asyncio.get_running_loop().call_soon(self._go_back, context=self._context)
        else:
            self._arm()

    def _go_back(self) -> None:
        """The client has its answer: wait for its next request."""
        native = self._native
        if native is None or self._phase is not Phase.ANSWERED or not self._writable:
            return
        self._native, self._phase = None, Phase.GONE
        self._gate.wheel.clear(self)
        if not self._reading:
            native.resume_reading()
        self._requester.next_request(native, self._early, self._ended)

    def broken(self, failure: Failure) -> None:
        """Log a fault of the code that makes the answer, and fail."""
        self._gate.broken(failure, self._candidate.peer)
        self.fail()

    def fail(self) -> None:
        """As PlainAnswer says."""
        self.refuse(BadRequest(500, "internal_error", "internal error"))

    def refuse(self, error: BadRequest) -> None:
        """Answer in the place of the app. If its answer has begun, its end in the middle says that it failed."""
        native, candidate = self._native, self._candidate
        if native is None or self._phase >= Phase.ANSWERED:
            return
        if self._phase is Phase.ANSWERING:
            self.drop()
            return
        native.write(self._gate.refusal(error, candidate.peer, candidate.mount, candidate.head.method == "HEAD"))
        self._tell_session()
        self._leave()

    def _leave(self) -> None:
        """No request follows: the client may read to the end before the connection is dropped."""
        assert self._native is not None
        self._phase, self._early = Phase.LEAVING, b""
        self._gate.say_farewell(self._native, not self._reading)
        self._reading = True
        self._gate.wheel.set(self, LINGER_SECONDS if self._writable else self._patience)

    def _arm(self) -> None:
        """Set the deadline for the client's next move; none while it is the app's turn. A page has one for the whole request."""
        if self._phase >= Phase.LEAVING:
            return
        if not self._writable:
            self._gate.wheel.set(self, self._patience)
        elif self._whole:
            return
        elif self._phase is Phase.ANSWERED or self._body.over or not self._reading:
            self._gate.wheel.clear(self)
        elif not self.due_bucket or self._body.taken >= self._slow_until:
            self._slow_until = self._body.taken + SLOW_BYTES
            self._gate.wheel.set(self, self._gate.handshake_timeout)

    def due(self) -> None:
        """The request came, the page was made, or the client took its answer, too slowly; or it has had its time to leave."""
        if self._phase >= Phase.ANSWERED or not self._writable:
            self.drop()
        elif self._body.over:
            self.refuse(BadRequest(503, "answer_timeout", "The answer took too long."))
        else:
            self.refuse(BadRequest(408, "body_timeout", "the request's body took too long"))

    def drop(self) -> None:
        """End the connection at once."""
        if self._native is not None:
            self._native.abort()
            self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._phase is Phase.GONE:
            return
        self._native, self._phase = None, Phase.GONE
        self._gate.wheel.clear(self)
        self._requester.exchange_over()
        self._wake()
        self._tell_session()

    def _tell_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.closed()
