"""The lines of the log with the addresses that clients can connect to."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger

from ..settings.addresses import Address, TcpAddress
from ..settings.admin import AdminSettings
from ..settings.model import ListenerSettings

log = Logger(namespace="wsdaemon")
admin_log = Logger(namespace="wsdaemon.admin")

MAX_LISTED_PATHS = 20
"""Paths that the log lists for one listener at the start."""

ANY_INTERFACE = ("", "0.0.0.0", "::")  # noqa: S104
"""Interfaces of a listener that accepts connections on every address of the machine."""


def announce(served: Sequence[tuple[ListenerSettings, int | None]], paths: Sequence[str]) -> None:
    """Log the addresses of listeners, each with the TCP port it has, and the paths of their mounts."""
    for settings, number in served:
        what = "TLS" if settings.secure else "plain"
        port = _chosen_port(settings.address, number)
        log.info(
            "listening on {address}{port}, {what}, as {name}", address=str(settings.address), port=port, what=what, name=settings.name
        )
    for settings, number in served:
        log.info("serving {urls}", urls=served_urls(settings, number, paths))


def announce_admin(settings: AdminSettings, number: int | None) -> None:
    """Log the address of the admin pages, with the TCP port it has; None for a unix socket."""
    port = _chosen_port(settings.address, number)
    admin_log.info("admin pages on {address}{port}", address=str(settings.address), port=port)


def _chosen_port(address: Address, number: int | None) -> str:
    """The port that the system chose for an address without one, in words."""
    return f" (port {number})" if isinstance(address, TcpAddress) and not address.port else ""


def served_urls(settings: ListenerSettings, port: int | None, paths: Sequence[str]) -> str:
    """The URLs that a listener serves, for its operator: `ws://127.0.0.1:8080/echo, /chat`. `port` is None for a unix socket."""
    served = [path for path in paths if not settings.mounts or path in settings.mounts]
    listed = ", ".join(served[:MAX_LISTED_PATHS]) + (f" and {len(served) - MAX_LISTED_PATHS} more" if served[MAX_LISTED_PATHS:] else "")
    if port is None:
        return f"{listed} on {settings.address}"
    host = settings.address.interface if isinstance(settings.address, TcpAddress) else ""
    if host in ANY_INTERFACE:
        host = "localhost"
    return f"{'wss' if settings.secure else 'ws'}://{f'[{host}]' if ':' in host else host}:{port}{listed}"
