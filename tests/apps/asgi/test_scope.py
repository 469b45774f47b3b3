"""apps/asgi/scope.py: the request as an application reads it."""

from __future__ import annotations

from typing import Any

import pytest

from wsdaemon.apps.asgi.scope import Root, make_scope
from wsdaemon.core.handshake import UNIX, ClientCertificate, Handshake, Headers, Peer, TlsSession
from wsdaemon.core.identity import Identity


def handshake(**values: Any) -> Handshake:
    given: dict[str, Any] = {"target": "/a", "path": "/a", "raw_path": b"/a", **values}
    return Handshake(**given)


def scope(kind: str = "websocket", root: str = "/a", state: Any = None, **values: Any) -> dict[str, Any]:
    return make_scope(kind, handshake(**values), Root(root), {} if state is None else state)


def test_a_plain_request() -> None:
    headers = Headers([(b"Host", b"example.org"), (b"X-One", b"1"), (b"cookie", b"caf\xe9"), (b"x-one", b"2")])
    found = scope(
        path="/é b", raw_path=b"/%C3%A9%20b", query_string=b"x=%20&y", headers=headers, peer=Peer("192.0.2.7", 5), local=Peer("::1", 80)
    )
    assert found == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/é b",
        "raw_path": b"/%C3%A9%20b",
        "query_string": b"x=%20&y",
        "root_path": "",
        "headers": [(b"host", b"example.org"), (b"x-one", b"1"), (b"cookie", b"caf\xe9"), (b"x-one", b"2")],
        "client": ("192.0.2.7", 5),
        "server": ("::1", 80),
        "state": {},
        "extensions": {"wsdaemon": {"identity": None, "params": {}}},
    }


@pytest.mark.parametrize(
    ("mount", "path", "root"),
    [
        ("/chat", "/chat", ""), ("/rooms/{room}", "/rooms/red", ""), ("/{rest...}", "/", ""), ("/{rest...}", "/a/b", ""),
        ("/api/{rest...}", "/api", "/api"), ("/api/{rest...}", "/api/", "/api"), ("/api/{rest...}", "/api/a/b", "/api"),
        ("/t/{name}/v1/{rest...}", "/t/é b/v1/x/y", "/t/é b/v1"),
    ],
)  # fmt: skip
def test_the_root_path_is_the_part_before_the_rest_and_the_path_is_whole(mount: str, path: str, root: str) -> None:
    found = scope(root=mount, path=path)
    assert (found["root_path"], found["path"]) == (root, path)
    assert found["path"].startswith(found["root_path"])


@pytest.mark.parametrize(("kind", "plain", "secure"), [("websocket", "ws", "wss"), ("http", "http", "https")])
def test_the_scheme_is_the_one_that_the_client_used(kind: str, plain: str, secure: str) -> None:
    assert scope(kind)["scheme"] == plain
    assert scope(kind, secure=True)["scheme"] == secure
    assert "tls" not in scope(kind, secure=True)["extensions"], "a proxy may have the TLS"


def test_on_a_unix_socket() -> None:
    assert scope(peer=UNIX, local="/run/ws.sock")["server"] == ("/run/ws.sock", None)
    assert scope(peer=UNIX, local="/run/ws.sock")["client"] is None
    assert scope(local=UNIX)["server"] is scope(local="")["server"] is None
    assert scope(peer=Peer("192.0.2.7"), local="/run/ws.sock")["client"] == ("192.0.2.7", 0), "a trusted proxy named the client"


def test_the_state_is_a_shallow_copy() -> None:
    state = {"pool": [1]}
    found = scope(state=state)
    found["state"]["mine"] = 1
    assert state == {"pool": [1]}
    assert found["state"]["pool"] is state["pool"]


def test_tls() -> None:
    session = TlsSession("TLSv1.3", "TLS_AES_256_GCM_SHA384", 0x1302)
    assert scope(secure=True, tls=session)["extensions"]["tls"] == {
        "server_cert": None, "client_cert_chain": [], "client_cert_name": None, "client_cert_error": None,
        "tls_version": 0x0304, "cipher_suite": 0x1302,
    }  # fmt: skip
    certificate = ClientCertificate(subject="CN=ann,O=x", common_name="ann", names=(), issuer="", serial="", fingerprint="", der=b"0")
    tls = scope(secure=True, tls=session, client_certificate=certificate)["extensions"]["tls"]
    assert tls["client_cert_name"] == "CN=ann,O=x"
    assert tls["client_cert_chain"] == [certificate.pem]


def test_what_the_daemon_knows_besides() -> None:
    ann = Identity("ann", "test")
    assert scope(identity=ann, params={"room": "red"})["extensions"]["wsdaemon"] == {"identity": ann, "params": {"room": "red"}}
