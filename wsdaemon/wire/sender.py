"""From a message to frames on their way: compressed where that was agreed, put aside where the client is slow."""

from __future__ import annotations

from collections.abc import Awaitable

from ..core.closing import ABNORMAL, ConnectionClosed
from .output import COPY
from .prepared import Prepared
from .resting import Resting
from .timers import Timed


class Sender(Timed):
    """The messages that a connection is sent."""

    __slots__ = ()

    resting: Resting
    """Of the mount."""

    def send_payload(self, payload: bytes, text: bool) -> Awaitable[None] | None:
        """One message in one frame, compressed when that was agreed and the message is not small.

        What is returned is something to wait for when the client is slow, else None.

        ConnectionClosed when nothing can be sent any more.
        """
        if not self.live:
            raise self.gone()
        size = len(payload)
        deflate = self._perMessageCompress
        if deflate is None or size < deflate.threshold:
            compressed = False
        else:
            compressed, payload = True, deflate.deflate(payload)
            if not deflate.watched:
                self.resting.watch(deflate)
            size = len(payload)
        self.messages_out += 1
        opcode = 1 if text else 2
        if self.queued and self.drops_messages:
            self.put_aside(self.frame(opcode, payload, compressed))
            return None
        if size > COPY:
            self.write(self.header(opcode, size, compressed))
            self.write(payload)
        elif self.out is None and self.corked:  # as write() does, for the most frequent case: the first reply in a read
            data = self.frame(opcode, payload, compressed)
            self.out = [data]
            self.out_size = len(data)
        else:
            self.write(self.frame(opcode, payload, compressed))
        return self.wire_connection.writable() if self.queued else None  # type: ignore[union-attr]

    def prepare(self, payload: bytes, text: bool, key: object = None) -> Prepared:
        """A message that can be sent to any number of connections with send_prepared(); for `key` see Prepared."""
        return Prepared(payload, text, self.frame, key)

    def send_prepared(self, prepared: Prepared) -> None:
        """Send a message that goes to many. Nothing happens once the connection closes."""
        if not self.live:
            return
        deflate = self._perMessageCompress
        if deflate is None or prepared.size < deflate.threshold:
            data = prepared.plain
        else:
            data = prepared.compressed(deflate.parameters)
            deflate.forget_what_was_sent()
        self.messages_out += 1
        if self.queued and self.drops_messages:
            self.put_aside(data, prepared.key)
        else:
            self.write_now(data)

    def gone(self) -> ConnectionClosed:
        """The exception for whoever wants to send when the connection is over."""
        return ConnectionClosed(ABNORMAL) if self.wire_connection is None else self.wire_connection.gone()
