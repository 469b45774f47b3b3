"""Shared by the tests of certificates: pairs on disk that can be renewed, and a listener's certificates with a clock of the test's."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import trustme

from wsdaemon.edge.certificates import CertificateEvent, CertificateFiles, Certificates

NOW = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
DAY = 86400.0


def until(days: float) -> datetime:
    return datetime.fromtimestamp(NOW + days * DAY, UTC)


class Files:
    """A pair on disk that can be replaced, each write with a time of its own: no test waits for the clock of the file system."""

    def __init__(self, directory: Path, authority: trustme.CA, name: str) -> None:
        self.certificate = directory / f"{name}.crt"
        self.key = directory / f"{name}.key"
        self.authority = authority
        self.stamp = 1_000_000_000

    def write(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        path.chmod(0o600)
        self.stamp += 1
        os.utime(path, (self.stamp, self.stamp))

    def issue(self, *hosts: str, days: float = 60, life: float = 90) -> trustme.LeafCert:
        return self.authority.issue_cert(*hosts, not_before=until(days - life), not_after=until(days))

    def put(self, leaf: trustme.LeafCert) -> None:
        self.put_certificate(leaf)
        self.put_key(leaf)

    def put_certificate(self, leaf: trustme.LeafCert) -> None:
        self.write(self.certificate, b"".join(blob.bytes() for blob in leaf.cert_chain_pems))

    def put_key(self, leaf: trustme.LeafCert) -> None:
        self.write(self.key, leaf.private_key_pem.bytes())

    def entry(self, *hosts: str) -> CertificateFiles:
        return CertificateFiles(self.certificate, self.key, hosts)


class Clock:
    """The clock of a listener's certificates; a test may move it."""

    def __init__(self) -> None:
        self.days = 0.0

    def __call__(self) -> float:
        return NOW + self.days * DAY


def watched(*entries: CertificateFiles, now: Callable[[], float] = lambda: NOW, **options: object) -> Certificates:
    return Certificates(entries, now=now, **options)  # type: ignore[arg-type]


def looks(certificates: Certificates, times: int = 3) -> list[CertificateEvent]:
    """The warnings of so many looks."""
    return [event for _ in range(times) for event in certificates.poll()]
