"""The true client behind proxies: X-Forwarded-For with X-Forwarded-Proto, or Forwarded (RFC 7239).

These headers are believed only from addresses in `trusted_proxies`, and only as far as the chain of trusted addresses reaches: each proxy
appends the address it got the request from, so the list is walked from its right end, and the first address that is not trusted is the
client. Entries further left may be anything that the client made up.

Only the kind that the operator names is read. A proxy that writes one kind passes the other on as the client sent it, so a reader that
takes whichever is there believes the client.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

from ..core.handshake import Headers, Peer
from ..settings.network import unmapped

MAX_HOPS = 50
"""Entries of a list that are looked at, from its right end. A longer chain is made up."""

ForwardedHeader = Literal["x-forwarded-for", "forwarded"]
"""The kind of header that the proxies write."""

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Networks:
    """A set of addresses: networks of IPv4 and IPv6, and perhaps every client of a unix socket.

    A look-up costs one step for each length of prefix that occurs, however many networks there are.
    """

    networks: tuple[_Network, ...] = ()
    unix: bool = False
    _prefixes: dict[tuple[int, int], frozenset[int]] = field(init=False, repr=False, compare=False)
    """By version and number of bits that do not count: the networks, without those bits."""

    def __post_init__(self) -> None:
        prefixes: dict[tuple[int, int], set[int]] = {}
        for network in self.networks:
            shift = network.max_prefixlen - network.prefixlen
            prefixes.setdefault((network.version, shift), set()).add(int(network.network_address) >> shift)
        object.__setattr__(self, "_prefixes", {key: frozenset(values) for key, values in prefixes.items()})

    @classmethod
    def parse(cls, text: str) -> Networks:
        """From a list such as `10.0.0.0/8, 127.0.0.1, ::1/128, unix`, at commas or white space. ValueError names the entry that is
        neither."""
        networks: list[_Network] = []
        unix = False
        for entry in text.replace(",", " ").split():
            if entry == "unix":
                unix = True
                continue
            try:
                networks.append(unmapped(ipaddress.ip_network(entry)))
            except ValueError as error:
                hint = " (bits are set beyond its prefix)" if "host bits" in str(error) else ""
                raise ValueError(f"{entry!r} is not an address, a network such as 10.0.0.0/8, or unix{hint}") from None
        return cls(tuple(networks), unix)

    def __contains__(self, host: object) -> bool:
        """Whether an address (as text, or a Peer) is in the set. Other text is no address."""
        if isinstance(host, Peer):
            host = host.host
        if host == "unix":
            return self.unix
        if not self._prefixes or not isinstance(host, str):
            return False
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        number, version = int(address), address.version
        return any(version == of and number >> shift in values for (of, shift), values in self._prefixes.items())

    def __bool__(self) -> bool:
        return self.unix or bool(self.networks)

    def __str__(self) -> str:
        return ", ".join([*map(str, self.networks), *(["unix"] if self.unix else [])])


@dataclass(frozen=True, slots=True)
class Hop:
    """One proxy's word about the source of a request."""

    peer: Peer | None
    """None when it hides that ("unknown", "_name") or left it out."""
    secure: bool | None
    """None when it does not say."""


class Client(NamedTuple):
    """The client, as far as it can be trusted."""

    peer: Peer
    """The last address that can be trusted; its port is 0 where a proxy did not tell it."""
    secure: bool
    """Whether it came over TLS."""
    told: bool
    """Whether a trusted proxy spoke of a client, if only to hide its address: then `peer` is the proxy's own."""


def true_client(headers: Headers, peer: Peer, secure: bool, trusted: Networks, header: ForwardedHeader = "x-forwarded-for") -> Client:
    """Find the client behind trusted proxies. Never raises.

    `peer` and `secure` are what we saw ourselves; `header` is the kind that is read, the other one is not looked at. An entry that is
    malformed, or hides its address ("unknown", "_name"), ends the walk: the client is then the last trustworthy address.
    """
    if not trusted or peer not in trusted:
        return Client(peer, secure, False)
    standard = header == "forwarded"
    if header not in headers:
        return Client(peer, secure if standard else _x_proto(headers, secure), False)
    for hop in _forwarded(headers) if standard else _x_forwarded(headers):
        if hop is None:
            break
        if hop.secure is not None:
            secure = hop.secure
        if hop.peer is None:
            break
        peer = hop.peer
        if peer not in trusted:
            break
    return Client(peer, secure, True)


# -- Forwarded (RFC 7239)

_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PAIR = re.compile(rf"({_NAME})=(?:({_NAME})|\"((?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+)\")")
_QUOTED_PAIR = re.compile(r"\\(.)")
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)|(unknown|_[A-Za-z0-9._\-]+))(?::([0-9]{1,5}|_[A-Za-z0-9._\-]+))?", re.IGNORECASE)


def _forwarded(headers: Headers) -> Iterator[Hop | None]:
    """The hops of all Forwarded lines, from the right; None for one that is malformed."""
    for element in islice(_parts_from_right(headers.joined("forwarded") or "", ","), MAX_HOPS):
        yield _hop(element)


def _parts_from_right(text: str, separator: str) -> Iterator[str]:
    """The parts between separators that are not inside a quoted string, the last first.

    Read from the right, so that a quote which a client left open cannot swallow what a proxy put after it.
    """
    end, quoted = len(text), False
    for index in range(len(text) - 1, -1, -1):
        character = text[index]
        if character == '"':
            before = text[:index]
            escaped = (len(before) - len(before.rstrip("\\"))) % 2
            quoted ^= not escaped
        elif character == separator and not quoted:
            yield text[index + 1 : end]
            end = index
    yield text[:end]


def _hop(element: str) -> Hop | None:
    """One forwarded-element (RFC 7239 4): `for` and `proto` of it; a parameter may be there once."""
    values: dict[str, str] = {}
    for pair in _parts_from_right(element.strip(" \t"), ";"):
        match = _PAIR.fullmatch(pair.strip(" \t"))
        if match is None or match[1].lower() in values:
            return None
        values[match[1].lower()] = match[2] if match[2] is not None else _QUOTED_PAIR.sub(r"\1", match[3])
    secure = None
    if "proto" in values:
        secure = _secure(values["proto"])
        if secure is None:
            return None
    node = values.get("for")
    if node is None:
        return Hop(None, secure)
    match = _NODE.fullmatch(node)
    if match is None:
        return None
    if match[3]:
        return Hop(None, secure)
    peer = _peer(match[1] or match[2], match[4], 6 if match[1] else 4)
    return None if peer is None else Hop(peer, secure)


def _peer(host: str, port: str | None, version: int) -> Peer | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    number = int(port) if port and not port.startswith("_") else 0
    if address.version != version or number > 65535:
        return None
    return Peer.from_sockname((str(address), number))


def _secure(proto: str) -> bool | None:
    return {"https": True, "wss": True, "http": False, "ws": False}.get(proto.lower())


# -- X-Forwarded-For and X-Forwarded-Proto

_X_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::([0-9]{1,5}))?|([0-9A-Fa-f:.]+)")


def _x_forwarded(headers: Headers) -> Iterator[Hop | None]:
    """The hops of all X-Forwarded-For lines, from the right; None for one that is malformed.

    X-Forwarded-Proto has one value, or as many as X-Forwarded-For: then each belongs to its hop. Otherwise its last one counts, which the
    proxy nearest to us wrote.
    """
    nodes = (headers.joined("x-forwarded-for") or "").split(",")[-MAX_HOPS:]
    protos = (headers.joined("x-forwarded-proto") or "").split(",")
    paired = len(protos) == len(nodes)
    for index in range(len(nodes) - 1, -1, -1):
        match = _X_NODE.fullmatch(nodes[index].strip(" \t"))
        if match is None:
            yield None
            continue
        peer = _peer(match[4], None, 6) if match[4] else _peer(match[1] or match[2], match[3], 6 if match[1] else 4)
        proto = protos[index] if paired else protos[-1]
        yield None if peer is None else Hop(peer, _secure(proto.strip(" \t")))


def _x_proto(headers: Headers, secure: bool) -> bool:
    """For a proxy that tells the scheme alone."""
    said = _secure((headers.joined("x-forwarded-proto") or "").rpartition(",")[2].strip(" \t"))
    return secure if said is None else said
