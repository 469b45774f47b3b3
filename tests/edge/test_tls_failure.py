"""edge/tls_failure.py: one word for each way in which TLS can fail, from OpenSSL's own errors."""

from __future__ import annotations

import ssl

import pytest

from wsdaemon.edge import tls_failure
from wsdaemon.edge.tls_failure import detail, handshake_failure, later_failure


def error(reason: str | None) -> ssl.SSLError:
    found = ssl.SSLError(1, "text")
    found.reason = reason  # type: ignore[assignment]
    return found


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE", tls_failure.CLIENT_CERTIFICATE),
        ("HTTP_REQUEST", tls_failure.NOT_TLS),
        ("NO_SHARED_CIPHER", tls_failure.NOTHING_IN_COMMON),
        ("TLSV1_ALERT_UNKNOWN_CA", tls_failure.REFUSED_BY_CLIENT),
        ("SSLV3_ALERT_BAD_CERTIFICATE", tls_failure.REFUSED_BY_CLIENT),
        ("SOMETHING_NEW", tls_failure.HANDSHAKE),
        (None, tls_failure.HANDSHAKE),
    ],
)
def test_words_of_a_handshake(reason: str | None, word: str) -> None:
    assert handshake_failure(error(reason)) == word


def test_words_after_the_handshake() -> None:
    assert later_failure(error("TLSV1_ALERT_INTERNAL_ERROR")) == tls_failure.REFUSED_BY_CLIENT
    assert later_failure(error("DECRYPTION_FAILED_OR_BAD_RECORD_MAC")) == tls_failure.BROKEN


def test_the_detail_is_openssls_own_word() -> None:
    assert detail(error("NO_SHARED_CIPHER")) == "NO_SHARED_CIPHER"
    assert detail(error(None)) == "SSLError"


def test_plain_http_has_the_reason_that_the_table_knows() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    incoming = ssl.MemoryBIO()
    incoming.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises(ssl.SSLError) as caught:
        context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True).do_handshake()
    assert handshake_failure(caught.value) == tls_failure.NOT_TLS


def test_every_word_is_its_own() -> None:
    words = [value for name, value in vars(tls_failure).items() if name.isupper() and isinstance(value, str)]
    assert len(words) == len(set(words)) == 8
    assert all(word.startswith("tls_") for word in words)
