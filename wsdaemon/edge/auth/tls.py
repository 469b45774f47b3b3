"""The kind tls: the client's certificate, which the TLS handshake has verified against the listener's CAs."""

from __future__ import annotations

import time
from collections.abc import Callable

from cryptography import x509

from ...core.handshake import ClientCertificate
from ...settings.auth import TlsAuthSettings
from .contract import Candidate, Denied, Identity, clean_name


class TlsAuthenticator:
    """Recognises a client by its certificate. The identity ends with the certificate, because a connection may stay open for longer."""

    challenge = None
    subprotocol_prefixes = ()
    files = ()

    def __init__(self, settings: TlsAuthSettings, now: Callable[[], float] = time.time) -> None:
        self.name = settings.name
        self._settings = settings
        self._now = now

    def authenticate(self, request: Candidate) -> Identity | None:
        certificate = request.client_certificate
        if certificate is None:
            return None
        try:
            ends = x509.load_der_x509_certificate(certificate.der).not_valid_after_utc.timestamp()
        except ValueError:
            raise Denied("auth_malformed", 403, detail="The client's certificate cannot be read.") from None
        if self._now() >= ends:  # a resumed TLS session does not look at the dates again
            raise Denied("auth_expired", 403, detail="The client's certificate has expired.")
        name = clean_name(self._who(certificate))
        if name is None or (self._settings.allow and name not in self._settings.allow):
            raise Denied("auth_refused", 403, detail="The client's certificate is for an identity that is not known here.", user=name)
        claims = {
            "subject": certificate.subject,
            "common_name": certificate.common_name,
            "names": certificate.names,
            "issuer": certificate.issuer,
            "serial": certificate.serial,
            "fingerprint": certificate.fingerprint,
        }
        return Identity(name, f"tls:{self.name}", claims, ends)

    def _who(self, certificate: ClientCertificate) -> str | None:
        if self._settings.identity == "name":
            return certificate.names[0] if certificate.names else None
        return {
            "common_name": certificate.common_name,
            "subject": certificate.subject,
            "fingerprint": certificate.fingerprint,
        }[self._settings.identity]

    def refresh(self) -> None:
        """No file is read."""

    async def close(self) -> None:
        """Nothing is held."""
