"""edge/tls.py: the files that are accepted, the offers to clients, and their certificates. Handshakes run in memory."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from wsdaemon.edge import tls
from wsdaemon.edge.tls import CertificateError, ClientCertificates, client_certificate, limit_groups, load_pair, server_context, tls_session

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def leaf(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("a.example", "*.b.example", "127.0.0.1")


@pytest.fixture
def pair(tmp_path: Path, leaf: trustme.LeafCert) -> tuple[Path, Path]:
    return put(tmp_path, b"".join(blob.bytes() for blob in leaf.cert_chain_pems), leaf.private_key_pem.bytes())


def put(directory: Path, certificate: bytes, key: bytes) -> tuple[Path, Path]:
    paths = directory / "cert.pem", directory / "key.pem"
    for path, content in zip(paths, (certificate, key), strict=True):
        path.write_bytes(content)
        path.chmod(0o600)
    return paths


def key_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | dsa.DSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def self_signed(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | dsa.DSAPrivateKey, *, names: bool = True, start: int = -1) -> bytes:
    """A certificate of 30 days that began `start` days from now."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    begin = datetime.now(UTC) + timedelta(days=start)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, begin, begin + timedelta(days=30))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("Self.Example")]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def refused(certificate: Path, key: Path) -> str:
    with pytest.raises(CertificateError) as caught:
        load_pair(certificate, key)
    text = str(caught.value)
    assert "\n" not in text
    return text


# -- files


def test_a_good_pair(pair: tuple[Path, Path]) -> None:
    loaded = load_pair(*pair)
    assert loaded.names == ("a.example", "*.b.example", "127.0.0.1")
    assert loaded.warnings == ()
    assert len(loaded.fingerprint) == 64
    assert loaded.days_left(loaded.not_after.timestamp() - 86400) == 1


def test_a_certificate_with_its_chain(tmp_path: Path, authority: trustme.CA) -> None:
    leaf = authority.create_child_ca().issue_cert("a.example")
    chain = [blob.bytes() for blob in leaf.cert_chain_pems]
    assert load_pair(*put(tmp_path, b"".join(chain), leaf.private_key_pem.bytes())).warnings == ()
    other = trustme.CA().cert_pem.bytes()
    (warning,) = load_pair(*put(tmp_path, chain[0] + other, leaf.private_key_pem.bytes())).warnings
    assert "out of order" in warning
    assert "must come first" in refused(*put(tmp_path, b"".join(reversed(chain)), leaf.private_key_pem.bytes()))


def test_files_that_are_not_there(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    assert refused(tmp_path / "none.pem", pair[1]) == f"{tmp_path}/none.pem: no such file"
    assert refused(pair[0], tmp_path / "none.key") == f"{tmp_path}/none.key: no such file"
    assert refused(tmp_path, pair[1]) == f"{tmp_path}: is a directory"
    assert "cannot be read" in refused(pair[0] / "x", pair[1])


@pytest.mark.parametrize(
    ("certificate", "text"),
    [
        (b"", "holds no certificate in PEM form"),
        (b"junk", "holds no certificate in PEM form"),
        (b"\x30\x82\x01\x0a", "openssl x509 -inform der"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
        (b"-----BEGIN CERTIFICATE-----\n", "damaged"),
        (b"x" * (tls.MAX_FILE + 1), "longer than"),
    ],
)
def test_a_file_that_is_no_certificate(tmp_path: Path, leaf: trustme.LeafCert, certificate: bytes, text: str) -> None:
    paths = put(tmp_path, certificate, leaf.private_key_pem.bytes())
    assert text in refused(*paths)
    assert str(paths[0]) in refused(*paths)


def test_a_damaged_certificate_among_several_is_named_by_its_place(tmp_path: Path, leaf: trustme.LeafCert) -> None:
    good, bad = leaf.cert_chain_pems[0].bytes(), b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    paths = put(tmp_path, good + bad + good, leaf.private_key_pem.bytes())
    line = good.count(b"\n") + 1
    assert f"{paths[0]}: certificate 2 of 3, at line {line}, is damaged: " in refused(*paths)
    with pytest.raises(CertificateError, match=f"certificate 2 of 2, at line {line}, is damaged"):
        server_context(*put(tmp_path, good, leaf.private_key_pem.bytes()), client_ca=put_authorities(tmp_path, good + bad),
                       client_certificates=ClientCertificates.OPTIONAL)  # fmt: skip


def put_authorities(folder: Path, content: bytes) -> Path:
    path = folder / "authorities.pem"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [None, b"junk"])
def test_one_bad_file_as_certificate_and_key_is_one_problem(tmp_path: Path, content: bytes | None) -> None:
    both = tmp_path / "both.pem"
    if content is not None:
        both.write_bytes(content)
    with pytest.raises(CertificateError) as raised:
        load_pair(both, both)
    assert len(raised.value.problems) == 1 and str(both) in raised.value.problems[0]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (b"", "holds no private key in PEM form"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged"),
        (b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", "encrypted"),
    ],
)
def test_a_file_that_is_no_key(tmp_path: Path, leaf: trustme.LeafCert, key: bytes, text: str) -> None:
    paths = put(tmp_path, leaf.cert_chain_pems[0].bytes(), key)
    assert text in refused(*paths)
    assert str(paths[1]) in refused(*paths)


def test_an_encrypted_key(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    assert "encrypted" in refused(*put(tmp_path, self_signed(key), locked))


def test_a_key_of_another_certificate(tmp_path: Path, leaf: trustme.LeafCert) -> None:
    other = key_pem(ec.generate_private_key(ec.SECP256R1()))
    paths = put(tmp_path, leaf.cert_chain_pems[0].bytes(), other)
    assert refused(*paths) == f"{paths[1]}: this key does not belong to the certificate in {paths[0]}"


def test_weak_keys(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    assert "RSA key has 1024 bits" in refused(*put(tmp_path, self_signed(weak), key_pem(weak)))
    curve = ec.generate_private_key(ec.SECP224R1())
    assert "secp224r1 is too weak" in refused(*put(tmp_path, self_signed(curve), key_pem(curve)))


def test_a_key_of_another_kind(tmp_path: Path) -> None:
    key = dsa.generate_private_key(2048)
    assert "neither RSA nor" in refused(*put(tmp_path, self_signed(key), key_pem(key)))


def test_what_is_only_a_warning(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    assert load_pair(*put(tmp_path, self_signed(key), key_pem(key))).names == ("self.example",)
    for certificate, text in (
        (self_signed(key, start=-31), "expired on"),
        (self_signed(key, start=2), "not valid before"),
        (self_signed(key, names=False), "names no host"),
    ):
        paths = put(tmp_path, certificate, key_pem(key))
        (warning,) = load_pair(*paths).warnings
        assert text in warning
        assert str(paths[0]) in warning
        server_context(*paths)
    certificate_path, key_path = put(tmp_path, self_signed(key), key_pem(key))
    key_path.chmod(0o644)
    assert "read by everyone" in load_pair(certificate_path, key_path).warnings[0]


def test_a_context_of_bad_files_names_them(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    with pytest.raises(CertificateError, match=r"cannot be read: No such file"):
        server_context(tmp_path / "none.pem", pair[1])
    pair[0].write_bytes(b"junk")
    with pytest.raises(CertificateError, match=r"cert\.pem: refused by OpenSSL"):
        server_context(*pair)


# -- what a client is offered


def client_context(
    authority: trustme.CA, *, minimum: ssl.TLSVersion = TLS_1_2, maximum: ssl.TLSVersion = TLS_1_3, group: str = ""
) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.minimum_version, context.maximum_version = minimum, maximum
    if group:
        context.set_ecdh_curve(group)
    return context


def shake(server_side: ssl.SSLContext, client_side: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A handshake in memory, and a few bytes from the server so that the client learns of a refusal in TLS 1.3."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname="a.example")
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    server.write(b"x")
    assert client.read(1) == b"x"
    return server, client


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_versions_ciphers_and_alpn(pair: tuple[Path, Path], authority: trustme.CA, version: ssl.TLSVersion) -> None:
    client_side = client_context(authority, minimum=version, maximum=version)
    client_side.set_alpn_protocols(["h2", "http/1.1"])
    server, _ = shake(server_context(*pair), client_side)
    cipher = server.cipher()
    assert cipher is not None
    assert cipher[1] == {TLS_1_2: "TLSv1.2", TLS_1_3: "TLSv1.3"}[version]
    assert server.selected_alpn_protocol() == "http/1.1"
    assert server.compression() is None


def test_a_client_of_http_2_alone_is_let_in_without_a_protocol(pair: tuple[Path, Path], authority: trustme.CA) -> None:
    client_side = client_context(authority)
    client_side.set_alpn_protocols(["h2"])
    server, _ = shake(server_context(*pair), client_side)
    assert server.selected_alpn_protocol() is None


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-CCM", "ECDHE-ECDSA-AES128-SHA"])
def test_old_ciphers_are_not_taken(pair: tuple[Path, Path], authority: trustme.CA, cipher: str) -> None:
    client_side = client_context(authority, maximum=TLS_1_2)
    client_side.set_ciphers(cipher)
    with pytest.raises(ssl.SSLError):
        shake(server_context(*pair), client_side)


@pytest.fixture(scope="module")
def rsa_leaf(authority: trustme.CA) -> trustme.LeafCert:
    """In TLS 1.2 a client's groups also say on which curve a certificate's key may be: with RSA they are about the exchange alone."""
    return authority.issue_cert("a.example", key_type=trustme.KeyType.RSA)


@pytest.fixture
def rsa_pair(tmp_path: Path, rsa_leaf: trustme.LeafCert) -> tuple[Path, Path]:
    return put(tmp_path, rsa_leaf.cert_chain_pems[0].bytes(), rsa_leaf.private_key_pem.bytes())


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize("group", ["X25519", "prime256v1", "secp384r1"])
def test_groups_that_are_taken(rsa_pair: tuple[Path, Path], authority: trustme.CA, group: str, version: ssl.TLSVersion) -> None:
    shake(server_context(*rsa_pair), client_context(authority, minimum=version, maximum=version, group=group))


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize("group", ["X448", "secp521r1"])
def test_groups_that_are_not_taken(rsa_pair: tuple[Path, Path], authority: trustme.CA, group: str, version: ssl.TLSVersion) -> None:
    with pytest.raises(ssl.SSLError):
        shake(server_context(*rsa_pair), client_context(authority, minimum=version, maximum=version, group=group))


def test_without_a_way_to_name_groups_p_256_is_the_one(
    pair: tuple[Path, Path], authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "_set_groups_in_openssl", lambda context: False)
    context = server_context(*pair)
    if not hasattr(context, "set_groups"):
        assert not limit_groups(context)
        shake(context, client_context(authority, group="prime256v1"))
        with pytest.raises(ssl.SSLError):
            shake(context, client_context(authority, group="X25519"))


def test_openssl_is_called_only_where_it_is_surely_the_same() -> None:
    assert tls._openssl(ModuleType("built_in")) is None
    stranger = ModuleType("stranger")
    stranger.__file__ = socket.__file__
    assert tls._openssl(stranger) is None


def test_options_of_a_context(pair: tuple[Path, Path]) -> None:
    context = server_context(*pair)
    assert context.minimum_version == TLS_1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert context.verify_mode is ssl.CERT_NONE
    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert {name for name in names if not name.startswith("TLS_")} == set(tls.CIPHERS.split(":"))


# -- client certificates


@pytest.fixture
def client_ca(tmp_path: Path) -> tuple[Path, trustme.CA]:
    made, path = trustme.CA(), tmp_path / "clients.pem"
    path.write_bytes(made.cert_pem.bytes())
    return path, made


def test_a_verified_client_is_known_by_name(pair: tuple[Path, Path], authority: trustme.CA, client_ca: tuple[Path, trustme.CA]) -> None:
    path, clients = client_ca
    context = server_context(*pair, client_ca=path, client_certificates=ClientCertificates.REQUIRED)
    client_side = client_context(authority)
    clients.issue_cert("alice@example.com", "device.example", common_name="alice").configure_cert(client_side)
    server, _ = shake(context, client_side)
    found = client_certificate(server)
    assert found is not None
    assert found.common_name == "alice"
    assert found.subject.startswith("CN=alice,")
    assert found.names == ("device.example", "alice@example.com")
    assert "Testing CA" in found.issuer
    assert len(found.fingerprint) == 64
    assert found.pem.startswith("-----BEGIN CERTIFICATE-----")
    assert found.serial == f"{x509.load_pem_x509_certificate(found.pem.encode()).serial_number:x}"


def test_a_client_without_a_name(
    pair: tuple[Path, Path], authority: trustme.CA, client_ca: tuple[Path, trustme.CA], tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    both = tmp_path / "both.pem"
    both.write_bytes(self_signed(key, names=False) + key_pem(key))
    # A certificate in the file of authorities is trusted itself, with any signature.
    client_ca[0].write_bytes(both.read_bytes())
    client_side = client_context(authority)
    client_side.load_cert_chain(both)
    server, _ = shake(server_context(*pair, client_ca=client_ca[0], client_certificates=ClientCertificates.REQUIRED), client_side)
    found = client_certificate(server)
    assert found is not None
    assert (found.common_name, found.names) == ("test", ())


@pytest.mark.parametrize("wanted", [ClientCertificates.OPTIONAL, ClientCertificates.REQUIRED])
def test_a_client_of_another_authority_is_refused(
    pair: tuple[Path, Path], authority: trustme.CA, client_ca: tuple[Path, trustme.CA], wanted: ClientCertificates
) -> None:
    context = server_context(*pair, client_ca=client_ca[0], client_certificates=wanted)
    client_side = client_context(authority)
    trustme.CA().issue_cert("mallory@example.com").configure_cert(client_side)
    with pytest.raises(ssl.SSLError):
        shake(context, client_side)


def test_a_client_without_a_certificate(pair: tuple[Path, Path], authority: trustme.CA, client_ca: tuple[Path, trustme.CA]) -> None:
    required = server_context(*pair, client_ca=client_ca[0], client_certificates=ClientCertificates.REQUIRED)
    with pytest.raises(ssl.SSLError):
        shake(required, client_context(authority))
    optional = server_context(*pair, client_ca=client_ca[0], client_certificates=ClientCertificates.OPTIONAL)
    server, _ = shake(optional, client_context(authority))
    assert client_certificate(server) is None
    server, _ = shake(server_context(*pair), client_context(authority))
    assert client_certificate(server) is None


def test_an_intermediate_authority_may_vouch_alone(
    pair: tuple[Path, Path], authority: trustme.CA, client_ca: tuple[Path, trustme.CA]
) -> None:
    child = client_ca[1].create_child_ca()
    client_ca[0].write_bytes(child.cert_pem.bytes())
    client_side = client_context(authority)
    child.issue_cert("alice@example.com").configure_cert(client_side)
    context = server_context(*pair, client_ca=client_ca[0], client_certificates=ClientCertificates.REQUIRED)
    assert client_certificate(shake(context, client_side)[0]) is not None


def test_bad_client_authorities(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    with pytest.raises(CertificateError, match="no client_ca file"):
        server_context(*pair, client_certificates=ClientCertificates.REQUIRED)
    with pytest.raises(CertificateError, match="no such file"):
        server_context(*pair, client_ca=tmp_path / "none.pem", client_certificates=ClientCertificates.OPTIONAL)
    with pytest.raises(CertificateError, match="holds no certificate"):
        server_context(*pair, client_ca=pair[1], client_certificates=ClientCertificates.REQUIRED)


@pytest.mark.parametrize(("version", "name"), [(TLS_1_2, "TLSv1.2"), (TLS_1_3, "TLSv1.3")])
def test_the_session_and_its_number_in_ianas_registry(
    pair: tuple[Path, Path], authority: trustme.CA, version: ssl.TLSVersion, name: str
) -> None:
    server, _ = shake(server_context(*pair), client_context(authority, minimum=version, maximum=version))
    session = tls_session(server)
    assert session is not None
    known = {"TLS_AES_256_GCM_SHA384": 0x1302, "TLS_AES_128_GCM_SHA256": 0x1301, "TLS_CHACHA20_POLY1305_SHA256": 0x1303}
    known |= {"ECDHE-ECDSA-AES256-GCM-SHA384": 0xC02C, "ECDHE-RSA-AES256-GCM-SHA384": 0xC030}
    assert session.version == name
    assert session.cipher_suite == known[session.cipher]
    assert tls_session(None) is None
