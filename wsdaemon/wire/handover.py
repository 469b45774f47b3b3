"""The hand-over of a connection to another process, between two messages, without its client noticing.

`part()` takes an open connection out of this process: all that is known of it becomes bytes, and its socket a second descriptor, while the
first one is closed with its transport. Bytes that the client sends meanwhile wait in the kernel. `resumption.resume()` makes a connection
of both, in another process or, if that one does not take it, in this one again.

Our compressor begins anew there, because a sender does not have to refer to its window (RFC 7692 7.1.1). The client's window goes along.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ..core.contract import MAX_STATE_BYTES, HandingOverSession, ResumedSession, ResumingApp, SettlingSession, resume_session
from ..core.registry import Place
from ..core.seen_frame import MOVED
from .handed import MAX_HELD_MESSAGES, Agreed, HandedOver, HeldMessage, can_be_carried, encode
from .reader import APP, CLOSED, LEAVING, OPENING, Reader
from .resumption import read_on
from .waits import Wait
from .watched import end_watching
from .wire import OPEN, Wire

MAX_WAITING_BYTES: Final = 1024 * 1024
"""Bytes that were read and not yet received by the app. With more of them a connection waits until its app has caught up."""

MAX_UNSENT_BYTES: Final = 512 * 1024
"""Bytes that a session may send while it hands over."""

NO_MASK: Final = bytes(4)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A connection cannot go."""

    reason: str
    """One of the constants below."""
    passes: bool
    """Whether it may be able to go soon."""


TLS = Obstacle("tls", False)
AUTOBAHN = Obstacle("autobahn_class", False)
OTHER_APP = Obstacle("app", False)
KEPT = Obstacle("kept_by_app", False)
CLOSING = Obstacle("closing", False)
FAILED = Obstacle("app_failed", False)
CLAIMS = Obstacle("claims", False)
OPENS = Obstacle("opening", True)
BUSY = Obstacle("app_is_busy", True)
BACKLOG = Obstacle("backlog", True)
MIDST = Obstacle("message_under_way", True)
DESCRIPTORS = Obstacle("descriptors", True)


class Parting:
    """A connection that has left this process: its content, the descriptor of its socket, its place, and its former session."""

    __slots__ = ("content", "descriptor", "place", "session", "wire")

    def __init__(self, content: bytes, descriptor: int, wire: Wire, place: Place | None, session: Any) -> None:
        self.content = content
        self.descriptor = descriptor
        self.wire = wire
        self.place = place
        self.session = session


class _Kept:
    """In the place of the transport while the session says goodbye: its last messages become a part of the content."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def writelines(self, list_of_data: list[bytes]) -> None:
        self.pieces += list_of_data

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Nothing: no byte is read meanwhile."""

    resume_reading = close = pause_reading

    def abort(self) -> None:
        self.aborted = True


class _Gone(asyncio.Protocol):
    """The protocol of a transport whose connection has left."""


_GONE = _Gone()


def obstacle(wire: Wire) -> Obstacle | None:
    """Why the connection cannot go now."""
    reader, writer, connection = wire.reader, wire.writer, wire.connection
    if wire.policy.app is None:
        return AUTOBAHN
    if not wire.opened:
        return OPENS
    if not writer.live or wire.protocol.state != OPEN:
        return CLOSING
    if writer.descriptor < 0:
        return TLS
    if not isinstance(wire.session, HandingOverSession) or not isinstance(wire.policy.app, ResumingApp):
        return OTHER_APP
    if writer.corked or connection._work or connection._waiters or len(wire.policy.calls):
        return BUSY
    if reader.stops & ~(APP | LEAVING) or (reader.stops & APP and not isinstance(reader.waiting, Wait)):
        return BUSY
    if isinstance(wire.session, SettlingSession) and not wire.session.is_settled():
        return BUSY
    if writer.queued:
        return BACKLOG
    return None if _at_boundary(reader) else MIDST


def _at_boundary(reader: Reader) -> bool:
    """Whether all that was read of the client can be read again by another process."""
    fallback, protocol, partial_frame = reader.fallback, reader.wire.protocol, reader.partial
    waiting = len(reader.unread) + sum(len(payload) for payload in (reader.held or ())[1::2])
    if partial_frame is not None:
        waiting += len(partial_frame.replay()) if partial_frame.missing < MAX_WAITING_BYTES else MAX_WAITING_BYTES
    if fallback is not None:
        waiting += len(protocol.data or b"")
        if protocol.current_frame is not None:
            return False
        if protocol.inside_message:
            if protocol._isMessageCompressed:
                return False
            waiting += sum(map(len, protocol.message_data))
    return waiting < MAX_WAITING_BYTES and len(reader.held or ()) <= 2 * MAX_HELD_MESSAGES


def wait(wire: Wire, found: Obstacle) -> None:
    """Read nothing more of the client until it has left or `stay` is called, so that what is under way ends."""
    if found is BUSY and not wire.reader.stops & LEAVING:
        wire.reader.stop(LEAVING)


def stay(wire: Wire) -> None:
    """The connection does not leave: read on."""
    if wire.reader.stops & LEAVING:
        wire.reader.go_on(LEAVING)


def part(wire: Wire, warned: bool = False) -> Parting | Obstacle:
    """Take an open connection out of this process, or say why it cannot go; then nothing has changed.

    `warned`: its session was told that the client's token ends soon. The caller closes the descriptor, and has the place left or given on.
    """
    end_watching(wire, MOVED)
    found = obstacle(wire)
    if found is not None:
        return found
    writer = wire.writer
    writer.flush()
    if writer.queued:
        return BACKLOG
    if not writer.live:
        return CLOSING
    if not can_be_carried(wire.connection.handshake):
        return CLAIMS
    try:
        descriptor = os.dup(writer.descriptor)
    except OSError:
        return DESCRIPTORS
    state = _take_leave(wire)
    if isinstance(state, Obstacle):
        os.close(descriptor)
        return state
    try:
        content = encode(_content(wire, *state, warned))
    except Exception as error:  # more than a frame of the link holds: its session has ended already
        os.close(descriptor)
        wire.app_failed("handing over", error)
        return FAILED
    session = wire.session
    place, wire.place = wire.place, None
    _let_go(wire)
    return Parting(content, descriptor, wire, place, session)


def _take_leave(wire: Wire) -> tuple[bytes, bytes] | Obstacle:
    """The session's state, and the bytes that it sent meanwhile."""
    writer, native, descriptor, kept = wire.writer, wire.writer.native, wire.writer.descriptor, _Kept()
    writer.native, writer.descriptor = kept, -1  # type: ignore[assignment]
    error: Exception | None = None
    state: bytes | None = None
    try:
        state = wire.session.hand_over()
        if state is not None and (not isinstance(state, bytes) or len(state) > MAX_STATE_BYTES):
            raise ValueError(f"hand_over() returned {_shown(state)}; expected up to {MAX_STATE_BYTES} bytes, or None")
    except Exception as raised:
        error = raised
    writer.flush()
    unsent = b"".join(kept.pieces)
    assert native is not None
    writer.native = native
    if error is None and state is not None and writer.live and len(unsent) <= MAX_UNSENT_BYTES:
        return state, unsent
    if kept.aborted:
        native.abort()
        return CLOSING
    if writer.live:
        writer.descriptor = descriptor
    if unsent:
        native.write(unsent)
    if error is None and state is not None and writer.live:
        try:
            wire.session = resume_session(wire.policy.app, wire.connection, wire.connection.handshake, state)  # type: ignore[arg-type]
        except Exception as raised:
            wire.app_failed("resuming", raised)
            return FAILED
        wire.listen()
        _wait_until_resumed(wire)
        return BACKLOG
    if error is not None:
        wire.app_failed("handing over", error)
        return FAILED
    return KEPT if state is None else CLOSING


def _wait_until_resumed(wire: Wire) -> None:
    """Read on when the session that has come back goes on."""
    resumed = wire.session.resumed() if isinstance(wire.session, ResumedSession) else None
    if resumed is not None:
        wire.reader.stop(OPENING)
        task = asyncio.ensure_future(resumed)
        wire.policy.background.add(task, wire.connection, own=True)
        task.add_done_callback(partial(_resumed_here, wire))


def _resumed_here(wire: Wire, done: asyncio.Future[object]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        wire.app_failed("resuming", error)
    read_on(wire)


def _shown(state: object) -> str:
    return f"{len(state)} bytes" if isinstance(state, bytes) else type(state).__name__


def _content(wire: Wire, state: bytes, unsent: bytes, warned: bool) -> HandedOver:
    reader, writer, connection, policy = wire.reader, wire.writer, wire.connection, wire.policy
    counts, absence, deflate = wire.counts(), policy.wheel.absence, writer.deflate
    tokens = None
    if reader.meter is not None:
        reader.meter.spend(reader.messages_in, reader.bytes_in, absence.time(), absence.grace())
        tokens = reader.meter.tokens(absence.time(), absence.grace())
    agreed = None
    if deflate is not None:
        found = deflate.parameters
        agreed = Agreed(
            found.server_window_bits, found.client_window_bits, found.server_no_context_takeover, found.client_no_context_takeover
        )  # fmt: skip
    return HandedOver(
        id=connection.id,
        age=time.monotonic() - connection.opened_at,
        handshake=connection.handshake,
        traffic=counts._replace(bytes_out=counts.bytes_out - len(unsent)),
        app=policy.app_name,
        pings=None if wire.deadlines is None else wire.deadlines.left(),
        agreed=agreed,
        tokens=tokens,
        fragments=0 if reader.fallback is None else reader.fallback.fragments,
        warned=warned,
        window=b"" if deflate is None else deflate.window,
        state=state,
        unread=_unread(reader),
        unsent=unsent,
        held=_held(reader),
    )


def _held(reader: Reader) -> tuple[HeldMessage, ...]:
    held = reader.held or []
    return tuple([
        HeldMessage(opcode, payload.encode() if isinstance(payload, str) else bytes(payload))
        for opcode, payload in zip(held[::2], held[1::2], strict=True)
    ])  # fmt: skip


def _unread(reader: Reader) -> bytes:
    """The client's bytes that another reader reads again, in their order."""
    pieces = [] if reader.partial is None else [reader.partial.replay()]
    if reader.fallback is not None:
        protocol = reader.wire.protocol
        if protocol.inside_message:  # as one fragment, which is masked with zeros
            payload = b"".join(protocol.message_data)
            header = reader.policy.frames.header(2 if protocol.message_is_binary else 1, len(payload))
            pieces.append(bytes([header[0] & 0x0F, header[1] | 0x80]) + header[2:] + NO_MASK + payload)
        pieces.append(protocol.data or b"")
    return b"".join([*pieces, reader.unread])


def _let_go(wire: Wire) -> None:
    """Nothing of the connection is left here but its second descriptor."""
    reader, writer = wire.reader, wire.writer
    if wire.deadlines is not None:
        wire.deadlines.clear()
    if reader.waiting is not None:
        reader.waiting.remove_done_callback(reader._go_on_after)
        reader.waiting.cancel()
        reader.waiting = None
    wire.session, reader.received = None, None
    reader.fallback = None
    reader.lost()
    native: Any = writer.native
    writer.lost()
    wire.protocol.state = CLOSED
    if writer.deflate is not None:
        writer.deflate.release()
    if native is not None:
        native.pause_reading()  # an aborted transport of uvloop reads on until the loop's next turn
        native.set_protocol(_GONE)
        native.abort()
