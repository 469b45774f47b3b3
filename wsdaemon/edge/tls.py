"""TLS for a listener: a checked certificate and key, the `ssl.SSLContext` made of them, and what a client's certificate says.

The contexts meet Mozilla's "intermediate" profile: TLS 1.2 and 1.3, ECDHE with AES-GCM or ChaCha20, groups X25519, P-256 and P-384, no
compression, no renegotiation, the client's order of ciphers. ALPN offers http/1.1 alone, because a WebSocket is opened with that.
"""

from __future__ import annotations

import ctypes
import re
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from ..core.handshake import ClientCertificate, TlsSession

CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
"""For TLS 1.2; the three of TLS 1.3 are OpenSSL's own choice and fine."""

GROUPS = "X25519:P-256:P-384"
MIN_RSA_BITS = 2048
MIN_CURVE_BITS = 256
MAX_FILE = 1024 * 1024
"""Bytes of a PEM file; a longer one is not a certificate."""

UNREADABLE = (ValueError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""Errors of cryptography for a certificate that is damaged or too strange for it; most are raised only when a part is read."""


T = TypeVar("T")


class CertificateError(Exception):
    """Certificates, keys or CA files that cannot be used. `problems` has one line for each, which begins with the file's path."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class ClientCertificates(Enum):
    """Whether clients show a certificate of their own."""

    NONE = "none"
    OPTIONAL = "optional"
    """One that is shown must be good."""
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain, and its key, found to belong together."""

    certificate: Path
    key: Path
    names: tuple[str, ...]
    """DNS names (maybe with a `*` as first label) and addresses that the certificate is for, in lower case."""
    not_before: datetime
    not_after: datetime
    fingerprint: str
    """SHA-256 of the certificate, in hex."""
    warnings: tuple[str, ...]
    """Warnings about settings that are allowed, one line each."""

    def days_left(self, now: float) -> float:
        """Days until it expires, negative after that. `now`: seconds since 1970."""
        return (self.not_after.timestamp() - now) / 86400

    def out_of_date(self, now: float) -> str | None:
        """Why no client accepts it at this time, one line; None when its dates are good. `now`: seconds since 1970."""
        return _out_of_date(self.certificate, self.not_before, self.not_after, datetime.fromtimestamp(now, UTC))


def load_pair(certificate: Path, key: Path, now: float | None = None) -> Pair:
    """Read and check a certificate file (its chain after it, PEM) and its key file. Raises CertificateError.

    Expired or not yet valid is a warning: a server that starts and is seen to be expired beats one that does not start.
    """
    problems: list[str] = []
    chain = _or_none(_load_chain, certificate, problems)
    # One bad file that both keys name is one problem.
    private = None if problems and certificate == key else _or_none(_load_key, key, problems)
    if chain is None or problems:
        raise CertificateError(*problems)
    try:
        return _check_pair(certificate, key, chain, private, datetime.now(UTC) if now is None else datetime.fromtimestamp(now, UTC))
    except UNREADABLE as error:
        raise CertificateError(f"{certificate}: a certificate in it is damaged: {_one_line(error)}") from None


def _or_none(load: Callable[[Path], T], path: Path, problems: list[str]) -> T | None:
    """The result of `load` for the file; None, with a problem added, if the file cannot be used."""
    try:
        return load(path)
    except CertificateError as error:
        problems += error.problems
        return None


def _check_pair(certificate: Path, key: Path, chain: list[x509.Certificate], private: Any, now: datetime) -> Pair:
    leaf, public = chain[0], private.public_key()
    if _public_bytes(public) != _public_bytes(leaf.public_key()):
        if any(_public_bytes(public) == _public_bytes(other.public_key()) for other in chain[1:]):
            raise CertificateError(f"{certificate}: the server's own certificate must come first in the file, its chain after it")
        raise CertificateError(f"{key}: this key does not belong to the certificate in {certificate}")
    _check_strength(certificate, leaf.public_key())
    return Pair(
        certificate,
        key,
        _names(leaf),
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
        leaf.fingerprint(hashes.SHA256()).hex(),
        tuple(_warnings(certificate, key, chain, now)),
    )


def read_file(path: Path) -> bytes:
    """The bytes of a small file. Raises CertificateError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise CertificateError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise CertificateError(f"{path}: is a directory") from None
    except OSError as error:
        raise CertificateError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE:
        raise CertificateError(f"{path}: longer than {MAX_FILE} bytes")
    return content


def _load_chain(path: Path) -> list[x509.Certificate]:
    content = read_file(path)
    if b"-----BEGIN CERTIFICATE-----" not in content:
        hint = "; it looks like DER, which `openssl x509 -inform der` converts" if content[:1] == b"\x30" else ""
        raise CertificateError(f"{path}: holds no certificate in PEM form{hint}")
    try:
        return x509.load_pem_x509_certificates(content)
    except UNREADABLE as error:
        raise CertificateError(f"{path}: {_damaged(content)} is damaged: {_one_line(error)}") from None


def _damaged(content: bytes) -> str:
    """The first certificate in a PEM file that cannot be read, with its place if there are several."""
    starts = [found.start() for found in re.finditer(b"-----BEGIN CERTIFICATE-----", content)]
    for number, (start, end) in enumerate(pairwise([*starts, len(content)]) if len(starts) > 1 else (), 1):
        try:
            x509.load_pem_x509_certificates(content[start:end])
        except UNREADABLE:
            line = content.count(b"\n", 0, start) + 1
            return f"certificate {number} of {len(starts)}, at line {line},"
    return "a certificate in it"


def _load_key(path: Path) -> Any:
    content = read_file(path)
    if b"PRIVATE KEY-----" not in content:
        raise CertificateError(f"{path}: holds no private key in PEM form")
    if b"-----BEGIN ENCRYPTED" in content or b"Proc-Type: 4,ENCRYPTED" in content:
        raise CertificateError(
            f"{path}: the private key is encrypted; expected one without a passphrase (`openssl pkey -in KEY -out NEW` removes it)"
        )
    try:
        return load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{path}: the private key is damaged or of an unknown kind: {_one_line(error)}") from None


def _public_bytes(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _check_strength(path: Path, key: object) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise CertificateError(f"{path}: the RSA key has {key.key_size} bits, at least {MIN_RSA_BITS} are needed")
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.key_size < MIN_CURVE_BITS:
            raise CertificateError(f"{path}: the key's curve {key.curve.name} is too weak, P-256 is the least")
    elif not isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        raise CertificateError(f"{path}: the key is neither RSA nor of an elliptic curve")


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    """Names of the subjectAltName extension; the common name counts for nothing any more (RFC 9525 6.3)."""
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return ()
    addresses = [str(address) for address in extension.get_values_for_type(x509.IPAddress)]
    return tuple([name.lower() for name in extension.get_values_for_type(x509.DNSName)] + addresses)


def _out_of_date(certificate: Path, not_before: datetime, not_after: datetime, now: datetime) -> str | None:
    if now > not_after:
        return f"{certificate}: expired on {not_after:%Y-%m-%d}"
    if now < not_before:
        return f"{certificate}: not valid before {not_before:%Y-%m-%d %H:%M} UTC"
    return None


def _warnings(certificate: Path, key: Path, chain: list[x509.Certificate], now: datetime) -> list[str]:
    leaf = chain[0]
    flaw = _out_of_date(certificate, leaf.not_valid_before_utc, leaf.not_valid_after_utc, now)
    found = [] if flaw is None else [flaw]
    if not _names(leaf):
        found.append(f"{certificate}: names no host (no subjectAltName): no client will accept it")
    for lower, upper in pairwise(chain):
        if lower.issuer != upper.subject:
            found.append(f"{certificate}: the chain is out of order: a certificate in it is not followed by its issuer's")
            break
    try:
        if key.stat().st_mode & 0o004:
            found.append(f"{key}: the private key may be read by everyone on this machine")
    except OSError:
        pass
    return found


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def server_context(
    certificate: Path,
    key: Path,
    *,
    client_ca: Path | None = None,
    client_certificates: ClientCertificates = ClientCertificates.NONE,
) -> ssl.SSLContext:
    """A context for a listener, from a pair that `load_pair` found good. Raises CertificateError.

    With `client_ca` exactly the certificates in that file are trusted to vouch for clients, intermediate ones too.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    # A WebSocket client comes back with one connection, not with six: one ticket each time is enough.
    context.num_tickets = 1
    limit_groups(context)
    try:
        # An encrypted key is found out before; without a password given OpenSSL would ask on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise CertificateError(f"{certificate}: refused by OpenSSL: {_reason(error)}") from None
    except OSError as error:
        raise CertificateError(f"{certificate} or {key}: cannot be read: {error.strerror}") from None
    if client_certificates is not ClientCertificates.NONE:
        _trust_clients(context, client_ca, client_certificates)
    return context


def _trust_clients(context: ssl.SSLContext, client_ca: Path | None, wanted: ClientCertificates) -> None:
    if client_ca is None:
        raise CertificateError("client certificates are asked for, but there is no client_ca file to check them with")
    authorities = _load_chain(client_ca)
    try:
        context.load_verify_locations(cadata="".join(authority.public_bytes(Encoding.PEM).decode() for authority in authorities))
    except ssl.SSLError as error:
        raise CertificateError(f"{client_ca}: refused by OpenSSL: {_reason(error)}") from None
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_mode = ssl.CERT_REQUIRED if wanted is ClientCertificates.REQUIRED else ssl.CERT_OPTIONAL


def _reason(error: ssl.SSLError) -> str:
    reason = error.reason or _one_line(error)
    return reason.replace("_", " ").lower()


# -- groups


def limit_groups(context: ssl.SSLContext) -> bool:
    """Allow the key exchange groups X25519, P-256 and P-384 only; OpenSSL would add X448, P-521 and others.

    Python has `SSLContext.set_groups` from 3.15 on. Before that it can only choose one group, so OpenSSL is called directly: `SSL_CTX_ctrl`
    on the `SSL_CTX *` that follows the object's head. Where OpenSSL is not a library of its own (a Python
    that has it linked in), P-256 alone is allowed: every client has it, though most then need one round trip more. False in that case.
    """
    set_groups = getattr(context, "set_groups", None)
    if set_groups is not None:
        set_groups(GROUPS)
        return True
    if _set_groups_in_openssl(context):
        return True
    context.set_ecdh_curve("prime256v1")
    return False


_SSL_CTRL_SET_GROUPS_LIST = 92  # <openssl/ssl.h>, the same in 1.1.1 and 3


def _set_groups_in_openssl(context: ssl.SSLContext) -> bool:
    library = _openssl(ssl._ssl)  # type: ignore[attr-defined]
    if library is None:
        return False
    # struct PySSLContext { PyObject_HEAD; SSL_CTX *ctx; ... }: so in every CPython this is for (3.11 to 3.14).
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    control = library.SSL_CTX_ctrl
    control.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p]
    control.restype = ctypes.c_long
    return bool(control(pointer, _SSL_CTRL_SET_GROUPS_LIST, 0, GROUPS.encode()) == 1)


def _openssl(module: ModuleType) -> ctypes.CDLL | None:
    """The very OpenSSL that the ssl module uses; None when that cannot be known for sure."""
    path = getattr(module, "__file__", None)
    if path is None or sys.implementation.name != "cpython" or not (3, 11) <= sys.version_info[:2] <= (3, 14):
        return None
    try:
        library = ctypes.CDLL(path)
        number = library.OpenSSL_version_num
        number.restype = ctypes.c_ulong
        return library if number() == ssl.OPENSSL_VERSION_NUMBER and hasattr(library, "SSL_CTX_ctrl") else None
    except (OSError, AttributeError):
        return None


# -- the client's certificate


class TLSObject(Protocol):
    """The object of `transport.get_extra_info("ssl_object")`, as far as it is needed here."""

    def getpeercert(self, binary_form: Literal[True], /) -> bytes | None: ...


def tls_session(tls_object: Any) -> TlsSession | None:
    """The session of a TLS object that has finished its handshake; None without one."""
    cipher = None if tls_object is None else tls_object.cipher()
    if cipher is None:
        return None
    number = next((each["id"] & 0xFFFF for each in tls_object.context.get_ciphers() if each["name"] == cipher[0]), 0)
    return TlsSession(tls_object.version() or "", cipher[0], number)


def client_certificate(tls_object: TLSObject) -> ClientCertificate | None:
    """The certificate that a client showed; None when it showed none. It was verified, or the TLS handshake would have failed.

    ValueError when it cannot be read: OpenSSL, which verified it, looks at less of it.
    """
    encoded = tls_object.getpeercert(True)
    if not encoded:
        return None
    try:
        return _read_client(encoded)
    except UNREADABLE as error:
        raise ValueError(f"a client's certificate cannot be read: {_one_line(error)}") from None


def _read_client(encoded: bytes) -> ClientCertificate:
    certificate = x509.load_der_x509_certificate(encoded)
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    names: list[str] = []
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        for kind in (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier):
            names += extension.get_values_for_type(kind)
    except (x509.ExtensionNotFound, *UNREADABLE):
        pass
    return ClientCertificate(
        subject=certificate.subject.rfc4514_string(),
        common_name=str(common[0].value) if common else "",
        names=tuple(names),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        der=encoded,
    )
