"""Renewed certificates: the watch looks at the files every 30 seconds and on SIGHUP, and new handshakes use them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from twisted.logger import Logger

from .certificates import CertificateEvent, Certificates, EventKind
from .tls import CertificateError

__all__ = ["CertificateError", "CertificateWatch"]

LOOK_SECONDS = 30.0
"""Seconds between two looks at the certificates' files."""

log = Logger(namespace="wsdaemon.tls")


class CertificateWatch:
    """Looks every LOOK_SECONDS for renewed certificates, and lets new handshakes use them."""

    def __init__(self, certificates: Sequence[Certificates]) -> None:
        self.certificates = certificates
        self._handle: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        for certificates in self.certificates:
            for warning in dict.fromkeys((*certificates.warnings, *[event.text for event in certificates.expiry_warnings()])):
                log.warn("{warning}", warning=warning)
        self._schedule()

    async def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def reload(self) -> list[str]:
        """Read them all again now; the reasons for which old ones stay in use."""
        events = [event for certificates in self.certificates for event in certificates.reload()]
        _tell(events)
        return [event.text for event in events if event.kind is EventKind.REFUSED]

    def _schedule(self) -> None:
        if self.certificates:
            self._handle = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._schedule()
        for certificates in self.certificates:
            _tell(certificates.poll())
            _tell(certificates.expiry_warnings())


def _tell(events: Sequence[CertificateEvent]) -> None:
    for event in events:
        (log.info if event.kind is EventKind.RENEWED else log.warn)("{text}", text=event.text)
