"""From a mount's settings to the app asgi."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

from ..apps.asgi.app import AsgiApp
from ..apps.loading import LoadError, load_application
from ..core.contract import Failed
from ..settings.asgi import AsgiOptions
from ..settings.model import MountSettings


def make_asgi(settings: MountSettings, failed: Failed, grace: Callable[[], float], brokers: object = None) -> AsgiApp:
    """The app asgi. LoadError if the application cannot be loaded."""
    options = settings.options
    assert isinstance(options, AsgiOptions)
    if options.http and find_spec("h11") is None:
        raise LoadError("on", "h11 is missing, which reads the bodies of requests: pip install 'wsdaemon[asgi]'", "http")
    # Without an application the settings have a problem that is reported already; --check goes on, to find the others.
    application = _no_application if options.application is None else load_application(options.application)
    return AsgiApp(application, options, settings.path, failed)


async def _no_application(scope: object, receive: object, send: object) -> None:
    """Never called."""


def find_shared(settings: MountSettings, earlier: Iterable[Any]) -> AsgiApp | None:
    """The app of a further mount of an ASGI application, which is made and told of the start and the end once; None if it is a new one.

    `earlier` are the apps of other mounts.
    """
    options = settings.options
    assert isinstance(options, AsgiOptions)
    for other in earlier:
        if isinstance(other, AsgiApp) and options.application == other.options.application:
            return other.beside(options, settings.path)
    return None
