"""Lines about settings that work, but look like a mistake."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wsdaemon.settings.admin import AdminSettings, TokenSettings, stays_here
from wsdaemon.settings.auth import AuthSettings, JwtAuthSettings, TlsAuthSettings
from wsdaemon.settings.model import ListenerSettings, MountSettings, TlsSettings


def warnings_of(
    listeners: Sequence[ListenerSettings], mounts: Sequence[MountSettings], auths: Sequence[AuthSettings], tls: Sequence[TlsSettings],
    admin: AdminSettings | None, tokens: Sequence[TokenSettings] = (),
) -> tuple[str, ...]:  # fmt: skip
    """All the lines, section by section."""
    return (*_mounts(listeners, mounts), *_auths(auths, mounts, listeners), *_edge(listeners, tls, admin), *_admin(admin, tokens))


def _mounts(listeners: Sequence[ListenerSettings], mounts: Sequence[MountSettings]) -> Iterable[str]:
    """Settings that work, but are most likely a mistake."""
    for mount in mounts:
        if 0 < mount.ping_interval < mount.ping_timeout:
            yield f"[mount:{mount.path}] ping_timeout is longer than ping_interval: a silent client is pinged once per ping_timeout"
    if all(listener.mounts for listener in listeners):
        served = {path for listener in listeners for path in listener.mounts}
        yield from (f"[mount:{mount.path}] is served by no listener" for mount in mounts if mount.path not in served)


def _edge(listeners: Sequence[ListenerSettings], pairs: Sequence[TlsSettings], admin: AdminSettings | None) -> Iterable[str]:
    """Certificates that no listener uses, and trusted networks that contain every address."""
    users = [*(listener.tls for listener in listeners), () if admin is None else admin.tls]
    for pair in pairs:
        if not any(pair.name in names for names in users):
            yield f"[tls:{pair.name}] is used by no listener"
    for listener in listeners:
        for key in ("trusted_proxies", "proxy_protocol_from"):
            if any(network.endswith("/0") for network in getattr(listener, key)):
                yield f"[listener:{listener.name}] {key} has a network of all addresses: any client can claim any address"


def _auths(ways: Sequence[AuthSettings], mounts: Sequence[MountSettings], listeners: Sequence[ListenerSettings]) -> Iterable[str]:
    """[auth:NAME] sections that no mount uses, or that cannot work with the other settings."""
    asked = any(listener.client_certificate != "none" for listener in listeners)
    for way in ways:
        users = [mount for mount in mounts if way.name in mount.auth]
        if not users:
            yield f"[auth:{way.name}] is used by no mount"
        if users and isinstance(way, TlsAuthSettings) and not asked:
            yield f"[auth:{way.name}] needs client certificates, and no listener asks for them: set client_ca and client_certificate"
        if isinstance(way, JwtAuthSettings) and any(source.where == "subprotocol" for source in way.token_from):
            for mount in users:
                if not mount.subprotocols:
                    yield (
                        f"[mount:{mount.path}] has no subprotocols, and [auth:{way.name}] reads tokens from one: if none of the offered "
                        "subprotocols is chosen, Chromium closes the connection"
                    )


def _admin(admin: AdminSettings | None, tokens: Sequence[TokenSettings]) -> Iterable[str]:
    """Settings that work, but let others read the token, or tokens that open nothing."""
    if admin is None:
        yield from (f"[token:{token.name}] opens nothing, because there is no [admin] section" for token in tokens)
    elif not stays_here(admin.address) and not admin.secure:
        yield f"[admin] address = {admin.address}: these pages are plain HTTP, and anyone on the network path can read the token"
