"""Two ends of a link between the hub and a worker, on a real loop whose clock a test can move."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from wsdaemon.hub.protocol import HEADER
from wsdaemon.hub.stream import FramedStream


class ShiftedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock is ahead by `shift` seconds."""

    shift = 0.0

    def time(self) -> float:
        return super().time() + self.shift


def run(work: Callable[[ShiftedLoop], Coroutine[Any, Any, None]]) -> None:
    """Run a test on a loop of its own. An error in a callback of the loop fails the test."""
    problems: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=ShiftedLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, ShiftedLoop)
        loop.set_exception_handler(lambda loop, context: problems.append(context))
        runner.run(asyncio.wait_for(work(loop), 600))  # beyond all that tests shift the clock
    assert not problems


class End:
    """A stream on one end of a socketpair, and the frames and the reasons that it reported."""

    def __init__(self, end: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self.frames: list[tuple[int, int, bytes]] = []
        self.ends: list[str] = []
        self.stream = FramedStream(end, loop, self._received, lambda reason, error: self.ends.append(reason))

    def _received(self, kind: int, request: int, body: bytes) -> None:
        self.frames.append((kind, request, body))

    def bodies(self, kind: int) -> list[bytes]:
        return [body for found, _, body in self.frames if found == kind]


def read_frames(data: bytes) -> list[tuple[int, int, bytes]]:
    """The frames that bytes consist of."""
    frames = []
    while data:
        length, kind, request = HEADER.unpack_from(data)
        frames.append((kind, request, data[HEADER.size : HEADER.size + length]))
        data = data[HEADER.size + length :]
    return frames
