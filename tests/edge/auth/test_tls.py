"""edge/auth/tls.py: client certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.support.auth import EC_KEY, NOW, Clock, denied, request, settings_with
from wsdaemon.core.handshake import ClientCertificate
from wsdaemon.edge.auth.contract import Candidate, Identity
from wsdaemon.edge.auth.tls import TlsAuthenticator
from wsdaemon.edge.tls import client_certificate


class Shown:
    """The TLS object of a connection."""

    def __init__(self, der: bytes) -> None:
        self.der = der

    def getpeercert(self, binary_form: bool = False) -> bytes:
        return self.der


def certificate(common_name: str = "device 7", names: tuple[str, ...] = ("device7.example.com",), days: float = 1) -> ClientCertificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
    now = datetime.fromtimestamp(NOW, UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(EC_KEY.public_key()).serial_number(7)
    builder = builder.not_valid_before(now - timedelta(days=9)).not_valid_after(now + timedelta(days=days))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
    found = client_certificate(Shown(builder.sign(EC_KEY, hashes.SHA256()).public_bytes(Encoding.DER)))
    assert found is not None
    return found


def way(**keys: Any) -> TlsAuthenticator:
    return TlsAuthenticator(settings_with("tls", **keys), Clock())


def shows(one: ClientCertificate) -> Candidate:
    return request(secure=True, certificate=one)


def test_who_it_is_for() -> None:
    one = certificate()
    identity = way().authenticate(shows(one))
    assert identity == Identity("device 7", "tls:way", identity.claims if identity else {}, NOW + 86400)
    assert dict(identity.claims) == {
        "subject": "CN=device 7",
        "common_name": "device 7",
        "names": ("device7.example.com",),
        "issuer": "CN=device 7",
        "serial": "7",
        "fingerprint": one.fingerprint,
    }


@pytest.mark.parametrize(("what", "name"), [("subject", "CN=device 7"), ("name", "device7.example.com"), ("fingerprint", None)])
def test_what_names_the_client(what: str, name: str | None) -> None:
    one = certificate()
    identity = way(identity=what).authenticate(shows(one))
    assert identity is not None and identity.name == (name or one.fingerprint)


def test_no_certificate_is_not_ours() -> None:
    assert way().authenticate(request(secure=True)) is None


def test_who_may_come_in() -> None:
    assert way(allow="device 6, device 7").authenticate(shows(certificate())) is not None
    error = denied(lambda: way(allow="device 6").authenticate(shows(certificate())))
    assert (error.status, error.reason) == (403, "auth_refused")


def test_a_certificate_for_nobody() -> None:
    assert denied(lambda: way().authenticate(shows(certificate(common_name="")))).reason == "auth_refused"
    assert denied(lambda: way(identity="name").authenticate(shows(certificate(names=())))).reason == "auth_refused"
    assert denied(lambda: way().authenticate(shows(certificate(common_name="a\nb")))).reason == "auth_refused"


def test_a_certificate_that_expired_since_its_session_began() -> None:
    assert denied(lambda: way().authenticate(shows(certificate(days=-1)))).reason == "auth_expired"
    assert way().authenticate(shows(certificate(days=0.001))) is not None


def test_a_certificate_that_cannot_be_read() -> None:
    broken = ClientCertificate(subject="CN=a", common_name="a", names=(), issuer="", serial="", fingerprint="", der=b"nonsense")
    assert denied(lambda: way().authenticate(shows(broken))).reason == "auth_malformed"
