"""Messages to many in one tight pass, which stops every few milliseconds so that nobody else is stalled."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .agreement import DeflateParameters
from .deflate import Deflate
from .prepared import Prepared
from .protocol import Wire

SLICE = 0.002
"""Seconds of writing after which other connections have their turn."""

LOOK = 16
"""Connections written between two looks at the clock."""


class Fan:
    """Some messages on their way to some connections, as they were when the messages were published.

    `step()` writes until its slice of time is over or all have got them. Messages that were published in one burst are joined, and each
    connection gets them in one write.
    """

    __slots__ = ("_compressed", "_messages", "_now", "_plain", "_position", "_size", "_wires")

    def __init__(self, wires: Sequence[Wire], messages: Sequence[Prepared], now: Callable[[], float] = time.perf_counter) -> None:
        self._wires = wires
        self._messages = messages
        self._now = now
        self._position = 0
        self._plain = messages[0].plain if len(messages) == 1 else b"".join([message.plain for message in messages])
        self._size = len(self._plain)
        self._compressed: dict[DeflateParameters, bytes] = {}

    def step(self) -> bool:
        """Write on; True when there is more to do."""
        end = self._now() + SLICE
        wires, last = self._wires, len(self._wires)
        while self._position < last:
            until = min(self._position + LOOK, last)
            self._write(wires[self._position : until])
            self._position = until
            if self._now() > end:
                break
        return self._position < last

    def _write(self, wires: Sequence[Wire]) -> None:
        plain, size, count = self._plain, self._size, len(self._messages)
        for wire in wires:
            if wire._perMessageCompress is not None:
                self._write_compressed(wire, wire._perMessageCompress)
            elif wire.live:
                wire.messages_out += count
                if wire.out is None and not wire.queued and wire.descriptor >= 0:
                    sent = wire.send_direct(wire.descriptor, plain)
                    if sent == size:
                        wire.bytes_out += size
                    else:
                        wire.write_rest(plain, sent)
                elif wire.queued and wire.drops_messages:
                    wire.put_aside(plain, self._messages[-1].key)
                else:
                    wire.write(plain)

    def _write_compressed(self, wire: Wire, deflate: Deflate) -> None:
        if not wire.live:
            return
        parameters = deflate.parameters
        data = self._compressed.get(parameters)
        if data is None:
            pieces = [m.plain if m.size < parameters.threshold else m.compressed(parameters) for m in self._messages]
            data = self._compressed[parameters] = b"".join(pieces)
        deflate.forget_what_was_sent()
        wire.messages_out += len(self._messages)
        if wire.queued and wire.drops_messages:
            wire.put_aside(data, self._messages[-1].key)
        else:
            wire.write_now(data)
