"""A plain function as an app, with one client in memory, and threads that a test waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.support.fakes import Client, House
from tests.support.lines import Lines
from wsdaemon.apps.function import FunctionApp
from wsdaemon.core.blocking import BlockingConnection
from wsdaemon.core.connection import Connection
from wsdaemon.core.registry import Count

SECONDS = 30.0
"""The longest that a thread is waited for."""


class FunctionRun:
    """A function app with one client."""

    def __init__(self, made: House, function: Callable[[BlockingConnection], object], **options: Any) -> None:
        self.failures: list[tuple[str, BaseException]] = []
        self.threads = Count(options.pop("max_threads", 0))
        self.log = Lines()
        self.app = FunctionApp(function, self._failed, self.threads, self.log)
        self._made = made
        self._called = threading.Event()
        made.loop._write_to_self = self._called.set  # type: ignore[method-assign]
        self.client: Client = made.make_wire(self.app, **options)

    def _failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        self.failures.append((doing, error))

    def until(self, condition: Callable[[], object]) -> None:
        """Run the loop until the condition holds; the threads call it meanwhile."""
        end = time.monotonic() + SECONDS
        self._made.loop.settle()
        while not condition():
            assert time.monotonic() < end, "the condition never held"
            self._called.wait(0.01)
            self._called.clear()
            self._made.loop.settle()

    def until_ended(self) -> None:
        """Until the function has ended."""
        self.until(lambda: self.threads.now == 0)
