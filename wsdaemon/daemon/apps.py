"""From the app of a mount to the object that serves: a built-in app by its row of the table, or the user's own code."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from ..apps.coroutine import CoroutineApp
from ..apps.echo import EchoApp
from ..apps.function import FunctionApp
from ..apps.loading import LoadError, load, make_app
from ..apps.ticker import TickerApp
from ..core.absence import no_grace
from ..core.contract import Failed
from ..core.registry import Count
from ..settings.apps import BUILT_IN
from ..settings.model import MountSettings
from ..wire.factory import is_autobahn_factory, is_autobahn_protocol

if TYPE_CHECKING:
    from .brokers import Brokers


log = Logger(namespace="wsdaemon.app")


@dataclass(frozen=True, slots=True)
class LoadedApp:
    """An app that can be mounted: an object with open(), or a user's Autobahn protocol class. The other one is None."""

    app: Any
    protocol: Any = None
    factory: Any = None
    """Makes the Autobahn factory for `protocol`. None: a plain factory."""


def make_echo(settings: MountSettings, failed: Failed, grace: Callable[[], float], brokers: Brokers | None = None) -> EchoApp:
    return EchoApp()


def make_ticker(settings: MountSettings, failed: Failed, grace: Callable[[], float], brokers: Brokers | None = None) -> TickerApp:
    return TickerApp(getattr(settings.options, "interval", 1.0))


def load_app(
    settings: MountSettings, failed: Failed, grace: Callable[[], float] = no_grace, brokers: Brokers | None = None,
    earlier: Iterable[LoadedApp] = (), threads: Count | None = None,
) -> LoadedApp:  # fmt: skip
    """Import the app of a mount and make it. Nothing of it is started or opened. LoadError if it is no app.

    `failed` is told of exceptions in the user's functions. `grace` is for the rates of an app, see Absence. `brokers`
    chooses the brokers of rooms; without it they are in the memory of this process. `earlier` are the apps of other mounts.
    `threads` counts those of plain functions; None: they have no limit.
    """
    named = settings.app
    factory: Any = load(settings.factory, "factory") if isinstance(settings.factory, str) else settings.factory
    if isinstance(named, str) and named in BUILT_IN:
        # The built-in's module is imported only if a mount runs it: rooms and its broker are a megabyte.
        _refuse_factory(settings, factory)
        if named == "asgi":
            from .asgi import find_shared

            shared = find_shared(settings, [each.app for each in earlier])
            if shared is not None:
                return LoadedApp(shared)
        return LoadedApp(load(BUILT_IN[named].maker)(settings, failed, grace, brokers))
    target: Any = load(named) if isinstance(named, str) else named
    if is_autobahn_protocol(target):
        if factory is not None and not is_autobahn_factory(factory):
            raise LoadError(str(settings.factory), "expected a subclass of autobahn.twisted.websocket.WebSocketServerFactory", "factory")
        return LoadedApp(None, target, factory)
    _refuse_factory(settings, factory)
    name = named if isinstance(named, str) else getattr(target, "__qualname__", repr(target))
    count = Count() if threads is None else threads
    return LoadedApp(
        make_app(target, name, lambda function: CoroutineApp(function, failed), lambda function: FunctionApp(function, failed, count, log))
    )


def _refuse_factory(settings: MountSettings, factory: object) -> None:
    if factory is not None:
        raise LoadError(str(settings.factory), "a factory needs app = module:Class with an Autobahn WebSocketServerProtocol", "factory")
