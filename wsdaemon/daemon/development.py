"""`--dev`: the settings and the close reasons of a daemon that is under development, and the addresses on which it may run."""

from __future__ import annotations

import traceback
from dataclasses import replace
from typing import Final

from twisted.logger import Logger

from ..core.closing import INTERNAL_ERROR
from ..core.connection import Connection
from ..ops.log_format import printable
from ..settings.addresses import TcpAddress, UnixAddress
from ..settings.admin import stays_here
from ..settings.model import MountSettings, Settings
from ..settings.problems import Problem
from .sockets import wanted_sockets
from .watch import Watch, failure_of

LOCAL_PAGES: Final = tuple(f"{scheme}://{host}:*" for scheme in ("http", "https") for host in ("localhost", "127.0.0.1", "[::1]"))
"""The origins that every mount takes besides its own: a development server's pages, on any port of this machine."""

DRAIN_SECONDS: Final = 0.5
"""How long a restart waits for clients and for the work of apps."""

IS_ON: Final = "--dev is on, for development only: pages of localhost on any port may connect, and close reasons show exceptions"

app_log = Logger(namespace="wsdaemon.app")


def refusals(settings: Settings) -> list[Problem]:
    """Why these settings cannot run with --dev: several processes, or an address that other machines may reach."""
    found = []
    if settings.daemon.workers is not None:
        found.append(settings.problem("daemon", "--dev is for one process: leave out workers", "workers", str(settings.daemon.workers)))
    for section, address, _ in wanted_sockets(settings):
        local = isinstance(address, TcpAddress | UnixAddress) and stays_here(address)
        if not local:
            hint = "--dev serves this machine alone: expected interface=127.0.0.1, interface=[::1] or a unix socket"
            found.append(settings.problem(section, hint, "address", str(address)))
    return found


def relaxed(settings: Settings, frames_shown: bool) -> Settings:
    """The settings for development. A restart is quick, and its clients come back at once. If the log shows frames, none is compressed."""
    daemon = replace(settings.daemon, drain_grace=0.0, drain_over=0.0, drain_timeout=DRAIN_SECONDS, drain_retry=(0.0, 0.0))
    return replace(settings, daemon=daemon, mounts=tuple(_relaxed_mount(mount, frames_shown) for mount in settings.mounts))


def _relaxed_mount(mount: MountSettings, frames_shown: bool) -> MountSettings:
    origins = mount.origins if "any" in mount.origins else (*mount.origins, *LOCAL_PAGES)
    return replace(mount, origins=origins, compression=mount.compression and not frames_shown)


def close_reason(error: BaseException) -> str:
    """The exception, then the lines of code that led to it, the innermost first: a Close frame has room for the beginning."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} in {frame.name}" for frame in frames]
    last = traceback.format_exception_only(error)[-1].strip()
    return printable("; ".join([last, *places]))


class DevelopmentWatch(Watch):
    """Tells each failure of an app in full: on the console, and to the client in the reason of its Close frame."""

    def app_failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        mount, id = connection.handshake.mount, connection.id
        app_log.failure("{mount} failed while {doing} for connection {id}", failure_of(error), mount=mount, doing=doing, id=id)
        connection.close(INTERNAL_ERROR, close_reason(error))  # the caller's own Close frame comes too late
