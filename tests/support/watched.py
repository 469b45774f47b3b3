"""Frames as bytes, and the two ends of a transport that is watched."""

from __future__ import annotations

import asyncio
from typing import Any

from wsdaemon.core.seen_frame import SeenFrame

MASK = b"\x01\x02\x03\x04"


def frame(opcode: int, payload: bytes, *, masked: bool = False, first: int = 0x80) -> bytes:
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2) if size < 65536 else b"\x7f" + size.to_bytes(8)
    if not masked:
        return bytes([first | opcode]) + length + payload
    return bytes([first | opcode, length[0] | 0x80]) + length[1:] + MASK + bytes(b ^ MASK[i % 4] for i, b in enumerate(payload))


class Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.protocol: Any = None
        self.paused = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writelines(self, data: list[bytes]) -> None:
        self.written += data

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        self.paused = True


class Reader:
    def __init__(self) -> None:
        self.calls: list[object] = []

    def data_received(self, data: bytes) -> None:
        self.calls.append(data)

    def eof_received(self) -> None:
        self.calls.append("eof")

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost")


class Body(asyncio.BufferedProtocol):
    """Takes three bytes in buffers of two, and then gives the connection back to its reader."""

    def __init__(self, transport: Any, reader: Reader) -> None:
        self.transport, self.reader, self.taken = transport, reader, 0
        self.buffer = bytearray(2)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self.taken += nbytes
        if self.taken >= 3:
            self.transport.set_protocol(self.reader)


class Viewer:
    """A watcher that writes down what it sees."""

    def __init__(self, keep: int = 0) -> None:
        self.keep = keep
        self.frames: list[tuple[bool, SeenFrame]] = []
        self.reasons: list[str] = []

    def seen(self, incoming: bool, frame: SeenFrame) -> None:
        self.frames.append((incoming, frame))

    def over(self, reason: str) -> None:
        self.reasons.append(reason)

    def sizes(self, incoming: bool) -> list[tuple[int, int]]:
        """Opcode and size of each frame in one direction."""
        return [(frame.opcode, frame.size) for coming, frame in self.frames if coming == incoming]
