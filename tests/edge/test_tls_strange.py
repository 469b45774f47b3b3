"""edge/tls.py: certificates that OpenSSL lets pass and cryptography cannot read, or not in every part."""

from __future__ import annotations

import binascii
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtensionOID, NameOID

from wsdaemon.edge.tls import CertificateError, client_certificate, load_pair

KEY = ec.generate_private_key(ec.SECP256R1())
NO_NAMES = bytes.fromhex("3000")
AN_ADDRESS_OF_X400 = bytes.fromhex("3004a3023000")
VERSION_3, VERSION_10 = bytes.fromhex("a003020102"), bytes.fromhex("a003020109")
P_256, NO_CURVE = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d03017f")


def with_names(encoded: bytes) -> bytes:
    """A certificate, as DER, whose subjectAltName is these bytes of DER."""
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "strange")]), datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key()).serial_number(7)
    made = made.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    extension = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, encoded)
    return made.add_extension(extension, critical=False).sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def replaced(encoded: bytes, old: bytes, new: bytes) -> bytes:
    assert old in encoded
    return encoded.replace(old, new, 1)


# -- a client's


class Shown:
    """A TLS object whose client showed this."""

    def __init__(self, certificate: bytes) -> None:
        self._certificate = certificate

    def getpeercert(self, binary_form: Literal[True], /) -> bytes | None:
        return self._certificate


@pytest.mark.parametrize("encoded", [AN_ADDRESS_OF_X400, b"rubbish"], ids=["a kind of name that is not known", "no names"])
def test_a_client_whose_names_cannot_be_read_has_none(encoded: bytes) -> None:
    found = client_certificate(Shown(with_names(encoded)))
    assert found is not None
    assert (found.common_name, found.names) == ("strange", ())


@pytest.mark.parametrize(
    "strange", [replaced(with_names(NO_NAMES), VERSION_3, VERSION_10), with_names(NO_NAMES)[:-1], b"rubbish"], ids=["version", "cut", "all"]
)
def test_a_clients_certificate_that_cannot_be_read_is_a_value_error(strange: bytes) -> None:
    """Whatever cryptography makes of it: a version that there is not is an exception of its own there."""
    with pytest.raises(ValueError, match="a client's certificate cannot be read"):
        client_certificate(Shown(strange))


# -- our own


def load(folder: Path, encoded: bytes) -> tuple[str, ...]:
    """The names of a certificate that stands in a file with its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    begin, end = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"
    certificate.write_bytes(begin + binascii.b2a_base64(encoded) + end)
    key.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return load_pair(certificate, key).names


@pytest.mark.parametrize(("old", "new"), [(VERSION_3, VERSION_10), (P_256, NO_CURVE)], ids=["version", "curve of its key"])
def test_a_certificate_of_which_a_part_cannot_be_read_is_refused(tmp_path: Path, old: bytes, new: bytes) -> None:
    """A renewal that brings one leaves the old certificate in use, and its watch goes on."""
    assert load(tmp_path, with_names(NO_NAMES)) == ()
    with pytest.raises(CertificateError, match=r"cert\.pem: a certificate in it is damaged"):
        load(tmp_path, replaced(with_names(NO_NAMES), old, new))


def test_a_certificate_whose_names_cannot_be_read_has_none(tmp_path: Path) -> None:
    assert load(tmp_path, with_names(AN_ADDRESS_OF_X400)) == ()
