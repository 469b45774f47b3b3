"""testing/plugin.py: a fixture that serves on a real port."""

from __future__ import annotations

from websockets.sync.client import connect

from tests.testing.test_serving import Counter, asgi, greet
from wsdaemon.testing.plugin import Serve
from wsdaemon.testing.plugin import wsdaemon_server as wsdaemon_server


def test_it_serves_apps_of_each_kind(wsdaemon_server: Serve) -> None:
    for app, path, first in ((greet, "/x", "welcome to /x {'rest': 'x'}"), (asgi, "/y", "/y")):
        server = wsdaemon_server(app)
        with connect(f"ws://127.0.0.1:{server.port}{path}", proxy=None) as client:
            assert client.recv(30) == first
    server = wsdaemon_server(Counter, "/count", max_message="1KiB")
    with connect(f"ws://127.0.0.1:{server.port}/count", proxy=None) as client:
        client.send("one")
        assert client.recv(30) == "1"
