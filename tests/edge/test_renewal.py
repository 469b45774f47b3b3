"""The watch over certificates: it looks by itself, says what it did, and a bad pair changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from trustme import CA
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.support.fakes import Loop
from wsdaemon.edge.certificates import CertificateFiles, Certificates
from wsdaemon.edge.renewal import LOOK_SECONDS, CertificateWatch


@implementer(ILogObserver)
class Lines:
    """The log, as (level, text)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "wsdaemon.tls":
            self.lines.append((event["log_level"].name, formatEvent(event)))


@pytest.fixture
def lines() -> Iterator[list[tuple[str, str]]]:
    observer = Lines()
    globalLogPublisher.addObserver(observer)  # type: ignore[arg-type]
    yield observer.lines
    globalLogPublisher.removeObserver(observer)  # type: ignore[arg-type]


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as made:
        yield made


def write(folder: Path, name: str, authority: CA, *hosts: str) -> CertificateFiles:
    certificate = authority.issue_cert(*(hosts or ("localhost",)))
    files = CertificateFiles(folder / f"{name}.pem", folder / f"{name}-key.pem")
    certificate.private_key_pem.write_to_path(files.key)
    files.key.chmod(0o600)
    certificate.cert_chain_pems[0].write_to_path(files.certificate)
    return files


def started(loop: Loop, *certificates: Certificates) -> CertificateWatch:
    watch = CertificateWatch(certificates)
    loop.create_task(watch.start())
    loop.settle()
    return watch


def test_a_renewed_pair_is_taken_by_itself(tmp_path: Path, loop: Loop, lines: list[tuple[str, str]]) -> None:
    authority = CA()
    certificates = Certificates([write(tmp_path, "a", authority)])
    started(loop, certificates)
    before = certificates.context
    loop.advance(LOOK_SECONDS + 1)
    assert certificates.context is before and lines == []
    write(tmp_path, "a", authority)
    loop.advance(LOOK_SECONDS + 1)
    assert certificates.context is not before
    assert [level for level, _ in lines] == ["info"] and "renewed" in lines[0][1]


def test_a_start_tells_each_flaw_once(tmp_path: Path, loop: Loop, lines: list[tuple[str, str]]) -> None:
    files = CertificateFiles(tmp_path / "a.pem", tmp_path / "a-key.pem")
    pair = CA().issue_cert("localhost", not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=datetime(2020, 1, 2, tzinfo=UTC))
    pair.private_key_pem.write_to_path(files.key)
    files.key.chmod(0o600)
    pair.cert_chain_pems[0].write_to_path(files.certificate)
    started(loop, Certificates([files]))
    assert lines == [("warn", f"{files.certificate}: expired on 2020-01-02")]


def test_a_bad_pair_is_told_once_and_the_old_one_stays(tmp_path: Path, loop: Loop, lines: list[tuple[str, str]]) -> None:
    authority = CA()
    files = write(tmp_path, "a", authority)
    certificates = Certificates([files])
    started(loop, certificates)
    before = certificates.context
    files.certificate.write_text("-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
    loop.advance(5 * LOOK_SECONDS)
    assert certificates.context is before
    assert [level for level, _ in lines] == ["warn"] and "the old certificate stays in use" in lines[0][1]
    write(tmp_path, "a", authority)
    loop.advance(LOOK_SECONDS + 1)
    assert certificates.context is not before


def test_a_reload_tells_at_once(tmp_path: Path, loop: Loop, lines: list[tuple[str, str]]) -> None:
    files = write(tmp_path, "a", CA())
    watch = started(loop, Certificates([files]))
    files.key.write_text("nothing")
    watch.reload()
    assert [level for level, _ in lines] == ["warn"] and str(files.key) in lines[0][1]


def test_an_expiry_that_is_near_is_warned_of_once_a_day(tmp_path: Path, loop: Loop, lines: list[tuple[str, str]]) -> None:
    files = write(tmp_path, "a", CA())
    ends = Certificates([files]).pairs[0].not_after.timestamp()
    day = 86400.0
    certificates = Certificates([files], now=lambda: ends - 3 * day + loop.time() - 1000)
    assert certificates.expires_in_days() == pytest.approx(3, abs=0.1)
    started(loop, certificates)
    loop.advance(day - 60)
    assert 1 <= len(lines) <= 2
    assert all(level == "warn" and "expires in" in text for level, text in lines)


def test_a_watch_that_stopped_looks_no_more(tmp_path: Path, loop: Loop) -> None:
    watch = started(loop, Certificates([write(tmp_path, "a", CA())]))
    assert loop.timers == 1
    loop.create_task(watch.stop())
    loop.settle()
    assert loop.timers == 0
