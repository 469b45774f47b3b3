"""sslyze's check of Mozilla's "intermediate" profile. sslyze lives in an environment of its own: its needs and ours do not go together."""

from __future__ import annotations

import datetime
import ipaddress
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from daemon import TLS_ECHO, Daemon, environment, program

pytestmark = pytest.mark.live


def make_certificate_of_90_days(folder: Path) -> None:
    """The profile looks at the certificate too: its key, its signature and how long it is good for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=90))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "key.pem").chmod(0o600)


def test_a_tls_listener_is_compliant_with_mozillas_intermediate_profile(tmp_path: Path) -> None:
    sslyze = program("sslyze", "PyPI package sslyze, in an environment of its own; WSDAEMON_SSLYZE says where", "WSDAEMON_SSLYZE")
    make_certificate_of_90_days(tmp_path)
    with Daemon(tmp_path, TLS_ECHO) as daemon:
        done = subprocess.run(
            [sslyze, "--mozilla_config=intermediate", f"127.0.0.1:{daemon.port}"],
            env=environment(tmp_path), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert daemon.running
    said = done.stdout + done.stderr
    assert "OK - Compliant" in said, said
    assert done.returncode == 0, said
