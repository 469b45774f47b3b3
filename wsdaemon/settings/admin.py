"""[admin]: the operator's own pages, and the token that opens them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from wsdaemon.settings.addresses import Address, TcpAddress, UnixAddress
from wsdaemon.settings.network import ReachedHosts
from wsdaemon.settings.schema import SectionSettings, explain
from wsdaemon.settings.values import MIB, AddressText, PositiveCount, PositiveDuration, PositiveSize, SecretFile

MIN_TOKEN_CHARACTERS = 16
"""Shorter tokens could be guessed."""

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
            "The address of these pages, written like a listener's. They are plain HTTP: if they are to be reached from other "
            "machines, put a proxy that speaks TLS in front."
        ),
    )
    token_file: SecretFile = field(
        default=None,
        metadata=explain(
            "The file with the token that a client must send as Authorization: Bearer TOKEN: one line of at least 16 letters, "
            "digits and -._~+/. Only a unix socket can do without a token, because its mode and owner decide which users may "
            "connect. The daemon reads a changed file by itself. /livez, /readyz and /openapi.json need no token. Relative to this "
            "file."
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

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """A missing token where one is needed, or a token that can be guessed."""
        if self.token_file is None:
            if not isinstance(self.address, UnixAddress):
                yield ("address", "token_file"), "expected token_file too: only a unix socket can do without a token"
        elif not is_token(self.token_file.reveal()):
            message = f"expected a file with one line of at least {MIN_TOKEN_CHARACTERS} letters, digits and -._~+/"
            yield ("token_file",), message


def stays_here(address: Address) -> bool:
    """Whether no other machine can connect there. A socket that systemd passes counts as local, because its address is not known here."""
    return not isinstance(address, TcpAddress) or (bool(address.interface) and ipaddress.ip_address(address.interface).is_loopback)
