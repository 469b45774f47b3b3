"""A drain: connections are closed in random order, evenly over some seconds, each with a hint when its client may come again.

If all clients of a daemon came back in the same second, they would be a stampede. Jitter in the clients does not prevent it, because many
libraries have none; so the daemon spreads both the Close frames and the hints.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from typing import Final

from .closing import SERVICE_RESTART
from .connection import Connection

Ending = Callable[[], tuple[int, str]]
"""Returns the close code and the reason for the next connection."""

CLOSES_PER_TURN: Final = 64
"""Connections that are closed one after another, before the loop looks after the others."""


def restart(retry: tuple[float, float], draw: Callable[[int, int], int] = random.randint) -> Ending:
    """1012 with the reason `restart; retry=N`: whole seconds, drawn for each client from the range `retry`, both ends included."""
    least = math.ceil(retry[0])
    most = max(least, math.floor(retry[1]))
    return lambda: (SERVICE_RESTART, f"restart; retry={draw(least, most)}")


async def close_evenly(connections: Sequence[Connection], seconds: float, ending: Ending) -> None:
    """Begin the closing handshakes of these connections, in random order: the first now, the others evenly over so many seconds."""
    loop = asyncio.get_running_loop()
    order = random.sample(connections, len(connections))
    began = loop.time()
    for number, connection in enumerate(order):
        wait = began + seconds * number / len(order) - loop.time() if seconds else 0.0
        if wait > 0 or (seconds and number % CLOSES_PER_TURN == 0):
            await asyncio.sleep(max(wait, 0.0))
        connection.close(*ending())
