"""The settings and tools of a mount, as the wire uses them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..core.connection import Connection
from ..core.contract import AdmittingApp, ConnectionClassApp, HandshakeApp, PlainApp

if TYPE_CHECKING:
    from ..core.background import Background
    from ..core.connection import Broadcasting
    from ..core.contract import Acceptance, App
    from ..core.handshake import Handshake, Peer
    from ..core.histogram import Histogram
    from ..core.slices import Slices
    from ..core.threads import ThreadCalls
    from ..core.wheel import Wheel
    from ..core.wire_halves import Counts
    from ..settings.model import MountSettings
    from .deflate.negotiation import DeflateOptions
    from .deflate.resting import Resting
    from .frames import Frames
    from .turns import Turns


HIGH_WATER_BYTES = 128 * 1024
"""A sender that awaits waits from so many unsent bytes on, until all are gone, unless the mount says otherwise."""


class Flushed(Protocol):
    """A writer whose frames leave in the loop's next turn."""

    def flush(self) -> None: ...


class Watcher(Protocol):
    """Is told of each connection's beginning and end."""

    def opened(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection, counts: Counts) -> None: ...

    def app_failed(self, connection: Connection, doing: str, error: BaseException) -> None: ...


class FrameWatching(Protocol):
    """Shows the frames of connections, in development."""

    def watch(self, native: Any, id: str, mount: str, early: bytes) -> Any:
        """The transport of a new connection, which shows each frame that passes. `early` are bytes that have come already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WirePolicy:
    """Settings and tools of one mount."""

    settings: MountSettings
    """Its limits and times: of them the wire reads `max_message` and `max_fragments`, all about pings, slow clients and rates,
    `close_timeout`, `idle_timeout`, `lifetime`, `on_message`, `on_disconnect` and `disconnect_grace`."""
    app: App | None
    """None for an Autobahn class of the user's."""
    app_name: str = ""
    """The app as the settings name it."""
    watcher: Watcher
    wheel: Wheel
    flusher: Slices[Flushed]
    turns: Turns
    resting: Resting
    calls: ThreadCalls
    background: Background
    """Holds the work of apps that outlives a call."""
    broadcast: Broadcasting
    """Sends a message to many connections of the daemon."""
    frames: Frames
    fast: bool = True
    """False: Autobahn's own parser reads every frame."""
    next_id: Callable[[], str]
    deflate: DeflateOptions | None = None
    subprotocols: tuple[str, ...] = ()
    response_headers: Mapping[str, str] = field(default_factory=dict)
    round_trips: Histogram | None = None
    """Where the times from a ping to its answer are counted, if at all."""
    frame_log: FrameWatching | None = None
    """Where each frame is shown, in development."""
    connection_class: type[Connection] = field(init=False)
    """The class of the app's connections."""
    keeps_handshake: bool = field(init=False)
    """Whether the app needs handshakes for longer than its `open`."""
    admit: Callable[[Handshake], Awaitable[Acceptance | None]] | None = field(init=False)
    """The app's own decision about opening handshakes, if it makes one."""
    plain: PlainApp | None = field(init=False)
    """The app, if it answers requests without an upgrade too."""

    def __post_init__(self) -> None:
        """Ask the app once: its Protocols cost too much for each connection."""
        app = self.app
        object.__setattr__(self, "connection_class", app.connection_class if isinstance(app, ConnectionClassApp) else Connection)
        object.__setattr__(self, "keeps_handshake", app.keeps_handshake if isinstance(app, HandshakeApp) else True)
        object.__setattr__(self, "plain", app if isinstance(app, PlainApp) and app.answers_plain else None)
        object.__setattr__(self, "admit", app.admit if isinstance(app, AdmittingApp) else None)

    @property
    def high_water(self) -> int:
        """Unsent bytes from which a sender that can wait should; 0: as soon as there are any."""
        settings = self.settings
        # With `wait` nothing may be sent on top of what the system did not take: so the backlog never fills by what others publish.
        return 0 if settings.slow_client.waits else min(HIGH_WATER_BYTES, settings.send_backlog // 2)

    @property
    def cancels_work(self) -> bool:
        """Whether the work of the user's code for a connection is cancelled some time after that is over."""
        return self.settings.on_disconnect == "cancel" and self.settings.options is None

    @property
    def backlog_age(self) -> float:
        """Seconds for which something may wait for a client before it is closed; 0: for ever."""
        return 0.0 if self.settings.slow_client.drops else self.settings.send_backlog_age


class Refusing(Protocol):
    """Counts clients that are turned away, by a reason of one word, and by mount."""

    def add(self, reason: str, peer: Peer, detail: str = "", told: bool = False, mount: str = "") -> None: ...


def server_of(connection: Connection) -> object:
    """The app that serves a connection, or the Autobahn factory in the place of an app."""
    wire: Any = connection._wire
    return wire.policy.app if wire.policy.app is not None else wire.protocol.factory
