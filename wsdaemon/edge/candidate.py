"""A client that asks to come in: its request, and all that is found out about it until it is admitted or refused."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs

from ..core.contract import PlainApp
from ..core.handshake import MAX_QUERY_FIELDS, ClientCertificate, Peer, cookies
from ..core.identity import Identity
from ..core.limits import Key, Rate, Tally
from ..core.registry import Count
from .origins import Origins
from .request import Head
from .upgrade import Upgrade

if TYPE_CHECKING:
    from ..wire.factory import Wires
    from .shared import SharedRequest

_NO_PARAMS: Mapping[str, str] = {}


class Authentication(Protocol):
    """Authenticates clients: see auth.chain."""

    def authenticate(self, request: Candidate) -> Identity | Awaitable[Identity | None] | None: ...

    def offered(self, subprotocols: tuple[str, ...]) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Entrance:
    """A mount as the gates see it. A check that is None is left out."""

    mount: str
    wires: Wires
    count: Count
    subprotocols: tuple[str, ...] = ()
    origins: Origins | None = None
    chain: Authentication | None = None
    addresses: Tally | None = None
    """Connections of each address on this mount."""
    users: Tally | None = None
    """Connections of each user on this mount."""
    rate: Rate | None = None
    """New connections of each address on this mount."""
    handshakes: Count | None = None
    """Clients that wait for authentication."""
    expiry_warning: float = 0.0
    """Seconds before the end of a client's token at which its session is told; 0: never."""


    @property
    def max_body(self) -> int:
        """The longest body, in bytes, of a request without an upgrade; 0 where the app answers none."""
        policy = self.wires.policy
        return 0 if policy.plain is None else policy.settings.max_message


class Candidate:
    """A client whose request was read. Authenticators are given this. Its repr shows nothing in which a credential may stand."""

    __slots__ = (
        "address", "client_certificate", "entrance", "head", "local", "params", "peer", "plain", "request", "secure", "subprotocols",
        "wanted",
    )  # fmt: skip

    def __init__(self, head: Head, peer: Peer, local: Peer | str, secure: bool = False, address: Key | None = None) -> None:
        self.head = head
        self.peer = peer
        """The client's address, as far as trusted proxies told."""
        self.local = local
        self.secure = secure
        """Whether the client came over TLS, here or at a trusted proxy."""
        self.address = address
        """The key that the client's address is counted under: see edge.limits. None: it is not counted."""
        self.client_certificate: ClientCertificate | None = None
        self.entrance: Entrance | None = None
        """The mount it asks for; None until that is known."""
        self.params: Mapping[str, str] = _NO_PARAMS
        self.subprotocols: tuple[str, ...] = ()
        """The subprotocols that the client offered."""
        self.wanted: Upgrade
        self.plain: PlainApp | None = None
        """The app that answers, if the request asks for no upgrade and the mount's app takes such requests."""
        self.request: SharedRequest
        """The question for a place over all workers, from the moment at which it is asked; never without workers."""

    def __repr__(self) -> str:
        return f"<candidate {self.head.path!r} from {self.peer}>"

    @property
    def mount(self) -> str:
        """The mount it asks for; empty until that is known."""
        return "" if self.entrance is None else self.entrance.mount

    def query(self, name: str) -> list[str]:
        """The values of a query parameter, in order; empty ones do not count. At most 1000 fields are looked at."""
        text = self.head.query_string.decode("latin-1")
        if text.count("&") >= MAX_QUERY_FIELDS:
            text = "&".join(text.split("&", MAX_QUERY_FIELDS)[:MAX_QUERY_FIELDS])
        return parse_qs(text).get(name, []) if text else []

    def cookie(self, name: str) -> str | None:
        """The value of a cookie; None when there is none or it is empty."""
        return cookies(self.head.headers).get(name) or None
