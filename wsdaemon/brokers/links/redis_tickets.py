"""Tickets in Redis: a daemon issues one, and a client may use it at any daemon that shares this Redis."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from urllib.parse import quote

from ...core.rare_lines import LineLog, RareLines
from ...settings.broker import BrokerSettings
from ..errors import BrokerError
from .redis_pipe import Argument
from .redis_place_scripts import SHELVE, UNSHELVE
from .redis_servers import Away, Servers, Unfit
from .redis_session import RedisSession

LOOK_SECONDS = 10.0
"""Between two looks whether another server is the primary now."""

MAX_ASKING = 1000
"""Questions that may be under way at once: one for each client that comes with a ticket."""


class RedisTickets:
    """As `edge.auth.shared_tickets.TicketShelf`. It connects when it is first asked, and again after a loss."""

    def __init__(self, settings: BrokerSettings, log: LineLog) -> None:
        self._prefix = settings.prefix
        self._timeout = settings.timeout
        self._servers = Servers(settings)
        self._rare = RareLines(log)
        self._session: RedisSession | None = None
        self._connecting = asyncio.Lock()
        self._looked = 0.0
        self._asking = 0

    async def put(self, section: str, place: str, content: bytes, seconds: float, most: int) -> bool:
        return bool(await self._ask(SHELVE, section, place, content, round(seconds * 1000), most))

    async def take(self, section: str, place: str) -> bytes | None:
        answer = await self._ask(UNSHELVE, section, place)
        return answer if isinstance(answer, bytes) else None

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self, script: str, section: str, place: str, *arguments: Argument) -> Any:
        tag = f"{self._prefix}:{{tickets:{quote(section, safe='')}}}"
        if self._asking >= MAX_ASKING:
            raise ConnectionError("too many clients wait for Redis")
        self._asking += 1
        session: RedisSession | None = None
        try:
            async with asyncio.timeout(self._timeout):
                session = await self._connected()
                return await session.ask(script, (f"{tag}:{place}", f"{tag}:all"), place, *arguments, whole=False)
        except TimeoutError as error:
            # The server may be dead, or cut off; its connection would stay until TCP gives up.
            if session is not None:
                session.end("no answer")
            raise self._failure("no answer") from error
        except (Away, Unfit, BrokerError, ConnectionError) as error:
            raise self._failure(str(error) or "no answer") from error
        finally:
            self._asking -= 1

    def _failure(self, why: str) -> ConnectionError:
        self._rare.warn("away", "Redis does not answer for tickets: {why}", why=why)
        return ConnectionError(why)

    async def _connected(self) -> RedisSession:
        async with self._connecting:
            await self._look()
            if self._session is not None and not self._session.ended.done():
                return self._session
            if self._session is not None:
                await self._session.close()
                self._session = None
            session = RedisSession(self._servers, replica=False)
            try:
                await session.open(_nothing, _nothing)
            except BaseException:
                await session.close()
                raise
            self._session, self._looked = session, asyncio.get_running_loop().time()
            return session

    async def _look(self) -> None:
        """End a session whose server was demoted: Sentinels or the cluster name another primary, and what it takes is lost."""
        now = asyncio.get_running_loop().time()
        if self._session is None or self._session.ended.done() or now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        with contextlib.suppress(Away, Unfit):  # without Sentinels the primary is as good as before
            if await self._session.moved():
                self._session.end("another server is the primary now")


def _nothing(*arguments: object) -> None:
    """No channel is subscribed to."""
