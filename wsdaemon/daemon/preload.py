"""Imports that a worker would otherwise make when the first client needs them.

An upgrade replaces packages under live processes. If a worker of the former generation imported a module then, it would mix old code with
new. So a worker makes these imports before it is ready.
"""

from __future__ import annotations

import importlib
from typing import Final

from ..settings.model import Settings

FOR_ALL: Final = (
    "wsdaemon.edge.chunks", "wsdaemon.edge.plain", "wsdaemon.wire.autobahn.mounted", "wsdaemon.wire.autobahn.transport", "encodings.idna",
)  # fmt: skip
"""Modules that any worker may need."""

FOR_TLS: Final = ("wsdaemon.edge.tls", "wsdaemon.edge.tls_layer")
"""Half a megabyte more; without a TLS listener they are never needed."""


def preload(settings: Settings) -> None:
    """Import everything that these settings may need later."""
    secure = any(listener.secure for listener in settings.listeners)
    for name in (*FOR_ALL, *(FOR_TLS if secure else ())):
        importlib.import_module(name)
