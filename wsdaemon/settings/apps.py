"""The names and the options of the built-in apps.

A built-in app describes its options here or in a module of its own, as a frozen dataclass like those in `model`, and has a row
in BUILT_IN. Its options may then stand in each [mount:PATH] that runs it, and in [defaults], where they apply to
the mounts of that app alone. A mount that runs user code has no options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from wsdaemon.settings.asgi import AsgiOptions as AsgiOptions
from wsdaemon.settings.bridge import BridgeOptions as BridgeOptions
from wsdaemon.settings.process import ProcessOptions as ProcessOptions
from wsdaemon.settings.proxy import ProxyOptions as ProxyOptions
from wsdaemon.settings.rooms import RoomsOptions as RoomsOptions
from wsdaemon.settings.schema import SectionSettings, explain
from wsdaemon.settings.values import PositiveDuration


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoOptions(SectionSettings):
    """The app echo has no options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickerOptions(SectionSettings):
    """The options of the app ticker."""

    interval: PositiveDuration = field(default=1.0, metadata=explain("The time between two lines that the ticker pushes."))


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """One built-in app: the class of its options, and the function that makes the app of its mount's settings.

    The function is given by its name, as `module:function`, and imported when a mount runs the app: settings import no app.
    """

    options: type[SectionSettings]
    maker: str


BUILT_IN: Mapping[str, BuiltIn] = MappingProxyType(
    {
        "echo": BuiltIn(EchoOptions, "wsdaemon.daemon.apps:make_echo"),
        "ticker": BuiltIn(TickerOptions, "wsdaemon.daemon.apps:make_ticker"),
        "rooms": BuiltIn(RoomsOptions, "wsdaemon.daemon.brokers:make_rooms"),
        "process": BuiltIn(ProcessOptions, "wsdaemon.daemon.hosting:make_process"),
        "asgi": BuiltIn(AsgiOptions, "wsdaemon.daemon.asgi:make_asgi"),
        "bridge": BuiltIn(BridgeOptions, "wsdaemon.daemon.bridges:make_bridge"),
        "proxy": BuiltIn(ProxyOptions, "wsdaemon.daemon.proxies:make_proxy"),
    }
)
"""Every built-in app by its name."""

APP_OPTIONS: Mapping[str, type[SectionSettings]] = MappingProxyType({name: row.options for name, row in BUILT_IN.items()})
