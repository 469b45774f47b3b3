"""The environment of a program: the variables of CGI (RFC 3875), as websocketd sets them, and the client's headers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...core.handshake import Handshake, Peer

HEADER = re.compile(rb"[a-z0-9-]+")
"""Names of headers that become variables. One with a `_` could take the place of another, because `-` becomes `_`."""

LEFT_OUT = frozenset({b"proxy"})  # programs take HTTP_PROXY for their own setting (CVE-2016-5385)

CREDENTIALS = frozenset({b"authorization", b"proxy-authorization"})
"""Left out if the daemon itself has authenticated the client (RFC 3875 4.1.18)."""

EMPTY = ("AUTH_TYPE", "CONTENT_LENGTH", "CONTENT_TYPE", "REMOTE_IDENT", "REMOTE_USER")


def base_environment(variables: Mapping[str, str | None], own: Mapping[str, str]) -> dict[bytes, bytes]:
    """The variables that are the same for each connection: PATH, and those of the settings. `own` is the daemon's environment."""
    wanted = {"PATH": None, **variables}
    given = {name: own.get(name) if value is None else value for name, value in wanted.items()}
    return {name.encode(): value.encode("utf-8", "surrogateescape") for name, value in given.items() if value is not None}


def client_environment(handshake: Handshake, unique_id: str, software: str) -> dict[bytes, bytes]:
    """The variables of one connection. `software` is the daemon's name and version."""
    host, port = _host_and_port(handshake)
    script, rest = _script(handshake)
    query = handshake.query_string.decode("latin-1")
    raw_path = handshake.raw_path.decode("latin-1")
    variables = dict.fromkeys(EMPTY, "") | {
        "SERVER_SOFTWARE": software,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{handshake.http_version}",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REMOTE_ADDR": handshake.peer.host,
        "REMOTE_HOST": handshake.peer.host,
        "REMOTE_PORT": str(handshake.peer.port) if handshake.peer.port else "",
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": raw_path + (f"?{query}" if query else ""),
        "QUERY_STRING": query,
        "SCRIPT_NAME": script,
        "PATH_INFO": rest,
        "PATH_TRANSLATED": handshake.path,
        "UNIQUE_ID": unique_id,
    }
    if handshake.secure:
        variables["HTTPS"] = "on"
    if handshake.identity is not None:
        variables["AUTH_TYPE"] = handshake.identity.method.partition(":")[0]
        variables["REMOTE_USER"] = handshake.identity.name
    for name, value in handshake.params.items():
        variables[f"PARAM_{name.upper()}"] = value
    made = {name.encode(): _one_line(value).encode("utf-8", "surrogateescape") for name, value in variables.items()}
    for name in ("REQUEST_URI", "QUERY_STRING"):
        made[name.encode()] = variables[name].encode("latin-1")
    return {**_headers(handshake), **made}


def hidden_headers(handshake: Handshake) -> frozenset[bytes]:
    """The headers that no program is told: credentials among them, if the daemon has checked them."""
    return LEFT_OUT | CREDENTIALS if handshake.identity is not None else LEFT_OUT


def _headers(handshake: Handshake) -> dict[bytes, bytes]:
    left_out = hidden_headers(handshake)
    found: dict[bytes, list[bytes]] = {}
    for name, value in handshake.headers.raw:
        if HEADER.fullmatch(name) and name not in left_out:
            found.setdefault(b"HTTP_" + name.upper().replace(b"-", b"_"), []).append(value)
    return {name: b", ".join(values) for name, values in found.items()}


def _one_line(value: str) -> str:
    return re.sub(r"[\0\r\n]", " ", value)


def _host_and_port(handshake: Handshake) -> tuple[str, str]:
    """The names of the server from the Host header; the port of the scheme if it names none."""
    host = handshake.headers.get("host", "")
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit() and (name.startswith("[") or ":" not in name):
        return name, port
    if isinstance(handshake.local, Peer) and handshake.local.is_unix:
        return host, ""
    return host, "443" if handshake.secure else "80"


def _script(handshake: Handshake) -> tuple[str, str]:
    """The part of the path that the mount names, and the rest of it that `{name...}` took."""
    pattern = handshake.mount.split("/")
    if not pattern[-1].endswith("...}"):
        return handshake.path, ""
    script = "/".join(handshake.path.split("/")[: len(pattern) - 1])
    return script, handshake.path[len(script) :]
