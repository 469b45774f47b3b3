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
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.daemon import TLS_ECHO, Daemon, environment, program

pytestmark = pytest.mark.live


DAYS = 90
SERVER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
AUTHORITY = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wsdaemon's tests")])


def builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder(AUTHORITY, subject, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=subject == AUTHORITY, path_length=None), critical=True)
    )


def usage(*, signing: bool) -> x509.KeyUsage:
    """The use of a key: to sign certificates, or to authenticate the server."""
    return x509.KeyUsage(not signing, False, False, False, False, signing, signing, False, False)


def make_short_lived_certificate(folder: Path) -> Path:
    """cert.pem and key.pem as a public authority would issue them, for the profile looks at them too; the file of that authority."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    root = builder(AUTHORITY, authority, authority).add_extension(usage(signing=True), critical=True).sign(authority, hashes.SHA256())
    leaf = (
        builder(SERVER, key, authority)
        .add_extension(usage(signing=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .sign(authority, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(root.public_bytes(pem))
    (folder / "cert.pem").write_bytes(leaf.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    (folder / "key.pem").chmod(0o600)
    return folder / "ca.pem"


def test_a_tls_listener_is_compliant_with_mozillas_intermediate_profile(tmp_path: Path) -> None:
    sslyze = program("sslyze", "PyPI package sslyze, in an environment of its own; WSDAEMON_SSLYZE says where", "WSDAEMON_SSLYZE")
    authority = make_short_lived_certificate(tmp_path)
    with Daemon(tmp_path, TLS_ECHO) as daemon:
        done = subprocess.run(
            [sslyze, "--mozilla_config=intermediate", f"--certinfo_ca_file={authority}", f"127.0.0.1:{daemon.port}"],
            env=environment(tmp_path), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert daemon.running
    said = done.stdout + done.stderr
    assert "OK - Compliant" in said, said
    assert done.returncode == 0, said
