"""Tickets in Redis: a daemon issues one, and a client may use it at any daemon that shares this Redis."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from ...core.rare_lines import LineLog, RareLines
from ...settings.broker import BrokerSettings
from ..contract import BrokerError
from .redis_pipe import Argument
from .redis_scripts import SHELVE, UNSHELVE
from .redis_servers import Away, Servers, Unfit
from .redis_session import RedisSession

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
        try:
            async with asyncio.timeout(self._timeout):
                session = await self._connected()
                return await session.ask(script, (f"{tag}:{place}", f"{tag}:all"), place, *arguments, whole=False)
        except (Away, Unfit, BrokerError, ConnectionError, TimeoutError) as error:
            why = str(error) or "no answer"
            self._rare.warn("away", "Redis does not answer for tickets: {why}", why=why)
            raise ConnectionError(why) from error
        finally:
            self._asking -= 1

    async def _connected(self) -> RedisSession:
        async with self._connecting:
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
            self._session = session
            return session


def _nothing(*arguments: object) -> None:
    """No channel is subscribed to."""
