"""The channel between the supervisor and one of its children: short messages, with descriptors if need be.

It is a socketpair of SOCK_SEQPACKET, so a message arrives whole, with the descriptors that were sent with it, or not at all. A message is
a JSON object; `kind` says which:

    child to supervisor                     supervisor to child
    ready                                   serve                 a worker: accept clients from now on
    failed   reason                         stop                  drain and end
    stopping                                drop                  do not wait for clients any more
                                            drain   over          a worker: close the present connections evenly, and accept on
                                            resume                a worker: the drain is over
                                            leave                 a worker: be not ready any more, because a stop follows
    reloaded number, problems               reload   number       a worker: read certificates and secrets again, see reload_all
    given    went, stayed                   take                  a worker: one descriptor, the link to a worker of the former
                                                                  generation, which hands over its connections
    prepared, refused, committed            prepare, commit, undo  a worker: new settings, see reload_all
                                            levels   level, levels   the hub: the levels of the log
                                            log                   one descriptor, the log file that the supervisor has opened anew
                                            retire                a worker: a newer generation serves; complete handshakes, hand
                                                                  over connections if a descriptor comes along, drain, end
                                            hub                   a worker: one descriptor, the end of its socketpair to a new hub
                                            worker  number, generation   the hub: one descriptor, the end of a worker's socketpair
    succession  owner, reason               successor             the hub: one descriptor, the socketpair to the hub that succeeds it
                                            switch                the hub: give the order to the successor now
                                            keep                  the hub: take the succession back

`succession` comes from both hubs at its end: whether the order is the sender's now, and if it has failed, the reason. `given` comes from a
worker that retires: how many connections went along, and how many stay and are drained.

The end of the channel is the end of the other process. A kind that the receiver does not know is ignored, because the other side may be of
a newer version.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

MAX_MESSAGE_BYTES: Final = 64 * 1024
"""A longer reason of a failed start is cut."""

MAX_DESCRIPTORS: Final = 8
"""Of one message."""

MAX_WAITING_MESSAGES: Final = 64
"""Messages for a child that does not read. One more ends the channel, because that child hangs."""

Message = dict[str, Any]


class Channel:
    """One end of a channel, on a loop. `received` gets each message with its descriptors, which are the receiver's to close."""

    def __init__(
        self, sock: socket.socket, loop: asyncio.AbstractEventLoop, received: Callable[[Message, Sequence[int]], None],
        ended: Callable[[], None],
    ) -> None:  # fmt: skip
        """`ended` is called once, when the other process has ended or closed its end; not after close()."""
        sock.setblocking(False)
        self._sock = sock
        self._loop = loop
        self._received = received
        self._ended = ended
        self._waiting: deque[tuple[bytes, tuple[int, ...]]] = deque()
        loop.add_reader(sock.fileno(), self._readable)

    @staticmethod
    def pair() -> tuple[socket.socket, socket.socket]:
        """The supervisor's end and the child's."""
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    @property
    def descriptor(self) -> int:
        return self._sock.fileno()

    @property
    def waiting(self) -> int:
        """Messages that wait for the other side to read."""
        return len(self._waiting)

    @property
    def open(self) -> bool:
        return self._sock.fileno() >= 0

    def send(self, kind: str, descriptors: Sequence[int] = (), **fields: object) -> None:
        """Send a message. `descriptors` are duplicated, so that the caller may close its own at once. Does nothing after the end."""
        if not self.open:
            return
        message = json.dumps({"kind": kind, **fields}).encode()
        if len(message) > MAX_MESSAGE_BYTES:
            raise ValueError(f"{kind}: a message of {len(message)} bytes; {MAX_MESSAGE_BYTES} are allowed")
        if self._waiting or not self._send_now(message, descriptors):
            if len(self._waiting) >= MAX_WAITING_MESSAGES:
                self._end()
                return
            self._waiting.append((message, tuple(os.dup(descriptor) for descriptor in descriptors)))
            if len(self._waiting) == 1:
                self._loop.add_writer(self._sock.fileno(), self._writable)

    def close(self) -> None:
        """End the channel: the other side is told so by the kernel."""
        if not self.open:
            return
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        while self._waiting:
            close_all(self._waiting.popleft()[1])

    def finish(self) -> None:
        """The other process has ended: read its last messages, and end."""
        self._readable()
        if self.open:  # a process that it started has the descriptor, too
            self._end()

    def _send_now(self, message: bytes, descriptors: Sequence[int]) -> bool:
        """False if the other side must read first."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self._sock.sendmsg([message], ancillary, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError:  # the other side has ended: the reader sees it too, and what it sent before comes first
            return True
        return True

    def _writable(self) -> None:
        while self._waiting:
            message, descriptors = self._waiting[0]
            if not self._send_now(message, descriptors):
                return
            self._waiting.popleft()
            close_all(descriptors)
        self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        while self.open:
            try:
                content, descriptors, _, _ = socket.recv_fds(self._sock, MAX_MESSAGE_BYTES, MAX_DESCRIPTORS)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                content, descriptors = b"", []
            if not content:
                self._end()
                return
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
            self._received(json.loads(content), descriptors)

    def _end(self) -> None:
        self.close()
        self._ended()


def close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
