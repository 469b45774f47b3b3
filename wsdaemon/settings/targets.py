"""Servers that a mount leads to: their addresses, patterns of allowed ones, and files of tokens in websockify's format."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from wsdaemon.settings.form import Form
from wsdaemon.settings.problems import BadValue

HOST = re.compile(r"(?!-)[A-Za-z0-9_.-]{1,253}(?<!-)", re.ASCII)
PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)

EXPECTED = "tcp:HOST:PORT, tls:HOST:PORT or unix:/PATH"


@dataclass(frozen=True, slots=True)
class StreamTarget:
    """A TCP, TLS or unix address. `host` and `port` may be placeholders, `{name}`, for parameters of the mount's path."""

    kind: str
    host: str = ""
    port: str = ""
    path: str = ""

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.path}"
        return f"{self.kind}:{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names of the parameters that it needs."""
        return tuple(match[1] for part in (self.host, self.port) if (match := PLACEHOLDER.fullmatch(part)))

    def filled(self, parameters: Mapping[str, str]) -> StreamTarget:
        """With the values of its placeholders. BadValue if a value is no host, or no port."""
        if not self.placeholders:
            return self
        host, port = (parameters[match[1]] if (match := PLACEHOLDER.fullmatch(part)) else part for part in (self.host, self.port))
        return _checked(self.kind, host, port)


def parse_stream(text: str) -> StreamTarget:
    """The target of its text. Raises BadValue."""
    kind, _, rest = text.partition(":")
    if kind == "unix":
        if not rest.startswith("/") or len(rest.encode()) > 107:
            raise BadValue(f"expected {EXPECTED}; a PATH begins with / and has up to 107 bytes")
        return StreamTarget("unix", path=rest)
    if kind not in ("tcp", "tls"):
        raise BadValue(f"expected {EXPECTED}")
    host, _, port = rest.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise BadValue(f"expected {EXPECTED}; only an IPv6 address stands in brackets")
    elif ":" in host:
        raise BadValue(f"expected {EXPECTED}; an IPv6 address stands in brackets, as in tcp:[::1]:5900")
    return _checked(kind, host, port)


def _checked(kind: str, host: str, port: str) -> StreamTarget:
    if not PLACEHOLDER.fullmatch(host):
        if ":" in host:
            try:
                host = str(ipaddress.IPv6Address(host))
            except ValueError:
                raise BadValue(f"expected {EXPECTED}; the address is no IPv6 address") from None
        elif not HOST.fullmatch(host):
            raise BadValue(f"expected {EXPECTED}; HOST is a name or an address")
    if not PLACEHOLDER.fullmatch(port) and not (PORT.fullmatch(port) and 0 < int(port) < 65536):
        raise BadValue(f"expected {EXPECTED}; PORT is a number from 1 to 65535")
    return StreamTarget(kind, host, port)


@dataclass(frozen=True, slots=True)
class StreamTargetForm(Form[StreamTarget]):
    """A TCP, TLS or unix address."""

    @property
    def expected(self) -> str:
        return f"{EXPECTED}; HOST and PORT may be parameters of the mount's path, such as {{host}}"

    def parse(self, text: str) -> StreamTarget:
        return parse_stream(text)

    def accept(self, value: object) -> StreamTarget:
        if isinstance(value, StreamTarget):
            return parse_stream(str(value))
        raise self.refusal()


@dataclass(frozen=True, slots=True)
class ServerNameForm(Form[str]):
    """The name in a server's certificate, or nothing."""

    @property
    def expected(self) -> str:
        return "a host name such as db.example.com, or nothing"

    def parse(self, text: str) -> str:
        if text and not HOST.fullmatch(text):
            raise self.refusal()
        return text


@dataclass(frozen=True, slots=True)
class Allowed:
    """Addresses and ports that a client may choose. One of `network` and `name` is set; a name may begin with `*.`, or be `*`."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None
    name: str
    ports: tuple[int, int]

    def __str__(self) -> str:
        shown = self.name if self.network is None else str(self.network).removesuffix(f"/{self.network.max_prefixlen}")
        first, last = self.ports
        ports = "*" if (first, last) == (1, 65535) else str(first) if first == last else f"{first}-{last}"
        return f"{f'[{shown}]' if ':' in shown else shown}:{ports}"

    def has_port(self, port: int) -> bool:
        return self.ports[0] <= port <= self.ports[1]

    def has_name(self, host: str) -> bool:
        """Whether the host is allowed by its name, whatever addresses it has."""
        host = host.lower().removesuffix(".")
        return self.name in ("*", host) or (self.name.startswith("*.") and host.endswith(self.name[1:]))

    def has_address(self, address: str) -> bool:
        found: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address)
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return self.network is not None and found in self.network


@dataclass(frozen=True, slots=True)
class AllowedForm(Form[Allowed]):
    """A host, address or network, and its ports."""

    @property
    def expected(self) -> str:
        return "targets such as 10.0.0.0/8:5900-5999, vnc.example.com:5900, *.example.com:* or [2001:db8::/32]:22"

    def parse(self, text: str) -> Allowed:
        host, colon, ports = text.rpartition(":")
        match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", ports, re.ASCII)
        if not colon or (match is None and ports != "*"):
            raise self.refusal()
        first, last = (1, 65535) if match is None else (int(match[1]), int(match[2] or match[1]))
        if not 0 < first <= last < 65536:
            raise self.refusal("; a port is a number from 1 to 65535")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        try:
            return Allowed(ipaddress.ip_network(bare), "", (first, last))
        except ValueError:
            name = bare.lower().removesuffix(".")
        if bare != host or not (name == "*" or HOST.fullmatch(name.removeprefix("*."))) or re.fullmatch(r"[0-9./]+", name):
            raise self.refusal()
        return Allowed(None, name, (first, last))

    def accept(self, value: object) -> Allowed:
        if isinstance(value, Allowed):
            return self.parse(str(value))
        raise self.refusal()


def parse_tokens(text: str) -> dict[str, StreamTarget]:
    """The targets of a file in websockify's format by token: lines `token: host:port`, or a target as a mount's; # begins a comment.

    Raises BadValue, with the number of the line and nothing of its text.
    """
    found: dict[str, StreamTarget] = {}
    for number, whole in enumerate(text.splitlines(), 1):
        line = whole.strip()
        if not line or line.startswith("#"):
            continue
        token, colon, target = line.partition(":")
        token, target = token.strip(), target.strip()
        if not colon or not token or not target:
            raise BadValue(f"line {number}: expected token: host:port")
        target = target.replace("unix_socket:", "unix:", 1)
        try:
            found[token] = parse_stream(target if target.startswith(("tcp:", "tls:", "unix:")) else f"tcp:{target}")
        except BadValue as error:
            raise BadValue(f"line {number}: {error}") from None
        if found[token].placeholders:
            raise BadValue(f"line {number}: expected a target without {{}}")
    return found
