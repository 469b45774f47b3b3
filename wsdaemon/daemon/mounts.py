"""From a mount's settings to what serves it: its app, its policy and its wire class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..apps.coroutine import CoroutineApp, Failed
from ..apps.echo import EchoApp
from ..apps.loading import LoadError, load, make_app
from ..apps.ticker import TickerApp
from ..core.histogram import Histogram
from ..core.registry import Count
from ..core.wheel import Wheel
from ..settings.model import MountSettings
from ..wire.agreement import DeflateOptions
from ..wire.clashes import clashes
from ..wire.factory import is_autobahn_protocol, wire_class
from ..wire.frames import Frames
from ..wire.output import Flusher
from ..wire.policy import Watcher, WirePolicy
from ..wire.protocol import Wire
from ..wire.turns import Turns


def make_rooms(settings: MountSettings, failed: Failed) -> Any:
    """The app rooms, which is loaded only where a mount runs it: it and its broker are a megabyte."""
    from .brokers import make_rooms

    return make_rooms(settings, failed)


BUILT_IN: dict[str, Callable[[MountSettings, Failed], Any]] = {
    "echo": lambda settings, failed: EchoApp(),
    "ticker": lambda settings, failed: TickerApp(getattr(settings.options, "interval", 1.0)),
    "rooms": make_rooms,
}
"""What makes an app of a mount's settings."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount that can be served."""

    settings: MountSettings
    app: Any
    count: Count
    wire_class: type[Wire]

    @property
    def path(self) -> str:
        return self.settings.path

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The operator's, then those that the app speaks by itself."""
        return subprotocols_of(self.settings, self.app)


def subprotocols_of(settings: MountSettings, app: Any) -> tuple[str, ...]:
    return (*settings.subprotocols, *[name for name in getattr(app, "subprotocols", ()) if name not in settings.subprotocols])


def load_target(settings: MountSettings) -> Any:
    """What the mount runs, as it was loaded: a built-in's name, or the user's object. LoadError when it cannot be."""
    if isinstance(settings.app, str) and ":" in settings.app:
        return load(settings.app)
    return settings.app


def make_mount_app(settings: MountSettings, target: Any, failed: Failed) -> Any:
    """The app object; None for an Autobahn protocol class, which brings its own."""
    if isinstance(target, str):
        return BUILT_IN[target](settings, failed)
    if is_autobahn_protocol(target):
        return None
    name = settings.app if isinstance(settings.app, str) else getattr(target, "__qualname__", repr(target))
    return make_app(target, name, lambda function: CoroutineApp(function, failed))


@dataclass(frozen=True, slots=True)
class Shared:
    """What the mounts of one daemon have in common."""

    watcher: Watcher
    wheel: Wheel
    flusher: Flusher
    turns: Turns
    frames: Frames
    fast: bool
    next_id: Callable[[], str]
    reactor: Any
    round_trips: Histogram | None = None


def make_mount(settings: MountSettings, shared: Shared) -> Mount:
    """Everything of one mount. LoadError when its app cannot be had."""
    target = load_target(settings)
    if is_autobahn_protocol(target) and (taken := clashes(target)):
        names = ", ".join(taken)
        raise LoadError(f"{settings.app}: a mounted Autobahn class shares its object with the daemon, which needs these names: {names}")
    app = make_mount_app(settings, target, shared.watcher.app_failed)
    policy = WirePolicy(
        app=app,
        watcher=shared.watcher,
        wheel=shared.wheel,
        flusher=shared.flusher,
        turns=shared.turns,
        frames=shared.frames,
        fast=shared.fast,
        next_id=shared.next_id,
        round_trips=shared.round_trips,
        max_message=settings.max_message,
        max_fragments=settings.max_fragments,
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_timeout,
        close_timeout=settings.close_timeout,
        send_backlog=settings.send_backlog,
        send_backlog_age=settings.send_backlog_age,
        slow_client=settings.slow_client,
        messages_per_second=settings.messages_per_second,
        bytes_per_second=settings.bytes_per_second,
        over_rate=settings.over_rate,
        control_frames_per_second=settings.control_frames_per_second,
        idle_timeout=settings.idle_timeout,
        lifetime=settings.lifetime,
        deflate=_deflate(settings),
        subprotocols=subprotocols_of(settings, app),
    )
    return Mount(settings, app, Count(settings.max_connections), wire_class(policy, shared.reactor, target if app is None else None))


def _deflate(settings: MountSettings) -> DeflateOptions | None:
    if not settings.compression:
        return None
    return DeflateOptions(
        level=settings.compression_level,
        window_bits=settings.compression_window_bits,
        memory_level=settings.compression_memory_level,
        threshold=settings.compression_threshold,
        # A message that may be dropped must not be one that later ones refer to.
        server_context_takeover=settings.compression_server_context_takeover and settings.slow_client in ("close", "wait"),
        client_context_takeover=settings.compression_client_context_takeover,
    )
