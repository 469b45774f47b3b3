"""The life of a client: connect, be open, lose the connection, wait, connect again, until it is closed or a failure is final."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol

from ..core.closing import GOING_AWAY, NORMAL, SERVICE_RESTART, ConnectionClosed
from .delays import Backoff, is_about_the_token, is_final
from .errors import ConnectFailed
from .silence import Silence
from .tools import tools_of

if TYPE_CHECKING:
    from ..core.handshake import Headers
    from ..wire.client import ClientWire
    from .attempt import Opened, Opener


class ClientState(enum.Enum):
    """NEW > CONNECTING > OPEN > AWAY > CONNECTING ... > CLOSING > CLOSED. AWAY: the client waits before its next attempt."""

    NEW = "new"
    CONNECTING = "connecting"
    OPEN = "open"
    AWAY = "away"
    CLOSING = "closing"
    CLOSED = "closed"


class Owner(Protocol):
    """The client, which its life tells of all that happens. None of these methods raises."""

    def received(self, message: str | bytes) -> Awaitable[object] | None: ...

    def opened(self) -> None: ...

    def lost(self, code: int, reason: str) -> None: ...

    def waits(self, attempt: int, delay: float) -> None: ...

    def failed(self, error: BaseException) -> None: ...

    def writable(self) -> None: ...

    def finished(self, error: BaseException | None) -> None:
        """The last event. `error` is the final failure, None after close()."""


class Life:
    """Used on the client's loop alone. It is the session of its wires; while a connection is open, it has no task and no timer."""

    __slots__ = (
        "_attempting", "_backoff", "_busy", "_loop", "_opened_at", "_opener", "_owner", "_refused", "_silence", "_timer",
        "_token", "clean", "headers", "received", "state", "subprotocol", "wire",
    )  # fmt: skip

    def __init__(self, owner: Owner, opener: Opener, loop: asyncio.AbstractEventLoop, backoff: Backoff | None) -> None:
        """`backoff` None: the client does not connect again."""
        self._owner = owner
        self._opener = opener
        self._loop = loop
        self._backoff = backoff
        self._attempting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._silence: Silence | None = None
        self._busy: asyncio.Future[object] | None = None
        self._opened_at = 0.0
        self._token: str | None = None
        self._refused: tuple[str | None, BaseException] | None = None
        self.state = ClientState.NEW
        self.clean = False
        self.wire: ClientWire | None = None
        self.subprotocol: str | None = None
        self.headers: Headers | None = None
        self.received = owner.received

    # -- connecting

    def start(self) -> None:
        """Begin the first attempt."""
        self._connect()

    def _connect(self) -> None:
        self._timer = None
        self.state = ClientState.CONNECTING
        self._attempting = self._loop.create_task(self._attempt())

    async def _attempt(self) -> None:
        try:
            self._token = await self._opener.ask_token()
            if self._refused is not None and self._refused[0] == self._token:
                self._attempting = None
                self._end(self._refused[1])
                return
            opened = await self._opener.open(self._token)
        except Exception as error:
            self._attempting = None
            self._failed(error)
            return
        self._attempting = None
        if opened.opening.lost:
            self._failed(ConnectFailed("the server ended the connection after the opening handshake"))
        else:
            self._take(opened)

    def _take(self, opened: Opened) -> None:
        tools = tools_of(self._loop)
        self.subprotocol, self.headers = opened.subprotocol, opened.headers
        self._opened_at = self._loop.time()
        tools.wires(self._opener.settings).open(opened.native, opened.descriptor, self, opened.deflate, opened.early())

    # -- the session of a wire

    def opened(self, wire: ClientWire) -> None:
        """The wire: the connection is open."""
        self.wire, self.state, self._refused = wire, ClientState.OPEN, None
        if self._busy is not None and not self._busy.done():
            wire.wait_for(self._busy)  # a coroutine of the user is still at work on a message of the connection before
        self._busy = None
        if self._opener.settings.read_timeout:
            self._silence = Silence(wire, self._opener.settings.read_timeout)
        self._owner.opened()

    def closed(self, code: int, reason: str) -> None:
        """The wire: the connection is over."""
        wire, self.wire = self.wire, None
        if wire is not None:
            self._busy = wire.reader.waiting
            self.clean = bool(wire.protocol.wasClean)
        if self._silence is not None:
            self._silence.stop()
            self._silence = None
        self.subprotocol = None
        closing = self.state is ClientState.CLOSING
        if not closing:
            self.state = ClientState.AWAY
        self._owner.lost(code, reason)
        if closing or self.state is ClientState.CLOSING:
            self._end(None)
            return
        if self._backoff is not None and self._loop.time() - self._opened_at >= self._backoff.first:
            self._backoff.reset()
        self._failed(ConnectionClosed(code, reason))

    def writable(self) -> None:
        """The wire: the server has taken what had to wait."""
        self._owner.writable()

    def failed(self, error: BaseException) -> None:
        """The wire: the owner's `received` raised."""
        self._owner.failed(error)

    # -- failures

    def _failed(self, error: BaseException) -> None:
        """An attempt failed, or the connection was lost."""
        if not isinstance(error, ConnectionClosed):
            self._owner.failed(error)
        if self.state in (ClientState.CLOSING, ClientState.CLOSED):
            self._end(None)
            return
        about_token = is_about_the_token(error) and callable(self._opener.token)
        if about_token:
            self._refused = (self._token, error)
        if self._backoff is None or (is_final(error) and not about_token):
            self._end(error)
            return
        delay = self._backoff.delay(error)
        self.state = ClientState.AWAY
        self._owner.waits(self._backoff.failures, delay)
        if self.state is ClientState.AWAY:
            self._timer = self._loop.call_later(delay, self._connect)

    def reconnect(self) -> None:
        """Close the connection and connect again at once, with the same queue: the offer of subprotocols has changed."""
        if self.wire is not None and self._backoff is not None:
            self._backoff.skip()
            self.wire.close(NORMAL, "")

    # -- closing

    def close(self, code: int, reason: str) -> None:
        """End: a closing handshake if the connection is open. The owner is told when it is over."""
        if self.state in (ClientState.CLOSING, ClientState.CLOSED):
            return
        was, self.state = self.state, ClientState.CLOSING
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._attempting is not None:
            self._attempting.cancel()
            self._attempting = None
        if was is ClientState.OPEN and self.wire is not None:
            if self.wire.protocol.state != self.wire.protocol.STATE_OPEN:  # the server closes already
                return
            self.wire.close(code, reason)
        else:
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        if self.state is ClientState.CLOSED:
            return
        self.state = ClientState.CLOSED
        if isinstance(error, ConnectionClosed) and error.code in (NORMAL, GOING_AWAY, SERVICE_RESTART):
            error = None
        self._owner.finished(error)


