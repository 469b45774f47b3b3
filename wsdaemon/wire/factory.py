"""Opens the connections of a mount, and makes its Autobahn factory, with every option set."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.protocol import WebSocketProtocol

from .autobahn.slim import Slim
from .autobahn.stage import Stage
from .autobahn.transport import address
from .wire import Wire

if TYPE_CHECKING:
    from ..core.contract import Acceptance
    from ..core.handshake import Handshake
    from ..core.registry import Place
    from .policy import Refusing, WirePolicy
    from .writer import Native


class NotServed(Exception):
    """A factory of the user's answers no protocol for this client: 503."""


def is_autobahn_protocol(target: object) -> bool:
    """Whether `target` is a class that can be mounted unchanged."""
    return isinstance(target, type) and issubclass(target, WebSocketServerProtocol)


def protocol_options(policy: WirePolicy) -> dict[str, Any]:
    """Every option of setProtocolOptions(): Autobahn's defaults have no limits, drop without a close code and serve a status page."""
    return {
        "versions": [13],
        "webStatus": False,
        "utf8validateIncoming": True,
        "maskServerFrames": False,
        "requireMaskedClientFrames": True,
        "applyMask": True,
        "maxFramePayloadSize": policy.settings.max_message,
        "maxMessagePayloadSize": policy.settings.max_message,
        "autoFragmentSize": 0,
        "failByDrop": False,
        "echoCloseCodeReason": True,
        # The wheel keeps these times for all connections, so Autobahn makes no timers of its own.
        "openHandshakeTimeout": 0,
        "closeHandshakeTimeout": 0,
        "autoPingInterval": 0,
        "autoPingTimeout": 0,
        "autoPingSize": 12,
        "autoPingRestartOnAnyTraffic": True,
        "tcpNoDelay": True,  # the listener sets it
        "perMessageCompressionAccept": lambda offers: None,  # the wire negotiates by itself
        "serveFlashSocketPolicy": False,
        "flashSocketPolicy": "",
        # Origin, number and address were judged before Autobahn sees the request.
        "allowedOrigins": ["*"],
        "allowNullOrigin": True,
        "maxConnections": 0,
        "trustXForwardedFor": 0,
    }


class SlimFactory(WebSocketServerFactory):
    """The Autobahn factory of a mount with an app of ours. Its protocols are of one class, which has the options as attributes."""

    def __init__(self, policy: WirePolicy, reactor: Any) -> None:
        super().__init__(url=None, protocols=list(policy.subprotocols), server="wsdaemon", headers={}, externalPort=None, reactor=reactor)
        self.setProtocolOptions(**protocol_options(policy))
        self.protocol = type("MountProtocol", (Slim,), {"factory": self, **class_options(self)})

    def buildProtocol(self, addr: object) -> Stage:
        """As Twisted's, without a reference to the factory on each protocol."""
        protocol: Stage = self.protocol()
        return protocol


def class_options(factory: WebSocketServerFactory) -> dict[str, Any]:
    """The factory's options as class attributes, so that Autobahn copies none of them into each protocol."""
    return {name: getattr(factory, name) for name in WebSocketServerProtocol.CONFIG_ATTRS}


def is_autobahn_factory(target: object) -> bool:
    """Whether `target` may make an Autobahn factory: a class of them, or a function, whose result is known only when it is called."""
    return issubclass(target, WebSocketServerFactory) if isinstance(target, type) else callable(target)


def make_users_factory(make: Callable[..., Any], url: str) -> WebSocketServerFactory:
    """Call a factory class of the user's, with `url` if it takes an argument. TypeError when it makes no Autobahn factory."""
    try:
        inspect.signature(make).bind(url)
        takes_url = True
    except (TypeError, ValueError):
        takes_url = False
    factory = make(url) if takes_url else make()
    if not isinstance(factory, WebSocketServerFactory):
        raise TypeError(f"expected a WebSocketServerFactory, got {factory!r}")
    return factory


class Protocols:
    """Makes the Autobahn protocols of one mount, one for each connection, by the mount's Autobahn factory."""

    __slots__ = ("_classes", "_make_factory", "_reactor", "factory", "mounted", "policy", "streaming")

    def __init__(
        self, policy: WirePolicy, reactor: Any, mounted: type[WebSocketServerProtocol] | None = None,
        make_factory: Callable[..., Any] | None = None,
    ) -> None:  # fmt: skip
        """`mounted` is an Autobahn class of the user's in the place of an app, and `make_factory` the user's factory for it, if any."""
        self.mounted = mounted
        self.factory: WebSocketServerFactory | None = None
        self.policy = policy
        self._reactor = reactor
        self._make_factory = make_factory
        self._classes: dict[type, type[Stage]] = {}
        self.streaming: set[type[Stage]] = set()
        """Classes that take part in parsing."""

    def prepare(self) -> None:
        """Make the factory. Called once, when the daemon opens; an exception of a factory of the user's is raised here."""
        if self.mounted is None:
            self.factory = SlimFactory(self.policy, self._reactor)
            return
        if self._make_factory is None:
            self.factory = WebSocketServerFactory(
                url=None, protocols=list(self.policy.subprotocols), server="wsdaemon", headers={}, reactor=self._reactor
            )
        else:
            self.factory = make_users_factory(self._make_factory, f"ws://localhost{self.policy.settings.path}")
            self.factory.server = "wsdaemon"
        self.factory.setProtocolOptions(**protocol_options(self.policy))
        self.factory.protocol = self._staged(self.mounted)

    def start(self) -> None:
        """The daemon serves: startFactory() of a factory of the user's."""
        assert self.factory is not None
        self.factory.noisy = False
        self.factory.doStart()

    def stop(self) -> None:
        """The daemon has served: stopFactory()."""
        assert self.factory is not None
        self.factory.doStop()

    def _staged(self, mounted: type[WebSocketServerProtocol]) -> type[Stage]:
        if mounted not in self._classes:
            from .autobahn.mounted import needs_autobahns_parser, stage_class  # here, because few mounts run a class of Autobahn's

            made = self._classes[mounted] = stage_class(mounted, class_options(self.factory))
            if needs_autobahns_parser(mounted):
                self.streaming.add(made)
        return self._classes[mounted]

    def make(self, handshake: Handshake) -> Stage:
        """The protocol of one connection. NotServed; an exception of the user's __init__ or buildProtocol()."""
        factory = self.factory
        assert factory is not None, "prepare() was not called"
        if self.mounted is None:
            return factory.buildProtocol(handshake.peer)  # type: ignore[no-any-return]
        protocol = factory.buildProtocol(address(handshake.peer))
        if protocol is None:
            raise NotServed
        if not isinstance(protocol, Stage):  # the user's factory makes its protocols itself
            if not isinstance(protocol, WebSocketServerProtocol):
                raise TypeError(f"{type(factory).__qualname__}.buildProtocol() made {protocol!r}, not a WebSocketServerProtocol")
            protocol.__class__ = self._staged(type(protocol))
            if "is_open" not in vars(protocol):  # its __init__ does not call its base's
                WebSocketProtocol.__init__(protocol)
        if protocol.factory is None:
            protocol.factory = factory
        return protocol  # type: ignore[no-any-return]


class Wires:
    """Opens the connections of one mount."""

    __slots__ = ("policy", "protocols")

    def __init__(self, policy: WirePolicy, protocols: Protocols) -> None:
        self.policy = policy
        self.protocols = protocols

    def limited(self, limits: Mapping[str, float]) -> Wires:
        """The same for connections that come by a listener with limits of its own: of each limit the lower one counts.

        `limits` have the names of the mount's settings, of those that the wire looks up while it runs. The same object when none is lower
        than the mount's. All else stays the mount's, and so does the factory, where a mounted class may keep what its connections share.
        """
        settings = self.policy.settings
        lowered: dict[str, Any] = {name: lower(getattr(settings, name), limit) for name, limit in limits.items()}
        lowered = {name: value for name, value in lowered.items() if value != getattr(settings, name)}
        return Wires(replace(self.policy, settings=replace(settings, **lowered)), self.protocols) if lowered else self

    def open(
        self, native: Native, descriptor: int, handshake: Handshake, place: Place, *, key: str, extensions: str, time_left: float,
        refusals: Refusing | None, early: bytes = b"", accepted: Acceptance | None = None,
    ) -> Wire:  # fmt: skip
        """Answer an admitted opening handshake and open its connection, which leaves `place` when it ends.

        `descriptor` is the plain socket's, -1 for TLS. `key` and `extensions` are the request's Sec-WebSocket-Key and
        Sec-WebSocket-Extensions (all its lines joined; empty for none). `time_left` is the rest of the listener's `handshake_timeout` in
        seconds, `refusals` counts a client that a mounted class turns away. `early` are bytes that followed the request. `accepted` is
        the answer of an app that decides about handshakes itself. The transport is not paused.

        An exception of a mounted class's constructor is raised before the transport has changed its protocol, and so is NotServed.
        """
        protocol = self.protocols.make(handshake)
        id = ""
        if self.policy.frame_log is not None:
            id = self.policy.next_id()
            native, descriptor = self.policy.frame_log.watch(native, id, handshake.mount, early), -1
        wire = Wire(self.policy, protocol, native, descriptor, handshake, place, id)
        wire.attach(native, not self.policy.fast or type(protocol) in self.protocols.streaming)
        if self.protocols.mounted is None:
            wire.open(key, extensions, accepted)
        else:
            wire.ask(extensions, time_left, refusals)
        if early:
            wire.reader.data_received(early)
        return wire


def lower(one: float, other: float) -> float:
    """The lower of two limits, of which 0 is none."""
    return min(one, other) if one and other else one or other
