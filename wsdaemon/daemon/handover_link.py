"""The link between a worker of the old generation and one of the new: open connections go over it, with their sockets' descriptors.

It is a socketpair of SOCK_STREAM. A frame has 4 bytes with the length of its body, 1 with its kind, 8 with the number of the connection
that it is about, and the body. Numbers are in network order.

    kind       from   body
    HELLO      both   2 bytes: version of this protocol. The first frame; with another version the link ends
    GIVE       old    the connection, as wire.handed has it; its socket's descriptor comes along
    TAKEN      new    the connection belongs to the new worker from here on
    SETTLED    new    its session goes on: the old worker may let go of the app's part
    REFUSED    new    ASCII: the reason. The old worker takes the connection back
    ALL        old    no more connections follow

A connection belongs to exactly one worker at each moment. The new worker does not touch the socket before TAKEN has left. If the link ends,
the old worker has all connections of which it has read no TAKEN. It closes the link for reading first, so that no TAKEN leaves afterwards.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ..wire.handed import MAX_HANDED_BYTES

VERSION: Final = 1

HELLO, GIVE, TAKEN, SETTLED, REFUSED, ALL = range(6)

HEAD: Final = struct.Struct("!IBQ")
READ_BYTES: Final = 256 * 1024
MAX_READS: Final = 8
"""Reads in one turn of the loop."""
MAX_DESCRIPTORS: Final = 64
"""That one read may bring."""

Received = Callable[[int, int, bytes, int], None]
"""Called with the kind, the number, the body, and for GIVE the descriptor, which is then the receiver's; -1 if none came."""


class HandoverLink:
    """One end of the link, on a loop. `ended` is called once: either end has closed, or the other one breaks the rules."""

    def __init__(
        self, sock: socket.socket, loop: asyncio.AbstractEventLoop, received: Received, ended: Callable[[], None]
    ) -> None:  # fmt: skip
        sock.setblocking(False)
        self._sock = sock
        self._loop = loop
        self._received = received
        self._ended = ended
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._data = bytearray()
        self._descriptors: deque[int] = deque()
        self.frames = 0
        """Frames that were to be sent."""
        self.frames_left = 0
        """Those of them that have left, in their order; also after the end."""
        loop.add_reader(sock.fileno(), self._readable)

    @property
    def open(self) -> bool:
        return self._sock.fileno() >= 0

    def send(self, kind: int, number: int = 0, body: bytes = b"", descriptor: int = -1) -> None:
        """Send a frame. The caller keeps its descriptor open until the other end has answered."""
        self.frames += 1
        if self.open:
            self._waiting.append((HEAD.pack(len(body), kind, number) + body, descriptor))
            self._write()

    def close(self) -> None:
        """End the link. Frames that have arrived are received first, and none can leave the other end any more."""
        if self.open:
            with suppress(OSError):  # the other end is closed
                self._sock.shutdown(socket.SHUT_RD)
            while self.open and self._read():
                pass
            self._end()

    # -- writing

    def _write(self) -> None:
        while self._waiting:
            data, descriptor = self._waiting[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))] if descriptor >= 0 else []
            try:
                sent = self._sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._sock.fileno(), self._write)
                return
            except OSError:
                self._end()
                return
            if sent < len(data):
                self._waiting[0] = (data[sent:], -1)
            else:
                self._waiting.popleft()
                self.frames_left += 1
        self._loop.remove_writer(self._sock.fileno())

    # -- reading

    def _readable(self) -> None:
        for _ in range(MAX_READS):
            if not self.open or not self._read():
                return

    def _read(self) -> bool:
        """Read once; False if there is nothing now."""
        try:
            data, descriptors, flags, _ = socket.recv_fds(self._sock, READ_BYTES, MAX_DESCRIPTORS)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data, descriptors, flags = b"", [], 0
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        self._descriptors += descriptors
        if not data or flags & socket.MSG_CTRUNC:  # a lost descriptor would leave each later one with another connection
            self._end()
            return False
        self._data += data
        self._take_frames()
        return True

    def _take_frames(self) -> None:
        while len(self._data) >= HEAD.size and self.open:
            length, kind, number = HEAD.unpack_from(self._data)
            if length > MAX_HANDED_BYTES:
                self._end()
                return
            if len(self._data) < HEAD.size + length:
                return
            body = bytes(self._data[HEAD.size : HEAD.size + length])
            del self._data[: HEAD.size + length]
            self._received(kind, number, body, self._descriptors.popleft() if kind == GIVE and self._descriptors else -1)

    def _end(self) -> None:
        if self.open:
            self._close()
            self._ended()

    def _close(self) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        self._waiting.clear()
