"""From a mount's settings to what serves it: its app, its policy and its wire class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from ..apps.coroutine import CoroutineApp, Failed
from ..apps.echo import EchoApp
from ..apps.loading import LoadError, load, make_app
from ..apps.ticker import TickerApp
from ..core.histogram import Histogram
from ..core.registry import Count
from ..core.slices import Slices
from ..core.wheel import Wheel
from ..settings.model import MountSettings
from ..wire.deflate.negotiation import DeflateOptions
from ..wire.deflate.resting import Resting
from ..wire.factory import Protocols, Wires, is_autobahn_protocol
from ..wire.frames import Frames
from ..wire.policy import Flushed, Watcher, WirePolicy
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
    wires: Wires

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


def load_factory(settings: MountSettings, target: Any) -> Callable[..., Any] | None:
    """The user's factory for an Autobahn class. LoadError when it cannot be had; it is not called here."""
    factory: Any = load(settings.factory) if isinstance(settings.factory, str) else settings.factory
    if factory is None:
        return None
    if not is_autobahn_protocol(target):
        raise LoadError(f"{settings.factory}: a factory needs app = module:Class with an Autobahn class, a WebSocketServerProtocol")
    if not callable(factory):
        raise LoadError(f"{settings.factory}: expected a factory class")
    return cast("Callable[..., Any]", factory)


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
    flusher: Slices[Flushed]
    turns: Turns
    frames: Frames
    fast: bool
    next_id: Callable[[], str]
    reactor: Any
    round_trips: Histogram | None = None


def make_mount(settings: MountSettings, shared: Shared) -> Mount:
    """Everything of one mount. LoadError when its app cannot be had."""
    target = load_target(settings)
    app = make_mount_app(settings, target, shared.watcher.app_failed)
    policy = WirePolicy(
        settings=settings,
        app=app,
        watcher=shared.watcher,
        wheel=shared.wheel,
        flusher=shared.flusher,
        turns=shared.turns,
        resting=Resting(shared.wheel),
        frames=shared.frames,
        fast=shared.fast,
        next_id=shared.next_id,
        round_trips=shared.round_trips,
        deflate=_deflate(settings),
        subprotocols=subprotocols_of(settings, app),
    )
    protocols = Protocols(policy, shared.reactor, target if app is None else None, load_factory(settings, target))
    return Mount(settings, app, Count(settings.max_connections), Wires(policy, protocols))


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
