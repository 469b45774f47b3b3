"""An ASGI application behind one gate, in memory, and its clients."""

from __future__ import annotations

from typing import Any

from tests.support.admission import Door, Visitor
from tests.support.fakes import House, request
from tests.support.lines import Lines
from wsdaemon.apps.asgi.app import AsgiApp
from wsdaemon.apps.asgi.websocket import Application
from wsdaemon.core.connection import Connection
from wsdaemon.settings.asgi import AsgiOptions

Event = dict[str, Any]


class Host:
    """The mount of an application. `failures` are those that the application's connections had."""

    def __init__(
        self, made: House, application: Any, path: str = "/chat", lifespan: Any = "off", http: bool = False, **options: Any
    ) -> None:  # fmt: skip
        self.loop = made.loop
        self.failures: list[BaseException] = []
        self.lines = Lines()
        settings = AsgiOptions(application=application, lifespan=lifespan, http=http)
        self.app = AsgiApp(application, settings, path, self._failed, log=self.lines)
        self.door = Door(made, app=self.app, mount={"options": settings, **options.pop("mount", {})}, **options)

    def _failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        assert doing == "running"
        self.failures.append(error)

    def connect(self, opening: bytes = b"") -> Visitor:
        """A client, as far as it comes without a wait."""
        visitor = self.door.arrive(opening or request("/chat"))
        self.loop.settle()
        return visitor


class Script:
    """An application that does what a test says, one step at a time, and writes down what it receives."""

    def __init__(self) -> None:
        self.scope: Event = {}
        self.receive: Any = None
        self.send: Any = None
        self.events: list[Event] = []
        self.errors: list[BaseException] = []

    async def __call__(self, scope: Event, receive: Any, send: Any) -> None:
        self.scope, self.receive, self.send = scope, receive, send
        try:
            while True:
                event = await receive()
                self.events.append(event)
                if event["type"] == "websocket.connect":
                    await send({"type": "websocket.accept"})
                elif event["type"] == "websocket.disconnect":
                    return
        except BaseException as error:
            self.errors.append(error)
            raise


async def echo(scope: Event, receive: Any, send: Any) -> None:
    """Sends each message back."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


checked: Application = echo
