"""The reactor: Twisted's asyncio reactor on uvloop, made where none is installed yet."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

import uvloop


def new_loop() -> asyncio.AbstractEventLoop:
    return cast(asyncio.AbstractEventLoop, uvloop.new_event_loop())


def install() -> Any:
    """Install the asyncio reactor as Twisted's, unless one is installed; the installed one. RuntimeError when that is of another kind."""
    if "twisted.internet.reactor" not in sys.modules:
        from twisted.internet import asyncioreactor

        loop = new_loop()
        asyncio.set_event_loop(loop)
        asyncioreactor.install(loop)
    from twisted.internet import reactor

    loop_of(reactor)
    return reactor


def loop_of(reactor: Any) -> asyncio.AbstractEventLoop:
    """The asyncio loop of a reactor. RuntimeError when the reactor has none."""
    loop = getattr(reactor, "_asyncioEventloop", None)
    if loop is None:
        name = type(reactor).__name__
        raise RuntimeError(
            f"wsdaemon runs on Twisted's asyncio reactor, and {name} is installed already: leave --reactor out, or say --reactor=asyncio"
        )
    return cast(asyncio.AbstractEventLoop, loop)
