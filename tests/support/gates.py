"""Makes gates for tests: the parts of one, from the few options that a test is about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from wsdaemon.core.limits import Tally
from wsdaemon.core.registry import Count
from wsdaemon.core.routing import Routes
from wsdaemon.core.wheel import Wheel
from wsdaemon.edge.admission import Admission
from wsdaemon.edge.candidate import Entrance
from wsdaemon.edge.clients import Clients
from wsdaemon.edge.forwarded import ForwardedHeader, Networks
from wsdaemon.edge.gate import Gate, Refuse, refuse
from wsdaemon.edge.hosts import Hosts
from wsdaemon.edge.limits import AddressLimits
from wsdaemon.edge.origins import ConsoleAddress
from wsdaemon.edge.places import Places
from wsdaemon.edge.shared_limits import SharedLimits
from wsdaemon.edge.site import AnswerPage, ReadySite, Site


def make_gate(
    *, wheel: Wheel, routes: Routes[Entrance], listener: str = "here", secure: bool = False, counts: tuple[Count, ...] = (),
    handshake_timeout: float = 10.0, retry_after: float = 5.0, closed: Callable[[], bool] = lambda: False,
    limits: AddressLimits | None = None, trusted: Networks | None = None, forwarded_header: ForwardedHeader = "x-forwarded-for",
    users: Tally | None = None, hosts: Hosts | None = None, show_certificate: Any = None, now: Callable[[], float] = time.time,
    pages: AnswerPage | None = None, site: Site | None = None, log: Any = None, shared: SharedLimits | None = None,
    console: ConsoleAddress | None = None, refuse: Refuse = refuse,
) -> Gate:  # fmt: skip
    """A gate of one listener."""
    places = Places(counts, None if limits is None else limits.connections, users, retry_after, shared)
    clients = Clients(limits, trusted, forwarded_header, retry_after)
    admission = Admission(
        listener, routes, places, clients, retry_after=retry_after, closed=closed, hosts=hosts, show_certificate=show_certificate,
        console=console, log=log,
    )  # fmt: skip
    return Gate(
        admission, wheel, secure=secure, handshake_timeout=handshake_timeout, site=ReadySite([pages]) if pages else site, now=now,
        log=log, refuse=refuse,
    )  # fmt: skip
