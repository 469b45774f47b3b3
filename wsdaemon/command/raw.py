"""WebSocket by hand, for `doctor`: requests that no client would send, and frames as they come, on a blocking socket."""

from __future__ import annotations

import re
import socket
import ssl
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ..client.opening import new_key
from ..client.target import Target
from .exits import CommandFailed, Exit

MAX_HEAD_BYTES = 64 * 1024

MAX_FRAME_BYTES = 1 << 20
"""The largest frame of the server that is read; a longer one ends the connection."""

TIMEOUT_SECONDS = 30.0

PING, PONG, CLOSE = 9, 10, 8


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """The head of an answer. `headers` have names in lower case; of those that are repeated, the last. Status 0: no answer."""

    status: int
    headers: dict[str, str]


class RawConnection:
    """One connection to a target. A `with` block closes it."""

    def __init__(self, target: Target, context: ssl.SSLContext | None = None) -> None:
        """`context` is for a secure target; None: any certificate will do. CommandFailed if there is no connection."""
        self._data = b""
        try:
            plain = socket.create_connection((target.host, target.port), TIMEOUT_SECONDS)
            self._socket = plain
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            if target.secure:
                try:
                    self._socket = (context or any_certificate()).wrap_socket(plain, server_hostname=target.host)
                except BaseException:
                    plain.close()
                    raise
        except OSError as error:
            raise CommandFailed(f"{target.authority}: {error.strerror or error}", Exit.UNREACHABLE) from error
        self.target = target

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._socket.close()

    def request(self, headers: Iterable[tuple[str, str]] = (), *, body: bytes = b"", connection: str = "Upgrade") -> RawAnswer:
        """Send an opening handshake with these headers besides its own; the answer's head."""
        lines = [
            ("Host", self.target.authority), ("Upgrade", "websocket"), ("Connection", connection), ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", new_key()), *headers,
        ]  # fmt: skip
        text = "".join(f"{name}: {value}\r\n" for name, value in lines)
        try:
            self._socket.sendall(f"GET {self.target.resource} HTTP/1.1\r\n{text}\r\n".encode("latin-1") + body)
            return self._answer()
        except OSError:
            return RawAnswer(0, {})

    def exchange(self, data: bytes) -> RawAnswer:
        """Send these bytes as they are; the head of the answer, whose body is read too, so that a further answer can follow."""
        try:
            self._socket.sendall(data)
            answer = self._answer()
            length = answer.headers.get("content-length", "")
            if "chunked" in answer.headers.get("transfer-encoding", "").lower():
                self._skip_to(b"0\r\n\r\n")
            elif length.isdigit():
                self._skip(int(length))
            return answer
        except OSError:
            return RawAnswer(0, {})

    def _skip(self, size: int) -> None:
        while size > len(self._data):
            size -= len(self._data)
            self._data = b""
            if not self._more():
                return
        self._data = self._data[size:]

    def _skip_to(self, end: bytes) -> None:
        while end not in self._data:
            self._data = self._data[-len(end) :]
            if not self._more():
                return
        self._data = self._data.partition(end)[2]

    def _answer(self) -> RawAnswer:
        while b"\r\n\r\n" not in self._data:
            if len(self._data) > MAX_HEAD_BYTES or not self._more():
                return RawAnswer(0, {})
        head, self._data = self._data.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        status = re.match(r"HTTP/1\.[01] (\d{3})", first)
        pairs = (line.partition(":") for line in lines)
        return RawAnswer(int(status[1]) if status else 0, {name.strip().lower(): value.strip() for name, _, value in pairs})

    def _more(self) -> bool:
        found = self._socket.recv(65536)
        self._data += found
        return bool(found)

    def send_frame(self, opcode: int, payload: bytes = b"", length: int | None = None) -> None:
        """A masked frame. With `length` its head promises that many bytes, and only `payload` is sent. OSError."""
        size = len(payload) if length is None else length
        head = bytes([0x80 | opcode])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 1 << 16:
            head += b"\xfe" + struct.pack(">H", size)
        else:
            head += b"\xff" + struct.pack(">Q", size)
        self._socket.sendall(head + bytes(4) + payload)  # the mask is zero: a frame is not a secret here

    def frame(self, seconds: float) -> tuple[int, bytes] | None:
        """The next frame's opcode and payload; None if the connection ends. TimeoutError after `seconds` of silence."""
        self._socket.settimeout(max(seconds, 0.001))
        try:
            while (found := self._parsed()) is None:
                if not self._more():
                    return None
        except TimeoutError:
            raise
        except OSError:
            return None
        return found

    def _parsed(self) -> tuple[int, bytes] | None:
        data = self._data
        if len(data) < 2:
            return None
        size, start = data[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(data) < start:
                return None
            size = int.from_bytes(data[2:start], "big")
        if size > MAX_FRAME_BYTES:
            raise ConnectionAbortedError("the server's frame is too long")
        if len(data) < start + size:
            return None
        self._data = data[start + size :]
        return data[0] & 0xF, data[start : start + size]


def any_certificate() -> ssl.SSLContext:
    """A context that takes any certificate: certificates have checks of their own."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
