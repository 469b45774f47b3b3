"""Networks and host names in the settings of listeners and certificates. This module checks their syntax; the edge uses them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from wsdaemon.settings.form import Form, ListForm
from wsdaemon.settings.problems import BadValue

_LABEL = re.compile(r"(?!-)[a-z0-9_\-]{1,63}(?<!-)", re.ASCII)


def unmapped(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network of IPv4-mapped addresses (::ffff:10.0.0.0/104, RFC 4291 2.5.5.2) as the IPv4 network; any other one as it is.

    A listener for both families sees its IPv4 clients so, and compares their IPv4 addresses.
    """
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        address = network.network_address.ipv4_mapped
        if address is not None:
            return ipaddress.IPv4Network((address, network.prefixlen - 96))
    return network


@dataclass(frozen=True, slots=True)
class NetworkForm(Form[str]):
    """An address, a network such as 10.0.0.0/8, or `unix` for every client of a unix socket; in its shortest spelling."""

    @property
    def expected(self) -> str:
        return "addresses, networks such as 10.0.0.0/8 or 2001:db8::/32, or unix"

    def parse(self, text: str) -> str:
        if text.lower() == "unix":
            return "unix"
        try:
            network = unmapped(ipaddress.ip_network(text))
        except ValueError as error:
            if "host bits" in str(error):
                raise self.refusal(
                    f"; the address has bits set after the prefix: did you mean {ipaddress.ip_network(text, strict=False)}?"
                ) from None
            raise self.refusal() from None
        return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


@dataclass(frozen=True, slots=True)
class HostForm(Form[str]):
    """A host name; its first label may be `*`. The value is in lower case, IDNA in its `xn--` spelling."""

    @property
    def expected(self) -> str:
        return "host names such as www.example.com or *.example.com"

    def parse(self, text: str) -> str:
        host = text.lower().removesuffix(".")
        if not host.isascii():
            try:
                host = host.encode("idna").decode("ascii")
            except UnicodeError:
                raise self.refusal() from None
        labels = host.removeprefix("*.").split(".")
        if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
            raise self.refusal("; an IP address is never asked for by name" if ":" in host else "")
        return host


@dataclass(frozen=True, slots=True)
class ReachedHostForm(Form[str]):
    """A host in a Host header: a host name, `*.` with a name for all names below it, or an IP address (IPv6 shortest, in brackets)."""

    @property
    def expected(self) -> str:
        return "host names such as www.example.com or *.example.com, and IP addresses"

    def parse(self, text: str) -> str:
        bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\]", text)
        try:
            if bracketed or (":" in text and "%" not in text):
                return f"[{ipaddress.IPv6Address(bracketed[1] if bracketed else text)}]"
            host = HostForm().parse(text)
            # Browsers take a name whose last label is a number for an IPv4 address.
            return str(ipaddress.IPv4Address(host)) if host.rpartition(".")[2].isdigit() else host
        except ValueError:
            raise self.refusal("; ports are not compared" if re.search(r":[0-9]+$", text) and "::" not in text else "") from None


@dataclass(frozen=True, slots=True)
class NameForm(Form[str]):
    """The NAME of a section."""

    noun: str = "names"

    @property
    def expected(self) -> str:
        return self.noun

    def parse(self, text: str) -> str:
        if not is_section_name(text):
            raise BadValue(f"expected {self.noun}")
        return text


def is_section_name(text: str) -> bool:
    """Whether `text` may be the NAME of a section such as [tls:NAME]."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", text, re.ASCII) is not None


NetworkList: TypeAlias = Annotated[tuple[str, ...], ListForm(NetworkForm())]
Hosts: TypeAlias = Annotated[tuple[str, ...], ListForm(HostForm())]
ReachedHosts: TypeAlias = Annotated[tuple[str, ...], ListForm(ReachedHostForm())]
TlsNames: TypeAlias = Annotated[tuple[str, ...], ListForm(NameForm("the NAMEs of [tls:NAME] sections"))]
