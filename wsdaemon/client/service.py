"""A client as a Twisted service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import blockingCallFromThread, deferToThread

from .client import WebSocketClient


class WebSocketClientService(Service):
    """Runs a client while the service runs. Callbacks are called in the reactor's thread, and may return Deferreds.

    On Twisted's asyncio reactor the client runs on the reactor's loop; with any other reactor it has a thread of its own, which waits for
    each callback.
    """

    def __init__(self, client: WebSocketClient, reactor: Any = None) -> None:
        """`reactor` None: the one that is installed when the service starts."""
        self.client = client
        self._reactor = reactor
        self._loop: asyncio.AbstractEventLoop | None = None

    def startService(self) -> None:
        """Begin to connect; nothing is waited for."""
        super().startService()  # type: ignore[no-untyped-call]
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        self._loop = getattr(self._reactor, "_asyncioEventloop", None)
        if self._loop is not None:
            self._loop.call_soon(self._begin)
            return
        for name in ("on_open", "on_message", "on_close", "on_reconnect", "on_error"):
            callback = getattr(self.client, name)
            if callback is not None:
                setattr(self.client, name, partial(_called_in_reactor, self._reactor, callback))
        self.client.start()

    def _begin(self) -> None:
        if self.running:
            self.client.begin()

    def stopService(self) -> Deferred[Any]:
        """Close the client; the Deferred fires when it has ended."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop is None:
            return deferToThread(self.client.stop)
        self.client.close()
        if not self.client.has_begun:
            return succeed(None)
        return Deferred.fromFuture(self._loop.create_task(self.client.wait_closed()))


def _called_in_reactor(reactor: Any, callback: Callable[..., Any], *arguments: object) -> object:
    return blockingCallFromThread(reactor, callback, *arguments)
