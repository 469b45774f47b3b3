"""The WebSocket of the live figures: the first message shows a token, and then the figures come once a second.

    page    {"token": "..."}            with "tap" instead the frames of one connection, see tap_feed
    feed    {"connections": 12, ...}    see figures; {"away": true} while the workers cannot be asked

The token is a message, because a browser's page can give a WebSocket no header, and a URL is written into logs. It is
looked at again before each message. While no page looks, no figure is made; for several pages they are made once.

Pages without a token cannot lock others out: if all places are taken, a new page takes that of the oldest page that has not shown one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from ...core.closing import SERVICE_RESTART
from ...core.connection import Connection, writer_of
from ...core.failed_logins import FailedLogins
from ...core.handshake import Handshake
from ...core.perishable import push
from ...core.rare_lines import LineLog, RareLines
from ...settings.admin import TokenRole
from .tap_feed import TapFeed

SECONDS = 1.0
"""Between two messages."""

TOKEN_SECONDS = 10.0
"""How long a page may take to show its token."""

MAX_TOKEN_BYTES = 8192
"""The longest first message."""

UNAUTHORIZED = 4401
"""The close code for a page without a token; as 401."""

MAX_PAGES = 16
"""Pages that may look at once, in each process."""

FORBIDDEN = 4403
"""The close code for a token without the role."""

Look = Callable[[], Awaitable[dict[str, Any]]]
"""Returns the figures of now."""


class FeedApp:
    """The app behind the console's WebSocket."""

    keeps_handshake = False

    def __init__(
        self, look: Look, roles: Callable[[str], Collection[TokenRole] | None], taps: TapFeed, failed_logins: FailedLogins | None = None,
        log: LineLog | None = None,
    ) -> None:  # fmt: skip
        """`roles` returns those of a token, empty for a wrong one; None: no token is needed."""
        self._look = look
        self.taps = taps
        self.roles = roles
        self._failed_logins = failed_logins
        self._lines = RareLines(log or Logger(namespace="wsdaemon.admin"))
        self._unknown: dict[FeedSession, None] = {}
        """Pages that have not shown a good token, the oldest first, but for those that had to make room."""
        self._watching: dict[FeedSession, None] = {}
        self._known: set[Connection] = set()
        """Those of the pages that have shown a good token, until their end."""
        self._ticking: asyncio.Task[None] | None = None

    def open(self, connection: Connection, handshake: Handshake) -> FeedSession:
        session = FeedSession(self, connection)
        self._unknown[session] = None
        return session

    def make_room(self) -> bool:
        """Whether there is room for one more page: the oldest of those that have not shown a token makes it."""
        if len(self._unknown) + len(self._watching) + len(self.taps) < MAX_PAGES:
            return True
        if not self._unknown:
            return False
        oldest = next(iter(self._unknown))
        del self._unknown[oldest]
        text = "a page of the console that has shown no token makes room for a new one, because {most} are open"
        self._lines.warn("crowded", text, most=MAX_PAGES)
        oldest.drop()
        return True

    def knows(self, connection: Connection) -> bool:
        """Whether the page has shown a good token."""
        return connection in self._known

    def close(self) -> None:
        """Another feed takes the place of this one: the pages come again, and show their tokens there."""
        for session in [*self._unknown, *self._watching]:
            session.close(SERVICE_RESTART, "the settings have changed")
        self.taps.close(SERVICE_RESTART, "the settings have changed")

    def know(self, session: FeedSession, connection: Connection) -> None:
        """A page has shown a good token."""
        self._unknown.pop(session, None)
        self._known.add(connection)

    def join(self, session: FeedSession) -> None:
        """A page wants the figures."""
        self._watching[session] = None
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().create_task(self._tick())

    def ended(self, session: FeedSession, connection: Connection) -> None:
        """The connection of a page is over."""
        self._unknown.pop(session, None)
        self._known.discard(connection)
        self.leave(session)

    def leave(self, session: FeedSession) -> None:
        """A page gets no more figures, and no more frames."""
        self.taps.leave(session)
        self._watching.pop(session, None)
        if not self._watching and self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    def refused(self, connection: Connection) -> None:
        """A page has shown a wrong token."""
        if self._failed_logins is not None:
            self._failed_logins.add(connection.handshake.peer.host, connection.handshake.path, "admin_token")

    async def _tick(self) -> None:
        while True:
            for session in list(self._watching):
                session.look_at_token()
            if not self._watching:
                return
            try:
                line = json.dumps(await self._look(), separators=(",", ":"), allow_nan=False).encode()
            except Exception:
                self._lines.failure("look", "the figures of the console could not be made", Failure())
                line = b'{"away":true}'
            for session in list(self._watching):
                session.push(line)
            await asyncio.sleep(SECONDS)


class FeedSession:
    __slots__ = ("_app", "_connection", "_deadline", "_joined", "_token")

    def __init__(self, app: FeedApp, connection: Connection) -> None:
        self._app = app
        self._connection = connection
        self._joined = False
        self._token = ""
        late = asyncio.get_running_loop().call_later(TOKEN_SECONDS, connection.close, UNAUTHORIZED, "no token came")
        self._deadline: asyncio.TimerHandle | None = late

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; no more figures follow."""
        self._connection.close(code, reason)
        self._app.leave(self)

    def drop(self) -> None:
        """End the connection at once."""
        self._forget_deadline()
        self._connection.abort()

    def look_at_token(self, role: TokenRole = TokenRole.READ) -> None:
        """Close the page if its token was revoked, or has lost the role."""
        roles = self._app.roles(self._token)
        if roles is not None and role not in roles:
            self.close(UNAUTHORIZED, "this token does not hold any more")

    @property
    def slow(self) -> bool:
        """Whether the page does not take what it was sent."""
        return writer_of(self._connection).congested

    @property
    def viewer(self) -> str:
        """The address that looks."""
        return self._connection.handshake.peer.host

    def push(self, line: bytes, always: bool = False) -> None:
        """Send a message. Unless `always`, a slow page misses it, because old figures are of no use."""
        if not push(self._connection, line, always):
            self._app.leave(self)

    def received_payload(self, payload: bytes, text: bool) -> None:
        """The first message has the token; later ones are ignored."""
        if self._joined:
            return
        self._joined = True
        self._forget_deadline()
        first = _first_in(payload)
        token, tap = first.get("token"), first.get("tap")
        self._token = token if isinstance(token, str) else ""
        wanted = TokenRole.READ if tap is None else TokenRole.OPERATE
        roles = self._app.roles(self._token)
        if roles is None or wanted in roles:
            self._app.know(self, self._connection)
            if tap is None:
                self._app.join(self)
            else:
                self._app.taps.join(self, tap)
        elif roles:
            self._connection.close(FORBIDDEN, f"this token does not have the role {wanted}")
        else:
            self._app.refused(self._connection)
            self._connection.close(UNAUTHORIZED, "this is not the token")

    def closed(self, code: int, reason: str) -> None:
        self._forget_deadline()
        self._app.ended(self, self._connection)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _first_in(payload: bytes) -> dict[str, Any]:
    """The object in a first message; empty if it has none."""
    if len(payload) > MAX_TOKEN_BYTES:
        return {}
    try:
        given = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return given if isinstance(given, dict) else {}
