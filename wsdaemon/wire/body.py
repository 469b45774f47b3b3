"""A large payload on its way straight into its message."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .frames import Partial
    from .whole import Whole
    from .writer import Writer

BODY_BYTES = 64 * 1024
"""A frame's payload is received straight into the message when so much of it is missing."""

TAIL_BYTES = 4096
"""The end of a payload that is received the usual way again."""


class Receiving(Protocol):
    """The reader that a body is for."""

    bytes_in: int

    @property
    def partial(self) -> Partial | None: ...

    @property
    def wire(self) -> Whole: ...

    @property
    def writer(self) -> Writer: ...

    def body_grew(self, partial: Partial) -> None: ...


class Body(asyncio.BufferedProtocol):
    """Stands in for the reader while a large payload comes, so that the transport receives it straight into the message."""

    __slots__ = ("_reader",)

    def __init__(self, reader: Receiving) -> None:
        self._reader = reader

    def get_buffer(self, sizehint: int) -> memoryview:
        # All but the end, which comes the usual way: the loop still holds this buffer when buffer_updated() is called, and the message
        # cannot be made without a copy before it has let go.
        assert self._reader.partial is not None
        return self._reader.partial.room(TAIL_BYTES)

    def buffer_updated(self, nbytes: int) -> None:
        self._reader.bytes_in += nbytes
        self._reader.wire.together(partial(self._grew, nbytes))

    def _grew(self, nbytes: int) -> None:
        reader, body = self._reader, self._reader.partial
        assert body is not None
        body.received(nbytes)
        if body.missing <= TAIL_BYTES or not body.valid:
            if reader.writer.native is not None:
                reader.writer.native.set_protocol(reader)
            reader.body_grew(body)

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._reader.wire.connection_lost(exc)

    def pause_writing(self) -> None:
        self._reader.wire.pause_writing()

    def resume_writing(self) -> None:
        self._reader.wire.resume_writing()
