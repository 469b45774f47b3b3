"""edge/tls_failure.py: OpenSSL's words become ours."""

from __future__ import annotations

import ssl

import pytest

from wsdaemon.edge.tls_failure import detail, handshake_failure, later_failure


def error(reason: str | None) -> ssl.SSLError:
    made = ssl.SSLError()
    made.reason = reason  # type: ignore[assignment]
    return made


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "tls_client_certificate"),
        ("CERTIFICATE_VERIFY_FAILED", "tls_client_certificate"),
        ("HTTP_REQUEST", "tls_not_tls"),
        ("WRONG_VERSION_NUMBER", "tls_not_tls"),
        ("NO_SHARED_CIPHER", "tls_version"),
        ("UNSUPPORTED_PROTOCOL", "tls_version"),
        ("TLSV1_ALERT_UNKNOWN_CA", "tls_alert"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "tls_alert"),
        ("LENGTH_MISMATCH", "tls_handshake"),
        (None, "tls_handshake"),
    ],
)
def test_in_a_handshake(reason: str | None, word: str) -> None:
    assert handshake_failure(error(reason)) == word


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "tls_broken"),
        ("TLSV1_ALERT_INTERNAL_ERROR", "tls_alert"),
        ("TOO_MANY_WARN_ALERTS", "tls_records"),
        ("RECORD_TOO_SMALL", "tls_records"),
        (None, "tls_broken"),
    ],
)
def test_after_one(reason: str | None, word: str) -> None:
    assert later_failure(error(reason)) == word


def test_the_detail_is_never_empty() -> None:
    assert detail(error("HTTP_REQUEST")) == "HTTP_REQUEST" and detail(error(None)) == "SSLError"
