"""[admin]: the operator's own pages, and the token that opens them."""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from wsdaemon.settings.addresses import Address, TcpAddress, UnixAddress
from wsdaemon.settings.form import EnumForm, ListForm
from wsdaemon.settings.listener import tls_conflicts
from wsdaemon.settings.network import ReachedHosts, TlsNames
from wsdaemon.settings.schema import SectionSettings, explain
from wsdaemon.settings.values import MIB, AddressText, File, PositiveCount, PositiveDuration, PositiveSize, SecretFile


class TokenRole(enum.StrEnum):
    """The kinds of requests to the admin pages. A token has one or more of them."""

    READ = "read"
    """Look: /status, /metrics, rooms, connections."""
    PUBLISH = "publish"
    """Publish into rooms."""
    OPERATE = "operate"
    """Close connections, remove members, issue tickets, look at frames (`tap`)."""


MIN_TOKEN_CHARACTERS = 16
"""Shorter tokens could be guessed."""

WEAK_TOKEN = f"expected a file with one line of at least {MIN_TOKEN_CHARACTERS} letters, digits and -._~+/"

TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)
"""The syntax of a bearer token in a header (RFC 6750 2.1)."""


def is_token(text: str) -> bool:
    """Whether `text` can be a bearer token and is too long to be guessed."""
    return len(text) >= MIN_TOKEN_CHARACTERS and TOKEN.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings(SectionSettings):
    """[admin]: pages for the operator: health, metrics, and an API to publish into rooms. Without this section there are none."""

    address: AddressText = field(
        default=TcpAddress(9464, "127.0.0.1"),
        metadata=explain(
            "The address of these pages, written like a listener's. If other machines are to reach them, let them speak TLS: give "
            "tls_certificate and tls_key."
        ),
    )
    tls_certificate: File = field(
        default=None,
        metadata=explain(
            "The certificate and its chain, as PEM. With it the pages are https. Needs tls_key. A renewed one is loaded as a "
            "listener's is. Relative to this file."
        ),
    )
    tls_key: File = field(default=None, metadata=explain("The private key of tls_certificate, as PEM. Relative to this file."))
    tls: TlsNames = field(
        default=(), metadata=explain("The [tls:NAME] sections whose certificates are used, instead of tls_certificate.")
    )
    client_ca: File = field(
        default=None,
        metadata=explain("The certificates of the authorities that issue client certificates, as PEM. Relative to this file."),
    )
    client_certificate: Literal["none", "optional", "required"] = field(
        default="none",
        metadata=explain(
            "Whether clients present a certificate, issued by client_ca, in the TLS handshake. required: no page is shown without "
            "one, /livez and /readyz included; the token is needed besides."
        ),
    )
    token_file: SecretFile = field(
        default=None,
        metadata=explain(
            "The file with the token that a client must send as Authorization: Bearer TOKEN: one line of at least 16 letters, "
            "digits and -._~+/. It opens everything; a section [token:NAME] has a token that opens less. Only a unix socket can do "
            "without a token, because its mode and owner decide which users may connect. The daemon reads a changed file by itself. "
            "/livez, /readyz, /openapi.json and the console's page need no token. Relative to this file."
        ),
    )
    hosts: ReachedHosts = field(
        default=(),
        metadata=explain(
            "The names and addresses that a request may have in its Host header. Any other request is answered 421. This keeps out "
            "pages of a hostile name that was made to resolve to this machine (DNS rebinding). *.example.com stands for all names below "
            "example.com; ports are not compared. Empty: localhost, the loopback addresses and the address that the request arrived at. "
            "On a unix socket any Host is taken, because no browser reaches one."
        ),
    )
    tap: Literal["off", "on", "payload"] = field(
        default="off",
        metadata=explain(
            "Whether a token with the role operate may look at the frames of a connection as they pass (`wsdaemon tail`). on: direction, "
            "type, size and time of each frame. payload: what is in them too, if it is asked for."
        ),
    )
    metrics_open: bool = field(default=False, metadata=explain("Let clients read /metrics without the token."))
    max_body: PositiveSize = field(
        default=4 * MIB, metadata=explain("The largest body of a request. A message in it must also fit its mount's max_message.")
    )
    max_connections: PositiveCount = field(
        default=100, metadata=explain("How many connections to these pages may be open. Beyond that an idle one is dropped.")
    )
    timeout: PositiveDuration = field(
        default=10.0, metadata=explain("How long a request may take to arrive and be answered, and how long a connection may be idle.")
    )

    @property
    def secure(self) -> bool:
        """Whether the pages are https."""
        return self.tls_certificate is not None or bool(self.tls)

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """Half of a pair, a missing token where one is needed, or a token that can be guessed."""
        yield from tls_conflicts(self)
        if self.token_file is None:
            if not isinstance(self.address, UnixAddress):
                yield ("address", "token_file"), "expected token_file too: only a unix socket can do without a token"
        elif not is_token(self.token_file.reveal()):
            yield ("token_file",), WEAK_TOKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSettings(SectionSettings):
    """[token:NAME]: a further token of the admin pages, with some of the rights. There may be any number, each with a name of its own."""

    name: str
    file: SecretFile = field(
        default=None,
        metadata=explain(
            "The file with the token, as [admin] token_file. The daemon reads a changed file by itself. Relative to this file.",
            example="./token",
        ),
    )
    roles: Annotated[tuple[TokenRole, ...], ListForm(EnumForm(TokenRole))] = field(
        default=(TokenRole.READ,),
        metadata=explain(
            "The requests that it opens, one or more. read: all pages that only show, /metrics and the console's figures. publish: "
            "messages into rooms. operate: closing connections, removing members, tickets, and frames "
            "if `[admin] tap` permits it."
        ),
    )

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """No token, one that can be guessed, or one that opens nothing."""
        if self.file is None:
            yield ("file",), "expected the path of a file with the token"
        elif not is_token(self.file.reveal()):
            yield ("file",), WEAK_TOKEN
        if not self.roles:
            yield ("roles",), f"expected at least one of {', '.join(TokenRole)}"


def stays_here(address: Address) -> bool:
    """Whether no other machine can connect there. A socket that systemd passes counts as local, because its address is not known here."""
    return not isinstance(address, TcpAddress) or (bool(address.interface) and ipaddress.ip_address(address.interface).is_loopback)
