"""WebSocketClient: a client that stays connected, for threads, asyncio and Twisted."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from threading import get_ident
from types import TracebackType
from typing import Any, Self, Unpack

from ..core.closing import NORMAL, checked_code
from ..core.connection import READY
from ..core.handshake import Headers
from ..core.wire_halves import Counts
from ..settings.client import client_settings
from .arrived import Arrived
from .attempt import Opener, Token
from .backlog import closed_error
from .callbacks import Callbacks
from .cookies import Cookies
from .delays import Backoff
from .dialing import Dialer, TlsFiles
from .errors import ClientError
from .life import ClientState, Life
from .opening import checked_headers
from .options import ClientOptions
from .outbox import ClientOutbox
from .rooms.rooms import SUBPROTOCOL, ClientRooms
from .runner import Runner, run
from .target import parse

OnOpen = Callable[["WebSocketClient"], object]
OnMessage = Callable[["WebSocketClient", str | bytes], object]
OnClose = Callable[["WebSocketClient", int, str], object]
OnReconnect = Callable[["WebSocketClient", int, float], object]
OnError = Callable[["WebSocketClient", BaseException], object]

_NO_RUNNER = Runner()
"""Of clients that have no thread of their own."""


class WebSocketClient:
    """A WebSocket client that connects again whenever its connection is lost, until `close()`, or until a failure is final.

    Options have the names of the INI file's keys where both have them; ClientOptions lists them. Raises SettingsError or ValueError at
    once, with all that is wrong.

    The callbacks are functions or coroutine functions, and run on the client's loop:

    - `on_open(client)` after each opening, the first and later ones;
    - `on_message(client, message)`: `str` for text, `bytes` for binary. While a coroutine runs, no further message is read;
    - `on_close(client, code, reason)` when an open connection is over;
    - `on_reconnect(client, attempt, delay)` before the client waits `delay` seconds to connect again;
    - `on_error(client, error)` for a failed attempt, and for an exception of a callback.

    `send()`, `close()` and `stop()` work in any thread.
    """

    __slots__ = (
        "__weakref__", "_callbacks", "_close_asked", "_error", "_finished", "_inbox", "_life", "_loop", "_opened", "_opener", "_outbox",
        "_rooms", "_runner", "_settings", "_thread", "on_close", "on_error", "on_message", "on_open", "on_reconnect",
    )  # fmt: skip

    def __init__(
        self,
        url: str,
        *,
        on_open: OnOpen | None = None,
        on_message: OnMessage | None = None,
        on_close: OnClose | None = None,
        on_reconnect: OnReconnect | None = None,
        on_error: OnError | None = None,
        token: Token | None = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        origin: str | None = None,
        tls: ssl.SSLContext | None = None,
        ca: str | os.PathLike[str] | None = None,
        certificate: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
        proxy: str | None = None,
        unix: str | os.PathLike[str] | None = None,
        local_address: str | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        """A client of `url`, which does not connect yet.

        `token` is sent as `Authorization: Bearer`; a function, or a coroutine function, is asked anew for each attempt, on the client's
        loop. `ca` is a file or folder of certificate authorities instead of the system's, `certificate` the files of the client's own
        certificate and key; `tls` is a context that takes the place of both. `proxy` is the URL of an HTTP or SOCKS proxy, or
        "environment" (needs the extra `wsdaemon[proxy]`). `unix` is the path of a unix socket to use instead of TCP.
        """
        self.on_open, self.on_message, self.on_close = on_open, on_message, on_close
        self.on_reconnect, self.on_error = on_reconnect, on_error
        self._settings = client_settings(options)
        sent = dict(headers or {})
        if origin is not None:
            sent["Origin"] = origin
        files = TlsFiles(None if ca is None else os.fspath(ca), None if certificate is None else _paths(certificate))
        self._opener = Opener(
            target=parse(url), settings=self._settings, headers=checked_headers(sent.items()), token=token,
            dial=Dialer(tls or files, proxy, None if unix is None else os.fspath(unix), local_address),
            cookies=Cookies(cookies) if cookies else None, subprotocols=self._settings.subprotocols,
        )  # fmt: skip
        self._life: Life | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._runner = _NO_RUNNER
        self._callbacks = Callbacks(self.failed)
        self._outbox = ClientOutbox(self._settings, lambda: self._close_asked or self.state is ClientState.CLOSED)
        self._inbox: Arrived | None = None
        self._opened: asyncio.Future[None] | None = None
        self._finished: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._close_asked = False
        self._rooms: ClientRooms | None = None

    def __repr__(self) -> str:
        return f"<WebSocketClient {self._opener.target} {self.state.value}>"

    @property
    def ws(self) -> Self:
        """The client itself, so that client.ws.run_forever() works too."""
        return self

    # -- what it is

    @property
    def state(self) -> ClientState:
        """NEW, CONNECTING, OPEN, AWAY, CLOSING or CLOSED."""
        return ClientState.NEW if self._life is None else self._life.state

    @property
    def is_open(self) -> bool:
        """Whether a connection is open now."""
        writer = self._outbox.writer
        return writer is not None and bool(writer.live)

    @property
    def has_begun(self) -> bool:
        """Whether the client was started, ever."""
        return self._life is not None

    @property
    def url(self) -> str:
        """The URL, without a name and password."""
        return str(self._opener.target)

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol of the open connection."""
        return None if self._life is None else self._life.subprotocol

    @property
    def response_headers(self) -> Headers | None:
        """The headers of the last opening handshake's answer; None before the first."""
        return None if self._life is None else self._life.headers

    @property
    def closed_cleanly(self) -> bool:
        """Whether the last connection that was open ended with a whole closing handshake."""
        return self._life is not None and self._life.clean

    @property
    def error(self) -> BaseException | None:
        """The final failure that ended the client; None if there was none."""
        return self._error

    @property
    def queued(self) -> int:
        """Messages that wait in the queue."""
        return len(self._outbox.messages)

    @property
    def dropped(self) -> int:
        """Messages that the queue has dropped (`queue = drop_oldest`)."""
        return self._outbox.dropped

    def counts(self) -> Counts | None:
        """Messages and bytes of the open connection; None if there is none."""
        life = self._life
        return None if life is None or life.wire is None else life.wire.counts()

    @property
    def rooms(self) -> ClientRooms:
        """The rooms of a daemon's mount with `app = rooms`: `client.rooms["prices.eur"].subscribe()`.

        The client then offers the subprotocol rooms.v1.json; if the connection is open without it, the client connects anew.
        """
        if self._rooms is None:
            self._rooms = ClientRooms(Inside(self, self._callbacks))
            if SUBPROTOCOL not in self._opener.subprotocols:
                self._opener.subprotocols = (SUBPROTOCOL, *self._opener.subprotocols)
            if self._life is not None:
                self._on_loop(self._offer_rooms)
        return self._rooms

    def _offer_rooms(self) -> None:
        life = self._life
        if life is not None and life.state is ClientState.OPEN and life.subprotocol != SUBPROTOCOL:
            life.reconnect()

    # -- sending

    def send(self, message: str | bytes | bytearray | memoryview) -> Awaitable[None]:
        """Send one message, from any thread: text for a `str`, binary for bytes.

        While the client is away, or the server reads too slowly, the message waits in the bounded queue, and `queue` decides when that is
        full: `drop_oldest`; `refuse` raises QueueFull; `wait` blocks the calling thread, and on the client's loop the result must be
        awaited. Otherwise the result may be awaited, to wait until there is room for more. A message that was sent may be lost with its
        connection: rooms have acknowledged publications. ClientClosed after close(), TypeError for anything that is not str or bytes.
        """
        outbox = self._outbox
        writer = outbox.writer
        if writer is not None and writer.live and not writer.queued and not outbox.messages and get_ident() == self._thread:
            # As the outbox would do, without a call more: the most frequent case.
            if isinstance(message, bytes):
                return writer.send_payload(message, False) or READY
            if isinstance(message, str):
                return writer.send_payload(message.encode(), True) or READY
        return outbox.send(message)

    # -- threads

    def run_forever(self) -> None:
        """Connect and stay connected until close(), in this thread. Raises the failure if one is final.

        Callbacks run in this thread. RuntimeError if a loop runs here already: use `async with client` there.
        """
        run(self._until_closed, self.close)

    def start(self) -> Self:
        """Run in a thread of its own; returns at once. Messages that are sent meanwhile wait in the queue."""
        if self._runner is _NO_RUNNER:
            self._runner = Runner()
        self._runner.start(self._run_quietly)
        return self

    def stop(self) -> None:
        """Close the client, and wait until its thread has ended."""
        self.close()
        self._runner.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def _run_quietly(self) -> None:
        """A final failure is in `error`, and on_error was told."""
        with contextlib.suppress(Exception):
            self.run_forever()

    async def _until_closed(self) -> None:
        try:
            if self.begin():
                await self._wait_finished()
        finally:
            self._loop, self._thread = None, 0
            self._outbox.forget_loop()
        self._raise_error()

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """End the client, from any thread: no attempt follows, and run_forever() returns once the closing handshake is over, within
        `close_timeout`. Messages in the queue are sent before if the connection is open. A client that has not begun ends as soon as
        it begins. ValueError for a code that may not be sent.
        """
        checked_code(code)
        if self.state is ClientState.CLOSED:
            return
        self._close_asked = True
        self._on_loop(partial(self._close_now, code, reason))

    def _close_now(self, code: int, reason: str) -> None:
        if self._life is not None:
            self._outbox.flush()
            self._life.close(code, reason)

    def _on_loop(self, call: Any) -> None:
        """Call it on the client's loop: now if this is its thread, else soon; not at all if there is none."""
        loop = self._loop
        if loop is None:
            return
        if get_ident() == self._thread:
            call()
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the client has ended
                loop.call_soon_threadsafe(call)

    # -- asyncio

    async def __aenter__(self) -> Self:
        """Begin, and wait until the connection is open for the first time. Raises the failure if one is final."""
        await self.connect()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
        await self.wait_closed()

    async def connect(self) -> None:
        """Begin on the running loop, unless the client has begun, and wait until a connection is open.

        Raises the failure if one is final, and ClientClosed if the client was closed.
        """
        self.begin()
        if self.is_open:
            return
        if self.state is not ClientState.CLOSED:
            assert self._opened is not None
            await asyncio.shield(self._opened)
        if self.state is ClientState.CLOSED:
            self._raise_error()
            raise closed_error()

    async def wait_closed(self) -> None:
        """Wait until the client has ended, by close() or by a final failure; `error` has that."""
        if self._life is not None:
            await self._wait_finished()

    async def _wait_finished(self) -> None:
        assert self._finished is not None
        await asyncio.shield(self._finished)
        await self._callbacks.finish()

    def __aiter__(self) -> Self:
        self.begin()
        return self

    async def __anext__(self) -> str | bytes:
        """The next message; the iteration goes on over all connections. It ends after close(), and raises a final failure."""
        return await self._messages_in().get()

    async def receive(self) -> str | bytes:
        """The next message. ClientClosed at the end, or the final failure."""
        self.begin()
        try:
            return await self._messages_in().get()
        except StopAsyncIteration:
            raise closed_error() from None

    def _messages_in(self) -> Arrived:
        if self._inbox is None:
            assert self._loop is not None
            self._inbox = Arrived(self._loop)
            if self.state is ClientState.CLOSED:
                self._inbox.end(self._error)
        return self._inbox

    def begin(self) -> bool:
        """Begin on the running loop, unless the client has begun there, and wait for nothing. False when close() came first."""
        loop = asyncio.get_running_loop()
        if self._life is not None and self._life.state is not ClientState.CLOSED:
            if loop is not self._loop:
                raise RuntimeError("the client runs on another loop already")
            return True
        self._loop, self._thread = loop, get_ident()
        self._outbox.begin(loop)
        self._inbox, self._error = None, None
        self._opened, self._finished = loop.create_future(), loop.create_future()
        delays = self._settings.reconnect
        self._life = Life(self, self._opener, loop, None if delays is None else Backoff(*delays))
        if self._close_asked:
            self._life.close(NORMAL, "")
            self._close_asked = False
            return False
        self._outbox.take_again()
        self._life.start()
        return True

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    # -- called by its life

    def received(self, message: str | bytes) -> Awaitable[object] | None:
        """A message came."""
        callback = self.on_message
        if callback is None:
            return self._messages_in().put(message)
        result = callback(self, message)
        if result is None or result is READY:
            return None
        return result if inspect.isawaitable(result) else None

    def opened(self) -> None:
        """A connection is open."""
        assert self._life is not None
        assert self._life.wire is not None
        self._outbox.opened(self._life.wire)
        if self._rooms is not None:
            if self._life.subprotocol == SUBPROTOCOL:
                self._life.received = self._life.wire.reader.received = self._rooms.received
            self._rooms.opened(self._life.subprotocol)
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)
        self._callbacks.call(self.on_open, self)
        self._outbox.flush()

    def lost(self, code: int, reason: str) -> None:
        """The open connection is over."""
        self._outbox.lost()
        assert self._finished is not None
        if not self._finished.done() and (self._opened is None or self._opened.done()):
            self._opened = self._finished.get_loop().create_future()
        if self._rooms is not None:
            self._rooms.lost()
        self._callbacks.call(self.on_close, self, code, reason)

    def waits(self, attempt: int, delay: float) -> None:
        """The next attempt is due in `delay` seconds."""
        self._callbacks.call(self.on_reconnect, self, attempt, delay)

    def failed(self, error: BaseException) -> None:
        """An attempt failed, or a callback did."""
        if self.on_error is not None:
            try:
                result = self.on_error(self, error)
            except Exception as worse:
                self._report(worse)
            else:
                if inspect.isawaitable(result):
                    Callbacks(self._report).keep(result)
        elif not isinstance(error, ClientError):
            self._report(error)

    def _report(self, error: BaseException) -> None:
        """An error that no callback of the user's hears of."""
        if self._loop is not None:
            self._loop.call_exception_handler({"message": f"{self!r}: a callback failed", "exception": error})

    def writable(self) -> None:
        """The server has taken what had to wait."""
        self._outbox.flush()

    def finished(self, error: BaseException | None) -> None:
        """The end."""
        self._error = error
        self._close_asked = False
        self._outbox.end(error)
        if self._inbox is not None:
            self._inbox.end(error)
        if self._rooms is not None:
            self._rooms.ended(error)
        for future in (self._opened, self._finished):
            if future is not None and not future.done():
                future.set_result(None)


def _paths(pair: tuple[str | os.PathLike[str], str | os.PathLike[str]]) -> tuple[str, str]:
    return os.fspath(pair[0]), os.fspath(pair[1])


class Inside:
    """The client as its rooms see it."""

    __slots__ = ("_client", "callbacks")

    def __init__(self, client: WebSocketClient, callbacks: Callbacks) -> None:
        self._client = client
        self.callbacks = callbacks

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        return self._client._loop

    def send_now(self, text: str) -> None:
        """Past the queue: requests that wait are in the keeping of the rooms."""
        self._client._outbox.send_now(text)

    def on_loop(self, call: Callable[[], object]) -> None:
        self._client._on_loop(call)

    def failed(self, error: BaseException) -> None:
        self._client.failed(error)


def transport_of(client: WebSocketClient) -> Any:
    """The loop's transport of the open connection, for tests that misuse it; None while there is none."""
    wire = None if client._life is None else client._life.wire
    return None if wire is None else wire.writer.native
