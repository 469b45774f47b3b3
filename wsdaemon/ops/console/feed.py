"""The WebSocket of the live figures: the first message shows a token, and then the figures come once a second.

    page    {"token": "..."}
    feed    {"connections": 12, ...}    see figures; {"away": true} while the workers cannot be asked

The token is a message, because a browser's page can give a WebSocket no header, and a URL is written into logs. While no page looks, no
figure is made; for several pages they are made once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from ...core.closing import ConnectionClosed
from ...core.connection import Connection, writer_of
from ...core.failed_logins import FailedLogins
from ...core.handshake import Handshake
from ...core.rare_lines import LineLog, RareLines
from ...settings.admin import TokenRole

SECONDS = 1.0
"""Between two messages."""

TOKEN_SECONDS = 10.0
"""How long a page may take to show its token."""

MAX_TOKEN_BYTES = 8192
"""The longest first message."""

UNAUTHORIZED = 4401
"""The close code for a page without a token; as 401."""

FORBIDDEN = 4403
"""The close code for a token without the role read."""

Look = Callable[[], Awaitable[dict[str, Any]]]
"""Returns the figures of now."""


class FeedApp:
    """The app behind the console's WebSocket."""

    keeps_handshake = False

    def __init__(
        self, look: Look, roles: Callable[[str], Collection[TokenRole] | None], failed_logins: FailedLogins | None = None,
        log: LineLog | None = None,
    ) -> None:  # fmt: skip
        """`roles` returns those of a token, empty for a wrong one; None: no token is needed."""
        self._look = look
        self.roles = roles
        self._failed_logins = failed_logins
        self._lines = RareLines(log or Logger(namespace="wsdaemon.admin"))
        self._watching: dict[FeedSession, None] = {}
        self._ticking: asyncio.Task[None] | None = None

    def open(self, connection: Connection, handshake: Handshake) -> FeedSession:
        return FeedSession(self, connection)

    def join(self, session: FeedSession) -> None:
        """A page has shown a good token."""
        self._watching[session] = None
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().create_task(self._tick())

    def leave(self, session: FeedSession) -> None:
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
            try:
                line = json.dumps(await self._look(), separators=(",", ":"), allow_nan=False).encode()
            except Exception:
                self._lines.failure("look", "the figures of the console could not be made", Failure())
                line = b'{"away":true}'
            for session in list(self._watching):
                session.push(line)
            await asyncio.sleep(SECONDS)


class FeedSession:
    __slots__ = ("_app", "_connection", "_deadline", "_joined")

    def __init__(self, app: FeedApp, connection: Connection) -> None:
        self._app = app
        self._connection = connection
        self._joined = False
        late = asyncio.get_running_loop().call_later(TOKEN_SECONDS, connection.close, UNAUTHORIZED, "no token came")
        self._deadline: asyncio.TimerHandle | None = late

    def push(self, line: bytes) -> None:
        # A slow page misses moments, because old figures are of no use.
        if self._connection.is_open and not writer_of(self._connection).congested:
            try:
                self._connection.send_payload(line, True)
            except ConnectionClosed:
                self._app.leave(self)

    def received_payload(self, payload: bytes, text: bool) -> None:
        """The first message has the token; later ones are ignored."""
        if self._joined:
            return
        self._joined = True
        self._forget_deadline()
        roles = self._app.roles(_token_in(payload))
        if roles is None or TokenRole.READ in roles:
            self._app.join(self)
        elif roles:
            self._connection.close(FORBIDDEN, "this token does not have the role read")
        else:
            self._app.refused(self._connection)
            self._connection.close(UNAUTHORIZED, "this is not the token")

    def closed(self, code: int, reason: str) -> None:
        self._forget_deadline()
        self._app.leave(self)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _token_in(payload: bytes) -> str:
    """The token in a first message; empty if it has none."""
    if len(payload) > MAX_TOKEN_BYTES:
        return ""
    try:
        given = json.loads(payload)
    except (ValueError, RecursionError):
        return ""
    token = given.get("token") if isinstance(given, dict) else None
    return token if isinstance(token, str) else ""
