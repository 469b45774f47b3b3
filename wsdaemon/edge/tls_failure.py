"""Why a TLS connection came to nothing, as one word for the count of refusals."""

from __future__ import annotations

import ssl

CLIENT_CERTIFICATE = "tls_client_certificate"
"""The client showed no certificate, or one that client_ca does not vouch for."""

NOT_TLS = "tls_not_tls"
"""Plain HTTP or garbage on a TLS listener."""

NOTHING_IN_COMMON = "tls_version"
"""Client and listener share no TLS version, cipher, group or ALPN protocol."""

REFUSED_BY_CLIENT = "tls_alert"
"""The client sent an alert: most often it does not accept our certificate."""

SERVER_NAME = "tls_server_name"
"""The client asked for a host name that is not ASCII."""

RECORDS = "tls_records"
"""The client sent more records without data than it may."""

HANDSHAKE = "tls_handshake"
"""Any other fault in a handshake."""

BROKEN = "tls_broken"
"""After the handshake, the client sent a record that cannot be decrypted or is not allowed."""

_WORDS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": CLIENT_CERTIFICATE,
    "CERTIFICATE_VERIFY_FAILED": CLIENT_CERTIFICATE,
    "NO_CERTIFICATE_RETURNED": CLIENT_CERTIFICATE,
    "HTTP_REQUEST": NOT_TLS,
    "HTTPS_PROXY_REQUEST": NOT_TLS,
    "WRONG_VERSION_NUMBER": NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": NOT_TLS,
    "UNKNOWN_PROTOCOL": NOTHING_IN_COMMON,
    "UNSUPPORTED_PROTOCOL": NOTHING_IN_COMMON,
    "VERSION_TOO_LOW": NOTHING_IN_COMMON,
    "NO_SHARED_CIPHER": NOTHING_IN_COMMON,
    "NO_SHARED_GROUPS": NOTHING_IN_COMMON,
    "NO_SUITABLE_KEY_SHARE": NOTHING_IN_COMMON,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": NOTHING_IN_COMMON,
    "INAPPROPRIATE_FALLBACK": NOTHING_IN_COMMON,
    "NO_APPLICATION_PROTOCOL": NOTHING_IN_COMMON,
}


def detail(error: ssl.SSLError) -> str:
    """OpenSSL's own word for an error."""
    return error.reason or type(error).__name__


def handshake_failure(error: ssl.SSLError) -> str:
    """The word for an error of OpenSSL in a handshake."""
    reason = error.reason or ""
    return REFUSED_BY_CLIENT if "_ALERT_" in reason else _WORDS.get(reason, HANDSHAKE)


_FLOODS = frozenset({"RECORD_TOO_SMALL", "TOO_MANY_WARN_ALERTS", "TOO_MANY_KEY_UPDATES"})
"""OpenSSL's own limits: 32 empty records in a row, five warnings."""


def later_failure(error: ssl.SSLError) -> str:
    """The word for an error of OpenSSL after the handshake."""
    reason = error.reason or ""
    if reason in _FLOODS:
        return RECORDS
    return REFUSED_BY_CLIENT if "_ALERT_" in reason else BROKEN
