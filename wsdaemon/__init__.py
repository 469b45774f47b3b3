"""wsdaemon: a WebSocket daemon on Twisted and Autobahn, served from an INI file by twistd or from Python by WebSocketServer."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__

__all__ = [
    "Acceptance",
    "AdminOptions",
    "AdmittingApp",
    "App",
    "BadMessage",
    "BlockingConnection",
    "BrokerError",
    "ClientCertificate",
    "Connection",
    "ConnectionClassApp",
    "ConnectionClosed",
    "CoroutineConnection",
    "EnterHook",
    "EnterPatternHook",
    "ExpiringSession",
    "Handshake",
    "HandshakeApp",
    "HandshakeRefused",
    "Headers",
    "HistoryPage",
    "Identity",
    "Message",
    "MountOptions",
    "PayloadSession",
    "Peer",
    "Position",
    "Presence",
    "PresencePage",
    "PublishHook",
    "Published",
    "Refused",
    "RoomHandle",
    "RoomPage",
    "RoomsHandle",
    "RouteOptions",
    "SendQueueFull",
    "ServerOptions",
    "ServiceApp",
    "Session",
    "SettingsError",
    "StartError",
    "SubprotocolsApp",
    "Visitor",
    "WebSocketServer",
]

if TYPE_CHECKING:
    from .apps.coroutine import CoroutineConnection
    from .apps.rooms.handle import RoomHandle, RoomsHandle
    from .apps.rooms.hooks import EnterHook, EnterPatternHook, PublishHook
    from .apps.rooms.visitor import Refused, Visitor
    from .brokers.contract import HistoryPage, Message, Position, Presence, PresencePage, Published, RoomPage
    from .brokers.errors import BrokerError
    from .core.acceptance import HandshakeRefused
    from .core.blocking import BlockingConnection
    from .core.closing import ConnectionClosed
    from .core.connection import Connection
    from .core.contract import (
        Acceptance,
        AdmittingApp,
        App,
        ConnectionClassApp,
        ExpiringSession,
        HandshakeApp,
        PayloadSession,
        ServiceApp,
        Session,
        SubprotocolsApp,
    )
    from .core.handshake import ClientCertificate, Handshake, Headers, Peer
    from .core.identity import Identity
    from .core.threads import SendQueueFull
    from .core.typed_messages import BadMessage
    from .daemon.parts import StartError
    from .options import AdminOptions, MountOptions, RouteOptions, ServerOptions
    from .server import WebSocketServer
    from .settings.problems import SettingsError

_HOMES = {
    "Acceptance": "core.contract",
    "AdminOptions": "options",
    "AdmittingApp": "core.contract",
    "App": "core.contract",
    "BlockingConnection": "core.blocking",
    "BrokerError": "brokers.errors",
    "ClientCertificate": "core.handshake",
    "Connection": "core.connection",
    "ConnectionClassApp": "core.contract",
    "BadMessage": "core.typed_messages",
    "ConnectionClosed": "core.closing",
    "CoroutineConnection": "apps.coroutine",
    "EnterHook": "apps.rooms.hooks",
    "EnterPatternHook": "apps.rooms.hooks",
    "ExpiringSession": "core.contract",
    "Handshake": "core.handshake",
    "HandshakeApp": "core.contract",
    "HandshakeRefused": "core.acceptance",
    "Headers": "core.handshake",
    "HistoryPage": "brokers.contract",
    "Identity": "core.identity",
    "Message": "brokers.contract",
    "MountOptions": "options",
    "PayloadSession": "core.contract",
    "Peer": "core.handshake",
    "Position": "brokers.contract",
    "Presence": "brokers.contract",
    "PresencePage": "brokers.contract",
    "PublishHook": "apps.rooms.hooks",
    "Published": "brokers.contract",
    "Refused": "apps.rooms.visitor",
    "RoomHandle": "apps.rooms.handle",
    "RoomPage": "brokers.contract",
    "RoomsHandle": "apps.rooms.handle",
    "RouteOptions": "options",
    "SendQueueFull": "core.threads",
    "ServerOptions": "options",
    "ServiceApp": "core.contract",
    "Session": "core.contract",
    "SettingsError": "settings.problems",
    "StartError": "daemon.parts",
    "SubprotocolsApp": "core.contract",
    "Visitor": "apps.rooms.visitor",
    "WebSocketServer": "server",
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first asked for: an app module that needs one exception should not load the daemon."""
    if name not in _HOMES:
        raise AttributeError(f"module wsdaemon has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
