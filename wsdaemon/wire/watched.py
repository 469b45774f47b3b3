"""The frames of a connection as they pass between its wire and its transport, for watchers.

A connection that is not watched pays nothing. `watch()` puts a WatchedTransport between an open connection and its transport, and
takes it away with the last watcher; `--dev` has one from the beginning. It writes by way of the transport, never straight to the socket.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from autobahn.websocket.protocol import WebSocketProtocol

from ..core.connection import Connection
from ..core.seen_frame import FrameWatcher, SeenFrame
from .deflate.streams import Deflate
from .deflate.view import InflatedView
from .frame_scan import FrameScan
from .writer import Native

if TYPE_CHECKING:
    from .wire import Wire

IN_FRAME = WebSocketProtocol.SEND_STATE_INSIDE_MESSAGE_FRAME


class WatchedTransport:
    """A transport whose bytes are scanned in both directions. Everything else is the transport's own."""

    def __init__(self, native: Native, watcher: FrameWatcher, descriptor: int = -1, inside: tuple[int, int] | None = None) -> None:
        """`descriptor` is the wire's, which it has back in the end. `inside`: the rest of a frame that each direction begins with.

        Without `inside` the connection is not open yet, so that the answer to its opening handshake comes first.
        """
        self._native = native
        self._descriptor = descriptor
        self._watchers = [watcher]
        coming, leaving = inside or (0, 0)
        self.incoming = FrameScan(partial(self._seen, True), watcher.keep, inside=coming)
        self._outgoing = FrameScan(partial(self._seen, False), watcher.keep, after_head=inside is None, inside=leaving)
        self._protocol: WatchedProtocol | None = None
        self._closing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    # -- its watchers

    def add(self, watcher: FrameWatcher, wire: Wire) -> None:
        """One more watcher, which sees the frames that end from now on."""
        self._watchers.append(watcher)
        self.set_keep(wire)

    def remove(self, watcher: FrameWatcher, wire: Wire) -> None:
        """A watcher has seen enough. After the last one the wire has its transport back."""
        if watcher not in self._watchers:
            return
        self._watchers.remove(watcher)
        self.set_keep(wire)
        if self._watchers or wire.writer.native is not self:
            return
        if self._protocol is not None:
            self._native.set_protocol(self._protocol.inner)
        wire.writer.native = self._native
        if wire.writer.live and not self._closing:
            wire.writer.descriptor = self._descriptor

    def over(self, reason: str) -> None:
        """The connection has ended here."""
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.over(reason)

    def leave(self, wire: Wire, reason: str) -> None:
        """End the watching of a connection that is going on without it."""
        for watcher in list(self._watchers):
            self.remove(watcher, wire)
            watcher.over(reason)

    def set_keep(self, wire: Wire) -> None:
        """Keep and inflate the beginnings of payloads if a watcher wants them."""
        keep = self.incoming.keep = self._outgoing.keep = max([each.keep for each in self._watchers], default=0)
        deflate = wire.writer.deflate
        if not keep or deflate is None:
            self.incoming.view = self._outgoing.view = None
        elif self.incoming.view is None:
            agreed = deflate.parameters
            self.incoming.view = InflatedView(
                agreed.client_window_bits, not agreed.client_no_context_takeover, partial(_window_between_reads, wire)
            )  # fmt: skip
            self._outgoing.view = InflatedView(
                agreed.server_window_bits, not agreed.server_no_context_takeover, partial(_begun_anew, deflate)
            )  # fmt: skip
            self._outgoing.view.begin(True)

    def go_on_with(self, deflate: Deflate) -> None:
        """The messages that are under way in pieces are compressed if `deflate` has a part of them."""
        self.incoming.compressed, self._outgoing.compressed = deflate.inflating, deflate.deflating

    def _seen(self, incoming: bool, frame: SeenFrame) -> None:
        for watcher in list(self._watchers):
            watcher.seen(incoming, frame)

    # -- the transport

    def write(self, data: bytes) -> None:
        self._outgoing.feed(bytes(data))
        self._native.write(data)

    def writelines(self, list_of_data: list[bytes]) -> None:
        for data in list_of_data:
            self._outgoing.feed(bytes(data))
        self._native.writelines(list_of_data)

    def close(self) -> None:
        self._closing = True
        self._native.close()

    def set_protocol(self, protocol: Any) -> None:
        if self._protocol is None:
            self._protocol = WatchedProtocol(protocol, self)
            self._native.set_protocol(self._protocol)
        self._protocol.inner = protocol

    def get_protocol(self) -> object:
        return self._native.get_protocol() if self._protocol is None else self._protocol.inner


class WatchedProtocol(asyncio.Protocol):
    """Scans the bytes that come, and gives them to `inner`, which may be a BufferedProtocol and may change with each call."""

    def __init__(self, inner: Any, transport: WatchedTransport) -> None:
        self.inner = inner
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.incoming.feed(bytes(data))
        rest = memoryview(data)
        while rest:
            if not isinstance(self.inner, asyncio.BufferedProtocol):
                self.inner.data_received(bytes(rest))
                return
            room: Any = self.inner.get_buffer(len(rest))
            size = min(len(room), len(rest))
            room[:size] = rest[:size]
            del room
            rest = rest[size:]
            self.inner.buffer_updated(size)

    def eof_received(self) -> bool | None:
        answer: bool | None = self.inner.eof_received()
        return answer

    def connection_lost(self, exc: Exception | None) -> None:
        self.inner.connection_lost(exc)
        self._transport.over("the connection has ended")

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()


def watch(connection: Connection, watcher: FrameWatcher) -> bool:
    """Let `watcher` see the frames of an open connection from now on; False if it is not open, or reads or writes right now.

    A frame that has begun to pass is not shown.
    """
    wire: Wire = connection._wire  # type: ignore[assignment]
    native = wire.writer.native
    if native is None or not wire.opened or wire.writer.corked:
        return False
    if isinstance(native, WatchedTransport):
        native.add(watcher, wire)
        return True
    wire.writer.flush()
    coming, unread = _position(wire)
    transport = WatchedTransport(native, watcher, wire.writer.descriptor, (coming, _rest_of_ours(wire)))
    protocol = native.get_protocol()
    wire.writer.native, wire.writer.descriptor = transport, -1
    transport.set_protocol(protocol)
    transport.set_keep(wire)
    if wire.writer.deflate is not None:
        transport.go_on_with(wire.writer.deflate)
    if transport.incoming.view is not None and not coming:
        transport.incoming.view.window = _window(wire)
    transport.incoming.feed(unread)
    return True


def unwatch(connection: Connection, watcher: FrameWatcher) -> None:
    """Let `watcher` see no more frames. It is told nothing."""
    wire: Wire = connection._wire  # type: ignore[assignment]
    if isinstance(wire.writer.native, WatchedTransport):
        wire.writer.native.remove(watcher, wire)


def end_watching(wire: Wire, reason: str) -> None:
    """All watchers of a connection see no more of it, and are told why."""
    if isinstance(wire.writer.native, WatchedTransport):
        wire.writer.native.leave(wire, reason)


def _position(wire: Wire) -> tuple[int, bytes]:
    """The client's bytes that belong to the frame which has begun, and the bytes after them that were read and not parsed yet."""
    reader, protocol = wire.reader, wire.protocol
    held: bytes = b"" if reader.fallback is None else protocol.data or b""
    if reader.partial is not None:
        return reader.partial.missing, held + reader.unread
    frame = None if reader.fallback is None else protocol.current_frame
    return 0 if frame is None else frame.length - protocol.current_frame_masker.pointer(), held + reader.unread


def _rest_of_ours(wire: Wire) -> int:
    """The bytes that a mounted class still has to send of a frame that it sends in pieces."""
    protocol = wire.protocol
    if protocol.send_state != IN_FRAME:
        return 0
    return int(protocol.send_message_frame_length - protocol.send_message_frame_masker.pointer())


def _window(wire: Wire) -> bytes | None:
    """The window of the client's messages that are not parsed yet; None if one is under way."""
    deflate = wire.writer.deflate
    return None if deflate is None or deflate.inflating or wire.reader.held else deflate.window


def _window_between_reads(wire: Wire) -> bytes | None:
    """The window of the client's next message; None if the connection has not parsed all that came."""
    return _window(wire) if _position(wire) == (0, b"") else None


def _begun_anew(deflate: Deflate) -> bytes:
    """Our next message refers to none before, so that it can be inflated without them."""
    deflate.forget_what_was_sent()
    return b""
