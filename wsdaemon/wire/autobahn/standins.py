"""Stand-ins for parts that Autobahn makes for each connection, and that this project does not use."""

from __future__ import annotations

from typing import Any

from autobahn.websocket.utf8validator import Utf8Validator
from twisted.logger import Logger


class Resolved:
    """In the place of Autobahn's per-connection Deferreds `is_open` and `is_closed`, which nothing here waits for."""

    called = False

    def callback(self, result: object) -> None:
        """txaio.resolve() calls it."""


class Validator:
    """Autobahn's UTF-8 validator, made when its parser first needs one."""

    def __get__(self, instance: Any, owner: type | None = None) -> Utf8Validator:
        validator = Utf8Validator()
        instance.__dict__["utf8validator"] = validator
        return validator


class WireLog:
    """Where Autobahn's protocol logs: what a client does wrong is no news for the operator, and goes to debug."""

    _logger = Logger(namespace="wsdaemon.wire")

    def debug(self, *arguments: object, **fields: object) -> None:
        """Autobahn's own debug lines, ten of them for one message, are not kept."""

    trace = debug

    def info(self, format: str, **fields: object) -> None:
        self._logger.debug(format, **fields)

    warn = warning = error = info
