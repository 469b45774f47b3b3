"""From the options of a WebSocketServer to the sections of an INI file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .build import Section, section
from .daemon import DaemonSettings, LoggingSettings
from .listener import CONNECTION_LIMITS
from .model import ListenerSettings

OF_ROUTES = {*CONNECTION_LIMITS, "max_connections_per_user"}
"""Options that a listener has as well: given to a server they are what its routes start from."""


def sort_options(options: Mapping[str, Any], listener: dict[str, Any]) -> list[Section]:
    """Put each option into the section that its key belongs to; an unknown option is reported as one of [defaults].

    Limits on connections and users that a listener may have besides are the routes', which may raise them.
    """
    sections: dict[str, dict[str, Any]] = {"daemon": {}, "logging": {}, "listener:main": listener, "defaults": {}}
    homes = (("daemon", DaemonSettings), ("logging", LoggingSettings), ("listener:main", ListenerSettings))
    for key, value in options.items():
        for name, settings_class in homes:
            if key in {field.name for field in dataclasses.fields(settings_class)} - OF_ROUTES:
                sections[name][key] = value
                break
        else:
            sections["defaults"][key] = value
    return [section(name, **values) for name, values in sections.items() if values]
