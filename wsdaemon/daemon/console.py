"""The WebSocket of the console's live figures, beside the admin pages."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..core.connection import Connection
from ..core.failed_logins import FailedLogins
from ..core.registry import Count
from ..core.routing import Routes
from ..core.wire_halves import Counts
from ..edge.admission import Admission
from ..edge.clients import Clients
from ..edge.page_sockets import PageSockets
from ..edge.places import Places
from ..ops.admin.exposition import MetricsPage
from ..ops.admin.site import AdminSite
from ..ops.console import LIVE_PATH
from ..ops.console.feed import MAX_PAGES, MAX_TOKEN_BYTES, FeedApp
from ..ops.console.figures import figures
from ..ops.console.tap_feed import TapFeed
from ..ops.taps import OwnTaps, TapsOfAll
from ..ops.workers import Workers
from ..settings.admin import AdminSettings
from ..settings.model import MountSettings
from ..wire.watched import unwatch
from ..wire.watched import watch as watching
from .apps import LoadedApp
from .listeners import make_entrance
from .mounts import MountMaker
from .watch import Watch

MAX_SOCKETS = 2 * MAX_PAGES
"""With those that have made room, or whose closing handshake is under way."""


class PagesWatch:
    """As Watch, but pages that show no good token leave no line and no place among the latest closes: anyone can open them."""

    def __init__(self, watch: Watch, knows: Callable[[Connection], bool]) -> None:
        """`knows`: whether a connection's page has shown a good token."""
        self._watch = watch
        self._knows = knows

    def opened(self, connection: Connection) -> None:
        self._watch.opened(connection)

    def closed(self, connection: Connection, counts: Counts) -> None:
        (self._watch.closed if self._knows(connection) else self._watch.forget)(connection, counts)

    def app_failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        self._watch.app_failed(connection, doing, error)


def make_console(
    site: AdminSite, metrics: MetricsPage, mount_maker: MountMaker, watch: Watch, settings: AdminSettings, failed_logins: FailedLogins,
    workers: Workers | None = None, wall: Callable[[], float] = time.time,
) -> PageSockets:  # fmt: skip
    """The WebSocket of the live figures, a mount like others with an app of ours. Its tokens are those of `site`."""

    async def look() -> dict[str, Any]:
        found, snapshot = await metrics.look()
        return figures(snapshot, found, wall(), LIVE_PATH)

    own = OwnTaps(watch.connections, watching, unwatch, kept_out=lambda connection: connection.handshake.mount == LIVE_PATH)
    taps = own if workers is None else TapsOfAll(own, workers)
    feed = FeedApp(look, site.roles, TapFeed(taps, settings.tap), failed_logins)
    mount = mount_maker.make(
        MountSettings(path=LIVE_PATH, app=feed, max_message=MAX_TOKEN_BYTES, max_connections=MAX_SOCKETS, compression=False),
        LoadedApp(feed), watcher=PagesWatch(watch, feed.knows),
    )  # fmt: skip
    mount.wires.protocols.prepare()
    entrance = make_entrance(mount, None)
    admission = Admission("admin", Routes([(LIVE_PATH, entrance)]), Places((Count(MAX_SOCKETS),)), Clients())
    return PageSockets(admission, feed, settings.secure)
