"""settings/server.py: the options of a WebSocketServer, sorted into the sections of an INI file."""

from __future__ import annotations

from typing import Any

from wsdaemon.settings.server import sort_options


def test_each_option_goes_where_its_key_is() -> None:
    listener: dict[str, Any] = {"address": "tcp:0"}
    options = {
        "drain_timeout": "5s", "level": "warn", "handshake_timeout": "3s", "max_message": "64KiB", "max_connections_per_user": 3, "odd": 1,
    }  # fmt: skip
    sections = {section.name: {entry.key: entry.value for entry in section.entries} for section in sort_options(options, listener)}
    assert sections == {
        "daemon": {"drain_timeout": "5s"},
        "logging": {"level": "warn"},
        "listener:main": {"address": "tcp:0", "handshake_timeout": "3s"},
        "defaults": {"max_message": "64KiB", "max_connections_per_user": 3, "odd": 1},  # from which an unknown option is reported
    }
