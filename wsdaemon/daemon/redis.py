"""From the [broker] section to the links and brokers of rooms that are kept in Redis. Imported only if that section asks for Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.logger import Logger

from ..brokers import Limits
from ..brokers.contract import Broker, BrokerMaker
from ..brokers.links.redis import RedisLink
from ..brokers.links.redis_servers import Unfit
from ..brokers.links.redis_tickets import RedisTickets
from ..brokers.remote import RemoteBroker
from ..core.closing import TRY_AGAIN_LATER
from ..core.drain import close_evenly
from ..core.registry import Connections
from ..settings.broker import BrokerSettings, WhenLost
from ..settings.model import MountSettings, Settings
from .parts import StartError

CLOSING_SECONDS: Final = 5.0
"""Over this time the members of a mount are closed whose link is lost, so that their clients do not all come back at once."""

AWAY: Final = TRY_AGAIN_LATER, "the rooms cannot be reached now"

log = Logger(namespace="wsdaemon.redis")


class RedisBrokers:
    """The brokers of all mounts with rooms: as `brokers.Brokers`, and a part of the daemon that starts before them and stops after them."""

    name = "redis"

    def __init__(self, settings: Settings, broker: BrokerSettings, connections: Connections) -> None:
        self._settings = settings
        self._broker = broker
        self._connections = connections
        self.tickets = RedisTickets(broker, log)
        self.links: dict[str, RedisLink] = {}
        """By the path of the mount."""
        self._closing: set[asyncio.Task[None]] = set()

    def __call__(self, settings: MountSettings, limits: Limits) -> BrokerMaker:
        path = settings.path

        def make(failed: Any, *, loop: Any, later: Any, bulk: Any, held: Any, clock: Any, grace: Any) -> Broker:
            link = self.links[path] = RedisLink(self._broker, path, limits, log)
            return RemoteBroker(
                limits, link, failed, loop=loop, later=later, bulk=bulk, held=held, clock=clock, grace=grace, timeout=self._broker.timeout,
                lost=self._closer(path),
            )  # fmt: skip

        return make

    def _closer(self, path: str) -> Callable[[str], None] | None:
        """Closes the members of a mount when its link is lost, if the settings want that."""
        if self._broker.when_lost is WhenLost.KEEP:
            return None

        def close(reason: str) -> None:
            members = [connection for connection in self._connections if connection.handshake.mount == path]
            closing = asyncio.get_running_loop().create_task(close_evenly(members, CLOSING_SECONDS, lambda: AWAY))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

        return close

    async def start(self) -> None:
        """Look whether Redis is there. It may be away, and rooms answer `unavailable` then. If it cannot be used, StartError."""
        for link in self.links.values():
            try:
                away = await link.try_out()
            except Unfit as error:
                key = "password_file" if "password" in str(error) else "url"
                raise StartError(self._settings.problem("broker", str(error), key, None)) from None
            if away is not None:
                log.warn("Redis is away, so rooms answer unavailable until it is back: {reason}", reason=away)
            return  # all links go to the same servers

    async def stop(self) -> None:
        """The apps have closed their brokers: wait until the connections are closed."""
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*[link.closed() for link in self.links.values()])
        await self.tickets.close()

    def away(self) -> bool:
        """Whether a link is lost, if /readyz is to know."""
        return self._broker.readyz and not all(link.connected for link in self.links.values())

    def counts(self) -> Mapping[str, tuple[bool, int]]:
        """Of each mount: whether its link is connected, and how often it was lost."""
        return {path: (link.connected, link.losses) for path, link in self.links.items()}
