"""The other half of a hand-over: a connection of another process goes on in this one."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from functools import partial
from typing import Any

from ..core.contract import ResumedSession, ResumingApp, resume_session
from ..core.registry import Place
from .deflate.negotiation import DeflateOptions, shared_parameters
from .deflate.streams import Deflate
from .factory import Wires
from .frames import TEXT
from .handed import Agreed, HandedOver, HeldMessage
from .meter import Meter
from .reader import OPENING, Reader
from .shelf import Shelf
from .wire import OPEN, Wire
from .writer import Native


class CannotResume(Exception):
    """This process cannot go on with the connection. The text says why, in one word."""


def check(wires: Wires, handed: HandedOver) -> None:
    """CannotResume unless this mount can go on with the connection."""
    policy = wires.policy
    if not isinstance(policy.app, ResumingApp) or handed.app != policy.app_name:
        raise CannotResume("app")
    if handed.handshake.was_let_go and policy.keeps_handshake:
        raise CannotResume("handshake")
    if handed.handshake.subprotocol not in (None, *policy.subprotocols):
        raise CannotResume("subprotocol")


def resume(
    wires: Wires, handed: HandedOver, native: Native, descriptor: int, place: Place, early: bytes = b""
) -> tuple[Wire, Awaitable[object] | None]:  # fmt: skip
    """Go on with a connection of another process on this mount, with this mount's settings. It leaves `place` when it ends.

    `early` are bytes of the client that the new transport has read already. Nothing more is read until the caller calls `read_on`, which
    it does when the awaitable is done, if there is one. `check` was called.
    """
    policy = wires.policy
    app: Any = policy.app
    wire = Wire(policy, wires.protocols.make(handed.handshake), native, descriptor, handed.handshake, place, handed.id)
    wire.connection.opened_at = time.monotonic() - handed.age
    _set_counts(wire, handed)
    if handed.agreed is not None:
        _compress(wire, handed.agreed, handed.window)
    wire.protocol.state = OPEN
    wire.writer.live = wire.opened = True
    wire.reader.stops = OPENING
    wire.attach(native, not policy.fast)
    wire.reader.bytes_in += len(early)
    wire.together(partial(_begin, wire, app, handed, early))
    session = wire.session
    return wire, session.resumed() if isinstance(session, ResumedSession) else None


def read_on(wire: Wire) -> None:
    """Read the client's messages from now on."""
    wire.reader.go_on(OPENING)


def _set_counts(wire: Wire, handed: HandedOver) -> None:
    reader, writer, traffic, settings = wire.reader, wire.writer, handed.traffic, wire.policy.settings
    reader.messages_in, reader.bytes_in = traffic.messages_in, traffic.bytes_in
    writer.messages_out, writer.bytes_out = traffic.messages_out, traffic.bytes_out
    if traffic.dropped:
        writer.shelf = Shelf(settings.send_backlog, settings.slow_client.keeps_latest)
        writer.shelf.dropped = traffic.dropped


def _compress(wire: Wire, agreed: Agreed, window: bytes) -> None:
    """With the level of this mount, and no larger window of ours than the client has."""
    options = wire.policy.deflate or DeflateOptions()
    parameters = shared_parameters(
        options.level, min(agreed.server_window_bits, options.window_bits), agreed.client_window_bits, options.memory_level,
        agreed.server_no_context_takeover or not options.server_context_takeover or wire.policy.settings.slow_client.drops,
        agreed.client_no_context_takeover, options.threshold,
    )  # fmt: skip
    deflate = Deflate.server(parameters, wire.policy.turns.deflating)
    deflate.window = window
    wire.compress(deflate)


def _begin(wire: Wire, app: ResumingApp, handed: HandedOver, early: bytes) -> None:
    policy, reader, connection, settings = wire.policy, wire.reader, wire.connection, wire.policy.settings
    if handed.unsent:
        wire.writer.write(handed.unsent)
    policy.watcher.opened(connection)
    if settings.ping_interval or settings.idle_timeout or settings.lifetime:
        wire.timer().go_on(handed.pings, handed.age)
    if not wire.writer.live:  # the daemon is stopping
        return
    try:
        wire.session = resume_session(app, connection, connection.handshake, handed.state)
    except Exception as error:
        wire.app_failed("resuming", error)
        return
    if not policy.keeps_handshake:
        connection.handshake.let_go()
    if settings.messages_per_second or settings.bytes_per_second or (handed.tokens is not None and settings.control_frames_per_second):
        reader.meter = Meter.of(settings, policy.wheel.absence.time())
        reader.meter.go_on_with(handed.tokens, reader.messages_in, handed.traffic.bytes_in)
    wire.listen()
    reader.unread = handed.unread + early
    reader.held = _messages(reader, handed.held) or None
    if wire.deadlines is not None:
        wire.deadlines.end_if_over()


def _messages(reader: Reader, held: tuple[HeldMessage, ...]) -> list[Any]:
    """The messages as this mount's session takes them."""
    messages: list[Any] = []
    for message in held:
        decoded = message.opcode == 1 and bool(reader.flags & TEXT)
        messages += (message.opcode, message.payload.decode() if decoded else message.payload)
    return messages
