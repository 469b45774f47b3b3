"""The parts that the clients of a loop share."""

from __future__ import annotations

import asyncio
import gc
import weakref

from tests.support.fake_loop import Loop
from wsdaemon.client.tools import deflate_options, tools_of
from wsdaemon.settings.client import client_settings


def test_clients_with_equal_settings_share_their_wires() -> None:
    with Loop() as loop:
        tools = tools_of(loop)
        assert tools_of(loop) is tools
        one, other = client_settings({"ping_interval": "5s"}), client_settings({"ping_interval": 5})
        assert tools.wires(one) is tools.wires(other)
        assert tools.wires(one) is not tools.wires(client_settings({}))


def test_the_tools_go_with_their_loop() -> None:
    loop = asyncio.new_event_loop()
    tools_of(loop)
    loop.close()
    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None


def test_the_compression_that_is_offered() -> None:
    assert deflate_options(client_settings({"compression": False})) is None
    options = deflate_options(client_settings({"compression_window_bits": 12, "compression_threshold": "1KiB"}))
    assert options is not None
    assert (options.window_bits, options.threshold) == (12, 1024)
