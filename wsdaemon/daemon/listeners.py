"""From a listener's settings to what accepts its connections: certificates, limits, and the doors to its mounts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..core.handshake import ClientCertificate
from ..core.registry import Count
from ..core.routing import Routes
from ..core.wheel import Wheel
from ..edge.admission import Admission
from ..edge.candidate import Authentication, Entrance
from ..edge.clients import Clients
from ..edge.forwarded import Networks
from ..edge.gate import AnswerPage, Gate
from ..edge.hosts import Hosts
from ..edge.limits import AddressLimits, Tally, address_rate
from ..edge.listeners import Listener
from ..edge.origins import Origins
from ..edge.places import Places
from ..settings.addresses import UnixAddress
from ..settings.listener import CONNECTION_LIMITS
from ..settings.model import ListenerSettings, Settings
from .mounts import Mount

if TYPE_CHECKING:
    from ..edge.certificates import Certificates


@dataclass(frozen=True, slots=True)
class Common:
    """What the listeners of one daemon have in common."""

    loop: asyncio.AbstractEventLoop
    wheel: Wheel
    count: Count
    """Of the whole daemon."""
    retry_after: float
    closed: Callable[[], bool]
    pages: AnswerPage | None = None
    """Web pages beside the mounts."""


def load_certificates(settings: Settings, listener: ListenerSettings) -> Certificates | None:
    """The certificates of a listener; None when it speaks no TLS. edge.tls.CertificateError when they cannot be used."""
    if not listener.secure:
        return None
    # Here, for the cryptography behind it is a fifth of a daemon's memory, and many have a proxy in front that does TLS.
    from ..edge.certificates import CertificateFiles, Certificates
    from ..edge.tls import ClientCertificates

    if listener.tls_certificate is not None and listener.tls_key is not None:
        files = [CertificateFiles(listener.tls_certificate, listener.tls_key)]
    else:
        named = {pair.name: pair for pair in settings.tls}
        files = [CertificateFiles(named[name].certificate, named[name].key, named[name].hosts) for name in listener.tls]
    return Certificates(files, client_ca=listener.client_ca, client_certificates=ClientCertificates(listener.client_certificate))


def make_entrance(mount: Mount, chain: Authentication | None) -> Entrance:
    """What the gates ask for a mount; its counts are the same for all listeners."""
    settings = mount.settings
    return Entrance(
        mount=mount.path,
        wires=mount.wires,
        count=mount.count,
        subprotocols=mount.subprotocols,
        origins=None if settings.origins == ("any",) else Origins.parse(settings.origins),
        chain=chain,
        addresses=Tally(settings.max_connections_per_address) if settings.max_connections_per_address else None,
        users=Tally(settings.max_connections_per_user) if settings.max_connections_per_user else None,
        rate=address_rate(settings.connections_per_second_per_address),
        handshakes=Count(settings.max_handshakes) if settings.max_handshakes else None,
        expiry_warning=settings.expiry_warning,
    )


def entrances_by(settings: ListenerSettings, entrances: Sequence[Entrance]) -> list[Entrance]:
    """The entrances that a listener has: those of the mounts it serves, with its own limits on single connections, where they are lower."""
    limits = {name: getattr(settings, name) for name in CONNECTION_LIMITS}
    served = [each for each in entrances if not settings.mounts or each.mount in settings.mounts]
    return [replace(each, wires=each.wires.limited(limits)) for each in served]


def make_listener(
    settings: ListenerSettings, sock: socket.socket, certificates: Certificates | None, entrances: Sequence[Entrance], common: Common
) -> Listener:
    """A listener on an open socket; it does not accept yet."""
    proxies, trusted = _networks(settings.proxy_protocol_from), _networks(settings.trusted_proxies)
    entrances = entrances_by(settings, entrances)
    show_certificate: Callable[[Any], ClientCertificate | None] | None = None
    if certificates is not None and settings.client_certificate != "none":
        from ..edge.tls import client_certificate

        show_certificate = client_certificate
    limits = _limits(settings, trusted, any((each.addresses, each.rate, each.chain) != (None, None, None) for each in entrances))
    users = Tally(settings.max_connections_per_user) if settings.max_connections_per_user else None
    counts = (Count(settings.max_connections), common.count)
    admission = Admission(
        settings.name,
        Routes((each.mount, each) for each in entrances),
        Places(counts, None if limits is None else limits.connections, users, common.retry_after),
        Clients(limits, trusted, settings.forwarded_header, common.retry_after),
        retry_after=common.retry_after,
        closed=common.closed,
        hosts=Hosts.parse(settings.hosts) if settings.hosts else None,
        show_certificate=show_certificate,
    )
    gate = Gate(
        admission,
        common.wheel,
        secure=certificates is not None,
        handshake_timeout=settings.handshake_timeout,
        pages=common.pages,
    )
    return Listener(
        name=settings.name,
        sock=sock,
        gate=gate,
        loop=common.loop,
        max_handshakes=settings.max_handshakes,
        certificates=certificates,
        path=settings.address.path if isinstance(settings.address, UnixAddress) else None,
        proxies=proxies,
    )


def _networks(entries: Sequence[str]) -> Networks | None:
    return Networks.parse(" ".join(entries)) if entries else None


def _limits(settings: ListenerSettings, trusted: Networks | None, mounts_count: bool) -> AddressLimits | None:
    """None when no address is counted, here or on a mount: by its limits, or by its ways of auth, which count wrong passwords."""
    here = (settings.max_connections_per_address, settings.max_handshakes_per_address, settings.connections_per_second_per_address)
    if not any(here) and not mounts_count:
        return None
    return AddressLimits(max_connections=here[0], max_handshakes=here[1], per_second=here[2], exempt=trusted)
