"""wsdaemon: a WebSocket daemon on Twisted and Autobahn, served from an INI file by twistd or from Python by WebSocketServer."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["App", "Connection", "ConnectionClosed", "Handshake", "Session", "SettingsError", "StartError", "WebSocketServer"]

if TYPE_CHECKING:
    from .apps.coroutine import CoroutineConnection as Connection
    from .core.closing import ConnectionClosed
    from .core.contract import App, Session
    from .core.handshake import Handshake
    from .daemon.parts import StartError
    from .server import WebSocketServer
    from .settings.problems import SettingsError

_HOMES = {
    "App": ("core.contract", "App"),
    "Connection": ("apps.coroutine", "CoroutineConnection"),
    "ConnectionClosed": ("core.closing", "ConnectionClosed"),
    "Handshake": ("core.handshake", "Handshake"),
    "Session": ("core.contract", "Session"),
    "SettingsError": ("settings.problems", "SettingsError"),
    "StartError": ("daemon.parts", "StartError"),
    "WebSocketServer": ("server", "WebSocketServer"),
}


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first asked for: an app module that needs one exception should not load the daemon."""
    if name not in _HOMES:
        raise AttributeError(f"module wsdaemon has no attribute {name}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
