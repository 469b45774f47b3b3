"""What a mount lays down for its connections, as the wire reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ..core.connection import Connection
from ..core.contract import App
from ..core.handshake import Peer
from ..core.histogram import Histogram
from ..core.wheel import Wheel
from .agreement import DeflateOptions
from .frames import Frames
from .output import Flusher
from .turns import Turns

if TYPE_CHECKING:
    from .protocol import Wire


class Watcher(Protocol):
    """Is told of each connection's beginning and end."""

    def opened(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection, wire: Wire) -> None: ...

    def app_failed(self, connection: Connection, doing: str, error: BaseException) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WirePolicy:
    """Limits and options of one mount. Sizes in bytes, times in seconds; 0 means no limit, for `ping_interval` never."""

    app: App | None
    watcher: Watcher
    wheel: Wheel
    flusher: Flusher
    turns: Turns
    frames: Frames
    fast: bool = True
    """False: Autobahn's own parser reads every frame."""
    next_id: Callable[[], str]
    max_message: int = 1024 * 1024
    max_fragments: int = 100_000
    ping_interval: float = 25.0
    ping_timeout: float = 10.0
    close_timeout: float = 5.0
    send_backlog: int = 1024 * 1024
    send_backlog_age: float = 60.0
    slow_client: str = "close"
    messages_per_second: float = 0.0
    bytes_per_second: float = 0.0
    over_rate: str = "slow"
    control_frames_per_second: float = 0.0
    idle_timeout: float = 0.0
    lifetime: float = 0.0
    deflate: DeflateOptions | None = None
    subprotocols: tuple[str, ...] = ()
    response_headers: dict[str, str] = field(default_factory=dict)
    round_trips: Histogram | None = None
    """Where the times from a ping to its answer are counted, if at all."""


class Refusing(Protocol):
    """Counts clients that are turned away, by a reason of one word, and by mount."""

    def add(self, reason: str, peer: Peer, detail: str = "", told: bool = False, mount: str = "") -> None: ...
