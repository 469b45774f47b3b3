"""[listener:NAME] and [tls:NAME]: where connections are accepted, and how much a client may ask of the daemon before it is let in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

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
"""Limits on single connections that a listener has as well as a mount: the lower of the two counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings(SectionSettings):
    """[listener:NAME]: an address that accepts connections. There may be any number, each with a name of its own."""

    name: str
    address: AddressText = field(
        metadata=explain(
            "Where to listen. tcp:8080 is every IPv4 and IPv6 address of the machine, tcp:8080:interface=127.0.0.1 or interface=[::1] "
            "one of them. unix:/run/wsdaemon/ws.sock:mode=660 is a unix socket, also with :user=NAME and :group=NAME; its mode "
            "is 660 when left out. "
            "systemd:index=0 or systemd:name=ws is a socket that systemd passes.",
            example="tcp:8080:interface=127.0.0.1",
        )
    )
    tls_certificate: File = field(
        default=None,
        metadata=explain("The certificate and its chain, as PEM; with it the listener speaks TLS. Needs tls_key. Relative to this file."),
    )
    tls_key: File = field(default=None, metadata=explain("The private key of tls_certificate, as PEM. Relative to this file."))
    tls: TlsNames = field(
        default=(),
        metadata=explain(
            "The [tls:NAME] sections whose certificates this listener has, in the place of tls_certificate. A client gets the one for the "
            "host name that it asks for, and the first one when there is none for that."
        ),
    )
    client_ca: File = field(
        default=None,
        metadata=explain("The certificates, as PEM, of those who issue the certificates of clients. Relative to this file."),
    )
    client_certificate: Literal["none", "optional", "required"] = field(
        default="none",
        metadata=explain(
            "Whether clients show a certificate of their own in the TLS handshake, issued by client_ca. optional: they may, and a bad one "
            "ends the handshake. required: without a good one there is no connection."
        ),
    )
    proxy_protocol_from: NetworkList = field(
        default=(),
        metadata=explain(
            "Load balancers that put a PROXY protocol header (version 1 or 2) in front of each connection, before TLS. When set, every "
            "connection from there must begin with that header, and from anywhere else none is accepted. unix stands for every client of a "
            "unix socket."
        ),
    )
    trusted_proxies: NetworkList = field(
        default=(),
        metadata=explain(
            "Proxies whose headers are believed: they tell the client's address and whether it came over TLS. Which headers those are says "
            "forwarded_header. Name the addresses that the proxies connect from, and nothing wider: who connects from there can claim any "
            "address. unix stands for every client of a unix socket."
        ),
    )
    forwarded_header: Literal["x-forwarded-for", "forwarded"] = field(
        default="x-forwarded-for",
        metadata=explain(
            "What trusted_proxies write. x-forwarded-for: X-Forwarded-For, to which each of them appends, and X-Forwarded-Proto, which "
            "each sets. forwarded: Forwarded (RFC 7239), with for and proto. The other kind is not looked at: most proxies pass it on as "
            "the client sent it."
        ),
    )
    mounts: MountPaths = field(
        default=(), metadata=explain("The mounts that this listener serves, as their sections name them. Empty: all of them.")
    )
    hosts: ReachedHosts = field(
        default=(),
        metadata=explain(
            "What clients may call this listener in the Host header; any other request is answered 421. *.example.com stands for all names "
            "below example.com; ports are not compared. This keeps off pages of a hostile name that was made to lead here (DNS rebinding). "
            "List every name and address that clients, proxies and health checks use. Empty: any."
        ),
    )
    backlog: Annotated[int, WholeForm(1, 65535)] = field(
        default=4096,
        metadata=explain("How many connections the system holds until they are accepted. Its own limit (net.core.somaxconn) may be lower."),
    )
    handshake_timeout: PositiveDuration = field(
        default=10.0,
        metadata=explain(
            "How long a client may take from its connection to the end of the opening handshake: PROXY header, TLS, request, "
            "authentication and an Autobahn class's onConnect together."
        ),
    )
    max_connections: Count = field(
        default=0, metadata=explain("How many WebSocket connections may be open on this listener. 0: no limit of its own.")
    )
    max_handshakes: PositiveCount = field(
        default=1000, metadata=explain("How many connections may be in their opening handshake. Over it the oldest of them is dropped.")
    )
    max_connections_per_address: Count = field(
        default=100,
        metadata=explain(
            "How many WebSocket connections one client address may have open on this listener; of IPv6 addresses those of one /64 count "
            "together. Whoever comes after that is answered 429, or dropped before TLS. This and the next two never count who connects "
            "from this machine (127.0.0.0/8, ::1, unix sockets) nor the proxies themselves: behind a proxy they work on the addresses that "
            "trusted_proxies and proxy_protocol_from tell, whatever those are. Clients whose address a trusted proxy hides count together "
            "under the proxy's. 0: no limit."
        ),
    )
    max_handshakes_per_address: Count = field(
        default=50, metadata=explain("How many connections of one client address may be in their opening handshake. 0: no limit.")
    )
    connections_per_second_per_address: Count = field(
        default=20,
        metadata=explain(
            "How many connections one client address may begin in a second, in the long run; three times as many at once after a pause. "
            "0: no limit."
        ),
    )
    max_connections_per_user: Count = field(
        default=0,
        metadata=explain(
            "How many WebSocket connections one user may have open on this listener, where auth tells who it is. Whoever comes after "
            "that is answered 429. 0: no limit."
        ),
    )
    messages_per_second: Count = field(
        default=0,
        metadata=explain(
            "How many messages a client may send each second, for two seconds at once. What becomes of a faster one says the mount's "
            "over_rate. This and the next five are limits on each connection that comes by this listener. Mounts have them too, and of the "
            "two the lower one counts. 0: the mount's limit alone."
        ),
    )
    bytes_per_second: Size = field(
        default=0, metadata=explain("How many bytes a client may send each second, for two seconds at once. 0: the mount's limit alone.")
    )
    control_frames_per_second: Count = field(
        default=0,
        metadata=explain("How many pings and pongs a client may send each second. More close it with 1008. 0: the mount's limit alone."),
    )
    max_fragments: Count = field(
        default=0,
        metadata=explain("Into how many fragments a client may cut one message. More close it with 1009. 0: the mount's limit alone."),
    )
    idle_timeout: Duration = field(
        default=0.0,
        metadata=explain("How long a connection may be without a message in either direction. 0: the mount's limit alone."),
    )
    lifetime: Duration = field(default=0.0, metadata=explain("How long a connection may last at all. 0: the mount's limit alone."))

    @property
    def secure(self) -> bool:
        """Whether it speaks TLS."""
        return self.tls_certificate is not None or bool(self.tls)

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """Half of a pair, or what only makes sense with TLS."""
        if self.tls_certificate is None and self.tls_key is not None:
            yield ("tls_key", "tls_certificate"), "expected tls_certificate beside it: TLS takes both or neither"
        if self.tls_key is None and self.tls_certificate is not None:
            yield ("tls_certificate", "tls_key"), "expected tls_key beside it: TLS takes both or neither"
        if self.tls and self.tls_certificate is not None:
            yield ("tls", "tls_certificate"), "expected either tls or tls_certificate and tls_key, not both"
        if self.client_certificate != "none" and self.client_ca is None:
            yield ("client_certificate", "client_ca"), "expected client_ca beside it: whose certificates are good?"
        if self.client_ca is not None and self.client_certificate == "none":
            yield ("client_ca", "client_certificate"), "expected client_certificate = optional or required beside it"
        if self.client_ca is not None and not self.secure:
            yield ("client_ca", "tls", "tls_certificate"), "expected tls or tls_certificate beside it: it is for TLS only"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings(SectionSettings):
    """[tls:NAME]: a certificate for one or more host names. A listener takes any number of them with its key tls."""

    name: str
    certificate: Annotated[Path, PathForm("the path of a file")] = field(
        metadata=explain(
            "The certificate and its chain, as PEM. Relative to this file. A renewed one is taken into use by itself, within a minute, or "
            "at once on SIGHUP.",
            example="./www.pem",
        )
    )
    key: Annotated[Path, PathForm("the path of a file")] = field(
        metadata=explain("The private key of the certificate, as PEM. Relative to this file.", example="./www-key.pem")
    )
    hosts: Hosts = field(
        default=(), metadata=explain("The host names that this certificate is for. Empty: those that stand in the certificate.")
    )
