"""The WebSocket of the console's live figures, beside the admin pages."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..core.failed_logins import FailedLogins
from ..core.registry import Count
from ..core.routing import Routes
from ..edge.admission import Admission
from ..edge.clients import Clients
from ..edge.page_sockets import PageSockets
from ..edge.places import Places
from ..ops.admin.exposition import MetricsPage
from ..ops.admin.site import AdminSite
from ..ops.console.feed import FeedApp
from ..ops.console.figures import figures
from ..settings.admin import AdminSettings
from ..settings.model import MountSettings
from .apps import LoadedApp
from .listeners import make_entrance
from .mounts import MountMaker

LIVE_PATH = "/console/live"
"""The path of the WebSocket."""

MAX_CONSOLES = 16
"""Pages that may look at once, in each process."""

MAX_MESSAGE = 8192
"""Bytes of a message of the page."""


def make_console(
    site: AdminSite, metrics: MetricsPage, mount_maker: MountMaker, settings: AdminSettings, failed_logins: FailedLogins,
    wall: Callable[[], float] = time.time,
) -> PageSockets:  # fmt: skip
    """The WebSocket of the live figures, a mount like others with an app of ours. Its tokens are those of `site`."""

    async def look() -> dict[str, Any]:
        found, snapshot = await metrics.look()
        return figures(snapshot, found, wall(), LIVE_PATH)

    feed = FeedApp(look, site.roles, failed_logins)
    mount = mount_maker.make(
        MountSettings(path=LIVE_PATH, app=feed, max_message=MAX_MESSAGE, max_connections=MAX_CONSOLES, compression=False), LoadedApp(feed)
    )
    mount.wires.protocols.prepare()
    entrance = make_entrance(mount, None)
    admission = Admission("admin", Routes([(LIVE_PATH, entrance)]), Places((Count(MAX_CONSOLES),)), Clients())
    return PageSockets(admission, settings.secure)
