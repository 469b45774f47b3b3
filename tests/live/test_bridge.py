"""`app = bridge` in a real daemon, with the programs that people put behind one: mosquitto and paho, sshd and ssh, Xvnc and noVNC."""

from __future__ import annotations

import functools
import getpass
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any, Self

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.live.test_edge_recipes import free_port
from tests.live.test_examples import Tab
from tests.support.browser import Browser
from tests.support.daemon import SECONDS, Daemon, Program, make_certificate, program, run

pytestmark = pytest.mark.live

HEAD = """
[listener:web]
address = tcp:0:interface=127.0.0.1
"""

NOVNC = Path("/usr/share/novnc")


def mount(path: str, *lines: str) -> str:
    return "\n".join([f"[mount:{path}]", "app = bridge", *lines, ""])


def until_it_listens(port: int, server: Program) -> None:
    """A server of another project tells of its readiness in many ways; all of them accept then."""
    waited = threading.Event()
    for _ in range(int(SECONDS / 0.05)):
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert server.running, server.log
        waited.wait(0.05)
    raise AssertionError(f"port {port} does not answer:\n{server.log}")


class Target:
    """A TCP or TLS server for one connection after the other: it sends back what it is sent, and says how the stream ended."""

    def __init__(self, context: ssl.SSLContext | None = None, greeting: bytes = b"") -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._context = context
        self._greeting = greeting
        self.ends: Queue[bytes] = Queue()
        """All that one connection sent, at its end."""
        self.port = int(self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock = self._server.accept()[0]
            except OSError:
                return
            with sock:
                try:
                    served = sock if self._context is None else self._context.wrap_socket(sock, server_side=True)
                    with served:
                        self._echo(served)
                except OSError:
                    continue

    def _echo(self, sock: socket.socket) -> None:
        received = b""
        sock.sendall(self._greeting)
        while data := sock.recv(65536):
            received += data
            if data == b"quit":
                break
            sock.sendall(data)
        self.ends.put(received)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(SECONDS)


def test_bytes_in_both_directions_and_both_ends(tmp_path: Path) -> None:
    with Target(greeting=b"hello\0") as target, Daemon(tmp_path, HEAD + mount("/t", f"target = tcp:127.0.0.1:{target.port}")) as daemon:
        with daemon.connect("/t", subprotocols=[Subprotocol("binary")], max_size=None) as client:
            assert client.subprotocol == "binary"
            assert client.recv(SECONDS) == b"hello\0"
            big = os.urandom(1_000_000)
            client.send(big)
            received = b""
            while len(received) < len(big):
                received += bytes(client.recv(SECONDS))  # type: ignore[arg-type]
            assert received == big
            client.send("text is bytes, too: ä")
            assert client.recv(SECONDS) == "text is bytes, too: ä".encode()
        assert target.ends.get(timeout=SECONDS) == big + "text is bytes, too: ä".encode()
        with daemon.connect("/t") as client:
            client.send(b"quit")
            client.recv(SECONDS)
            with pytest.raises(ConnectionClosed) as caught:
                client.recv(SECONDS)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1000


def test_a_target_that_is_not_there_is_said_before_the_101(tmp_path: Path) -> None:
    closed = free_port()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = []
        for _ in range(3):  # the kernel answers no more once the backlog is full
            fillers.append(sock := socket.socket())
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        text = (
            HEAD
            + mount("/closed", f"target = tcp:127.0.0.1:{closed}")
            + mount("/full", f"target = tcp:127.0.0.1:{full.getsockname()[1]}", "connect_timeout = 100ms")
            + mount("/unix", f"target = unix:{tmp_path}/nowhere")
            + mount("/{host}/{port}", "target = tcp:{host}:{port}", "allow_targets = 127.0.0.0/8:5900-5999")
        )
        with Daemon(tmp_path, text) as daemon:
            for path, status in (
                ("/closed", 502), ("/full", 504), ("/unix", 502), ("/127.0.0.1/22", 403), ("/169.254.169.254/5900", 403),
                ("/localhost/22", 403), ("/x%20y/5900", 404), ("/127.0.0.1/x", 404),
            ):  # fmt: skip
                with pytest.raises(InvalidStatus) as caught:
                    daemon.connect(path)
                assert caught.value.response.status_code == status, path
        for sock in fillers:
            sock.close()


def test_a_name_is_judged_by_its_addresses(tmp_path: Path) -> None:
    with Target() as target:
        text = HEAD + mount("/{host}/{port}", "target = tcp:{host}:{port}", "allow_targets = 127.0.0.0/8:*")
        with Daemon(tmp_path, text) as daemon, daemon.connect(f"/localhost/{target.port}") as client:
            client.send(b"x")
            assert client.recv(SECONDS) == b"x"


def test_tokens_as_novnc_sends_them(tmp_path: Path) -> None:
    with Target(greeting=b"one") as one, Target(greeting=b"two") as two:
        folder = tmp_path / "tokens"
        folder.mkdir()
        (folder / "a").write_text(f"# desks\none: 127.0.0.1:{one.port}\n\nother: tcp:127.0.0.1:1\n")
        text = HEAD + mount("/vnc", "tokens = tokens") + mount("/desk/{token}", "tokens = tokens/a")
        with Daemon(tmp_path, text) as daemon:
            for path in ("/vnc?token=one", "/desk/one"):
                with daemon.connect(path) as client:
                    assert client.recv(SECONDS) == b"one"
            for path in ("/vnc?token=two", "/vnc", "/desk/two", "/vnc?token="):
                with pytest.raises(InvalidStatus) as caught:
                    daemon.connect(path)
                assert caught.value.response.status_code == 404
            (folder / "b").write_text(f"two: 127.0.0.1:{two.port}\n")
            waited = threading.Event()
            while True:
                try:
                    with daemon.connect("/vnc?token=two") as client:
                        assert client.recv(SECONDS) == b"two"
                        break
                except InvalidStatus:
                    waited.wait(0.1)


def test_tls_to_the_target_is_verified(tmp_path: Path) -> None:
    make_certificate(tmp_path, "db.example.com")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    names: list[str | None] = []
    context.sni_callback = lambda sock, name, same: names.append(name)
    from trustme import CA

    authority, other = CA(), CA()
    certificate = authority.issue_cert("db.example.com")
    certificate.configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    client_certificate = authority.issue_cert("client.example.com")
    client_certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    own = ("target_certificate = client.pem", "target_key = client.pem")
    with Target(context) as target:
        where = f"target = tls:127.0.0.1:{target.port}"
        text = (
            HEAD
            + mount("/good", where, "target_ca = ca.pem", "target_name = db.example.com", *own)
            + mount("/name", where, "target_ca = ca.pem", *own)
            + mount("/ca", where, "target_ca = other.pem", "target_name = db.example.com", *own)
        )
        with Daemon(tmp_path, text) as daemon:
            with daemon.connect("/good") as client:
                client.send(b"x" * 100_000)
                received = b""
                while len(received) < 100_000:
                    received += bytes(client.recv(SECONDS))  # type: ignore[arg-type]
            assert names == ["db.example.com"]
            for path in ("/name", "/ca"):
                with pytest.raises(InvalidStatus) as caught:
                    daemon.connect(path)
                assert caught.value.response.status_code == 502
            daemon.output.wait_for("/name: tls:127.0.0.1:.* cannot be reached: its certificate is not good")


@pytest.mark.parametrize(
    ("version", "expected"), [("v1", b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n"), ("v2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11")]
)
def test_the_target_is_told_the_client_s_address(tmp_path: Path, version: str, expected: bytes) -> None:
    with Target() as target:
        text = HEAD + mount("/t", f"target = tcp:127.0.0.1:{target.port}", f"send_proxy = {version}")
        with Daemon(tmp_path, text) as daemon, daemon.connect("/t") as client:
            told = client.recv(SECONDS)
            port = client.socket.getsockname()[1]
            assert isinstance(told, bytes)
            assert told.startswith(expected % (port, daemon.port) if version == "v1" else expected)


def test_check_finds_what_cannot_be_resolved(tmp_path: Path) -> None:
    text = (
        HEAD + mount("/a", "target = tcp:host") + mount("/b", "target = tcp:{x}:1", "allow_targets = *:1") + mount("/c")
        + mount("/d", "tokens = nowhere") + mount("/e", "target = tls:h:1", "target_ca = nowhere.pem")
        + mount("/f/{h}", "target = tcp:{h}:1")
    )  # fmt: skip
    done = run(tmp_path, text, "--check")
    assert done.returncode == 1
    for part in (
        "[mount:/a] target = tcp:host: expected tcp:HOST:PORT", "[mount:/b] target = tcp:{x}:1: the path of the mount has no parameter {x}",
        "[mount:/c] target: missing key", "[mount:/d] tokens = ", "[mount:/e] target_ca = ", "[mount:/f/{h}] target = ",
    ):  # fmt: skip
        assert part in done.stderr, done.stderr


# -- programs of others


@contextmanager
def mosquitto(folder: Path) -> Iterator[int]:
    path, port = program("mosquitto", "Debian package mosquitto"), free_port()
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser {getpass.getuser()}\n")
    with Program([path, "-c", str(folder / "mosquitto.conf")], folder) as server:
        until_it_listens(port, server)
        yield port


def test_mqtt(tmp_path: Path) -> None:
    mqtt = pytest.importorskip("paho.mqtt.client")
    with mosquitto(tmp_path) as port, Daemon(tmp_path, HEAD + mount("/mqtt", f"target = tcp:127.0.0.1:{port}")) as daemon:
        received: Queue[tuple[str, bytes]] = Queue()
        subscribed = threading.Event()
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, transport="websockets")
        client.ws_set_options(path="/mqtt")
        client.on_connect = lambda client, *rest: client.subscribe("rooms/#", qos=1)
        client.on_subscribe = lambda *rest: subscribed.set()
        client.on_message = lambda client, data, message: received.put((message.topic, message.payload))
        client.connect("127.0.0.1", daemon.port)
        client.loop_start()
        try:
            assert subscribed.wait(SECONDS)
            for payload in (b"hello", os.urandom(200_000)):
                client.publish("rooms/a", payload, qos=1)
                assert received.get(timeout=SECONDS) == ("rooms/a", payload)
        finally:
            client.disconnect()
            client.loop_stop()
        with daemon.connect("/mqtt", subprotocols=[Subprotocol("mqtt")]) as other:
            assert other.subprotocol == "mqtt"
            other.send("text")
            with pytest.raises(ConnectionClosed) as caught:
                other.recv(SECONDS)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1003


PIPE = """
import os, sys, threading
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
with connect(sys.argv[1], subprotocols=["binary"], proxy=None, compression=None) as client:
    def to_server():
        while data := os.read(0, 65536):
            client.send(data)
        client.close()
    threading.Thread(target=to_server, daemon=True).start()
    try:
        for message in client:
            os.write(1, message)
    except (ConnectionClosed, BrokenPipeError):
        pass
"""


def test_ssh(tmp_path: Path) -> None:
    sshd, ssh = program("sshd", "Debian package openssh-server"), program("ssh", "Debian package openssh-client")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True, timeout=SECONDS)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    port = free_port()
    options = [
        f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {tmp_path}/host", f"AuthorizedKeysFile {tmp_path}/user.pub", "UsePAM no",
        "StrictModes no", "PidFile none", "PermitRootLogin prohibit-password", "PasswordAuthentication no",
    ]  # fmt: skip
    (tmp_path / "sshd_config").write_text("\n".join(options) + "\n")
    (tmp_path / "pipe.py").write_text(PIPE)
    with Program([sshd, "-D", "-e", "-f", str(tmp_path / "sshd_config")], tmp_path) as server:
        until_it_listens(port, server)
        with Daemon(tmp_path, HEAD + mount("/ssh", f"target = tcp:127.0.0.1:{port}")) as daemon:
            through = f"{sys.executable} {tmp_path}/pipe.py {daemon.url('/ssh')}"
            line = [
                ssh, "-F", "none", "-i", str(tmp_path / "user"), "-o", "StrictHostKeyChecking=no", "-o",
                f"UserKnownHostsFile={tmp_path}/known",
                "-o", "LogLevel=ERROR", "-o", f"ProxyCommand={through}", f"{getpass.getuser()}@anywhere",
                "head -c 300000 /dev/zero; cat; exit 7",
            ]  # fmt: skip
            done = subprocess.run(line, input=b"hello through a bridge", capture_output=True, check=False, timeout=SECONDS)
            assert done.returncode == 7, (done.stderr, server.log)
            assert done.stdout == bytes(300_000) + b"hello through a bridge"


class Pages(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """No line for each request."""


@pytest.fixture
def pages() -> Iterator[str]:
    """noVNC's own pages, served on a port of their own."""
    if not NOVNC.exists():
        pytest.skip("noVNC is missing (Debian package novnc)")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Pages, directory=str(NOVNC))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(SECONDS)


def test_vnc_with_novnc_in_a_browser(tmp_path: Path, pages: str) -> None:
    port = free_port()
    display = f":{port}"
    line = [
        program("Xtigervnc", "Debian package tigervnc-standalone-server"),
        display,
        "-rfbport",
        str(port),
        "-localhost",
        "-SecurityTypes",
        "None",
    ]
    with Program([*line, "-geometry", "320x240", "-depth", "24"], tmp_path) as server:
        until_it_listens(port, server)
        (tmp_path / "tokens").write_text(f"desk: 127.0.0.1:{port}\n")
        text = HEAD + mount("/websockify", "tokens = tokens", f"origins = {pages}", "compression = off")
        chromium = program("chromium", "Debian packages chromium and chromium-driver")
        with Daemon(tmp_path, text) as daemon, Browser(chromium, tmp_path / "chromium") as browser:
            where = f"host=127.0.0.1&port={daemon.port}&path=websockify%3Ftoken%3Ddesk"
            tab = Tab(browser, f"{pages}/vnc_lite.html?{where}")
            tab.until("/Connected/.test(document.getElementById('status').textContent)")
            screen = "document.querySelector('#screen canvas')"
            tab.until(f"{screen} && {screen}.width === 320 && {screen}.height === 240")
            tab.until(f"{screen}.getContext('2d').getImageData(319, 239, 1, 1).data[3] === 255")  # the last pixel has been drawn
            tab.close()
