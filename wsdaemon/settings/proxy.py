"""The options of the app proxy."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import quote, urlsplit

from wsdaemon.settings.authority import PORTS, Authority
from wsdaemon.settings.form import Form, ListForm
from wsdaemon.settings.schema import explain
from wsdaemon.settings.target_tls import TargetTlsOptions
from wsdaemon.settings.targets import HOST, PLACEHOLDER
from wsdaemon.settings.values import MIB, PositiveCount, PositiveDuration, PositiveSize

PATH = re.compile(r"[A-Za-z0-9/{}%:@!$&'()*+;=._~-]*", re.ASCII)
QUERY = re.compile(r"[A-Za-z0-9/?%:@!$&'()*+;=._~-]*", re.ASCII)

EXPECTED = "URLs such as ws://127.0.0.1:9000/socket or wss://chat.example.com"


@dataclass(frozen=True, slots=True)
class ProxyTarget(Authority):
    """A WebSocket server. `path` is empty or begins with a slash; it may have parameters of the mount's path, `{name}`."""

    path: str = ""
    query: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}" + (f"?{self.query}" if self.query else "")

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names of the parameters that the path needs."""
        return tuple(PLACEHOLDER.findall(self.path))

    def filled_path(self, parameters: Mapping[str, str]) -> str:
        """The path with the values of its parameters, percent-encoded."""
        return PLACEHOLDER.sub(lambda match: quote(parameters[match[1]], safe="!$&'()*+;=:@-._~"), self.path)


@dataclass(frozen=True, slots=True)
class ProxyTargetForm(Form[ProxyTarget]):
    """The URL of a WebSocket server."""

    @property
    def expected(self) -> str:
        return EXPECTED

    def parse(self, text: str) -> ProxyTarget:
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise self.refusal() from None
        if parts.scheme not in PORTS:
            hint = {"http": "ws", "https": "wss"}.get(parts.scheme)
            raise self.refusal(f"; did you mean {hint}{text[len(parts.scheme) :]}?" if hint else "")
        host = parts.hostname or ""
        if parts.username is not None or parts.password is not None:
            raise self.refusal("; credentials do not belong in it")
        if parts.fragment or "#" in text:
            raise self.refusal("; a WebSocket's URL has no # part")
        if ":" in host:
            try:
                host = str(ipaddress.IPv6Address(host))
            except ValueError:
                raise self.refusal() from None
        elif not HOST.fullmatch(host):
            raise self.refusal()
        if port == 0 or not PATH.fullmatch(parts.path) or not QUERY.fullmatch(parts.query):
            raise self.refusal()
        if re.search(r"[{}]", PLACEHOLDER.sub("", parts.path)) or any(segment in (".", "..") for segment in parts.path.split("/")):
            raise self.refusal()
        return ProxyTarget(parts.scheme == "wss", host, port or PORTS[parts.scheme], parts.path, parts.query)

    def accept(self, value: object) -> ProxyTarget:
        if isinstance(value, ProxyTarget):
            return self.parse(str(value))
        raise self.refusal()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyOptions(TargetTlsOptions):
    """The options of the app proxy."""

    target: Annotated[tuple[ProxyTarget, ...], ListForm(ProxyTargetForm())] = field(
        default=(),
        metadata=explain(
            "The WebSocket servers that clients are connected to. Of several, the one with the fewest connections is taken. The path of "
            "the URL takes the place of the mount's; the rest of a mount such as /app/{rest...} is appended, and so is the query."
        ),
    )
    connect_timeout: PositiveDuration = field(
        default=5.0,
        metadata=explain("How long the connection to the target and its answer may take. After that the client is answered 504."),
    )
    max_failures: PositiveCount = field(
        default=3,
        metadata=explain("How many times in a row a target may fail before no client is sent to it for fail_timeout, if there are others."),
    )
    fail_timeout: PositiveDuration = field(
        default=10.0, metadata=explain("How long no client is sent to a target that has failed max_failures times in a row.")
    )
    preserve_host: bool = field(
        default=False, metadata=explain("Send the client's Host header to the target, instead of the target's own name.")
    )
    max_target_message: PositiveSize = field(
        default=16 * MIB, metadata=explain("The largest message that the target may send. A larger one closes the connection with 1009.")
    )
    target_compression: bool = field(
        default=False,
        metadata=explain("Offer permessage-deflate to the target. Clients negotiate theirs with the daemon, whatever this is."),
    )

    def descriptors(self, connections: int) -> int:
        return connections

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if not self.target:
            yield ("target",), f"missing key; expected {EXPECTED}"
        yield from TargetTlsOptions.conflicts(self)
