"""One end of a link between the hub and a worker: frames over a socketpair.

The frames of one turn of the loop leave in one write. Frames that the other side does not take wait here, so their number is bounded:
`behind` tells the owner when the other side has not read MAX_BACKLOG_BYTES, or a byte for MAX_BEHIND_SECONDS, and the owner then calls
`drop`. Both sides are processes of one daemon, but no frame is trusted: a bad one ends the link.
"""

from __future__ import annotations

import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable
from itertools import islice

from .protocol import HEADER, MAX_BACKLOG_BYTES, MAX_BEHIND_SECONDS, MAX_BODY

READ_BYTES = 64 * 1024
"""Bytes that one turn of the loop reads from one link, so that the others have their turn."""

WRITE_BYTES = 256 * 1024
"""Bytes that are joined for one write, if the other side is behind."""

CLOSED_BY_OTHER_SIDE = "the other side has ended"

Received = Callable[[int, int, bytes], None]
"""Called with the kind, the request and the body of each frame. If it raises, the link ends."""

Ended = Callable[[str, BaseException | None], None]
"""Called once with the reason when the link has ended, unless `close` ended it; with the error, if `received` raised one."""


class FramedStream:
    """One end of a socketpair, which it owns. Call it from the loop's thread alone.

    `wake` is called once when the first frame of a turn is queued: its owner then calls `flush` at the end of that turn. Without it the
    stream asks the loop for that itself. `drained` is called when the other side, which was behind, has taken some of the waiting bytes.
    """

    __slots__ = (
        "_asked", "_behind_from", "_deaf", "_drained", "_ended", "_frames", "_fresh", "_loop", "_parts", "_parts_bytes", "_parts_needed",
        "_received", "_socket", "_torn", "_wake", "_writing", "append",
        "queued", "sent",
    )  # fmt: skip

    def __init__(
        self, end: socket.socket, loop: AbstractEventLoop, received: Received, ended: Ended, wake: Callable[[], None] | None = None,
        drained: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        end.setblocking(False)
        self._socket: socket.socket | None = end
        self._loop = loop
        self._received = received
        self._ended = ended
        self._wake = wake or self._flush_later
        self._drained = drained
        self._asked = False
        self._deaf = False
        self._fresh: list[bytes] = []  # of this turn; always the same list
        self.append = self._fresh.append
        """`send` without its checks, if the link is open, frames are not dropped, and the owner flushes the stream in this turn anyway."""
        self._frames: list[bytes | memoryview] = []  # of earlier turns: the socket did not take them
        self._torn = False  # the first of these is the rest of one that has left in part
        self._writing = False  # the socket took no more, and the loop watches it
        self._behind_from: tuple[float, int] | None = None
        self._parts: list[bytes] = []  # of a frame that has come in part
        self._parts_bytes = self._parts_needed = 0
        self.queued = 0
        """Bytes that were given to `send`, up to the last turn."""
        self.sent = 0
        """Bytes of them that the socket took. Dropped bytes count here too."""
        loop.add_reader(end.fileno(), self._read)

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    # -- writing

    def send(self, frame: bytes) -> None:
        """Queue one frame, made by `protocol.frame`, for the end of this turn. Nothing happens if the link has ended, or is dropped."""
        if self._deaf:
            return
        self._fresh.append(frame)
        if not self._asked:
            self._asked = True
            self._wake()

    def send_all(self, frames: list[bytes]) -> None:
        """Queue several frames."""
        if not self._deaf:
            self._fresh += frames
            if not self._asked:
                self._asked = True
                self._wake()

    def flush(self) -> None:
        """Write the frames of this turn, unless earlier ones still wait for the socket."""
        self._asked = False
        fresh = self._fresh
        if not fresh:
            return
        data = fresh[0] if len(fresh) == 1 else b"".join(fresh)
        self.queued += len(data)
        if self._writing:
            self._frames += fresh
            fresh.clear()
            return
        taken = self._send(data)
        if taken < len(data):
            self._frames += fresh
            self._take(taken)
            self._watch()
        fresh.clear()

    def behind(self) -> str:
        """The reason why the other side is too far behind now; empty if it is not. Call it at least once a second."""
        if not self._writing:
            return ""
        if self.queued - self.sent > MAX_BACKLOG_BYTES:
            return f"it has not read {self.queued - self.sent} bytes"
        now = self._loop.time()
        if self._behind_from is None or self.sent >= self._behind_from[1]:
            self._behind_from = now, self.queued
        elif now - self._behind_from[0] >= MAX_BEHIND_SECONDS:
            return f"it has not read for {MAX_BEHIND_SECONDS:g} s"
        return ""

    def drop(self, last: bytes) -> None:
        """Drop all frames that wait, and later ones until `resume`, and send one last frame.

        If a frame has left in part, its rest is sent too, because the other side needs that to find the next.
        """
        self._fresh.clear()
        self._frames = [*(self._frames[:1] if self._torn else ()), last]
        self.sent = self.queued - sum(map(len, self._frames[:-1]))
        self.queued += len(last)
        self._behind_from = None
        self._deaf = True
        if not self._writing:
            self._write()

    def resume(self) -> None:
        """Send frames again after a `drop`."""
        self._deaf = self._socket is None

    def close(self) -> None:
        """Write what the socket takes now, and end the link. `ended` is not called."""
        self.flush()
        self._release()

    def _flush_later(self) -> None:
        self._loop.call_soon(self.flush)

    def _send(self, data: bytes | memoryview) -> int:
        """How many bytes the socket took. It takes all if the other side reads no more, because the end of a link comes by its reader,
        after the frames that the other side sent before."""
        try:
            taken = self._socket.send(data) if self._socket is not None else len(data)
        except (BlockingIOError, InterruptedError):
            taken = 0
        except OSError:
            taken = len(data)
            self._deaf = True
        self.sent += taken
        return taken

    def _write(self) -> None:
        """Write frames of earlier turns."""
        frames = self._frames
        while frames:
            data = self._next_write()
            taken = self._send(data)
            self._take(taken)
            if taken < len(data):
                self._watch()
                return
        if self._writing and self._socket is not None:
            self._writing = False
            self._behind_from = None
            self._loop.remove_writer(self._socket.fileno())

    def _write_more(self) -> None:
        self._write()
        if self._drained is not None:
            self._drained()

    def _next_write(self) -> bytes | memoryview:
        frames = self._frames
        size = count = 0
        for each in frames:
            size += len(each)
            count += 1
            if size >= WRITE_BYTES:
                break
        return frames[0] if count == 1 else b"".join(islice(frames, count))

    def _take(self, taken: int) -> None:
        """Forget the bytes that have left."""
        frames = self._frames
        whole = 0
        for each in frames:
            if len(each) > taken:
                break
            taken -= len(each)
            whole += 1
        del frames[:whole]
        if whole:
            self._torn = False
        if taken:
            frames[0] = memoryview(frames[0])[taken:]
            self._torn = True

    def _watch(self) -> None:
        if not self._writing and self._socket is not None:
            self._writing = True
            self._behind_from = self._loop.time(), self.queued
            self._loop.add_writer(self._socket.fileno(), self._write_more)

    # -- reading

    def hold(self) -> None:
        """Read nothing until `go_on`. The end of the other side is not seen meanwhile."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())

    def go_on(self) -> None:
        """Read again after `hold`."""
        if self._socket is not None:
            self._loop.add_reader(self._socket.fileno(), self._read)

    def read_rest(self) -> None:
        """Handle the frames that have come by now, up to MAX_BACKLOG_BYTES, because the owner closes this end next."""
        left = MAX_BACKLOG_BYTES
        while self._socket is not None and left > 0 and (taken := self._read()):
            left -= taken

    def _read(self) -> int:
        """Read once. How many bytes came; 0 if none are there, or at the end."""
        assert self._socket is not None
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return 0
        except ConnectionResetError:  # it has ended, and had not read all; its own frames were read before this comes
            data = b""
        except OSError as error:
            self._end(str(error), None)
            return 0
        if not data:
            self._end(CLOSED_BY_OTHER_SIDE, None)
            return 0
        taken = len(data)
        if self._parts:
            self._parts.append(data)
            self._parts_bytes += len(data)
            if self._parts_bytes < self._parts_needed:
                return taken
            data = b"".join(self._parts)
            self._parts = []
        try:
            self._take_frames(data)
        except Exception as error:
            self._end(f"a frame could not be handled: {type(error).__name__}: {error}", error)
        return taken

    def _take_frames(self, data: bytes) -> None:
        received, unpack, header, end = self._received, HEADER.unpack_from, HEADER.size, len(data)
        at, needed = 0, header
        while (start := at + header) <= end:
            length, kind, request = unpack(data, at)
            stop = start + length
            if stop > end:
                if length > MAX_BODY:
                    self._end(f"a frame has {length} bytes", None)
                    return
                needed = header + length
                break
            received(kind, request, data[start:stop])
            if self._socket is None:
                return
            at = stop
        if at < end:
            self._parts = [data[at:]]
            self._parts_bytes, self._parts_needed = end - at, needed

    # -- the end

    def _end(self, reason: str, error: BaseException | None) -> None:
        if self._socket is not None:
            self._release()
            self._ended(reason, error)

    def _release(self) -> None:
        end, self._socket = self._socket, None
        if end is not None:
            self._loop.remove_reader(end.fileno())
            if self._writing:
                self._loop.remove_writer(end.fileno())
            end.close()
        self._deaf = True
        self._fresh.clear()
        self._frames.clear()
        self._parts.clear()
