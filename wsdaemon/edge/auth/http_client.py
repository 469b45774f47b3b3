"""A small HTTP/1.1 client for one URL: GET, a bounded number of connections that are kept, strict limits.

h11 reads and writes HTTP; it does no I/O and needs nothing else. aiohttp or httpx would bring ten packages and ideas of their own about
redirects, cookies, proxies and decompression, none of which may happen here.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import h11

LARGEST_HEAD = 16 * 1024
"""Bytes of an answer's head."""
LARGEST_BODY = 64 * 1024
"""Bytes of a body that are read so that the connection can be kept; over a longer one it is closed."""
KEEP = 30.0
"""Seconds that an unused connection is kept."""

RawHeaders = Sequence[tuple[bytes, bytes]]


class HttpFailure(Exception):
    """No answer that could be used. Its text is for the log and has nothing of the request."""


class TooManyRequests(HttpFailure):
    """More wait than may."""


class _Stale(Exception):
    """A kept connection was closed by the server before it answered: another one may do better."""


class _Link:
    """One connection."""

    __slots__ = ("http", "reader", "since", "writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_HEAD)
        self.since = 0.0


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
        """Close what is kept; what is under way is closed when it is done."""
        self._closed = True
        kept, self._kept = self._kept, []
        for link in kept:
            link.writer.close()
        for link in kept:
            with suppress(OSError):
                await link.writer.wait_closed()

    async def _get(self, headers: RawHeaders) -> tuple[int, RawHeaders]:
        link = self._take()
        if link is not None:
            with suppress(_Stale):
                return await self._exchange(link, headers)
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._context, limit=LARGEST_BODY)
        try:
            return await self._exchange(_Link(reader, writer), headers)
        except _Stale:
            raise HttpFailure("the server closed the connection without an answer") from None

    def _take(self) -> _Link | None:
        """A kept connection, the one used last first; those kept for too long, or closed by the server, go."""
        oldest = self._clock() - KEEP
        while self._kept:
            link = self._kept.pop()
            if link.since > oldest and not link.reader.at_eof() and not link.writer.is_closing():
                return link
            link.writer.close()
        return None

    async def _exchange(self, link: _Link, headers: RawHeaders) -> tuple[int, RawHeaders]:
        """One request and its answer. The connection is kept after it where HTTP lets it be, and closed otherwise."""
        kept = False
        try:
            request = h11.Request(method="GET", target=self._target, headers=list(headers))
            data = (link.http.send(request) or b"") + (link.http.send(h11.EndOfMessage()) or b"")
            link.writer.write(data)
            answer, whole = await self._answer(link)
            kept = whole and link.http.our_state is h11.DONE and link.http.their_state is h11.DONE and not self._closed
            if kept:
                link.http.start_next_cycle()
                link.since = self._clock()
                self._kept.append(link)
            return answer.status_code, [(name, value) for name, value in answer.headers]
        finally:
            if not kept:
                link.writer.close()

    async def _answer(self, link: _Link) -> tuple[h11.Response, bool]:
        """The answer, and whether all of its body was read."""
        answer: h11.Response | None = None
        body = 0
        begun = False
        while True:
            event = link.http.next_event()
            if event is h11.NEED_DATA:
                try:
                    data = await link.reader.read(LARGEST_BODY)
                except ConnectionError:
                    if begun:
                        raise
                    data = b""
                if not data and not begun:
                    raise _Stale
                begun = True
                link.http.receive_data(data)
            elif isinstance(event, h11.Response):
                answer = event
            elif isinstance(event, h11.Data):
                body += len(event.data)
                if body > LARGEST_BODY and answer is not None:
                    return answer, False
            elif not isinstance(event, h11.InformationalResponse):
                if answer is None:
                    raise HttpFailure("the server closed the connection without an answer")
                return answer, isinstance(event, h11.EndOfMessage)


def _reason(error: Exception) -> str:
    if isinstance(error, h11.LocalProtocolError):
        return "the request's headers cannot be passed on"
    if isinstance(error, h11.ProtocolError):
        return "the answer is not HTTP/1.1"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not good: {error.verify_message}"
    return getattr(error, "strerror", None) or type(error).__name__
