"""daemon/global_reactor.py: user code that needs Twisted's global reactor is found before a daemon with its own reactor serves it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from wsdaemon.daemon.global_reactor import MODULE, needs_global_reactor

TOP = """
from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet import reactor

class Ticking(WebSocketServerProtocol):
    def onOpen(self):
        reactor.callLater(1, self.sendMessage, b"tick")

async def ticking(connection):
    reactor.callLater(1, connection.send, "tick")
"""

INSIDE = """
from autobahn.twisted.websocket import WebSocketServerProtocol

class Ticking(WebSocketServerProtocol):
    def onOpen(self):
        def later():
            from twisted.internet import reactor
            reactor.callLater(1, self.sendMessage, b"tick")
        later()

def _later(call):
    import twisted.internet.reactor
    twisted.internet.reactor.callLater(1, call)

async def ticking(connection):
    _later(lambda: connection.send("tick"))
"""

OF_THE_FACTORY = """
from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet import defer, task

class Ticking(WebSocketServerProtocol):
    def onOpen(self):
        self.factory.reactor.callLater(1, self.sendMessage, b"tick")

async def ticking(connection):
    reactor = "a word"
"""


class Reactor:
    running = False


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stands for the global reactor that the import of a user's module installed."""
    reactor: Any = Reactor()
    monkeypatch.setitem(sys.modules, MODULE, reactor)
    monkeypatch.setattr("twisted.internet.reactor", reactor, raising=False)
    return reactor


@pytest.fixture
def users_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(text: str) -> ModuleType:
        module = ModuleType("users_module")
        monkeypatch.setitem(sys.modules, "users_module", module)
        exec(compile(text, str(tmp_path / "users_module.py"), "exec"), module.__dict__)
        return module

    return make


@pytest.mark.parametrize("name", ["Ticking", "ticking"])
@pytest.mark.parametrize("text", [TOP, INSIDE], ids=["at the top", "inside"])
def test_code_that_imports_it(installed: Any, users_module: Any, text: str, name: str) -> None:
    target = getattr(users_module(text), name)
    assert needs_global_reactor(target, object()) == "users_module"
    assert needs_global_reactor(type("Derived", (target,), {}) if isinstance(target, type) else target, object()) == "users_module"


def test_a_daemon_on_the_global_reactor_serves_it(installed: Any, users_module: Any) -> None:
    assert needs_global_reactor(users_module(TOP).Ticking, installed) is None


def test_a_program_that_runs_the_global_reactor_itself(installed: Any, users_module: Any) -> None:
    installed.running = True
    assert needs_global_reactor(users_module(TOP).Ticking, object()) is None


@pytest.mark.parametrize("name", ["Ticking", "ticking"])
def test_code_that_does_not(installed: Any, users_module: Any, name: str) -> None:
    assert needs_global_reactor(getattr(users_module(OF_THE_FACTORY), name), object()) is None
