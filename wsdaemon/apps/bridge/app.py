"""A bridge between WebSocket and a stream: `app = bridge`. The target is connected to before the 101."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...core.acceptance import HandshakeRefused
from ...core.connection import Connection
from ...core.contract import Acceptance
from ...core.dialing import Dialing, Endpoint, NotAllowed, reason_of
from ...core.handshake import Handshake
from ...core.proxy_header import proxy_header
from ...core.rare_lines import RareLines
from ...settings.problems import BadValue
from ...settings.targets import Allowed, StreamTarget
from .stream import BridgeSession, TargetStream
from .tokens import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeRules:
    """Where the clients of a mount go. One of `targets` and `tokens` is given. `proxy_version` 0: no PROXY header."""

    mount: str
    targets: Sequence[StreamTarget]
    tokens: Tokens | None
    allowed: Sequence[Allowed]
    dialing: Dialing
    connect_timeout: float
    proxy_version: int = 0


class BridgeApp:
    """Connects each client of a mount to its target."""

    keeps_handshake = False
    subprotocols = ("binary", "mqtt", "mqttv3.1")

    def __init__(self, rules: BridgeRules, lines: RareLines) -> None:
        self._rules = rules
        self._lines = lines

    async def admit(self, handshake: Handshake) -> Acceptance:
        """Connect to the client's target. HandshakeRefused with 403, 404, 502 or 504."""
        stream = await self._connect(handshake)
        return Acceptance(open=stream.open, abandoned=stream.abort)

    def open(self, connection: Connection, handshake: Handshake) -> BridgeSession:
        raise RuntimeError("a bridge needs admit()")  # the daemon calls that for each client

    async def _connect(self, handshake: Handshake) -> TargetStream:
        rules = self._rules
        loop = asyncio.get_running_loop()
        preface = proxy_header(rules.proxy_version, handshake) if rules.proxy_version else b""
        status = 502
        for target in self._targets(handshake):
            endpoint, dialing = self._dialing(target)
            try:
                async with asyncio.timeout(rules.connect_timeout):
                    return (await dialing.connect(lambda: TargetStream(loop), endpoint, preface))[1]
            except NotAllowed as error:
                status = 403
                self._say("is not allowed", target, error)
            except TimeoutError as error:
                status = 504
                self._say("cannot be reached", target, error)
            except OSError as error:
                status = 502
                self._say("cannot be reached", target, error)
        text = {403: "this target is not allowed", 502: "the target cannot be reached", 504: "the target does not answer"}[status]
        raise HandshakeRefused(status, text + "\n")

    def _say(self, outcome: str, target: StreamTarget, error: OSError) -> None:
        why, mount = reason_of(error), self._rules.mount
        # If clients choose the target, its name must not make a line of its own each time.
        key = (outcome, why) if self._rules.allowed else (outcome, str(target))
        self._lines.warn(key, "{mount}: {target} {outcome}: {why}", mount=mount, target=str(target), outcome=outcome, why=why)

    def _targets(self, handshake: Handshake) -> list[StreamTarget]:
        """The targets for a client, the first one first. HandshakeRefused if it names none, or one that is not allowed."""
        rules = self._rules
        if rules.tokens is not None:
            token = handshake.params.get("token") or next(iter(handshake.query.get("token", ())), "")
            found = rules.tokens.get(token) if token else None
            if found is None:
                raise HandshakeRefused(404, "no target has this token\n")
            return [found]
        try:
            return [target.filled(handshake.params) for target in rules.targets]
        except BadValue:
            raise HandshakeRefused(404, "no target has this name\n") from None

    def _dialing(self, target: StreamTarget) -> tuple[Endpoint, Dialing]:
        """The address of a target, and the way to connect. HandshakeRefused if it is not allowed."""
        rules = self._rules
        if target.kind == "unix":
            return Endpoint(path=target.path), rules.dialing
        endpoint = Endpoint(target.host, int(target.port), tls=target.kind == "tls")
        if not rules.allowed:
            return endpoint, rules.dialing
        of_port = [each for each in rules.allowed if each.has_port(endpoint.port)]
        if any(each.has_name(endpoint.host) for each in of_port if each.network is None):
            return endpoint, rules.dialing
        if not any(each.network is not None for each in of_port):
            raise HandshakeRefused(403, "this target is not allowed\n")
        return endpoint, replace(rules.dialing, allows=lambda address: any(each.has_address(address) for each in of_port))
