"""A loop whose clock stands still, and a transport without a socket. Tests import them by way of fakes.py."""

from __future__ import annotations

import asyncio
from typing import Any, Self


class Loop(asyncio.BaseEventLoop):
    """A loop in which time passes only when a test says so. It is the running loop for as long as it is used as a context manager."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0
        self._selector = self
        self.problems: list[dict[str, Any]] = []
        self.set_exception_handler(lambda loop, context: self.problems.append(context))

    def __enter__(self) -> Self:
        asyncio._set_running_loop(self)
        return self

    def __exit__(self, *error: object) -> None:
        try:
            tasks = asyncio.all_tasks(self)
            for task in tasks:
                task.cancel()
            self.settle()
        finally:
            asyncio._set_running_loop(None)
            self.close()

    def time(self) -> float:
        return self._now

    def settle(self) -> None:
        """Run until nothing is left to do at this moment."""
        for _ in range(10_000):
            self.turn()
            if not self._ready:
                return
        raise AssertionError("there is always something left to do")

    def turn(self) -> None:
        """Call what was asked for so far, and not what that asks for."""
        asyncio._set_running_loop(None)
        try:
            self.call_soon(self.stop)
            self.run_forever()
        finally:
            asyncio._set_running_loop(self)

    def advance(self, seconds: float) -> None:
        """Let time pass, from one timer to the next."""
        end = self._now + seconds
        self.settle()
        while (first := min((handle.when() for handle in self._scheduled if not handle.cancelled()), default=end + 1)) <= end:
            self._now = max(self._now, first)
            self.settle()
        self._now = end
        self.settle()

    def jump(self, seconds: float) -> None:
        """Let time pass while the loop is away: its timers are late when it comes back."""
        self._now += seconds
        self.settle()

    @property
    def timers(self) -> int:
        """Timers that are set."""
        return sum(not handle.cancelled() for handle in self._scheduled)

    # attributes that the base class needs in place of a selector
    _ready: Any
    _scheduled: list[asyncio.TimerHandle]

    def select(self, timeout: float | None) -> list[Any]:
        return []

    def _process_events(self, events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


class Transport:
    """A transport of the loop, without a socket. `stuck` keeps what is written, as a client does that does not read."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.protocol: Any = None
        self.writes: list[bytes] = []
        self.stuck = False
        self.unsent = 0
        self.high = 64 * 1024
        self.writing_paused = False
        self.reading = True
        self.incoming = b""
        self.closing = False
        self.aborted = False
        self.eof_written = False
        self.lost = False
        self.pauses = 0
        self.extra: dict[str, object] = {}

    # called by the wire

    def write(self, data: bytes) -> None:
        assert type(data) is bytes
        self._written([data])

    def writelines(self, list_of_data: list[bytes]) -> None:
        self._written(list_of_data)

    def _written(self, pieces: list[bytes]) -> None:
        if self.lost or self.aborted:
            return
        assert not self.closing or self.eof_written is False
        self.writes.append(b"".join(pieces))
        if self.stuck:
            self.unsent += sum(map(len, pieces))
            if self.unsent > self.high and not self.writing_paused:
                self.writing_paused = True
                self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is not None:
            self.high = high

    def set_protocol(self, protocol: object) -> None:
        self.protocol = protocol

    def get_protocol(self) -> object:
        return self.protocol

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.extra.get(name, default)

    def write_eof(self) -> None:
        self.eof_written = True

    def pause_reading(self) -> None:
        self.reading = False
        self.pauses += 1

    def resume_reading(self) -> None:
        if not self.reading and not self.closing:
            self.reading = True
            self.loop.call_soon(self._read)

    def close(self) -> None:
        if not self.closing:
            self.closing, self.reading = True, False
            if not self.unsent:
                self.loop.call_soon(self.lose)

    def abort(self) -> None:
        if not self.aborted:
            self.closing = self.aborted = True
            self.reading, self.unsent = False, 0
            self.loop.call_soon(self.lose)

    # called by the test

    def receive(self, data: bytes) -> None:
        """Bytes from the client: read at once, or when the wire wants to read again."""
        self.incoming += data
        self._read()

    def _read(self) -> None:
        while self.reading and self.incoming and not self.lost:
            if isinstance(self.protocol, asyncio.BufferedProtocol):
                room = memoryview(self.protocol.get_buffer(-1))
                count = min(len(room), len(self.incoming))
                assert count > 0, "a transport gives up on a protocol without room"
                room[:count] = self.incoming[:count]
                self.incoming = self.incoming[count:]
                self.protocol.buffer_updated(count)
            else:
                data, self.incoming = self.incoming[:200_000], self.incoming[200_000:]
                self.protocol.data_received(data)

    def drain(self) -> None:
        """The client reads all that was sent."""
        self.stuck, self.unsent = False, 0
        if self.writing_paused and not self.lost:
            self.writing_paused = False
            self.protocol.resume_writing()
        if self.closing:
            self.loop.call_soon(self.lose)

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone."""
        if not self.lost:
            self.lost = self.closing = True
            self.reading = False
            self.protocol.connection_lost(error)
