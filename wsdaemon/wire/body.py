"""A large payload on its way straight into its message."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .input import Input

BODY = 64 * 1024
"""Missing bytes from which a frame's payload is received straight into the message."""

TAIL = 4096
"""Bytes at a payload's end that are received the usual way again."""


class Body(asyncio.BufferedProtocol):
    """Stands in for the wire while a large payload comes, so that the transport receives it straight into the message."""

    __slots__ = ("_wire",)

    def __init__(self, wire: Input) -> None:
        self._wire = wire

    def get_buffer(self, sizehint: int) -> memoryview:
        # All but the end, which comes the usual way: the loop still holds this buffer when buffer_updated() is called, and the message
        # cannot be made without a copy before it has let go.
        assert self._wire.partial is not None
        return self._wire.partial.room(TAIL)

    def buffer_updated(self, nbytes: int) -> None:
        self._wire.bytes_in += nbytes
        self._wire.wire_together(partial(self._grew, nbytes))

    def _grew(self, nbytes: int) -> None:
        wire, body = self._wire, self._wire.partial
        assert body is not None
        body.received(nbytes)
        if body.missing <= TAIL or not body.valid:
            if wire.native is not None:
                wire.native.set_protocol(wire)
            wire.body_grew(body)

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire.connection_lost(exc)  # type: ignore[attr-defined]

    def pause_writing(self) -> None:
        self._wire.pause_writing()

    def resume_writing(self) -> None:
        self._wire.resume_writing()
