"""A fixture of pytest for a real port: `from wsdaemon.testing.plugin import wsdaemon_server` in a conftest.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ..server import Mountable, WebSocketServer
from .serving import ANY_PATH, mount_any

Serve = Callable[..., WebSocketServer]
"""serve(app, mount="/{rest...}", **options)"""


@pytest.fixture
def wsdaemon_server() -> Iterator[Serve]:
    """A function that serves an app on a free port of 127.0.0.1, in a thread, until the test is over: `server.port` is the port.

    It takes an app, the path of the mount, and the mount's options. It may be called more than once.
    """
    started: list[WebSocketServer] = []

    def serve(app: Mountable | Any, mount: str = ANY_PATH, **options: Any) -> WebSocketServer:
        server = WebSocketServer(port=0)
        mount_any(server, mount, app, options)
        started.append(server.start())
        return server

    yield serve
    for server in started:
        server.stop()
