"""A small HTTP/1.1 client for one URL: GET, a bounded number of connections that are kept, strict limits.

h11 reads and writes HTTP; it does no I/O and needs nothing else. aiohttp or httpx would bring ten packages and ideas of their own about
redirects, cookies, proxies and decompression, none of which may happen here.
"""

from __future__ import annotations

import asyncio
import select
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import h11

MAX_HEAD_BYTES = 16 * 1024
"""Bytes of an answer's head."""
MAX_BODY_BYTES = 64 * 1024
"""Bytes of a body that are read so that the connection can be kept; over a longer one it is closed."""
KEEP_SECONDS = 30.0
"""Seconds that an unused connection is kept."""

UNANSWERED = "the server closed the connection without an answer"

RawHeaders = Sequence[tuple[bytes, bytes]]


class HttpFailure(Exception):
    """The server gave no usable answer. The text is for the log and repeats nothing of the request."""


class TooManyRequests(HttpFailure):
    """`max_waiting` requests wait already."""


class _Stale(Exception):
    """The server closed a kept connection before it answered: another connection may get the answer."""


class _Link(asyncio.Protocol):
    """One connection: one request at a time, and one answer to it.

    Bytes that arrive while no request is under way answer nothing: a 408 before an idle connection is closed, or bytes behind an answer,
    which a server wrote by mistake or because it was made to. As the answer to the next request they would admit that client under
    another name, so they end the connection (RFC 9112 9.2 and 11.1).
    """

    def __init__(self) -> None:
        self.gone = asyncio.get_running_loop().create_future()
        """Done when the connection is closed."""
        self.since = 0.0
        """When it began to be idle."""
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[h11.Response] | None = None
        """The answer to the request that is under way."""
        self._response: h11.Response | None = None
        self._body = 0
        self._begun = False
        self._asked = 0
        self._ended = False

    @property
    def fresh(self) -> bool:
        """Whether the request that is under way is its first."""
        return self._asked < 2

    @property
    def usable(self) -> bool:
        """Whether another request may follow: it is open, and no bytes have arrived since the last answer, here or in the socket."""
        transport = self._transport
        if transport is None or self._ended or transport.is_closing() or self._http.our_state is not h11.IDLE:
            return False
        return not _readable(transport.get_extra_info("socket").fileno())

    def ask(self, headers: RawHeaders, target: str) -> asyncio.Future[h11.Response]:
        """Send a GET; the head of its answer comes when all of the answer is there. HttpFailure, h11.ProtocolError, OSError, _Stale."""
        if self._ended or self._transport is None:
            raise _Stale
        request = h11.Request(method="GET", target=target, headers=list(headers))
        data = (self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b"")
        self._response, self._body, self._begun = None, 0, False
        self._asked += 1
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return self._answer

    def rest(self, now: float) -> bool:
        """Get ready for another request after an answer. False if HTTP does not allow one, or bytes follow the answer."""
        http = self._http
        if self._ended or http.our_state is not h11.DONE or http.their_state is not h11.DONE or http.trailing_data[0]:
            return False
        http.start_next_cycle()
        self.since = now
        return True

    def close(self) -> None:
        self._answer = None
        self._ended = True
        if self._transport is not None:
            self._transport.close()

    # -- the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.close()
            return
        self._begun = True
        self._feed(data)

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)
        if not self.gone.done():
            self.gone.set_result(None)

    def _end(self, error: Exception | None) -> None:
        self._ended = True
        if self._answer is None:
            return
        if not self._begun and (error is None or isinstance(error, ConnectionError)):
            self._settle(_Stale())
        elif error is not None:
            self._settle(error)
        else:
            self._feed(b"")

    # -- the answer

    def _feed(self, data: bytes) -> None:
        """Read on. At most a head and a body of the largest sizes, and what one read brings, is kept."""
        try:
            self._http.receive_data(data)
            while self._answer is not None and (event := self._http.next_event()) is not h11.NEED_DATA:
                self._take(event)
        except h11.ProtocolError as error:
            self._settle(error)

    def _take(self, event: object) -> None:
        if isinstance(event, h11.Response):
            self._response = event
        elif isinstance(event, h11.Data):
            self._body += len(event.data)
            if self._body > MAX_BODY_BYTES:
                self._settle(None)
        elif not isinstance(event, h11.InformationalResponse):
            self._settle(None)

    def _settle(self, error: Exception | None) -> None:
        """As much of the answer is there as is needed, or it will not come."""
        answer, self._answer = self._answer, None
        if answer is None or answer.done():
            return
        if error is None and self._response is None:
            error = HttpFailure(UNANSWERED)
        if error is not None:
            answer.set_exception(error)
        elif self._response is not None:
            answer.set_result(self._response)


class HttpClient:
    """Asks one URL. TLS certificates are verified, with the name in the URL."""

    def __init__(
        self,
        url: str,
        *,
        ca_file: Path | None = None,
        timeout: float = 5.0,
        max_requests: int = 16,
        max_waiting: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`timeout` in seconds, from the call to the whole answer. OSError or ssl.SSLError when `ca_file` cannot be used."""
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._authority = parts.netloc
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._context = ssl.create_default_context(cafile=ca_file) if self._secure else None
        self._timeout = timeout
        self._clock = clock
        self._places = asyncio.Semaphore(max_requests)
        self._most = max_requests + max_waiting
        self._inside = 0
        self._kept: list[_Link] = []
        self._closed = False

    async def get(self, headers: RawHeaders) -> tuple[int, RawHeaders]:
        """Status and headers (names in lower case) of the answer to a GET with these headers, Host added. HttpFailure."""
        if self._inside >= self._most:
            raise TooManyRequests("too many requests wait")
        self._inside += 1
        try:
            async with asyncio.timeout(self._timeout), self._places:
                return await self._get([(b"host", self._authority.encode("ascii")), *headers])
        except TimeoutError:  # before OSError, of which it is one
            raise HttpFailure(f"no answer within {self._timeout:g} s") from None
        except (OSError, h11.ProtocolError) as error:
            raise HttpFailure(_reason(error)) from None
        finally:
            self._inside -= 1

    async def close(self) -> None:
        """Close the kept connections; the others are closed when their requests are done."""
        self._closed = True
        kept, self._kept = self._kept, []
        for link in kept:
            link.close()
        for link in kept:
            await link.gone

    async def _get(self, headers: RawHeaders) -> tuple[int, RawHeaders]:
        kept = self._take()
        if kept is not None:
            with suppress(_Stale):
                return await self._exchange(kept, headers)
        _, link = await asyncio.get_running_loop().create_connection(_Link, self._host, self._port, ssl=self._context)
        try:
            return await self._exchange(link, headers)
        except _Stale:
            raise HttpFailure(UNANSWERED) from None

    def _take(self) -> _Link | None:
        """A kept connection, the one used last first. Connections that are too old or no longer usable are closed."""
        oldest = self._clock() - KEEP_SECONDS
        while self._kept:
            link = self._kept.pop()
            if link.since > oldest and link.usable:
                return link
            link.close()
        return None

    async def _exchange(self, link: _Link, headers: RawHeaders) -> tuple[int, RawHeaders]:
        """One request and its answer. The connection is kept if HTTP allows it, and closed otherwise."""
        kept = False
        try:
            answer = await link.ask(headers, self._target)
            if answer.status_code == 408 and not link.fresh:
                raise _Stale  # the server gave up waiting and has not seen the request (RFC 9110 15.5.9)
            kept = not self._closed and link.rest(self._clock())
            if kept:
                self._kept.append(link)
            return answer.status_code, [(name, value) for name, value in answer.headers]
        finally:
            if not kept:
                link.close()


def _readable(descriptor: int) -> bool:
    """Whether a socket has bytes, or its end, that the loop has not read yet."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _reason(error: Exception) -> str:
    if isinstance(error, h11.LocalProtocolError):
        return "the request's headers cannot be passed on"
    if isinstance(error, h11.ProtocolError):
        return "the answer is not HTTP/1.1"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not good: {error.verify_message}"
    return getattr(error, "strerror", None) or type(error).__name__
