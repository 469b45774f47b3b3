"""The WebSocket of the console's live figures, beside the admin pages."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..core.connection import Connection
from ..core.failed_logins import FailedLogins
from ..core.identity import Identity
from ..core.registry import Count, Place
from ..core.routing import Routes
from ..core.wire_halves import Counts
from ..edge.admission import Admission
from ..edge.candidate import Candidate, Entrance
from ..edge.clients import Clients
from ..edge.hosts import Hosts
from ..edge.places import Places
from ..edge.shared import full
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


RETRY_AFTER_SECONDS = 5.0
"""How long a page of the console is told to wait, if there is no place for it."""


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


class FeedPlaces(Places):
    """The places of the console's pages: if all are taken, one that has shown no token makes room."""

    def __init__(self, feed: FeedApp) -> None:
        super().__init__((Count(MAX_SOCKETS),))
        self._feed = feed

    def take(self, candidate: Candidate, entrance: Entrance, identity: Identity | None) -> Place:
        """As Places.take. No other page makes room for a client that is refused."""
        if not self._feed.make_room():
            raise full(RETRY_AFTER_SECONDS)
        return super().take(candidate, entrance, identity)


def make_console(
    site: AdminSite, metrics: MetricsPage, mount_maker: MountMaker, watch: Watch, settings: AdminSettings, failed_logins: FailedLogins,
    hosts: Hosts | None, workers: Workers | None = None, wall: Callable[[], float] = time.time,
) -> tuple[Admission, FeedApp]:  # fmt: skip
    """The WebSocket of the live figures, a mount like others with an app of ours. Its tokens are those of `site`.

    The admission is for the pages too: `hosts` are the names and addresses that a request may have in its Host header, None: any.
    """

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
    return Admission("admin", Routes([(LIVE_PATH, entrance)]), FeedPlaces(feed), Clients(), hosts=hosts), feed
