"""edge/certificates.py: a renewed pair that is good by itself, but would not serve all clients of the old one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.certificates import Clock, Files, looks, watched
from wsdaemon.edge import certificates as module
from wsdaemon.edge.certificates import LAST_RETRY_SECONDS, EventKind
from wsdaemon.edge.tls import CertificateError, load_pair


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    made = Files(tmp_path, authority, "a")
    made.put(made.issue("a.example"))
    return made


def test_an_expired_pair_does_not_replace_a_valid_one(files: Files) -> None:
    certificates = watched(files.entry())
    old = certificates.context
    files.put(files.issue("a.example", days=-1))
    (event,) = looks(certificates)
    assert event.kind is EventKind.REFUSED
    assert event.text == f"{files.certificate}: expired on 2026-05-31; the old certificate stays in use"
    assert certificates.context is old and certificates.expires_in_days() == pytest.approx(60)
    assert [event.kind for event in certificates.reload()] == [EventKind.REFUSED]


def test_a_pair_that_is_not_valid_yet_waits_for_its_time(files: Files) -> None:
    clock = Clock()
    certificates = watched(files.entry(), now=clock)
    old = certificates.context
    files.put(files.issue("a.example", days=40, life=30))
    (event,) = looks(certificates)
    assert event.kind is EventKind.REFUSED and "not valid before 2026-06-11 00:00 UTC" in event.text
    clock.days = 9.9
    assert looks(certificates) == [] and certificates.context is old
    clock.days = 10
    assert [event.kind for event in looks(certificates)] == [EventKind.RENEWED]
    assert certificates.expires_in_days() == pytest.approx(30)


def test_what_comes_after_a_pair_that_waits_is_looked_at_at_once(files: Files) -> None:
    clock = Clock()
    certificates = watched(files.entry(), now=clock)
    files.put(files.issue("a.example", days=40, life=30))
    looks(certificates)
    files.write(files.key, b"junk")
    clock.days = 10
    assert [event.kind for event in looks(certificates)] == [EventKind.REFUSED]
    files.put(files.issue("a.example", "b.example"))
    assert [event.kind for event in looks(certificates)] == [EventKind.RENEWED]


def test_a_renewal_that_could_not_be_read_is_tried_again(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason lies outside of the files, such as no descriptor left: they do not change again."""
    clock = Clock()
    certificates = watched(files.entry(), now=clock)
    short = [True]

    def load(*args: Any) -> Any:
        if short[0]:
            raise CertificateError(f"{files.certificate}: Too many open files")
        return load_pair(*args)

    monkeypatch.setattr(module, "load_pair", load)
    files.put(files.issue("a.example", "b.example"))
    events = []
    for _ in range(40):
        events += certificates.poll()
        clock.days += 30 / 86400
    (file,) = certificates.files
    assert [event.kind for event in events] == [EventKind.REFUSED], "one line, however many attempts"
    assert 4 <= file.failures <= 10
    assert file.problem() == f"{files.certificate}: Too many open files" and file.source == str(files.certificate)
    short[0] = False
    clock.days += LAST_RETRY_SECONDS / 86400
    assert [event.kind for event in certificates.poll()] == [EventKind.RENEWED]
    assert file.problem() is None


def test_a_clock_that_is_set_back_does_not_put_off_the_next_attempt(files: Files) -> None:
    clock = Clock()
    certificates = watched(files.entry(), now=clock)
    files.write(files.key, b"junk")
    looks(certificates)
    before = certificates.files[0].failures
    clock.days -= 1
    certificates.poll()
    assert certificates.files[0].failures == before + 1


@pytest.mark.parametrize(("days", "life"), [(-1, 90), (40, 30)], ids=["expired", "not yet"])
def test_where_the_old_pair_is_not_valid_either_the_new_one_is_taken_with_a_warning(files: Files, days: float, life: float) -> None:
    files.put(files.issue("a.example", days=-5))
    certificates = watched(files.entry())
    files.put(files.issue("a.example", days=days, life=life))
    assert [event.kind for event in certificates.poll()] == [EventKind.RENEWED, EventKind.WARNING]


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        (["a.example", "b.example"], ["a.example"], "b.example"),
        (["*.b.example", "b.example"], ["x.b.example"], "*.b.example, b.example"),
        (["a.example", "192.0.2.1"], ["*.example"], "192.0.2.1"),
        (["x.b.example", "b.example"], ["*.b.example", "b.example", "c.example"], None),
        (["a.example"], ["b.example", "A.example"], None),
        ([f"{number}.example" for number in range(10, 25)], ["x"], "15.example, 16.example, 17.example, 18.example, 19.example and 5 more"),
    ],
)
def test_hosts_that_a_renewed_certificate_is_not_for_any_more_are_told(
    files: Files, before: list[str], after: list[str], lost: str | None
) -> None:
    """It is taken: the operator may have meant it."""
    files.put(files.issue(*before))
    certificates = watched(files.entry())
    files.put(files.issue(*after))
    renewed, *warnings = certificates.poll()
    assert renewed.kind is EventKind.RENEWED
    if lost is None:
        assert warnings == []
    else:
        (warning,) = warnings
        assert warning.kind is EventKind.WARNING
        assert warning.text.startswith(f"{files.certificate}: no longer names ") and warning.text.endswith(lost)
