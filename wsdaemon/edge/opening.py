"""Transports for accepted sockets, made without a task for each."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any


def open_transport(
    loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol, sock: socket.socket, failed: Callable[[BaseException], object]
) -> Callable[[], object]:
    """Begin to make the loop's transport between `sock` and `protocol`; returns a function that gives up.

    asyncio offers only a coroutine for this, and a task for each would be the dearest part of an accept. The coroutine waits once, until
    the loop has called `connection_made`, so it is run here by hand. `failed` receives an exception of the loop, or CancelledError after
    the returned function was called; the socket is then the caller's to close.
    """
    first = _Making(loop.connect_accepted_socket(lambda: protocol, sock), failed).go_on()
    return _nothing if first is None else first.cancel


class _Making:
    """The coroutine that makes a transport, run by hand. No closure: a function that names itself would keep all of it in a cycle."""

    __slots__ = ("_coroutine", "_failed")

    def __init__(self, coroutine: Any, failed: Callable[[BaseException], object]) -> None:
        self._coroutine = coroutine
        self._failed = failed

    def go_on(self, waited_for: object = None) -> asyncio.Future[Any] | None:
        try:
            waiting: asyncio.Future[Any] = self._coroutine.send(None)
        except StopIteration:
            return None
        except (Exception, asyncio.CancelledError) as error:
            self._failed(error)
            return None
        waiting._asyncio_future_blocking = False  # as a task does: the future was yielded, and is waited for
        waiting.add_done_callback(self.go_on)
        return waiting


def _nothing() -> None:
    """The transport is there, or has failed, already."""
