"""The certificates of one listener: chosen by host name, watched, renewed without a restart.

New handshakes take `Certificates.context`. A renewed pair is read and checked first; when it is good it gets a context of its own and
that takes the place of the old one. Open connections keep the context they began with. A bad pair is refused and the old one stays; so it
does for a pair that has expired or is not valid yet, as long as the old one is valid itself.

This looks at files only when it is called: `poll` every few seconds, `reload` on SIGHUP.
"""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ..core.reloading import Reloading
from ..settings.inherited import signature_at
from .tls import CertificateError, ClientCertificates, Pair, load_pair, server_context

WARN_DAYS = 14.0
"""An expiry nearer than this is a warning, or than a fifth of the certificate's whole life where that is shorter."""

MAX_LOGGED_NAMES = 10
"""Host names in one line of the log."""

FIRST_RETRY_SECONDS = 25.0
"""Until renewed files that could not be used are read again: with the next poll. The wait doubles with each failure."""

LAST_RETRY_SECONDS = 300.0
"""The longest of these waits."""

Signature = tuple[object, ...]


class EventKind(Enum):
    RENEWED = "renewed"
    REFUSED = "refused"
    """A new pair is bad; the old one stays."""
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class CertificateEvent:
    """Something for the log. `text` is one line and names the file."""

    kind: EventKind
    certificate: Path
    text: str


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where a certificate is, and which hosts it is for; no hosts means the names in it."""

    certificate: Path
    key: Path
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CertificateExpiry:
    """When a certificate ends: for the metric."""

    certificate: Path
    names: tuple[str, ...]
    days: float


class _Entry:
    """One pair in use and what is known about its files."""

    __slots__ = (
        "context", "failures", "files", "pair", "refusal", "reported", "retry_at", "retry_seconds", "signature", "tried", "warned_on",
    )  # fmt: skip

    def __init__(self, files: CertificateFiles, pair: Pair, context: ssl.SSLContext, signature: Signature) -> None:
        self.files = files
        self.pair = pair
        self.context = context
        self.signature = signature
        """Of the files that are in use."""
        self.tried = signature
        """Of the files that were looked at last, good or bad."""
        self.reported = True
        """Whether a refusal of `tried` was told."""
        self.refusal: str | None = None
        """Why the files as they were `tried` last are not in use."""
        self.failures = 0
        """How many times renewed files could not be used."""
        self.retry_at = math.inf
        """When refused files are read again though they have not changed: the reason may lie outside of them, or their time has come."""
        self.retry_seconds = FIRST_RETRY_SECONDS
        self.warned_on = -1

    @property
    def source(self) -> str:
        """The certificate's path."""
        return str(self.files.certificate)

    def problem(self) -> str | None:
        """Why renewed files are not in use; None when there are none, or when the next poll may still find them complete."""
        return self.refusal if self.reported else None

    def hosts(self) -> list[str]:
        return [normal_host(host) for host in self.files.hosts or self.pair.names]


class Certificates:
    """The pairs of one listener, the first of which serves clients that give no name or an unknown one.

    With more than one pair the contexts have an `sni_callback`, which TlsLayer's SSLObject calls.

    All pairs of a listener share one policy for client certificates. Were it one per name, a session that was begun under one name could be
    resumed under another and pass its check (that was CVE-2025-23419 in nginx).
    """

    def __init__(
        self,
        files: Sequence[CertificateFiles],
        *,
        client_ca: Path | None = None,
        client_certificates: ClientCertificates = ClientCertificates.NONE,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now` gives seconds since 1970. Raises CertificateError when any pair is bad: a daemon does not start with half its names."""
        if not files:
            raise CertificateError("a TLS listener needs a certificate")
        self._client_ca = client_ca
        self._client_certificates = client_certificates
        self._now = now
        self._several = len(files) > 1
        self._entries = self._load_all(files)
        self._hosts: dict[str, _Entry] = {}
        self._index()

    def _load_all(self, files: Sequence[CertificateFiles]) -> list[_Entry]:
        """Every pair; CertificateError with the problems of all."""
        entries: list[_Entry] = []
        problems: list[str] = []
        for each in files:
            try:
                entries.append(self._load(each))
            except CertificateError as error:
                problems += error.problems
        if problems:
            raise CertificateError(*dict.fromkeys(problems))
        return entries

    # -- in use

    @property
    def files(self) -> Sequence[Reloading]:
        """The pairs, each with the reason why its renewed files are not in use."""
        return self._entries

    @property
    def context(self) -> ssl.SSLContext:
        """For the next handshake. Ask anew each time."""
        return self._entries[0].context

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs in use, in the order they were given."""
        return tuple(entry.pair for entry in self._entries)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings about the pairs in use."""
        return tuple(warning for entry in self._entries for warning in entry.pair.warnings)

    def _find(self, host: str | None) -> _Entry:
        """An exact name first, then a wildcard for its first label (RFC 9525 6.3), then the first pair."""
        if not host:
            return self._entries[0]
        name = normal_host(host)
        found = self._hosts.get(name)
        if found is None:
            _, dot, parent = name.partition(".")
            found = self._hosts.get("*." + parent) if dot else None
        return found or self._entries[0]

    def _swap(self, tls_object: ssl.SSLObject | ssl.SSLSocket, host: str | None, _context: ssl.SSLContext) -> None:
        tls_object.context = self._find(host).context

    # -- renewal

    def changed(self) -> bool:
        """Whether any file is not what was looked at last. A stat for each file, symbolic links followed."""
        return any(self._signature(entry.files) != entry.tried for entry in self._entries)

    def poll(self) -> list[CertificateEvent]:
        """Take what was renewed. Cheap when nothing was.

        A bad pair is told only when the next poll finds it unchanged, and once: a renewal writes certificate and key one after the other,
        and in between they do not match.
        """
        return [event for entry in self._entries for event in self._renew(entry, patient=True)]

    def reload(self) -> list[CertificateEvent]:
        """Read every pair again, changed or not, and tell at once what is bad: for SIGHUP."""
        return [event for entry in self._entries for event in self._renew(entry, patient=False)]

    def _renew(self, entry: _Entry, patient: bool) -> list[CertificateEvent]:
        signature = self._signature(entry.files)
        unchanged = signature == entry.tried
        now = self._now()
        set_back = entry.refusal is not None and entry.retry_at - now > LAST_RETRY_SECONDS  # the system's clock was
        early = now < entry.retry_at and not set_back
        if patient and unchanged and entry.reported and early:
            return []
        if not unchanged:
            entry.retry_seconds = FIRST_RETRY_SECONDS
        entry.tried, entry.retry_at = signature, math.inf
        path = entry.files.certificate
        try:
            fresh = self._load(entry.files)
            self._check_dates(entry, fresh.pair)
        except CertificateError as error:
            told = entry.refusal if entry.reported else None
            entry.failures += 1
            entry.refusal, entry.reported = str(error), not patient or unchanged
            entry.retry_at = min(entry.retry_at, now + entry.retry_seconds)
            entry.retry_seconds = min(2 * entry.retry_seconds, LAST_RETRY_SECONDS)
            if not entry.reported or (patient and told == entry.refusal):
                return []
            return [CertificateEvent(EventKind.REFUSED, path, f"{error}; the old certificate stays in use")]
        return self._install(entry, fresh)

    def _check_dates(self, entry: _Entry, fresh: Pair) -> None:
        """CertificateError when clients would accept the pair in use, and not the fresh one."""
        now = self._now()
        flaw = fresh.out_of_date(now)
        if flaw is not None and entry.pair.out_of_date(now) is None:
            entry.retry_at = fresh.not_before.timestamp() if fresh.not_before.timestamp() > now else math.inf
            raise CertificateError(flaw)

    def _install(self, entry: _Entry, fresh: _Entry) -> list[CertificateEvent]:
        """Put a good pair in the place of the old. A pair that is the same gets a new context too: its file of client CAs may have
        changed."""
        events = []
        path, pair = entry.files.certificate, fresh.pair
        if pair.fingerprint != entry.pair.fingerprint:
            events.append(CertificateEvent(EventKind.RENEWED, path, f"{path}: renewed, valid until {pair.not_after:%Y-%m-%d %H:%M} UTC"))
            events += [CertificateEvent(EventKind.WARNING, path, warning) for warning in (*pair.warnings, *_no_longer(entry.pair, pair))]
        if self._client_ca is not None and entry is self._entries[0] and fresh.signature[-1] != entry.signature[-1]:
            events.append(CertificateEvent(EventKind.RENEWED, self._client_ca, f"{self._client_ca}: new client CAs are in use"))
        entry.pair, entry.context = pair, fresh.context
        entry.signature = entry.tried = fresh.signature
        entry.reported, entry.refusal, entry.retry_at, entry.warned_on = True, None, math.inf, -1
        self._index()
        return events

    def _load(self, files: CertificateFiles) -> _Entry:
        # The signature first: the next poll then sees a change that happens while the files are read.
        signature = self._signature(files)
        pair = load_pair(files.certificate, files.key, self._now())
        context = server_context(files.certificate, files.key, client_ca=self._client_ca, client_certificates=self._client_certificates)
        if self._several:
            context.sni_callback = self._swap
        return _Entry(files, pair, context, signature)

    def _signature(self, files: CertificateFiles) -> Signature:
        return tuple(signature_at(path) for path in (files.certificate, files.key, self._client_ca) if path is not None)

    def _index(self) -> None:
        hosts: dict[str, _Entry] = {}
        for entry in self._entries:
            for host in entry.hosts():
                hosts.setdefault(host, entry)
        self._hosts = hosts

    # -- expiry

    def expires_in_days(self, now: float | None = None) -> float:
        """Days until the first of the certificates in use expires; negative when one has."""
        return min(expiry.days for expiry in self.expiries(now))

    def expiries(self, now: float | None = None) -> tuple[CertificateExpiry, ...]:
        moment = self._now() if now is None else now
        return tuple(CertificateExpiry(entry.files.certificate, entry.pair.names, entry.pair.days_left(moment)) for entry in self._entries)

    def expiry_warnings(self, now: float | None = None) -> list[CertificateEvent]:
        """A warning for each certificate that expires soon, once a day for as long as it does. Call it as often as you like."""
        moment = self._now() if now is None else now
        today = int(moment // 86400)
        events = []
        for entry in self._entries:
            days = entry.pair.days_left(moment)
            if days >= _warn_days(entry.pair) or entry.warned_on == today:
                continue
            entry.warned_on = today
            when = f"expired on {entry.pair.not_after:%Y-%m-%d}" if days < 0 else f"expires in {days:.1f} days"
            events.append(CertificateEvent(EventKind.WARNING, entry.files.certificate, f"{entry.files.certificate}: {when}"))
        return events


def _warn_days(pair: Pair) -> float:
    return min(WARN_DAYS, (pair.not_after - pair.not_before).total_seconds() / 86400 / 5)


def _no_longer(old: Pair, fresh: Pair) -> Iterator[str]:
    """A warning when a renewed certificate is not for all hosts that the old one was for."""
    lost = [name for name in old.names if name not in fresh.names and "*." + name.partition(".")[2] not in fresh.names]
    if lost:
        more = f" and {len(lost) - MAX_LOGGED_NAMES} more" if len(lost) > MAX_LOGGED_NAMES else ""
        yield f"{fresh.certificate}: no longer names {', '.join(lost[:MAX_LOGGED_NAMES])}{more}"


def normal_host(host: str) -> str:
    """A host name as it is compared: lower case, ASCII (IDNA where need be), no dot at the end. Never raises."""
    name = host.lower().rstrip(".")
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return name
