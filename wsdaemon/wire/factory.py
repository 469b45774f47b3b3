"""Autobahn's server factory with every option set, and the wire class of a mount."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol

from .mounted import AutobahnWire, needs_autobahns_parser, reported
from .output import HIGH_WATER
from .policy import WirePolicy
from .protocol import Wire
from .resting import Resting

if TYPE_CHECKING:
    from ..core.handshake import Handshake
    from ..core.registry import Place
    from .output import Native
    from .policy import Refusing


def is_autobahn_protocol(target: object) -> bool:
    """Whether `target` is a class that can be mounted unchanged."""
    return isinstance(target, type) and issubclass(target, WebSocketServerProtocol)


def make_factory(policy: WirePolicy, reactor: Any) -> WebSocketServerFactory:
    """A factory whose options are all explicit: Autobahn's defaults have no limits, drop without a close code and serve a status page."""
    factory = WebSocketServerFactory(
        url=None, protocols=list(policy.subprotocols), server="wsdaemon", headers={}, externalPort=None, reactor=reactor
    )
    factory.setProtocolOptions(
        versions=[13],
        webStatus=False,
        utf8validateIncoming=True,
        maskServerFrames=False,
        requireMaskedClientFrames=True,
        applyMask=True,
        maxFramePayloadSize=policy.max_message,
        maxMessagePayloadSize=policy.max_message,
        autoFragmentSize=0,
        failByDrop=False,
        echoCloseCodeReason=True,
        # The wheel keeps these times for all connections, so Autobahn makes no timers of its own.
        openHandshakeTimeout=0,
        closeHandshakeTimeout=0,
        autoPingInterval=0,
        autoPingTimeout=0,
        autoPingSize=12,
        autoPingRestartOnAnyTraffic=True,
        tcpNoDelay=True,  # the listener sets it
        perMessageCompressionAccept=lambda offers: None,  # the wire negotiates by itself
        serveFlashSocketPolicy=False,
        flashSocketPolicy="",
        # Origin, number and address were judged before Autobahn sees the request.
        allowedOrigins=["*"],
        allowNullOrigin=True,
        maxConnections=0,
        trustXForwardedFor=0,
    )
    return factory


def wire_class(policy: WirePolicy, reactor: Any, mounted: type[WebSocketServerProtocol] | None = None) -> type[Wire]:
    """The class of a mount's connections; `mounted` is the user's own Autobahn protocol class, served unchanged."""
    factory = make_factory(policy, reactor)
    fast = policy.fast and (mounted is None or not needs_autobahns_parser(mounted))
    options: dict[str, Any] = {name: getattr(factory, name) for name in WebSocketServerProtocol.CONFIG_ATTRS}
    options |= {
        "wire_policy": policy,
        "factory": factory,
        "flusher": policy.flusher,
        "wire_turns": policy.turns,
        "resting": Resting(policy.wheel),
        "send_backlog_age": policy.send_backlog_age if policy.slow_client in ("close", "wait") else 0.0,
        # With `wait` nothing may be sent on top of what the system did not take: so the backlog never fills by what others publish.
        "high_water": 0 if policy.slow_client == "wait" else min(HIGH_WATER, policy.send_backlog // 2),
        "drops_messages": policy.slow_client in ("drop_oldest", "latest"),
        "keeps_latest": policy.slow_client == "latest",
        "send_backlog": policy.send_backlog,
        "maximum": policy.max_message,
    }
    frames = policy.frames
    options["fast"] = fast
    for name in ("take", "begin", "frame", "header"):
        options[name] = staticmethod(getattr(frames, name))
    options["send_direct"] = staticmethod(frames.send)
    if mounted is None:
        options["__slots__"] = ()
        made = type("MountWire", (Wire,), options)
    else:
        options["onConnect"] = reported(mounted.onConnect)
        made = type(mounted.__name__, (mounted, AutobahnWire), options)
    factory.protocol = made
    return made


class Wires:
    """Opens the connections of one mount."""

    __slots__ = ("made",)

    def __init__(self, made: type[Wire]) -> None:
        """`made` is what wire_class() made."""
        self.made = made

    def limited(self, limits: Mapping[str, float]) -> Wires:
        """The same for connections that come by a listener with limits of its own: see limited()."""
        made = limited(self.made, limits)
        return self if made is self.made else Wires(made)

    def open(
        self, native: Native, descriptor: int, handshake: Handshake, place: Place, *, key: str, extensions: str, time_left: float,
        refusals: Refusing | None, early: bytes = b"",
    ) -> Wire:  # fmt: skip
        """Answer an admitted opening handshake and open its connection, which leaves `place` when it ends.

        `descriptor` is the plain socket's, -1 for TLS. `key` and `extensions` are the request's Sec-WebSocket-Key and
        Sec-WebSocket-Extensions (all its lines joined; empty for none). `time_left` is the rest of the listener's `handshake_timeout` in
        seconds, `refusals` counts a client that a mounted class turns away. `early` are bytes that followed the request. The transport
        is not paused.

        An exception of a mounted class's constructor is raised before the transport has changed its protocol.
        """
        wire = self.made.make()
        wire.open(native, descriptor, handshake, place, key=key, extensions=extensions, time_left=time_left, refusals=refusals)
        if early:
            wire.data_received(early)
        return wire


def lower(one: float, other: float) -> float:
    """The lower of two limits, of which 0 is none."""
    return min(one, other) if one and other else one or other


def limited(made: type[Wire], limits: Mapping[str, float]) -> type[Wire]:
    """A mount's wire class for connections that come by a listener with limits of its own: of each limit the lower one counts.

    `limits` have the names of a WirePolicy's fields, of those that the wire looks up there while it runs. The same class when none is lower
    than the mount's. All else stays the mount's, and so does the factory, where a mounted class may keep what its connections share.
    """
    policy = made.wire_policy
    lowered: dict[str, Any] = {name: lower(getattr(policy, name), limit) for name, limit in limits.items()}
    lowered = {name: value for name, value in lowered.items() if value != getattr(policy, name)}
    if not lowered:
        return made
    return type(made.__name__, (made,), {"__slots__": (), "wire_policy": replace(policy, **lowered)})
