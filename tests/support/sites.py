"""The admin pages' way in, without sockets: a gate with a site, and a crowd of a few places."""

from __future__ import annotations

import asyncio
from typing import Any

from twisted.logger import Logger

from tests.support.fakes import LOCAL, PEER, House, Transport
from tests.support.gates import make_gate
from wsdaemon.core.failed_logins import FailedLogins
from wsdaemon.core.handshake import Peer
from wsdaemon.core.rare_lines import RareLines
from wsdaemon.core.routing import Routes
from wsdaemon.edge.arrival import Arrival
from wsdaemon.edge.crowd import Crowd, LeastWorth
from wsdaemon.edge.site import MadeSite, PagesOnRequest


class SiteServer:
    """The connections to one site."""

    def __init__(
        self, made: House, pages: PagesOnRequest, *, max_body: int = 100, timeout: float = 10.0, max_connections: int = 10,
        failed_logins: FailedLogins | None = None, peer: Peer = PEER, local: Peer | str = LOCAL, routes: Any = None, **options: Any,
    ) -> None:  # fmt: skip
        """Further options are those of a gate."""
        self.wheel = made.wheel()
        site = MadeSite(pages, max_body, failed_logins)
        self.gate = make_gate(
            listener="admin", wheel=self.wheel, routes=routes or Routes(), handshake_timeout=timeout, site=site, refuse=site.refuse,
            **options,
        )  # fmt: skip
        self.crowd = Crowd(self.gate, max_connections, LeastWorth(RareLines(Logger(namespace="wsdaemon.admin"))))
        self._peer, self._local = peer, local

    def __len__(self) -> int:
        return len(self.crowd)

    def accept(self) -> Arrival | None:
        """A client whose transport is being made; None if there is no room for it."""
        if not self.crowd.make_room():
            return None
        arrival = Arrival(self.gate, self.crowd, self._peer, self._local, -1)
        self.crowd.add(arrival)
        return arrival

    def connect(self, transport: Transport) -> bool:
        """Whether the client was let in."""
        arrival = self.accept()
        if arrival is None:
            transport.protocol = asyncio.Protocol()
            transport.abort()
            return False
        transport.protocol = arrival
        arrival.connection_made(transport)  # type: ignore[arg-type]
        return True
