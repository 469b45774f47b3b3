"""TLS as clients meet it: certificates by host name, certificates of clients, and renewal under way."""

from __future__ import annotations

import signal
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from trustme import CA, LeafCert
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from tests.support.daemon import ECHO, SECONDS, Daemon, check_echo, program, run
from tests.support.shared_tls_socket import shared

pytestmark = pytest.mark.live

APP = """
from wsdaemon import Connection

class Whoami:
    def open(self, connection, handshake):
        certificate = handshake.client_certificate
        connection.send("nobody" if certificate is None else f"{certificate.common_name} {certificate.names} {handshake.identity}")
        return self
    def received(self, message):
        pass
    def closed(self, code, reason):
        pass

whoami = Whoami()
"""


def write(certificate: LeafCert, folder: Path, name: str) -> None:
    certificate.private_key_pem.write_to_path(folder / f"{name}.key")
    (folder / f"{name}.key").chmod(0o600)
    certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")


def trusting(authority: CA) -> ssl.SSLContext:
    context = shared(ssl.create_default_context())
    authority.configure_trust(context)
    return context


def section(name: str, hosts: str = "") -> str:
    return f"[tls:{name}]\ncertificate = {name}.pem\nkey = {name}.key\n" + (f"hosts = {hosts}\n" if hosts else "")


def ask(daemon: Daemon, context: ssl.SSLContext, host: str, path: str = "/echo") -> ClientConnection:
    """A connection to the daemon under a name that need not resolve."""
    return connect(
        f"wss://{host}{path}", address=("127.0.0.1", daemon.port), ssl=context, server_hostname=host, proxy=None, open_timeout=SECONDS
    )


def names_shown(client: ClientConnection) -> set[str]:
    assert isinstance(client.socket, ssl.SSLSocket)
    certificate: dict[str, Any] = client.socket.getpeercert() or {}
    return {value for _, value in certificate["subjectAltName"]}


BY_NAME = ECHO.replace("127.0.0.1\n", "127.0.0.1\ntls = www, api, wild\n")


def test_certificates_by_host_name(tmp_path: Path) -> None:
    authority = CA()
    write(authority.issue_cert("www.example.com"), tmp_path, "www")
    write(authority.issue_cert("api.example.com", "also.example.com"), tmp_path, "api")
    write(authority.issue_cert("*.wild.example"), tmp_path, "wild")
    context = trusting(authority)
    with Daemon(tmp_path, BY_NAME + section("www") + section("api") + section("wild", "*.wild.example")) as daemon:
        for host, shown in (
            ("www.example.com", {"www.example.com"}),
            ("api.example.com", {"api.example.com", "also.example.com"}),
            ("ALSO.example.com", {"api.example.com", "also.example.com"}),
            ("a.wild.example", {"*.wild.example"}),
        ):
            with ask(daemon, context, host) as client:
                check_echo(client)
                assert names_shown(client) == shown
        with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'other\.example'"):
            ask(daemon, context, "other.example")
        unnamed = trusting(authority)
        unnamed.check_hostname = False
        with connect(
            f"wss://127.0.0.1:{daemon.port}/echo", ssl=unnamed, server_hostname="127.0.0.1", proxy=None, open_timeout=SECONDS
        ) as client:
            assert names_shown(client) == {"www.example.com"}


def openssl(daemon: Daemon, *options: str) -> str:
    line = [program("openssl", "Debian: openssl"), "s_client", "-connect", f"127.0.0.1:{daemon.port}", *options]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False)
    return done.stdout + done.stderr


def test_openssl_sees_the_names_too_and_no_old_tls(tmp_path: Path) -> None:
    authority = CA()
    for name in ("www", "api", "wild"):
        write(authority.issue_cert(f"{name}.example.com"), tmp_path, name)
    with Daemon(tmp_path, BY_NAME + section("www") + section("api") + section("wild")) as daemon:
        both = [openssl(daemon, "-servername", f"{name}.example.com", "-tls1_2") for name in ("www", "api")]
        assert "Protocol  : TLSv1.2" in both[0]
        subjects = [next(line for line in text.splitlines() if line.startswith("subject=")) for text in both]
        assert subjects[0] != subjects[1]
        assert "New, TLSv1.3" in openssl(daemon, "-alpn", "http/1.1")
        assert "Cipher is (NONE)" in openssl(daemon, "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0")


@pytest.mark.parametrize("by_name", [False, True])
def test_a_renewal_touches_no_open_connection_and_a_bad_one_nothing(tmp_path: Path, by_name: bool) -> None:
    old, new = CA(), CA()
    one = ECHO.replace("127.0.0.1\n", "127.0.0.1\ntls_certificate = www.pem\ntls_key = www.key\n")
    write(old.issue_cert("www.example.com"), tmp_path, "www")
    write(old.issue_cert("api.example.com"), tmp_path, "api")
    several = ECHO.replace("127.0.0.1\n", "127.0.0.1\ntls = api, www\n") + section("www") + section("api")
    with Daemon(tmp_path, several if by_name else one) as daemon, ask(daemon, trusting(old), "www.example.com") as before:
        write(new.issue_cert("www.example.com"), tmp_path, "www")
        daemon.tell(signal.SIGHUP)
        daemon.output.wait_for(r"www\.pem: renewed, valid until")
        with ask(daemon, trusting(new), "www.example.com") as after:
            check_echo(after)
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(daemon, trusting(old), "www.example.com")
        write(CA().issue_cert("www.example.com"), tmp_path, "other")
        (tmp_path / "other.key").rename(tmp_path / "www.key")
        daemon.tell(signal.SIGHUP)
        daemon.output.wait_for(r"www\.key: this key does not belong to the certificate .*; the old certificate stays in use")
        with ask(daemon, trusting(new), "www.example.com") as after:
            check_echo(after)
        check_echo(before)
        if by_name:
            with ask(daemon, trusting(old), "api.example.com") as other:
                check_echo(other)


CLIENTS = """
[listener:web]
address = tcp:0:interface=127.0.0.1
tls_certificate = www.pem
tls_key = www.key
client_ca = clients.pem
client_certificate = {wanted}

[mount:/whoami]
app = whoami:whoami

[mount:/staff]
app = whoami:whoami
auth = machines

[auth:machines]
kind = tls
"""


def with_clients(folder: Path) -> tuple[CA, ssl.SSLContext]:
    authority, clients = CA(), CA()
    write(authority.issue_cert("www.example.com"), folder, "www")
    clients.cert_pem.write_to_path(folder / "clients.pem")
    (folder / "whoami.py").write_text(APP)
    return clients, trusting(authority)


def no_connection(daemon: Daemon, context: ssl.SSLContext) -> None:
    """TLS ends it, and no answer of HTTP comes. In TLS 1.3 the client learns it with its first read."""
    with pytest.raises((OSError, EOFError, WebSocketException)) as refused:
        ask(daemon, context, "www.example.com", "/whoami")
    assert not isinstance(refused.value, InvalidStatus)


def test_certificates_of_clients_that_may_be_left_out(tmp_path: Path) -> None:
    clients, context = with_clients(tmp_path)
    with Daemon(tmp_path, CLIENTS.format(wanted="optional")) as daemon:
        with ask(daemon, context, "www.example.com", "/whoami") as client:
            assert client.recv(SECONDS) == "nobody"
        with pytest.raises(InvalidStatus) as refused:
            ask(daemon, context, "www.example.com", "/staff")
        assert refused.value.response.status_code == 403
        clients.issue_cert("ada@example.com", common_name="ada").configure_cert(context)
        for path, identity in (("/whoami", "None"), ("/staff", "ada (tls:machines)")):
            with ask(daemon, context, "www.example.com", path) as client:
                assert client.recv(SECONDS) == f"ada ('ada@example.com',) {identity}"
        CA().issue_cert("eve@example.com", common_name="eve").configure_cert(context)
        no_connection(daemon, context)


def test_certificates_of_clients_that_must_be_there(tmp_path: Path) -> None:
    clients, context = with_clients(tmp_path)
    with Daemon(tmp_path, CLIENTS.format(wanted="required")) as daemon:
        no_connection(daemon, context)
        CA().issue_cert("eve@example.com", common_name="eve").configure_cert(context)
        no_connection(daemon, context)
        clients.issue_cert("ada@example.com", common_name="ada").configure_cert(context)
        with ask(daemon, context, "www.example.com", "/whoami") as client:
            assert str(client.recv(SECONDS)).startswith("ada ")


def test_the_check_reads_every_certificate(tmp_path: Path) -> None:
    authority = CA()
    write(authority.issue_cert("www.example.com"), tmp_path, "www")
    text = ECHO.replace("127.0.0.1\n", "127.0.0.1\ntls = www, api\n") + section("www") + section("api")
    done = run(tmp_path, text, "--check")
    assert done.returncode == 1 and f"[tls:api] certificate: {tmp_path}/api.pem: no such file" in done.stderr
    write(authority.issue_cert("api.example.com"), tmp_path, "api")
    done = run(tmp_path, text, "--check")
    assert done.returncode == 0 and "listener web: wss on tcp:0" in done.stdout
