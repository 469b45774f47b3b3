"""[admin]: where the operator's own pages are, and who may see them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from wsdaemon.settings.addresses import Address, TcpAddress, UnixAddress
from wsdaemon.settings.schema import SectionSettings, explain
from wsdaemon.settings.values import MIB, AddressText, PositiveCount, PositiveDuration, PositiveSize, SecretFile

SHORTEST_TOKEN = 16
"""Characters."""

TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)
"""What may stand behind Bearer in a header (RFC 6750 2.1)."""


def is_token(text: str) -> bool:
    """Whether `text` can be a bearer token, and is long enough not to be guessed."""
    return len(text) >= SHORTEST_TOKEN and TOKEN.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings(SectionSettings):
    """[admin]: pages for the operator: health, metrics, and publishing from outside. Without this section there are none."""

    address: AddressText = field(
        default=TcpAddress(9464, "127.0.0.1"),
        metadata=explain(
            "Where these pages are, as the address of a listener. They are plain HTTP: beyond this machine, put a proxy that speaks TLS in "
            "front."
        ),
    )
    token_file: SecretFile = field(
        default=None,
        metadata=explain(
            "The file with the token that whoever asks has to show, as Authorization: Bearer TOKEN: one line of at least 16 letters, "
            "digits and -._~+/. Only a unix socket can do without, for its mode and owner say who may come. A changed file is taken into "
            "use by itself. /livez, /readyz and /openapi.json need no token. Relative to this file."
        ),
    )
    metrics_open: bool = field(default=False, metadata=explain("Let /metrics be read without the token."))
    max_body: PositiveSize = field(
        default=4 * MIB, metadata=explain("The largest body of a request. A message in it must not be larger than its mount's max_message.")
    )
    max_connections: PositiveCount = field(
        default=100, metadata=explain("How many connections there may be to these pages. With one more, one that is idle has to go.")
    )
    timeout: PositiveDuration = field(
        default=10.0, metadata=explain("How long a request may take to arrive and be answered, and how long a connection may be idle.")
    )

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """No door without a key, and no key that is easily guessed."""
        if self.token_file is None:
            if not isinstance(self.address, UnixAddress):
                yield ("address", "token_file"), "expected token_file beside it: only a unix socket can do without a token"
        elif not is_token(self.token_file.reveal()):
            message = f"expected a file with one line of at least {SHORTEST_TOKEN} letters, digits and -._~+/"
            yield ("token_file",), message


def admin_warnings(admin: AdminSettings | None) -> Iterable[str]:
    """What works, but lets others listen."""
    if admin is not None and not _stays_here(admin.address):
        yield f"[admin] address = {admin.address}: these pages are plain HTTP, and who listens on the way there learns the token"


def _stays_here(address: Address) -> bool:
    """Whether no other machine can connect there; of a socket that systemd passes nothing is known, and nothing said."""
    return not isinstance(address, TcpAddress) or (bool(address.interface) and ipaddress.ip_address(address.interface).is_loopback)
