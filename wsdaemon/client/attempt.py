"""One attempt to connect: the token, the request, the answer, and redirects."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.handshake import Headers
from ..wire.deflate.negotiation import DeflateParameters
from ..wire.deflate.offering import BadAnswer, agreed, offer
from .cookies import Cookies
from .errors import BadHandshake, BadRedirect, ConnectFailed
from .opening import MAX_BODY_BYTES, AnswerReader, ServerAnswer, new_key, request
from .target import Target, redirected
from .tools import deflate_options

if TYPE_CHECKING:
    from ..settings.client import ClientSettings
    from ..wire.writer import Native
    from .dialing import Dial

REDIRECTS = frozenset({301, 302, 303, 307, 308})

BODY_SECONDS = 2.0
"""The time that the body of a refusal may take."""

Token = str | Callable[[], str | Awaitable[str]]
"""A bearer token, or a function that is asked for one before each attempt."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A server's 101: the transport is ours, and its protocol is still the reader of the answer."""

    native: Native
    descriptor: int
    subprotocol: str | None
    deflate: DeflateParameters | None
    headers: Headers
    opening: Opening

    def early(self) -> bytes:
        """The bytes that followed the answer, until now."""
        return self.opening.rest


class Opening(asyncio.Protocol):
    """Sends the request and reads the answer. Afterwards it gathers bytes until the wire takes its place."""

    def __init__(self, data: bytes) -> None:
        self._request = data
        self._reader = AnswerReader()
        self._answered: asyncio.Future[ServerAnswer] = asyncio.get_running_loop().create_future()
        self._more: asyncio.Future[None] | None = None
        self._over = False
        self.native: Any = None
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.native = transport
        self.native.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._answered.done():
            self.rest += data
            if len(self.rest) > MAX_BODY_BYTES:
                self.native.pause_reading()
            self._wake()
            return
        try:
            answer = self._reader.feed(data)
        except BadHandshake as error:
            self._answered.set_exception(error)
            return
        if answer is not None:
            self.rest = answer.rest
            self._answered.set_result(answer)

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        if not self._answered.done():
            error = ConnectFailed("the server ended the connection during the opening handshake")
            error.__cause__ = exc
            self._answered.set_exception(error)
        self._wake()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def answer(self) -> ServerAnswer:
        """The server's answer. BadHandshake, ConnectFailed."""
        return await self._answered

    async def body(self, headers: Headers) -> bytes:
        """The body of a refusal, of which 4 KiB are kept."""
        length = headers.get("content-length", "")
        size = int(length[:8]) if length.isascii() and length.isdigit() else MAX_BODY_BYTES
        while len(self.rest) < min(size, MAX_BODY_BYTES) and not self._over:
            self._more = asyncio.get_running_loop().create_future()
            await self._more
        return self.rest[:MAX_BODY_BYTES]

    @property
    def lost(self) -> bool:
        return self._over

    def abort(self) -> None:
        if self._answered.done() and not self._answered.cancelled():
            self._answered.exception()  # read, so that no one misses it
        if self.native is not None:
            self.native.abort()


@dataclass(slots=True)
class Opener:
    """Makes the attempts of one client. `subprotocols` may grow: rooms add theirs."""

    target: Target
    settings: ClientSettings
    dial: Dial
    headers: tuple[tuple[str, str], ...]
    token: Token | None
    cookies: Cookies | None
    subprotocols: tuple[str, ...]

    async def ask_token(self) -> str | None:
        """The token for this attempt. An exception of the user's function."""
        token = self.token
        if token is None or isinstance(token, str):
            return token
        answer = token()
        return await answer if inspect.isawaitable(answer) else answer

    async def open(self, token: str | None) -> Opened:
        """Connect, and follow redirects. ClientError; TimeoutError never leaves it."""
        target = self.target
        for _ in range(self.settings.redirects + 1):
            result = await self._ask(target, token)
            if isinstance(result, Opened):
                return result
            target = result
        raise BadRedirect(f"more than {self.settings.redirects} redirects")

    async def _ask(self, target: Target, token: str | None) -> Opened | Target:
        options, key = deflate_options(self.settings), new_key()
        extensions = "" if options is None else offer(options)
        own = target.origin == self.target.origin
        data = request(target, key, subprotocols=self.subprotocols, extensions=extensions, headers=self._headers(target, token, own))
        opening = Opening(data)
        try:
            try:
                async with asyncio.timeout(self.settings.connect_timeout):
                    descriptor = await self.dial(target, opening)
            except TimeoutError:
                raise ConnectFailed(f"{target.authority}: no connection within {self.settings.connect_timeout:g} s") from None
            try:
                async with asyncio.timeout(self.settings.handshake_timeout):
                    answer = await opening.answer()
            except TimeoutError:
                raise ConnectFailed(f"{target.authority}: no answer within {self.settings.handshake_timeout:g} s") from None
            return await self._judge(answer, opening, descriptor, target, key)
        except BaseException:
            opening.abort()
            raise

    def _headers(self, target: Target, token: str | None, own: bool) -> list[tuple[str, str]]:
        """Credentials go to the client's own origin alone."""
        secret = ("authorization", "proxy-authorization", "cookie")
        given = [(name, value) for name, value in self.headers if own or name.lower() not in secret]
        if token is not None and own:
            given.append(("Authorization", f"Bearer {token}"))
        if self.cookies is not None and (cookies := self.cookies.header(target, own)):
            given.append(("Cookie", cookies))
        return given

    async def _judge(self, answer: ServerAnswer, opening: Opening, descriptor: int, target: Target, key: str) -> Opened | Target:
        headers = answer.headers
        if headers.get("set-cookie") is not None:
            self.cookies = self.cookies or Cookies({})
            self.cookies.keep(target, headers)
        if answer.status != 101:
            location = headers.get("location")
            if answer.status in REDIRECTS and location and self.settings.redirects:
                opening.abort()
                return _followed(target, location)
            raise answer.refusal(await body_of_refusal(opening, headers))
        subprotocol = answer.accepted(key, self.subprotocols)
        return Opened(opening.native, descriptor, subprotocol, agreed_compression(headers, self.settings), headers, opening)


async def body_of_refusal(opening: Opening, headers: Headers) -> bytes:
    """The beginning of a refusal's body."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await opening.body(headers)
    except TimeoutError:
        return opening.rest


def agreed_compression(headers: Headers, settings: ClientSettings) -> DeflateParameters | None:
    """The compression that a 101 agrees to, by its `headers`. BadHandshake if that was not offered."""
    options = deflate_options(settings)
    extensions = headers.joined("sec-websocket-extensions") or ""
    if options is None and extensions:
        raise BadHandshake("the server answers with an extension that was not offered")
    try:
        return None if options is None else agreed(extensions, options)
    except BadAnswer as error:
        raise BadHandshake(str(error)) from None


def _followed(target: Target, location: str) -> Target:
    try:
        found = redirected(target, location)
    except ValueError as error:
        raise BadRedirect(f"the server redirects to no WebSocket URL: {error}") from None
    if target.secure and not found.secure:
        raise BadRedirect("the server redirects from TLS to no TLS")
    return found
