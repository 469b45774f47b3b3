"""From a mount's settings and its app to the object that serves it: its policy and the maker of its connections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..core.background import Background
from ..core.connection import Broadcasting
from ..core.contract import SubprotocolsApp
from ..core.histogram import Histogram
from ..core.registry import Count
from ..core.slices import Slices
from ..core.threads import ThreadCalls
from ..core.wheel import Wheel
from ..settings.model import MountSettings, Settings
from ..settings.values import app_text
from ..wire.deflate.negotiation import DeflateOptions
from ..wire.deflate.resting import Resting
from ..wire.factory import Protocols, Wires
from ..wire.frames import Frames
from ..wire.policy import Flushed, FrameWatching, Watcher, WirePolicy
from ..wire.turns import Turns
from .apps import LoadedApp


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount that can be served."""

    settings: MountSettings
    app: Any
    count: Count
    wires: Wires
    loaded: LoadedApp

    @property
    def path(self) -> str:
        return self.settings.path

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The operator's, then those that the app speaks by itself."""
        return subprotocols_of(self.settings, self.app)


def subprotocols_of(settings: MountSettings, app: Any) -> tuple[str, ...]:
    own = app.subprotocols if isinstance(app, SubprotocolsApp) else ()
    return (*settings.subprotocols, *[name for name in own if name not in settings.subprotocols])


def app_names(settings: Settings) -> dict[str, str]:
    """The app of each mount's path, as the log names it."""
    return {mount.path: app_text(mount.app) for mount in settings.mounts}


class MountMaker:
    """Makes the mounts of one daemon. Their connections share its wheel, its turns and its flusher."""

    def __init__(
        self, *, watcher: Watcher, wheel: Wheel, flusher: Slices[Flushed], turns: Turns, frames: Frames, fast: bool,
        next_id: Callable[[], str], reactor: Any, calls: ThreadCalls, background: Background,
        broadcast: Broadcasting, round_trips: Histogram | None = None,
        frame_log: FrameWatching | None = None,
    ) -> None:  # fmt: skip
        """`fast`: whether `frames` are used at all, or Autobahn's own parser. `round_trips` counts the times of pings, if it is given."""
        self._watcher = watcher
        self._wheel = wheel
        self._flusher = flusher
        self._turns = turns
        self._frames = frames
        self._fast = fast
        self._next_id = next_id
        self._reactor = reactor
        self._calls = calls
        self._background = background
        self._broadcast = broadcast
        self._round_trips = round_trips
        self._frame_log = frame_log

    def make(self, settings: MountSettings, loaded: LoadedApp, count: Count | None = None, watcher: Watcher | None = None) -> Mount:
        """The mount of these settings. `count`: that of the mount in whose place it comes. `watcher`: its own, if it has one."""
        policy = WirePolicy(
            settings=settings,
            app=loaded.app,
            app_name=app_text(settings.app),
            watcher=watcher or self._watcher,
            wheel=self._wheel,
            flusher=self._flusher,
            turns=self._turns,
            resting=Resting(self._wheel),
            calls=self._calls,
            background=self._background,
            broadcast=self._broadcast,
            frames=self._frames,
            fast=self._fast,
            next_id=self._next_id,
            round_trips=self._round_trips,
            frame_log=self._frame_log,
            deflate=_deflate(settings),
            subprotocols=subprotocols_of(settings, loaded.app),
        )
        wires = Wires(policy, Protocols(policy, self._reactor, loaded.protocol, loaded.factory))
        return Mount(settings, loaded.app, count or Count(settings.max_connections), wires, loaded)


class FactoryStep:
    """The Autobahn factory of one mount as a part of a daemon: it is told of the start and of the end, as Twisted tells it."""

    def __init__(self, mount: Mount) -> None:
        self.name = f"factory of {mount.path}"
        self.mount = mount
        self._protocols = mount.wires.protocols

    async def start(self) -> None:
        self._protocols.start()

    async def stop(self) -> None:
        self._protocols.stop()


def _deflate(settings: MountSettings) -> DeflateOptions | None:
    if not settings.compression:
        return None
    return DeflateOptions(
        level=settings.compression_level,
        window_bits=settings.compression_window_bits,
        memory_level=settings.compression_memory_level,
        threshold=settings.compression_threshold,
        # A message that may be dropped must not be one that later ones refer to.
        server_context_takeover=settings.compression_server_context_takeover and not settings.slow_client.drops,
        client_context_takeover=settings.compression_client_context_takeover,
    )
