"""Addresses that a listener accepts connections on, in the syntax of Twisted's endpoints.

    tcp:8080                                   every IPv4 and IPv6 address
    tcp:8080:interface=127.0.0.1
    tcp:8080:interface=[::1]                   or, as Twisted has it, interface=\\:\\:1
    unix:/run/wsdaemon/ws.sock:mode=660        also :user=NAME and :group=NAME
    systemd:index=0                            a socket that systemd passes, counted from 0
    systemd:name=ws                            the same by its FileDescriptorName=

Fields stand between colons; a backslash takes the next character as it is; a value in square brackets keeps its colons.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from wsdaemon.settings.form import Form, refuse_untidy
from wsdaemon.settings.problems import BadValue, closest

LONGEST_UNIX_PATH = 107
"""Bytes in `sockaddr_un.sun_path` on Linux, without the closing NUL."""

KINDS = {
    "tcp": "tcp:PORT or tcp:PORT:interface=ADDRESS",
    "unix": "unix:/PATH or unix:/PATH:mode=660, also with :user=NAME and :group=NAME",
    "systemd": "systemd:index=NUMBER or systemd:name=NAME",
}


def _escape(value: str) -> str:
    return re.sub(r"([\\:=\[])", r"\\\1", value)


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP port. Port 0 lets the kernel choose a free one.

    `interface` is an IPv4 or IPv6 address without brackets. "" means every IPv4 and IPv6 address (one dual-stack socket on `::`);
    "0.0.0.0" means IPv4 alone and "::" IPv6 alone, so that the two can stand side by side.
    """

    port: int
    interface: str = ""

    def __str__(self) -> str:
        interface = f"[{self.interface}]" if ":" in self.interface else self.interface
        return f"tcp:{self.port}" + (f":interface={interface}" if interface else "")


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A unix socket. `mode` has its permission bits; `user` and `group` (a name or a number) its owner, None to leave them unchanged."""

    path: str
    mode: int = 0o660
    user: str | None = None
    group: str | None = None

    def __str__(self) -> str:
        owner = "".join(f":{key}={_escape(value)}" for key, value in (("user", self.user), ("group", self.group)) if value is not None)
        return f"unix:{_escape(str(self.path))}:mode={self.mode:03o}{owner}"


@dataclass(frozen=True, slots=True)
class SystemdAddress:
    """A listening socket that systemd passes (sd_listen_fds(3)), by its index, counted from 0, or by its name. The other field is None."""

    index: int | None = None
    name: str | None = None

    def __str__(self) -> str:
        index = [] if self.index is None else [f"index={self.index}"]
        name = [] if self.name is None else [f"name={_escape(self.name)}"]
        return ":".join(["systemd", *index, *name])


Address: TypeAlias = TcpAddress | UnixAddress | SystemdAddress


def parse_address(text: str) -> Address:
    """Parse an address. Raises BadValue with the form of its kind."""
    kind, plain, options = _fields(text)
    if kind == "tcp":
        return _tcp(plain, options)
    if kind == "unix":
        return _unix(plain, options)
    if kind == "systemd":
        return _systemd(plain, options)
    if kind in ("ssl", "tls"):
        raise BadValue(f"expected {KINDS['tcp']}; for TLS, give the listener tls_certificate and tls_key")
    if kind.isascii() and kind.isdigit() and not plain and not options:
        raise BadValue(f"expected {KINDS['tcp']}; did you mean tcp:{kind}?")
    near = closest(kind, KINDS)
    hint = f"; did you mean {near}:...?" if near else ""
    forms = "tcp:8080:interface=127.0.0.1, unix:/run/wsdaemon/ws.sock:mode=660 or systemd:name=ws"
    raise BadValue(f"expected an address such as {forms}{hint}")


def _fields(text: str) -> tuple[str, list[str], dict[str, str]]:
    """Split a Twisted endpoint string into its kind, the values without a name, and the values with a name."""
    fields: list[tuple[str | None, str]] = []
    name: str | None = None
    value = ""
    bracket = False
    characters = iter(text + ":")
    for character in characters:
        if character == "\\":
            value += next(characters)
        elif character == "[" and not value:
            bracket = True
            value = character
        elif bracket and character != "]":
            value += character
        elif character == ":":
            fields.append((name, value))
            name, value = None, ""
        elif character == "=" and name is None and fields:
            name, value = value, ""
        else:
            value += character
            bracket = False
    if name is not None or value:
        raise BadValue("expected an address without an open [ and without a backslash at its end")
    options: dict[str, str] = {}
    for key, given in fields[1:]:
        if key is not None and key in options:
            raise BadValue(f"expected {key} only once in the address")
        if key is not None:
            options[key] = given
    return fields[0][1], [given for key, given in fields[1:] if key is None], options


def _refuse_unless(fact: object, kind: str, reason: str) -> None:
    if not fact:
        raise BadValue(f"expected {KINDS[kind]}; {reason}")


def _check_options(kind: str, options: Mapping[str, str], known: tuple[str, ...]) -> None:
    for key in options:
        near = closest(key, known)
        _refuse_unless(key in known, kind, f"{key} is no option of {kind}" + (f", did you mean {near}?" if near else ""))
    for key, value in options.items():
        _refuse_unless(value, kind, f"{key} is empty")


def _tcp(plain: list[str], options: dict[str, str]) -> TcpAddress:
    if "port" in options:
        plain = [options.pop("port"), *plain]
    reason = "an IPv6 address stands in brackets, as in interface=[::1]" if "interface" in options else "one PORT"
    _refuse_unless(len(plain) == 1, "tcp", reason)
    _check_options("tcp", options, ("interface", "port"))
    port = plain[0]
    right = re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) and int(port) <= 65535
    _refuse_unless(right, "tcp", "PORT is a number from 0 to 65535")
    return TcpAddress(int(port), _interface(options.get("interface", "")))


def _interface(text: str) -> str:
    """The address in its usual spelling. `localhost`, the only accepted name, is 127.0.0.1: binding never waits for DNS."""
    if not text:
        return ""
    if text == "localhost":
        return "127.0.0.1"
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        found = None
    right = found is not None and (bare == text or found.version == 6)
    _refuse_unless(right, "tcp", "ADDRESS is an IPv4 address, an IPv6 address in brackets, or localhost")
    return str(found)


def _unix(plain: list[str], options: dict[str, str]) -> UnixAddress:
    if "address" in options:
        plain = [options.pop("address"), *plain]
    _check_options("unix", options, ("mode", "user", "group", "address"))
    _refuse_unless(len(plain) == 1 and plain[0], "unix", "one PATH, with a backslash before each colon in it")
    mode = options.get("mode", "660")
    _refuse_unless(re.fullmatch(r"0?[0-7]{3}", mode, re.ASCII), "unix", "mode is three octal digits")
    for key in ("user", "group"):
        right = key not in options or re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@$-]*", options[key], re.ASCII)
        _refuse_unless(right, "unix", f"{key} is a name or a number")
    return UnixAddress(plain[0], int(mode, 8), options.get("user"), options.get("group"))


def _systemd(plain: list[str], options: dict[str, str]) -> SystemdAddress:
    _check_options("systemd", options, ("index", "name"))
    _refuse_unless(not plain and len(options) == 1, "systemd", "one of index and name")
    if "name" in options:
        name = options["name"]
        # FileDescriptorName= (systemd.socket(5)): printable ASCII, up to 255 characters, no colon.
        right = re.fullmatch(r"[!-9;-~]{1,255}", name, re.ASCII)
        _refuse_unless(right, "systemd", "NAME is what the socket unit has as FileDescriptorName=")
        return SystemdAddress(name=name)
    right = re.fullmatch(r"[0-9]{1,5}", options["index"], re.ASCII)
    _refuse_unless(right, "systemd", "NUMBER counts the sockets from 0")
    return SystemdAddress(index=int(options["index"]))


@dataclass(frozen=True, slots=True)
class AddressForm(Form[Address]):
    """A listener's address. In Python also an address object, which is checked like text."""

    @property
    def expected(self) -> str:
        return "an address such as tcp:8080:interface=127.0.0.1, unix:/run/wsdaemon/ws.sock:mode=660 or systemd:name=ws"

    def parse(self, text: str) -> Address:
        return parse_address(text)

    def accept(self, value: object) -> Address:
        if not isinstance(value, TcpAddress | UnixAddress | SystemdAddress):
            raise self.refusal()
        try:
            text = str(value)
        except (TypeError, ValueError):
            raise self.refusal() from None
        return self.convert(text)

    def locate(self, value: Address, directory: Path) -> Address:
        if not isinstance(value, UnixAddress):
            return value
        located = value if value.path.startswith("/") else replace(value, path=str(directory / value.path))
        refuse_untidy(str(located))
        length = len(os.fsencode(located.path))
        _refuse_unless(length <= LONGEST_UNIX_PATH, "unix", f"PATH has {length} bytes, and the system allows {LONGEST_UNIX_PATH}")
        return located
