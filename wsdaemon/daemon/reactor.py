"""The reactor of a process: Twisted's asyncio reactor on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import sys
from typing import Any, cast

import uvloop
from twisted.internet.error import ReactorNotRunning

GARBAGE_THRESHOLDS = (5_000, 5, 10)
"""Objects by which the young generation may grow before it is collected, and after how many collections the next generation is. Python's
own are 700, 10 and 10. A wave of new connections makes thousands of objects, and nearly none of them ends in a cycle."""


def new_loop() -> asyncio.AbstractEventLoop:
    return cast(asyncio.AbstractEventLoop, uvloop.new_event_loop())


def install() -> Any:
    """Install the asyncio reactor as Twisted's, unless one is installed; the installed one. RuntimeError if that is of another kind."""
    if "twisted.internet.reactor" not in sys.modules:
        from twisted.internet import asyncioreactor

        loop = new_loop()
        asyncio.set_event_loop(loop)
        asyncioreactor.install(loop)
    from twisted.internet import reactor

    loop_of(reactor)
    return reactor


def loop_of(reactor: Any) -> asyncio.AbstractEventLoop:
    """The asyncio loop of a reactor. RuntimeError if the reactor has none."""
    loop = getattr(reactor, "_asyncioEventloop", None)
    if loop is None:
        name = type(reactor).__name__
        raise RuntimeError(
            f"wsdaemon runs on Twisted's asyncio reactor, and {name} is installed already: leave --reactor out, or say --reactor=asyncio"
        )
    return cast(asyncio.AbstractEventLoop, loop)


def stop_reactor(reactor: Any) -> None:
    """Stop the reactor, or let it stop as soon as it runs. If it is stopping already, do nothing."""

    def stop() -> None:
        with contextlib.suppress(ReactorNotRunning):
            reactor.stop()

    reactor.callWhenRunning(stop)


def settle() -> None:
    """Keep what imports left for good: no collection looks at it again, and the memory of what they dropped goes back to the system.

    From then on collections are rarer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
