"""A server for tests, on the loop of the test and without a port: its clients come over a unix socket in a folder of its own."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..client import OpeningRefused
from ..server import Mountable, WebSocketServer
from .client import AppClient

ANY_PATH = "/{rest...}"


class AppServer:
    """Serves one app, exactly as the daemon does: with handshakes, limits, authentication, slow clients and the drain at the end.

    `app` is whatever can be mounted: a coroutine function, an app or its class, an Autobahn class, the name of a built-in app, or an ASGI
    application. `options` are those of a mount.
    """

    def __init__(self, app: Mountable | Any, mount: str = ANY_PATH, **options: Any) -> None:
        """`mount` is the path at which the app is mounted; every path by default."""
        self._app, self._mount, self._options = app, mount, options
        self._stack = AsyncExitStack()
        self.server: WebSocketServer | None = None
        """The server, while it serves: for broadcasts, rooms and its connections."""

    async def __aenter__(self) -> Self:
        """Start on the running loop. SettingsError or StartError if the app cannot be served."""
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wsdaemon-")))
            self._socket = folder / "ws"
            server = WebSocketServer(address=f"unix:{self._socket}")
            mount_any(server, self._mount, self._app, self._options)
            self.server = await stack.enter_async_context(server)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Drain and stop: clients that are still there are told."""
        self.server = None
        await self._stack.aclose()

    @contextlib.asynccontextmanager
    async def connect(self, path: str = "/", **options: Any) -> AsyncIterator[AppClient]:
        """A client, which is closed at the end of the block. `options` are those of WebSocketClient, such as `headers` and `token`."""
        client = await self.open(path, **options)
        try:
            yield client
        finally:
            await client.close()

    async def open(self, path: str = "/", **options: Any) -> AppClient:
        """A client, which the test closes itself. OpeningRefused if the server refuses the handshake."""
        return await AppClient(self._socket, path, options).open()


@contextlib.asynccontextmanager
async def connect(
    app: Mountable | Any, path: str = "/", *, mount: str = ANY_PATH, client: Mapping[str, Any] | None = None, **options: Any
) -> AsyncIterator[AppClient]:
    """Serve an app for the time of the block, and connect to it. `options` are those of the mount, `client` those of WebSocketClient."""
    async with AppServer(app, mount, **options) as server, server.connect(path, **(client or {})) as connected:
        yield connected


async def reconnect_storm(server: AppServer, path: str = "/", clients: int = 100, **options: Any) -> int:
    """Many clients lose their connections at one moment, and all come back at once; the number that the server let in again.

    The others met a refusal, as limits of the mount may want it. When this returns, all clients are gone.
    """
    await asyncio.gather(*[client.vanish() for client in await _open_all(server, path, clients, options)])
    back = await _open_all(server, path, clients, options)
    await asyncio.gather(*[client.close() for client in back])
    return len(back)


async def _open_all(server: AppServer, path: str, count: int, options: Mapping[str, Any]) -> list[AppClient]:
    opened = await asyncio.gather(*[server.open(path, **options) for _ in range(count)], return_exceptions=True)
    for each in opened:
        if isinstance(each, BaseException) and not isinstance(each, OpeningRefused):
            raise each
    return [each for each in opened if isinstance(each, AppClient)]


def mount_any(server: WebSocketServer, path: str, app: Any, options: Mapping[str, Any]) -> None:
    """Mount whatever connect() takes."""
    if is_asgi(app):
        server.mount(path, "asgi", application=app, **options)
    else:
        server.mount(path, app, **options)


def is_asgi(app: object) -> bool:
    """Whether it is called with scope, receive and send."""
    if isinstance(app, str | type) or not callable(app) or callable(getattr(app, "open", None)):
        return False
    try:
        signature = inspect.signature(app)
        signature.bind(None, None, None)
    except (TypeError, ValueError):
        return False
    return True
