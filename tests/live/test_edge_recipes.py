"""The recipes of docs/nginx.md and docs/haproxy.md, as they stand there, with the real programs in front of a real daemon."""

from __future__ import annotations

import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.daemon import ROOT, SECONDS, Daemon, Program, make_certificate, program

pytestmark = pytest.mark.live

CLIENT = "127.0.0.5"
"""Where the clients of these tests come from: another address than the proxy's."""

WHOAMI = """
class Whoami:
    def open(self, connection, handshake):
        connection.send(f"{connection.peer.host} {connection.secure}")
        return self
    def received(self, message):
        pass
    def closed(self, code, reason):
        pass

app = Whoami()
"""


def recipes(name: str, language: str) -> list[str]:
    """The blocks of one language in a page of the documentation."""
    text = (ROOT / "docs" / name).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def adapt(recipe: str, replaced: Mapping[str, object]) -> str:
    """The recipe with other ports and paths. Each must be there: what was changed in the page must not go untested."""
    for old, new in replaced.items():
        assert old in recipe, f"{old} is not in the recipe"
        recipe = recipe.replace(old, str(new))
    return recipe


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def accepting(port: int, proxy: Program) -> None:
    """Until the proxy accepts connections."""
    pause, end = threading.Event(), time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), SECONDS).close()
            return
        except ConnectionRefusedError:
            assert proxy.running and time.monotonic() < end, proxy.log
            pause.wait(0.02)


def settings(recipe: str, replaced: Mapping[str, object]) -> str:
    """The recipe's INI with an app that says whom it sees."""
    return adapt(recipe, {**replaced, "app = echo": "app = whoami:app", "/ws/echo": "/ws/whoami"})


def come(port: int, context: ssl.SSLContext | None, path: str = "/ws/whoami", **headers: str) -> ClientConnection:
    return connect(
        f"{'wss' if context else 'ws'}://localhost:{port}{path}",
        sock=socket.create_connection(("127.0.0.1", port), SECONDS, source_address=(CLIENT, 0)),
        ssl=context,
        additional_headers={name.replace("_", "-"): value for name, value in headers.items()},
        proxy=None,
        open_timeout=SECONDS,
    )


def check_truth(daemon: Daemon, port: int, context: ssl.SSLContext | None, secure: bool) -> None:
    """The app and the log see the client's own address and scheme, whatever it says itself."""
    lies = {"X_Forwarded_For": "203.0.113.9", "Forwarded": "for=203.0.113.9;proto=http", "X_Forwarded_Proto": "http"}
    for headers in ({}, lies, {"Origin": f"{'https' if secure else 'http'}://localhost:{port}"}):
        with come(port, context, **headers) as client:
            assert client.recv(SECONDS) == f"{CLIENT} {secure}"
    with pytest.raises(InvalidStatus) as refused:
        come(port, context, Origin="https://evil.example")
    assert refused.value.response.status_code == 403
    daemon.output.wait_for(CLIENT, 3)
    assert "203.0.113.9" not in daemon.log and "turns clients away" not in daemon.log


# -- nginx

NGINX = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log stderr notice;
worker_processes 1;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{recipe}
}}
"""


def nginx(folder: Path, recipe: str) -> Program:
    user = "user root;" if os.geteuid() == 0 else ""  # its workers must get to the socket in a folder of ours
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, recipe=recipe, user=user))
    return Program([program("nginx", "Debian: nginx-light"), "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")], folder)


@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_nginx(tmp_path: Path, over: str) -> None:
    context = make_certificate(tmp_path)
    (tmp_path / "whoami.py").write_text(WHOAMI)
    [proxy_recipe], [recipe] = recipes("nginx.md", "nginx"), recipes("nginx.md", "ini")
    path = tmp_path / "ws.sock"
    tcp = {"unix:/run/wsdaemon/ws.sock:mode=660:group=www-data": "tcp:0:interface=127.0.0.1", "= unix": "= 127.0.0.1"}
    unix = {"/run/wsdaemon/ws.sock:mode=660:group=www-data": f"{path}:mode=660"}
    port = free_port()
    with Daemon(tmp_path, settings(recipe, unix if over == "unix" else tcp)) as daemon:
        upstream = f"unix:{path}" if over == "unix" else f"127.0.0.1:{daemon.port}"
        replaced = {
            "listen 443": f"listen 127.0.0.1:{port}",
            "unix:/run/wsdaemon/ws.sock": upstream,
            "/etc/ssl/www.pem": tmp_path / "cert.pem",
            "/etc/ssl/www.key": tmp_path / "key.pem",
        }
        with nginx(tmp_path, adapt(proxy_recipe, replaced)) as proxy:
            accepting(port, proxy)
            check_truth(daemon, port, context, True)
            check_plain_http(port, context)


def check_plain_http(port: int, context: ssl.SSLContext) -> None:
    """Plain HTTP on a WebSocket path is answered 426 through the proxy too."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as sock, context.wrap_socket(sock, server_hostname="localhost") as tls:
        tls.sendall(b"GET /ws/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: tls.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 426 ") and b"WebSocket only" in answer


# -- HAProxy

HAPROXY = """
global
    log stdout format raw local0
defaults
    log global
{recipe}
"""


def haproxy(folder: Path, recipe: str) -> Program:
    (folder / "haproxy.cfg").write_text(HAPROXY.format(recipe=recipe))
    return Program([program("haproxy", "Debian: haproxy"), "-db", "-f", str(folder / "haproxy.cfg")], folder)


def behind_haproxy(
    folder: Path, number: int, ini: Mapping[str, object], cfg: Mapping[str, object], upstream: str, check: Callable[[Daemon, int], None]
) -> None:
    (folder / "whoami.py").write_text(WHOAMI)
    port = free_port()
    with Daemon(folder, settings(recipes("haproxy.md", "ini")[number], ini)) as daemon:
        recipe = adapt(recipes("haproxy.md", "haproxy")[number], {":443": f"127.0.0.1:{port}", upstream: f"127.0.0.1:{daemon.port}", **cfg})
        with haproxy(folder, recipe) as proxy:
            accepting(port, proxy)
            check(daemon, port)


def test_haproxy_that_does_tls(tmp_path: Path) -> None:
    context = make_certificate(tmp_path)
    (tmp_path / "both.pem").write_bytes((tmp_path / "cert.pem").read_bytes() + (tmp_path / "key.pem").read_bytes())

    def check(daemon: Daemon, port: int) -> None:
        check_truth(daemon, port, context, True)
        check_plain_http(port, context)

    behind_haproxy(tmp_path, 0, {"tcp:8080": "tcp:0"}, {"/etc/haproxy/www.pem": tmp_path / "both.pem"}, "127.0.0.1:8080", check)


@pytest.mark.parametrize("version", ["send-proxy-v2", "send-proxy"])
def test_haproxy_that_passes_tls_through(tmp_path: Path, version: str) -> None:
    context = make_certificate(tmp_path)
    ini = {"tcp:8443": "tcp:0", "/etc/wsdaemon/www.pem": "cert.pem", "/etc/wsdaemon/www.key": "key.pem"}
    # Checks as often as can be, so that some come while the test runs.
    cfg = {"send-proxy-v2": version, " check": " check inter 50ms"}

    def check(daemon: Daemon, port: int) -> None:
        check_truth(daemon, port, context, True)
        with pytest.raises((OSError, EOFError)):
            connect(f"wss://localhost:{daemon.port}/ws/whoami", ssl=context, proxy=None, open_timeout=SECONDS)
        daemon.output.wait_for("turns clients away: proxy_header: the connection does not begin with a PROXY protocol header")

    behind_haproxy(tmp_path, 1, ini, cfg, "127.0.0.1:8443", check)
