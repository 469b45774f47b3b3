"""[listener:NAME] and [tls:NAME]: the addresses that accept connections, their certificates and their limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Protocol

from wsdaemon.settings.network import Hosts, NetworkList, ReachedHosts, TlsNames
from wsdaemon.settings.schema import SectionSettings, explain
from wsdaemon.settings.values import (
    AddressText,
    Count,
    Duration,
    File,
    MountPaths,
    PathForm,
    PositiveCount,
    PositiveDuration,
    Size,
    WholeForm,
)

CONNECTION_LIMITS = (
    "messages_per_second",
    "bytes_per_second",
    "control_frames_per_second",
    "max_fragments",
    "idle_timeout",
    "lifetime",
)
"""Limits on single connections that a listener and a mount may both have. The lower one applies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings(SectionSettings):
    """[listener:NAME]: an address that accepts connections. There may be any number, each with a name of its own."""

    name: str
    address: AddressText = field(
        metadata=explain(
            "The address to accept connections on. tcp:8080 is every IPv4 and IPv6 address of the machine; "
            "tcp:8080:interface=127.0.0.1 and interface=[::1] are one address. unix:/run/wsdaemon/ws.sock:mode=660 is a unix "
            "socket, also with :user=NAME and :group=NAME; the default mode is 660. systemd:index=0 and systemd:name=ws are sockets "
            "that systemd passes.",
            example="tcp:8080:interface=127.0.0.1",
        )
    )
    tls_certificate: File = field(
        default=None,
        metadata=explain("The certificate and its chain, as PEM. With it the listener speaks TLS. Needs tls_key. Relative to this file."),
    )
    tls_key: File = field(default=None, metadata=explain("The private key of tls_certificate, as PEM. Relative to this file."))
    tls: TlsNames = field(
        default=(),
        metadata=explain(
            "The [tls:NAME] sections whose certificates this listener uses, instead of tls_certificate. A client gets the "
            "certificate for the host name that it asks for. If there is none for that name, it gets the first one."
        ),
    )
    client_ca: File = field(
        default=None,
        metadata=explain("The certificates of the authorities that issue client certificates, as PEM. Relative to this file."),
    )
    client_certificate: Literal["none", "optional", "required"] = field(
        default="none",
        metadata=explain(
            "Whether clients present a certificate, issued by client_ca, in the TLS handshake. none: the listener asks for none. "
            "optional: a client may present one; a bad one ends the handshake. required: a client without a good one is refused."
        ),
    )
    proxy_protocol_from: NetworkList = field(
        default=(),
        metadata=explain(
            "Load balancers that send a PROXY protocol header (version 1 or 2) at the start of each connection, before TLS. If this "
            "is set, every connection from these addresses must begin with that header, and connections from other addresses are "
            "refused. unix stands for every client of a unix socket."
        ),
    )
    proxy_protocol_secure: bool = field(
        default=False,
        metadata=explain(
            "Whether clients come to the load balancers of proxy_protocol_from over TLS, which ends there. It counts where the header does "
            "not say it: version 1 never does, and version 2 only with a TLV about TLS (HAProxy: send-proxy-v2-ssl), which is then "
            "believed. With on, same-origin compares with https."
        ),
    )
    trusted_proxies: NetworkList = field(
        default=(),
        metadata=explain(
            "Proxies whose headers are believed. The headers give the client's address and whether it used TLS; forwarded_header "
            "decides which headers these are. Name the addresses that the proxies connect from, and nothing wider: a client that "
            "connects from one of them can claim any address. unix stands for every client of a unix socket."
        ),
    )
    forwarded_header: Literal["x-forwarded-for", "forwarded"] = field(
        default="x-forwarded-for",
        metadata=explain(
            "Which headers of trusted_proxies are read. x-forwarded-for: X-Forwarded-For, to which each proxy appends, and "
            "X-Forwarded-Proto, which each proxy sets. forwarded: Forwarded (RFC 7239), with for and proto. The other kind is "
            "ignored, because most proxies pass it on as the client sent it."
        ),
    )
    mounts: MountPaths = field(default=(), metadata=explain("The mounts that this listener serves, by their paths. Empty: all of them."))
    index_page: Literal["auto", "on", "off"] = field(
        default="auto",
        metadata=explain(
            "Whether a web browser that opens / of this listener sees a short page with the paths of its mounts, where nothing is mounted "
            "at / itself. auto: only a listener on a loopback address, with no proxy named, has that page."
        ),
    )
    console: bool = field(
        default=False,
        metadata=explain(
            "For development: a page at /console that opens WebSockets to any URL and shows every message. It shows nothing of the "
            "daemon; the whole console is at / of the admin pages."
        ),
    )
    hosts: ReachedHosts = field(
        default=(),
        metadata=explain(
            "The names and addresses that a client may use in the Host header. Any other request is answered 421. *.example.com "
            "stands for all names below example.com; ports are not compared. This refuses pages of a hostile name that was made to "
            "resolve to this machine (DNS rebinding). List every name and address that clients, proxies and health checks use. "
            "Empty: any."
        ),
    )
    backlog: Annotated[int, WholeForm(1, 65535)] = field(
        default=4096,
        metadata=explain(
            "How many connections the kernel queues until the daemon accepts them. The kernel's own limit (net.core.somaxconn) may "
            "be lower."
        ),
    )
    handshake_timeout: PositiveDuration = field(
        default=10.0,
        metadata=explain(
            "How long a client may take from its connection to the end of the opening handshake. This covers the PROXY header, TLS, "
            "the request, authentication and an Autobahn class's onConnect together."
        ),
    )
    max_connections: Count = field(
        default=0,
        metadata=explain(
            "How many WebSocket connections may be open on this listener. Beyond that a new client is answered 503. 0: no limit of its own."
        ),
    )
    max_handshakes: PositiveCount = field(
        default=1000, metadata=explain("How many connections may be in their opening handshake. Beyond that the oldest of them is dropped.")
    )
    max_connections_per_address: Count = field(
        default=100,
        metadata=explain(
            "How many WebSocket connections one client address may have open on this listener. The IPv6 addresses of one /64 count "
            "as one. Beyond that a new client is answered 429, or dropped before TLS. This limit and the next two do not count "
            "clients on this machine (127.0.0.0/8, ::1, unix sockets), nor the proxies themselves. Behind a proxy they count the "
            "addresses that trusted_proxies or proxy_protocol_from give, whatever these are. Clients whose address a trusted proxy "
            "hides count together, under the proxy's address. 0: no limit."
        ),
    )
    max_handshakes_per_address: Count = field(
        default=50, metadata=explain("How many connections of one client address may be in their opening handshake. 0: no limit.")
    )
    connections_per_second_per_address: Count = field(
        default=20,
        metadata=explain(
            "How many new connections per second one client address may make; bursts of up to three seconds' worth are allowed. 0: "
            "no limit."
        ),
    )
    max_connections_per_user: Count = field(
        default=0,
        metadata=explain(
            "How many WebSocket connections one authenticated user may have open on this listener. Beyond that a new client is "
            "answered 429. 0: no limit."
        ),
    )
    messages_per_second: Count = field(
        default=0,
        metadata=explain(
            "How many messages per second a client may send; bursts of up to two seconds' worth are allowed. The mount's over_rate "
            "decides what happens above this. This limit and the next five apply to each connection of this listener. Mounts have "
            "them too, and the lower one applies. 0: only the mount's limit applies."
        ),
    )
    bytes_per_second: Size = field(
        default=0,
        metadata=explain(
            "How many bytes per second a client may send; bursts of up to two seconds' worth are allowed. 0: only the mount's limit "
            "applies."
        ),
    )
    control_frames_per_second: Count = field(
        default=0,
        metadata=explain(
            "How many pings and pongs per second a client may send. More close the connection with 1008. 0: only the mount's limit applies."
        ),
    )
    max_fragments: Count = field(
        default=0,
        metadata=explain(
            "How many fragments one message of a client may have. More close the connection with 1009. 0: only the mount's limit applies."
        ),
    )
    idle_timeout: Duration = field(
        default=0.0,
        metadata=explain("How long a connection may stay open without a message in either direction. 0: only the mount's limit applies."),
    )
    lifetime: Duration = field(
        default=0.0, metadata=explain("How long a connection may stay open in all. 0: only the mount's limit applies.")
    )

    @property
    def secure(self) -> bool:
        """Whether the listener speaks TLS."""
        return self.tls_certificate is not None or bool(self.tls)

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """Half of a pair, or a key that needs TLS."""
        yield from tls_conflicts(self)


class SpeaksTls(Protocol):
    """A section whose address may speak TLS."""

    @property
    def tls_certificate(self) -> Path | None: ...

    @property
    def tls_key(self) -> Path | None: ...

    @property
    def tls(self) -> tuple[str, ...]: ...

    @property
    def client_ca(self) -> Path | None: ...

    @property
    def client_certificate(self) -> Literal["none", "optional", "required"]: ...

    @property
    def secure(self) -> bool: ...


def tls_conflicts(section: SpeaksTls) -> Iterable[tuple[tuple[str, ...], str]]:
    """Half of a pair, or a key that needs TLS."""
    if section.tls_certificate is None and section.tls_key is not None:
        yield ("tls_key", "tls_certificate"), "expected tls_certificate too: TLS needs both"
    if section.tls_key is None and section.tls_certificate is not None:
        yield ("tls_certificate", "tls_key"), "expected tls_key too: TLS needs both"
    if section.tls and section.tls_certificate is not None:
        yield ("tls", "tls_certificate"), "expected either tls or tls_certificate and tls_key, not both"
    if section.client_certificate != "none" and section.client_ca is None:
        yield ("client_certificate", "client_ca"), "expected client_ca too: it names the authorities whose certificates are accepted"
    if section.client_ca is not None and section.client_certificate == "none":
        yield ("client_ca", "client_certificate"), "expected client_certificate = optional or required too"
    if section.client_ca is not None and not section.secure:
        yield ("client_ca", "tls", "tls_certificate"), "expected tls or tls_certificate too: client certificates need TLS"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings(SectionSettings):
    """[tls:NAME]: a certificate for one or more host names. A listener takes any number of them with its key tls."""

    name: str
    certificate: Annotated[Path, PathForm("the path of a file")] = field(
        metadata=explain(
            "The certificate and its chain, as PEM. Relative to this file. The daemon loads a renewed certificate by itself within "
            "half a minute, or at once on SIGHUP.",
            example="./www.pem",
        )
    )
    key: Annotated[Path, PathForm("the path of a file")] = field(
        metadata=explain("The private key of the certificate, as PEM. Relative to this file.", example="./www-key.pem")
    )
    hosts: Hosts = field(
        default=(), metadata=explain("The host names that this certificate is used for. Empty: the names in the certificate.")
    )
