"""From a listener's settings to what accepts its connections: certificates, limits, and the doors to its mounts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .core.handshake import ClientCertificate
from .core.registry import Count
from .core.routing import Routes
from .core.wheel import Wheel
from .edge.admission import Chain, Entrance
from .edge.forwarded import Networks
from .edge.gate import AnswerPage, Gate
from .edge.limits import AddressLimits, Tally
from .edge.listeners import Listener
from .edge.origins import Origins
from .mounts import Mount
from .settings.addresses import UnixAddress
from .settings.model import ListenerSettings, Settings

if TYPE_CHECKING:
    from .edge.certificates import Certificates


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
    from .edge.certificates import CertificateFiles, Certificates
    from .edge.tls import ClientCertificates

    if listener.tls_certificate is not None and listener.tls_key is not None:
        files = [CertificateFiles(listener.tls_certificate, listener.tls_key)]
    else:
        named = {pair.name: pair for pair in settings.tls}
        files = [CertificateFiles(named[name].certificate, named[name].key, named[name].hosts) for name in listener.tls]
    return Certificates(files, client_ca=listener.client_ca, client_certificates=ClientCertificates(listener.client_certificate))


def make_entrance(mount: Mount, chain: Chain | None) -> Entrance:
    """What the gates ask for a mount; one for all listeners, for so are its counts."""
    settings = mount.settings
    return Entrance(
        mount=mount.path,
        wire_class=mount.wire_class,
        count=mount.count,
        subprotocols=mount.subprotocols,
        origins=None if settings.origins == ("any",) else Origins.parse(settings.origins),
        chain=chain,
        addresses=Tally(settings.max_connections_per_address) if settings.max_connections_per_address else None,
        users=Tally(settings.max_connections_per_user) if settings.max_connections_per_user else None,
        expiry_warning=settings.expiry_warning,
    )


def make_listener(
    settings: ListenerSettings, sock: socket.socket, certificates: Certificates | None, entrances: Sequence[Entrance], common: Common
) -> Listener:
    """A listener on an open socket; it does not accept yet."""
    proxies, trusted = _networks(settings.proxy_protocol_from), _networks(settings.trusted_proxies)
    show_certificate: Callable[[Any], ClientCertificate | None] | None = None
    if certificates is not None and settings.client_certificate != "none":
        from .edge.tls import client_certificate

        show_certificate = client_certificate
    gate = Gate(
        listener=settings.name,
        secure=certificates is not None,
        routes=Routes((each.mount, each) for each in entrances if not settings.mounts or each.mount in settings.mounts),
        counts=(Count(settings.max_connections), common.count),
        wheel=common.wheel,
        handshake_timeout=settings.handshake_timeout,
        retry_after=common.retry_after,
        closed=common.closed,
        limits=_limits(settings, trusted, [each for each in entrances if each.addresses is not None]),
        trusted=trusted,
        show_certificate=show_certificate,
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


def _limits(settings: ListenerSettings, trusted: Networks | None, limited: Sequence[Entrance]) -> AddressLimits | None:
    """None when no address is counted, here or on a mount."""
    here = (settings.max_connections_per_address, settings.max_handshakes_per_address, settings.connections_per_second_per_address)
    if not any(here) and not limited:
        return None
    return AddressLimits(max_connections=here[0], max_handshakes=here[1], per_second=here[2], exempt=trusted)
