"""daemon/assembly.py: the parts of a daemon in the order of their start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.inside import inside, run_inside
from wsdaemon.core.connection import Connection
from wsdaemon.daemon.assembly import frame_reader
from wsdaemon.settings.build import build, section

INI = f"""
[daemon]
python_path = {Path(__file__).parents[2]}
[listener:web]
address = tcp:0:interface=127.0.0.1
[listener:other]
address = tcp:0:interface=127.0.0.1
[admin]
address = unix:./admin.sock
[mount:/plain]
app = echo
[mount:/service]
app = {__name__}:Service
[mount:/starting]
app = {__name__}:Starting
[mount:/stopping]
app = {__name__}:Stopping
"""


class Service:
    """An app that has work of its own."""

    running = 0

    async def start(self) -> None:
        Service.running += 1

    async def stop(self) -> None:
        Service.running -= 1

    def open(self, connection: Connection, handshake: Any) -> Any: ...


class Starting:
    """An app with `start` and no `stop`."""

    started = 0

    async def start(self) -> None:
        Starting.started += 1

    def open(self, connection: Connection, handshake: Any) -> Any: ...


class Stopping:
    """An app with `stop` and no `start`."""

    stopped = 0

    async def stop(self) -> None:
        Stopping.stopped += 1

    def open(self, connection: Connection, handshake: Any) -> Any: ...


def test_the_parts_are_started_in_order_and_only_those_that_have_work(tmp_path: Path) -> None:
    async def life() -> None:
        async with inside(tmp_path, INI) as daemon:
            assembly = daemon.assembly
            parts = ["Timers", "Retiring", "Admin", "AppStep", "AppStep", "AppStep", "Authenticators", "StallWatch", "Drain"]
            assert [type(part).__name__ for part in assembly.parts] == parts
            assert [listener.name for listener in assembly.listeners] == ["web", "other"]
            assert [mount.path for mount in assembly.mounts] == ["/plain", "/service", "/starting", "/stopping"]
            assert (Service.running, Starting.started, Stopping.stopped) == (1, 1, 0)
            for reload in assembly.reloads:
                reload()
        assert (Service.running, Starting.started, Stopping.stopped) == (0, 1, 1)

    run_inside(life())


@pytest.mark.parametrize(("accelerator", "words"), [("off", "Autobahn's own"), ("python", "Python")])
def test_the_frame_reader_in_words(accelerator: str, words: str) -> None:
    class Resources:
        class frames:
            name = "python"

    served = (section("listener:a", address="tcp:0"), section("mount:/", app="echo"))
    settings = build([section("daemon", accelerator=accelerator), *served], "test")
    resources: Any = Resources
    assert frame_reader(settings, resources) == words
