"""edge/certificates.py: chosen by name, watched, renewed, refused; the clock and the files are the test's own."""

from __future__ import annotations

import errno
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509

from tests.support.certificates import DAY, NOW, Files, looks, watched
from wsdaemon.edge.certificates import CertificateFiles, Certificates, EventKind, normal_host
from wsdaemon.edge.tls import CertificateError, ClientCertificates


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    made = Files(tmp_path, authority, "a")
    made.put(made.issue("a.example"))
    return made


def names_seen(certificates: Certificates, host: str) -> set[str]:
    """The DNS names of the certificate that a client asking for `host` is shown, by a handshake in memory that checks no dates."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=host)
    server = certificates.context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    shown = client.getpeercert(True)
    assert shown is not None
    extension = x509.load_der_x509_certificate(shown).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return set(extension.value.get_values_for_type(x509.DNSName))


def test_a_good_pair_is_in_use_and_unchanged(files: Files) -> None:
    certificates = watched(files.entry())
    assert certificates.poll() == []
    assert not certificates.changed()
    assert certificates.warnings == ()
    assert names_seen(certificates, "a.example") == {"a.example"}


def test_a_bad_pair_at_the_start_is_an_error(files: Files) -> None:
    files.put_key(files.issue("a.example"))
    with pytest.raises(CertificateError, match="does not belong"):
        watched(files.entry())
    with pytest.raises(CertificateError, match="needs a certificate"):
        watched()


def test_a_renewed_pair_gets_a_new_context_and_the_old_one_lives_on(files: Files) -> None:
    certificates = watched(files.entry())
    old = certificates.context
    files.put(files.issue("a.example", "b.example", days=89))
    assert certificates.changed()
    (event,) = certificates.poll()
    assert event.kind is EventKind.RENEWED
    assert str(files.certificate) in event.text and "2026-08-29" in event.text
    assert certificates.context is not old
    assert names_seen(certificates, "b.example") == {"a.example", "b.example"}
    assert not certificates.changed() and certificates.poll() == []


def test_half_written_pair_keeps_the_old_one_without_a_word(files: Files) -> None:
    certificates = watched(files.entry())
    old, fresh = certificates.context, files.issue("a.example")
    files.put_certificate(fresh)
    assert certificates.poll() == []
    assert certificates.context is old
    files.put_key(fresh)
    assert [event.kind for event in certificates.poll()] == [EventKind.RENEWED]
    assert certificates.context is not old


def test_a_pair_that_stays_bad_is_told_once(files: Files) -> None:
    certificates = watched(files.entry())
    old = certificates.context
    files.put_key(files.issue("a.example"))
    assert certificates.poll() == []
    (event,) = certificates.poll()
    assert event.kind is EventKind.REFUSED
    assert str(files.key) in event.text and "old certificate stays" in event.text
    assert [certificates.poll() for _ in range(5)] == [[]] * 5
    assert certificates.context is old


def test_reload_tells_at_once_and_each_time(files: Files) -> None:
    certificates = watched(files.entry())
    files.write(files.certificate, b"junk")
    assert [event.kind for event in certificates.reload()] == [EventKind.REFUSED]
    assert [event.kind for event in certificates.reload()] == [EventKind.REFUSED]
    assert certificates.poll() == []


def test_reload_of_an_unchanged_pair_says_nothing(files: Files) -> None:
    certificates = watched(files.entry())
    assert certificates.reload() == []


def test_a_file_that_is_gone_is_refused_and_may_come_back(files: Files) -> None:
    certificates = watched(files.entry())
    files.key.unlink()
    assert certificates.poll() == []
    assert "no such file" in certificates.poll()[0].text
    files.put(files.issue("a.example"))
    assert [event.kind for event in certificates.poll()] == [EventKind.RENEWED]


def test_symbolic_links_are_followed(tmp_path: Path, authority: trustme.CA, files: Files) -> None:
    live = tmp_path / "live"
    live.mkdir()
    (live / "cert.pem").symlink_to(files.certificate)
    (live / "key.pem").symlink_to(files.key)
    certificates = watched(CertificateFiles(live / "cert.pem", live / "key.pem"))
    renewed = Files(tmp_path, authority, "renewed")
    renewed.put(renewed.issue("a.example", "new.example"))
    for link, target in (("cert.pem", renewed.certificate), ("key.pem", renewed.key)):
        (live / "next").symlink_to(target)
        (live / "next").replace(live / link)
    assert certificates.changed()
    assert [event.kind for event in certificates.poll()] == [EventKind.RENEWED]
    assert names_seen(certificates, "new.example") == {"a.example", "new.example"}


@pytest.mark.parametrize("which", ["certificate", "key"])
def test_a_renewed_file_that_may_not_be_read_leaves_the_old_pair(files: Files, which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after --uid, when the renewal writes a key that only root may read."""
    certificates = watched(files.entry())
    old = certificates.context
    files.put(files.issue("a.example", "b.example"))
    forbidden, opened = getattr(files, which), Path.open

    def open_it(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == forbidden:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_it)
        (event,) = looks(certificates)
        assert event.kind is EventKind.REFUSED
        assert event.text == f"{forbidden}: cannot be read: Permission denied; the old certificate stays in use"
        assert certificates.context is old
    forbidden.chmod(0o640)  # the leave to read it changes the file's state, and so it is looked at again
    assert [event.kind for event in looks(certificates)] == [EventKind.RENEWED]


def test_a_renewed_pair_with_a_flaw_is_taken_with_a_warning(files: Files) -> None:
    certificates = watched(files.entry())
    files.put(files.issue("a.example", "b.example"))
    files.key.chmod(0o604)
    assert [event.kind for event in certificates.poll()] == [EventKind.RENEWED, EventKind.WARNING]


# -- several names


@pytest.fixture
def three(tmp_path: Path, authority: trustme.CA) -> tuple[Files, Files, Files]:
    made = Files(tmp_path, authority, "a"), Files(tmp_path, authority, "b"), Files(tmp_path, authority, "c")
    for files, hosts in zip(made, (["a.example"], ["*.b.example", "b.example"], ["special.b.example"]), strict=True):
        files.put(files.issue(*hosts))
    return made


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("a.example", "a.example"),
        ("A.Example", "a.example"),
        ("b.example", "b.example"),
        ("x.b.example", "*.b.example"),
        ("special.b.example", "special.b.example"),
        ("x.y.b.example", "a.example"),
        ("unknown.example", "a.example"),
        ("localhost", "a.example"),
    ],
)
def test_sni_chooses_by_name(three: tuple[Files, Files, Files], asked: str, shown: str) -> None:
    certificates = watched(*(files.entry() for files in three))
    assert shown in names_seen(certificates, asked)
    assert shown in certificates._find(asked).pair.names


def test_no_name_gets_the_first(three: tuple[Files, Files, Files]) -> None:
    certificates = watched(*(files.entry() for files in three))
    assert certificates._find(None).pair is certificates.pairs[0]
    assert certificates._find("").pair is certificates.pairs[0]


def test_configured_hosts_replace_the_names_in_the_certificate(three: tuple[Files, Files, Files]) -> None:
    certificates = watched(three[0].entry(), three[1].entry("only.example", "bücher.example."))
    assert certificates._find("x.b.example").pair is certificates.pairs[0]
    assert certificates._find("only.example").pair is certificates.pairs[1]
    assert certificates._find("xn--bcher-kva.example").pair is certificates.pairs[1]


def test_one_bad_pair_does_not_hold_up_the_others(three: tuple[Files, Files, Files]) -> None:
    certificates = watched(*(files.entry() for files in three))
    first = certificates.context
    three[1].write(three[1].key, b"junk")
    three[2].put(three[2].issue("special.b.example", "more.example"))
    assert [event.kind for event in certificates.poll()] == [EventKind.RENEWED]
    assert certificates.context is first
    assert "more.example" in names_seen(certificates, "more.example")
    assert "b.example" in names_seen(certificates, "b.example")


def test_a_host_name_is_compared_in_one_form() -> None:
    assert normal_host("EXAMPLE.com.") == "example.com"
    assert normal_host("a..é" + "x" * 100) == "a..é" + "x" * 100


# -- client authorities and expiry


def test_new_client_authorities_are_taken(files: Files, authority: trustme.CA, tmp_path: Path) -> None:
    bundle = tmp_path / "clients.pem"
    files.write(bundle, authority.cert_pem.bytes())
    certificates = watched(files.entry(), client_ca=bundle, client_certificates=ClientCertificates.REQUIRED)
    old = certificates.context
    files.write(bundle, trustme.CA().cert_pem.bytes())
    (event,) = certificates.poll()
    assert event.kind is EventKind.RENEWED and "client CAs" in event.text
    assert certificates.context is not old
    files.write(bundle, b"junk")
    assert certificates.poll() == []
    assert str(bundle) in certificates.poll()[0].text


def test_expiry_is_that_of_the_first_to_expire(tmp_path: Path, authority: trustme.CA) -> None:
    made = [Files(tmp_path, authority, name) for name in "ab"]
    for files, days in zip(made, (60, 30), strict=True):
        files.put(files.issue("a.example", days=days))
    certificates = watched(*(files.entry() for files in made))
    assert certificates.expires_in_days() == pytest.approx(30)
    assert certificates.expires_in_days(NOW + 31 * DAY) == pytest.approx(-1)
    assert [round(expiry.days) for expiry in certificates.expiries()] == [60, 30]


def test_expiry_warns_once_a_day(files: Files) -> None:
    certificates = watched(files.entry())
    assert certificates.expiry_warnings() == []
    soon = NOW + 50 * DAY
    (event,) = certificates.expiry_warnings(soon)
    assert event.kind is EventKind.WARNING and "expires in 10.0 days" in event.text
    assert certificates.expiry_warnings(soon + 60) == []
    assert len(certificates.expiry_warnings(soon + DAY)) == 1
    assert certificates.expiry_warnings(NOW + 61 * DAY)[0].text == certificates.pairs[0].out_of_date(NOW + 61 * DAY)


def test_a_short_lived_certificate_warns_late(tmp_path: Path, authority: trustme.CA) -> None:
    files = Files(tmp_path, authority, "short")
    files.put(files.issue("a.example", days=5, life=6))
    certificates = watched(files.entry())
    assert certificates.expiry_warnings() == []
    assert len(certificates.expiry_warnings(NOW + 4 * DAY)) == 1
