"""From the app of a mount to the object that serves: a built-in app by its row of the table, or the user's own code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..apps.coroutine import CoroutineApp, Failed
from ..apps.echo import EchoApp
from ..apps.loading import LoadError, load, make_app
from ..apps.ticker import TickerApp
from ..settings.apps import BUILT_IN
from ..settings.model import MountSettings
from ..wire.clashes import clashes
from ..wire.factory import is_autobahn_protocol


@dataclass(frozen=True, slots=True)
class LoadedApp:
    """An app that can be mounted: an object with open(), or a user's Autobahn protocol class. The other one is None."""

    app: Any
    protocol: Any = None


def make_echo(settings: MountSettings, failed: Failed) -> EchoApp:
    return EchoApp()


def make_ticker(settings: MountSettings, failed: Failed) -> TickerApp:
    return TickerApp(getattr(settings.options, "interval", 1.0))


def load_app(settings: MountSettings, failed: Failed) -> LoadedApp:
    """Import the app of a mount and make it. Nothing of it is started or opened. LoadError if it is no app.

    `failed` is told of exceptions in the user's coroutines.
    """
    named = settings.app
    if isinstance(named, str) and named in BUILT_IN:
        # The built-in's module is imported only if a mount runs it: rooms and its broker are a megabyte.
        return LoadedApp(load(BUILT_IN[named].maker)(settings, failed))
    target: Any = load(named) if isinstance(named, str) else named
    if is_autobahn_protocol(target):
        if taken := clashes(target):
            names = ", ".join(taken)
            raise LoadError(str(named), f"a mounted Autobahn class shares its object with the daemon, which needs these names: {names}")
        return LoadedApp(None, target)
    name = named if isinstance(named, str) else getattr(target, "__qualname__", repr(target))
    return LoadedApp(make_app(target, name, lambda function: CoroutineApp(function, failed)))
