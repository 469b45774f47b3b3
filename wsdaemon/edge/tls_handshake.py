"""The TLS handshake of one connection, record by record: a part that is let go when it is over."""

from __future__ import annotations

import enum
import ssl
from collections.abc import Callable
from typing import Any

from . import tls_failure
from .tls_hello import UNRECOGNIZED_NAME, HelloReader
from .tls_records import CHANGE_CIPHER_SPEC

MAX_RECORDS = 1_024
"""Records of one handshake. Clients need fewer than ten; one that cuts its first message into single bytes needs some six hundred."""


class HandshakeStep(enum.Enum):
    """The effect of a record on a handshake."""

    MORE = "more"
    """The client's next record is needed."""
    DONE = "done"
    TOO_LONG = "too_long"
    """It has taken more records than any client needs."""
    LEFT = "left"
    """The client said close_notify: it gave up of its own accord."""
    FAILED = "failed"


class TlsHandshake:
    """Gives OpenSSL the records of a handshake. The owner of the outgoing BIO sends OpenSSL's answers."""

    __slots__ = ("_hello", "_incoming", "_records", "_shake_hands", "alert", "detail", "word")

    def __init__(self, tls: ssl.SSLObject, incoming: ssl.MemoryBIO) -> None:
        engine: Any = getattr(tls, "_sslobj", tls)  # without the calls of the wrapper in Python
        self._shake_hands: Callable[[], None] = engine.do_handshake
        self._incoming = incoming
        self._hello = HelloReader()
        self._records = 0
        self.word = ""
        """After a failure: a word of tls_failure."""
        self.detail = ""
        self.alert = b""
        """After a failure that OpenSSL knows nothing of: a record for the client that says so."""

    def take(self, record: bytes) -> HandshakeStep:
        """Take one whole record. If the bytes are no record, OpenSSL finds the fault."""
        self._records += 1
        if self._records > MAX_RECORDS:
            return HandshakeStep.TOO_LONG
        if not self._hello.acceptable(record):
            self.word, self.detail, self.alert = tls_failure.SERVER_NAME, "the server name is not ASCII", UNRECOGNIZED_NAME
            return HandshakeStep.FAILED
        self._incoming.write(record)
        if record[0] == CHANGE_CIPHER_SPEC:
            return HandshakeStep.MORE
        try:
            self._shake_hands()
        except ssl.SSLWantReadError:
            return HandshakeStep.MORE
        except ssl.SSLZeroReturnError:
            return HandshakeStep.LEFT
        except ssl.SSLError as error:
            self.word, self.detail = tls_failure.handshake_failure(error), tls_failure.detail(error)
            return HandshakeStep.FAILED
        return HandshakeStep.DONE
