"""The scope of a connection: the request, as ASGI applications read it (www specification 2.5, TLS extension 0.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.handshake import Handshake, Peer

VERSION = "3.0"
WWW_VERSION = "2.5"
LIFESPAN_VERSION = "2.0"

TLS_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


class Root:
    """The `root_path` of a mount: the part of its path before `{rest...}`, as the client asked for it; "" for a mount without a rest."""

    __slots__ = ("_segments",)

    def __init__(self, pattern: str) -> None:
        segments = pattern.split("/")
        self._segments = len(segments) - 1 if segments[-1].endswith("...}") else 0

    def of(self, path: str) -> str:
        """The root path of one request."""
        return "/".join(path.split("/", self._segments)[: self._segments]) if self._segments > 1 else ""


def make_scope(kind: str, handshake: Handshake, root: Root, state: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that scopes of both kinds have, `websocket` and `http`. `state` is copied, not deeply."""
    peer = handshake.peer
    return {
        "type": kind,
        "asgi": {"version": VERSION, "spec_version": WWW_VERSION},
        "http_version": handshake.http_version,
        "scheme": ("wss" if handshake.secure else "ws") if kind == "websocket" else ("https" if handshake.secure else "http"),
        "path": handshake.path,
        "raw_path": handshake.raw_path,
        "query_string": handshake.query_string,
        "root_path": root.of(handshake.path),
        "headers": list(handshake.headers.raw),
        "client": None if peer.is_unix else (peer.host, peer.port),
        "server": _server(handshake.local),
        "state": dict(state),
        "extensions": _extensions(handshake),
    }


def _server(local: Peer | str) -> tuple[str, int | None] | None:
    if isinstance(local, str):
        return (local, None) if local else None
    return None if local.is_unix else (local.host, local.port)


def _extensions(handshake: Handshake) -> dict[str, dict[str, Any]]:
    extensions: dict[str, dict[str, Any]] = {
        "wsdaemon": {"identity": handshake.identity, "params": dict(handshake.params)},
    }
    tls = handshake.tls
    if tls is not None:
        certificate = handshake.client_certificate
        extensions["tls"] = {
            "server_cert": None,
            "client_cert_chain": [] if certificate is None else [certificate.pem],
            "client_cert_name": None if certificate is None else certificate.subject,
            "client_cert_error": None,
            "tls_version": TLS_VERSIONS.get(tls.version),
            "cipher_suite": tls.cipher_suite,
        }
    return extensions
