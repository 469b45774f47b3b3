"""The daemon's processor time, memory and timer delay, for all pages that watch. An app that is a class.

[mount:/vitals]
app = wsdaemon.examples.vitals:Vitals
slow_client = drop_oldest

Each message is a JSON array of samples; a newcomer's first message has the samples of the last two minutes. The app sends each message of a
client back, so that the client can measure the round trip.

    [{"time": 1790000000.5, "cpu": 3.1, "memory": 41.2, "delay": 0.4, "watching": 2}, ...]
        `time` in seconds since 1970, `cpu` in percent of one processor, `memory` in MiB, `delay` of the loop in milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import deque
from pathlib import Path
from typing import Any

from wsdaemon import Connection, ConnectionClosed

INTERVAL = 0.5
"""Seconds between two samples."""

KEPT = 240
"""The number of samples that a newcomer gets."""


class Vitals:
    """The daemon makes one object for the mount. It also measures while nothing is connected, so that a newcomer sees the past."""

    def __init__(self) -> None:
        self._samples: deque[dict[str, float]] = deque(maxlen=KEPT)
        self._watching: dict[VitalsSession, None] = {}
        self._measuring: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Runs before the daemon is ready."""
        self._measuring = asyncio.create_task(self._measure())

    async def stop(self) -> None:
        """Runs after all connections have closed."""
        if self._measuring is not None:
            self._measuring.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._measuring

    def open(self, connection: Connection, handshake: Any) -> VitalsSession:
        """Add a client and send it the kept samples."""
        viewer = VitalsSession(self, connection)
        self._watching[viewer] = None
        connection.send(json.dumps(list(self._samples)))
        return viewer

    def leave(self, viewer: VitalsSession) -> None:
        self._watching.pop(viewer, None)

    async def _measure(self) -> None:
        clock, used = time.monotonic(), time.process_time()
        while True:
            await asyncio.sleep(INTERVAL)
            now, using = time.monotonic(), time.process_time()
            sample = {
                "time": round(time.time(), 3),
                "cpu": round(100 * (using - used) / (now - clock), 1),
                "memory": round(resident_memory() / 2**20, 1),
                "delay": round(max(0.0, now - clock - INTERVAL) * 1000, 2),
                "watching": len(self._watching),
            }
            clock, used = now, using
            self._samples.append(sample)
            message = json.dumps([sample])
            for viewer in list(self._watching):
                viewer.send(message)


class VitalsSession:
    """One client."""

    def __init__(self, vitals: Vitals, connection: Connection) -> None:
        self._vitals = vitals
        self._connection = connection

    def send(self, message: str) -> None:
        with contextlib.suppress(ConnectionClosed):  # closed() follows
            self._connection.send(message)

    def received(self, message: str | bytes) -> None:
        """Send the message back: the client measures the round trip."""
        self._connection.send(message)

    def closed(self, code: int, reason: str) -> None:
        self._vitals.leave(self)


def resident_memory() -> int:
    """The resident memory of this process, in bytes, as Linux counts it."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
