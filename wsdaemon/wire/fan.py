"""Messages to many connections in one tight pass, without a call for each."""

from __future__ import annotations

from collections.abc import Sequence

from .agreement import DeflateParameters
from .frames import RSV1
from .prepared import Prepared
from .protocol import Wire


def send_to_all(wires: Sequence[Wire], messages: Sequence[Prepared]) -> None:
    """Send each of the wires all of the messages, in order, in one write. Whoever is closing is passed over.

    Nothing is raised: a wire on which something goes wrong is broken off, and the others do not notice. All are written to before this
    returns; a caller with very many cuts them into slices, so that others have their turn in between.
    """
    plain = messages[0].plain if len(messages) == 1 else b"".join([message.plain for message in messages])
    size, count = len(plain), len(messages)
    compressed = _Compressed(messages)
    made, send_direct = Wire, Wire.send_direct  # one for each class: as an attribute it is looked up in a dozen base classes
    for wire in wires:
        try:
            if not wire.live:
                continue
            if wire.__class__ is not made:
                made, send_direct = wire.__class__, wire.send_direct
            wire.messages_out += count
            if wire.wire_flags & RSV1:
                compressed.send(wire)
            elif wire.out is None and not wire.queued and wire.descriptor >= 0:
                sent = send_direct(wire.descriptor, plain)
                if sent == size:
                    wire.bytes_out += size
                else:
                    wire.write_rest(plain, sent)
            elif wire.queued and wire.drops_messages:
                for message in messages:
                    wire.put_aside(message.plain, message.key)
            else:
                wire.write(plain)
        except Exception as error:
            wire.broken(error)


class _Compressed:
    """The messages for those who agreed to compress: made once for all who agreed alike."""

    __slots__ = ("_data", "_largest", "_messages", "_parameters", "_seen")

    def __init__(self, messages: Sequence[Prepared]) -> None:
        self._messages = messages
        self._largest = max(message.size for message in messages)
        self._parameters: DeflateParameters | None = None
        self._data = b""
        self._seen: dict[DeflateParameters, bytes] = {}

    def send(self, wire: Wire) -> None:
        deflate = wire._perMessageCompress
        assert deflate is not None
        parameters = deflate.parameters
        if parameters is not self._parameters:  # as a rule all have the same ones
            self._parameters, self._data = parameters, self._joined(parameters)
        if self._largest >= parameters.threshold:
            deflate.forget_what_was_sent()
        if wire.queued and wire.drops_messages:
            for message in self._messages:
                wire.put_aside(_frame_of(message, parameters), message.key)
        else:
            wire.write_now(self._data)

    def _joined(self, parameters: DeflateParameters) -> bytes:
        data = self._seen.get(parameters)
        if data is None:
            data = self._seen[parameters] = b"".join([_frame_of(message, parameters) for message in self._messages])
        return data


def _frame_of(message: Prepared, parameters: DeflateParameters) -> bytes:
    return message.plain if message.size < parameters.threshold else message.compressed(parameters)
