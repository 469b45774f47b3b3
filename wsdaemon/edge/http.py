"""Plain HTTP/1.1 for pages: whole requests in, whole answers out, one after the other on a connection. A site gives the answers.

    +---------+  head and body are there   +-----------+
    | READING | -------------------------> | ANSWERING |
    +---------+ <------------------------- +-----------+
         |      answered, to be continued        |
         |                                       | answered, the last
         | refused                               v
         |                                  +---------+
         +--------------------------------> | LEAVING |    the client may read to the end before it is dropped
                                            +---------+

The strict reader of opening handshakes reads the heads, and h11 reads bodies in chunks, as for apps (see plain). TLS is the layer that
listeners have. An opening handshake goes to a SocketOpener, and its connection is no exchange any more.

Every buffer has a bound: a body is read only after the site has seen the head, early requests wait unread, and while a client does not
take its answers it is not read either. Every wait has an end. If all places are taken, a new connection takes the place of one that is
idle, is leaving, or has been slow for longest with its request: slow clients cannot lock out a health check.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure

from ..core.failed_logins import FailedLogins
from ..core.rare_lines import RareLines
from ..core.wheel import Wheel
from ..settings.origins import parse_host
from ..wire.writer import Native
from .hosts import Hosts
from .origins import host_of
from .request import BadRequest, Head, HeadReader
from .request_body import CONTINUE, LINGER_SECONDS, RequestBody, expects_continue, wants_close
from .responses import http_response
from .upgrade import wants_upgrade


class PlainPage(Protocol):
    """An answer."""

    @property
    def status(self) -> int: ...

    @property
    def body(self) -> bytes: ...

    @property
    def content_type(self) -> str: ...

    @property
    def headers(self) -> Sequence[tuple[str, str]]: ...


class Site(Protocol):
    """The pages behind one address."""

    def refusal(self, head: Head) -> PlainPage | None:
        """The answer to a request whose body is not worth reading; None: read on."""

    def answer(self, head: Head, body: bytes) -> PlainPage | Awaitable[PlainPage]:
        """The answer to a whole request. An awaitable that takes too long is cancelled."""

    def problem(self, error: BadRequest) -> PlainPage:
        """The answer to a request that is refused."""


class SocketOpener(Protocol):
    """The WebSockets beside the pages."""

    def open(self, head: Head, native: Native, time_left: float, early: bytes) -> None:
        """Answer an opening handshake and take the transport over. BadRequest leaves it as it was. `early` are bytes that followed."""

    def close(self) -> None:
        """Others come in its place: begin to close the connections that it has opened."""


Wrap = Callable[[asyncio.Protocol, Callable[[str, str], None]], "Layer"]
"""Puts a layer of TLS below a protocol. The function that is passed is told of clients at fault, as TlsLayer tells it."""


class Layer(Protocol):
    """The part of TlsLayer that is used here."""

    def abort(self) -> None: ...


class PlainServer:
    """The connections to one site, and their limits."""

    def __init__(
        self, site: Site, wheel: Wheel, *, max_body: int, timeout: float, max_connections: int, hosts: Hosts | None = None,
        own_address: bool = False, failed_logins: FailedLogins | None = None, tls: Wrap | None = None, sockets: SocketOpener | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`tls` makes the connections encrypted. `sockets` opens WebSockets; without it there are none.

        `max_body` in bytes; `timeout` in seconds: for a request to arrive and be answered, and for a connection to be idle.

        `hosts` are the names and addresses that a request may have in its Host header, None: any. With `own_address` the address at which
        the connection arrived is among them. `failed_logins` logs credentials that the site refuses.
        """
        self.failed_logins = failed_logins
        self.site = site
        self.wheel = wheel
        self.max_body = max_body
        self.timeout = timeout
        self.log = Logger(namespace="wsdaemon.admin")
        self.hosts = hosts
        self.own_address = own_address
        self.sockets = sockets
        self._tls = tls
        self._lines = RareLines(self.log, now=now)
        self.max_connections = max_connections
        self._open: dict[Exchange, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def renew(self, other: PlainServer) -> None:
        """Take over the site and the limits of a server that has no connections. Open WebSockets end, because their tokens may be gone."""
        before = self.sockets
        self.site, self.sockets, self.hosts, self.own_address = other.site, other.sockets, other.hosts, other.own_address
        self.max_body, self.timeout, self.max_connections = other.max_body, other.timeout, other.max_connections
        if before is not None:
            before.close()

    def protocol(self) -> Any:
        """The loop's protocol for a connection that was accepted."""
        exchange = Exchange(self)
        if self._tls is not None:
            exchange.shake_hands(self._tls(exchange, self._tls_refused))
            return exchange.layer
        return exchange

    def _tls_refused(self, reason: str, detail: str) -> None:
        self._lines.info(("tls", reason), "a client of the admin pages is turned away: {problem}", problem=f"{reason}: {detail}")

    def enter(self, exchange: Exchange) -> bool:
        """Whether there is room for one more: the oldest of the connections that can best be spared makes it."""
        if len(self._open) >= self.max_connections:
            spared = min(self._open, key=lambda each: each.worth)
            if spared.worth is Worth.ANSWERING:
                text = "a new connection to the admin pages is dropped, because {open} requests are being answered"
                self._lines.warn("dropped", text, open=len(self._open))
                return False
            if spared.worth is Worth.SLOW:
                text = "a slow request to the admin pages makes room for a new one, because {open} connections are open"
                self._lines.warn("crowded", text, open=len(self._open))
            spared.drop()
        self._open[exchange] = None
        return True

    def failed(self, failure: Failure) -> None:
        """A page raised an exception of its own."""
        self._lines.failure(("failed", failure.type), "an admin page failed", failure)

    def rested(self, exchange: Exchange) -> None:
        """Its last request was answered: of all connections it has been idle for the shortest time."""
        if exchange in self._open:
            del self._open[exchange]
            self._open[exchange] = None

    def leave(self, exchange: Exchange) -> None:
        self._open.pop(exchange, None)

    def close(self) -> None:
        """Drop all connections."""
        for exchange in list(self._open):
            exchange.drop()


class Worth(enum.IntEnum):
    """Which connections make room for a new one, the first of these first."""

    IDLE = 0
    LEAVING = 1
    SLOW = 2
    """Its request has begun to arrive."""
    ANSWERING = 3
    """It is waiting for an answer; it never makes room."""


class Phase(enum.Enum):
    READING = "reading"
    ANSWERING = "answering"
    LEAVING = "leaving"


class Exchange(asyncio.Protocol):
    """One connection to a site."""

    __slots__ = (
        "_begun", "_body", "_early", "_ended", "_head", "_last", "_native", "_paused", "_phase", "_question", "_reader", "_server",
        "_source", "_stuck", "due_bucket", "layer",
    )  # fmt: skip

    def __init__(self, server: PlainServer) -> None:
        self._server = server
        self._native: Native | None = None
        self._phase = Phase.READING
        self._reader = HeadReader(server.max_body, True)
        self.layer: Any = None
        """The layer of TLS, while its handshake is under way."""
        self._source: RequestBody | None = None
        """The reader of the body, while a body is read."""
        self._begun = False
        self._head: Head | None = None
        self._body = bytearray()
        self._early = b""
        self._last = False
        self._ended = False
        """Whether the client sends no more."""
        self._paused = self._stuck = False
        self._question: asyncio.Future[PlainPage] | None = None
        self.due_bucket = 0

    @property
    def worth(self) -> Worth:
        if self._phase is Phase.READING:
            return Worth.SLOW if self._begun else Worth.IDLE
        return Worth.LEAVING if self._phase is Phase.LEAVING else Worth.ANSWERING

    # -- the transport

    def shake_hands(self, layer: Layer) -> None:
        """A TLS handshake begins, which takes a place and has to end in time, as a request has."""
        self.layer = layer
        if self._server.enter(self):
            self._server.wheel.set(self, self._server.timeout)
        else:
            layer.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.layer is None and not self._server.enter(self):
            transport.abort()  # type: ignore[attr-defined]
            return
        self.layer = None
        self._native = transport  # type: ignore[assignment]
        self._server.wheel.set(self, self._server.timeout)

    def data_received(self, data: bytes) -> None:
        if self._native is not None and self._phase is not Phase.LEAVING:  # later bytes are ignored
            self._early += data
            self._go_on()

    def eof_received(self) -> bool:
        """The client sends no more, and still waits for the answers to what it has sent."""
        self._ended = True
        if self._native is None or self._phase is Phase.LEAVING:
            return False
        return self._phase is Phase.ANSWERING or self._waits_for_turn or bool(self._early)

    def pause_writing(self) -> None:
        self._stuck = True

    def resume_writing(self) -> None:
        self._stuck = False
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._native = None
        self._gone()

    # -- a request

    def _go_on(self) -> None:
        """Read as long as requests can be answered."""
        while self._early and self._phase is Phase.READING and not self._stuck and not self._waits_for_turn:
            data, self._early = self._early, b""
            self._take(data)
        if self._native is None:
            return
        if self._ended:
            if self._phase is Phase.READING and not self._early and not self._waits_for_turn:
                self._leave(self._native)  # the rest of this request never comes
            return
        if self._paused == bool(self._early):
            return
        self._paused = bool(self._early)
        if self._paused:
            self._native.pause_reading()
        else:
            self._native.resume_reading()

    def _take(self, data: bytes) -> None:
        try:
            self._read(data)
        except BadRequest as error:
            self._send(self._server.site.problem(error), last=True)
        except Exception:
            self._broken(Failure())

    def _read(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            self._server.wheel.set(self, self._server.timeout)
        if self._head is None:
            head = self._reader.feed(data)
            if head is None:
                return
            if not self._head_read(head):
                return
            self._head, data = head, self._reader.rest
            self._source = RequestBody(head, self._server.max_body)
        source = self._source
        assert source is not None
        piece, more = source.feed(data)
        self._body += piece
        if not more:
            self._source, self._early = None, source.rest
            self._answer(self._head, bytes(self._body))
        elif source.waiting:
            asyncio.get_running_loop().call_soon(self._more_chunks)

    @property
    def _waits_for_turn(self) -> bool:
        """Whether chunks wait until other connections have had their turn."""
        return self._source is not None and self._source.waiting

    def _more_chunks(self) -> None:
        """Others have had their turn."""
        if self._native is not None and self._phase is Phase.READING and self._waits_for_turn:
            data, self._early = self._early, b""
            self._take(data)
            if not self._waits_for_turn:
                self._go_on()

    def _head_read(self, head: Head) -> bool:
        """Whether to go on with its body. BadRequest for a Host header that does not name this server."""
        self._check_host(head)
        if self._server.sockets is not None and wants_upgrade(head):
            self._open_socket(self._server.sockets, head)
            return False
        self._last = self._last or wants_close(head)
        refusal = self._server.site.refusal(head)
        if refusal is not None:
            self._tell_failed_login(head, refusal)
            self._early = self._reader.rest
            self._send(refusal, last=self._is_last or head.has_body, head_only=head.method == "HEAD")
            return False
        if (head.chunked or len(self._reader.rest) < head.content_length) and expects_continue(head):
            self._native.write(CONTINUE)  # type: ignore[union-attr]
        return True

    def _open_socket(self, sockets: SocketOpener, head: Head) -> None:
        """The connection becomes a WebSocket, and is no exchange any more. A client that sends no more is dropped: it needs none."""
        if self._ended:
            self.drop()
            return
        native, early = self._native, self._reader.rest
        assert native is not None
        if self._paused:
            self._paused = False
            native.resume_reading()
        try:
            sockets.open(head, native, self._server.wheel.left(self), early)
        except BadRequest:
            raise
        except BaseException:
            if native.get_protocol() is not self:  # it was the WebSocket's already, and may have been answered
                self.drop()
            raise
        self._native, self._early, self._phase = None, b"", Phase.LEAVING
        self._gone()

    def _tell_failed_login(self, head: Head, refusal: PlainPage) -> None:
        failed, shown = self._server.failed_logins, head.headers.get("authorization")
        if failed is not None and shown is not None and refusal.status == 401:
            peer = self._native.get_extra_info("peername")  # type: ignore[union-attr]
            failed.add(peer[0] if isinstance(peer, tuple) else "unix", head.path, "admin_token")

    def _check_host(self, head: Head) -> None:
        """A page of a hostile name that was made to lead here has that name in the Host header (DNS rebinding)."""
        server, host = self._server, head.headers["host"]
        if server.hosts is None or server.hosts.serves(host):
            return
        local = self._native.get_extra_info("sockname") if server.own_address else None  # type: ignore[union-attr]
        if not isinstance(local, tuple) or host_of(host) != _spelled(local[0]):
            raise BadRequest(421, "misdirected", "The Host header does not name this server; [admin] hosts has the names that it takes.")

    def _answer(self, head: Head, body: bytes) -> None:
        page = self._server.site.answer(head, body)
        if isinstance(page, Awaitable):
            self._phase = Phase.ANSWERING
            self._question = asyncio.ensure_future(page)
            self._question.add_done_callback(self._answered)
        else:
            self._send(page, self._is_last, head.method == "HEAD")

    def _answered(self, question: asyncio.Future[PlainPage]) -> None:
        self._question = None
        if self._phase is not Phase.ANSWERING or self._native is None:
            if not question.cancelled():
                question.exception()  # looked at, or the loop would log it: the client is gone
            return
        try:
            head_only = self._head is not None and self._head.method == "HEAD"
            self._send(question.result(), self._is_last, head_only)
        except BadRequest as error:
            self._send(self._server.site.problem(error), last=True)
        except asyncio.CancelledError:
            self._send(self._server.site.problem(BadRequest(503, "cancelled", "The request was given up.")), last=True)
        except Exception:
            self._broken(Failure())
        self._go_on()

    # -- an answer

    @property
    def _is_last(self) -> bool:
        """Whether no request follows the one that is answered: the client said so, or has sent all, and nothing more of it is here."""
        return self._last or (self._ended and not self._early)

    def _send(self, page: PlainPage, last: bool, head_only: bool = False) -> None:
        native = self._native
        if native is None:
            return
        headers = (*page.headers, ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))
        native.write(http_response(page.status, headers, page.body, page.content_type, last, head_only))
        self._head, self._begun, self._body, self._source = None, False, bytearray(), None
        if last:
            self._leave(native)
        else:
            self._phase = Phase.READING
            self._reader = HeadReader(self._server.max_body, True)
            self._server.wheel.set(self, self._server.timeout)
            self._server.rested(self)

    def _leave(self, native: Native) -> None:
        """No answer follows."""
        self._phase, self._early = Phase.LEAVING, b""
        native.write_eof()
        self._server.wheel.set(self, max(LINGER_SECONDS, self._server.timeout) if self._stuck else LINGER_SECONDS)

    def _broken(self, failure: Failure) -> None:
        self._server.failed(failure)
        self._send(self._server.site.problem(BadRequest(500, "internal_error", "Internal error; the log has more.")), last=True)

    # -- the end

    def due(self) -> None:
        """The client is idle or too slow, or its answer takes too long."""
        if self._native is None or self._phase is Phase.LEAVING or self._stuck or not self._begun:
            self.drop()
        elif self._phase is Phase.ANSWERING:
            self._forget_question()
            self._send(self._server.site.problem(BadRequest(503, "timeout", "The answer took too long.")), last=True)
            self._go_on()
        else:
            self._send(self._server.site.problem(BadRequest(408, "timeout", "The request took too long to arrive.")), last=True)

    def drop(self) -> None:
        """End the connection without an answer."""
        native, self._native = self._native, None
        self._gone()
        if native is not None:
            native.abort()
        elif self.layer is not None:
            self.layer.abort()

    def _gone(self) -> None:
        self._server.wheel.clear(self)
        self._forget_question()
        self._server.leave(self)

    def _forget_question(self) -> None:
        question, self._question = self._question, None
        if question is not None:
            # After its first step: a coroutine that is cancelled before it leaves its awaitable behind, never awaited.
            question.get_loop().call_soon(question.cancel)


def _spelled(address: str) -> str | None:
    """An address of a socket as a Host header has it: IPv6 in brackets and without a zone."""
    address = address.partition("%")[0].removeprefix("::ffff:")
    return parse_host(f"[{address}]" if ":" in address else address)
