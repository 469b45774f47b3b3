"""Messages to many connections in one tight pass, without a call for each."""

from __future__ import annotations

from collections.abc import Sequence

from .deflate.negotiation import DeflateParameters
from .prepared import Prepared
from .writer import Writer


def send_to_all(writers: Sequence[Writer], messages: Sequence[Prepared]) -> None:
    """Send each of the writers all of the messages, in order, in one write. A connection that is closing is passed over.

    Nothing is raised: a connection on which something goes wrong is broken off, and the others do not notice. All are written to before
    this returns; a caller with very many cuts them into slices, so that others have their turn in between.
    """
    plain = messages[0].plain if len(messages) == 1 else b"".join([message.plain for message in messages])
    size, count = len(plain), len(messages)
    compressed = _Compressed(messages)
    for writer in writers:
        try:
            if not writer.live:
                continue
            writer.messages_out += count
            if writer.deflate is not None:
                compressed.send(writer)
            elif writer.out is None and not writer.queued and writer.descriptor >= 0:
                send = writer.send_direct
                sent = send(writer.descriptor, plain)
                if sent == size:
                    writer.bytes_out += size
                else:
                    writer.write_rest(plain, sent)
            elif writer.queued and writer.policy.settings.slow_client.drops:
                for message in messages:
                    writer.put_aside(message.plain, message.key)
            else:
                writer.write(plain)
        except Exception as error:
            writer.wire.broken(error)


class _Compressed:
    """The messages for those who agreed to compress: made once for all who agreed alike."""

    __slots__ = ("_data", "_largest", "_messages", "_parameters", "_seen")

    def __init__(self, messages: Sequence[Prepared]) -> None:
        self._messages = messages
        self._largest = max(message.size for message in messages)
        self._parameters: DeflateParameters | None = None
        self._data = b""
        self._seen: dict[DeflateParameters, bytes] = {}

    def send(self, writer: Writer) -> None:
        deflate = writer.deflate
        assert deflate is not None
        parameters = deflate.parameters
        if parameters is not self._parameters:  # as a rule all have the same ones
            self._parameters, self._data = parameters, self._joined(parameters)
        if self._largest >= parameters.threshold:
            deflate.forget_what_was_sent()
        if writer.queued and writer.policy.settings.slow_client.drops:
            for message in self._messages:
                writer.put_aside(_frame_of(message, parameters), message.key)
        else:
            writer.write_now(self._data)

    def _joined(self, parameters: DeflateParameters) -> bytes:
        data = self._seen.get(parameters)
        if data is None:
            data = self._seen[parameters] = b"".join([_frame_of(message, parameters) for message in self._messages])
        return data


def _frame_of(message: Prepared, parameters: DeflateParameters) -> bytes:
    return message.plain if message.size < parameters.threshold else message.compressed(parameters)
