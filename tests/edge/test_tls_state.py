"""edge/tls_state.py: in which states a TLS connection reads and writes."""

from __future__ import annotations

from wsdaemon.edge.tls_state import READING, WRITING, TlsError, TlsState, TruncatedError


def test_who_said_goodbye_sends_no_more() -> None:
    assert TlsState.CLIENT_ENDED not in READING and TlsState.CLIENT_ENDED in WRITING
    assert TlsState.SERVER_ENDED in READING and TlsState.SERVER_ENDED not in WRITING


def test_nothing_is_written_before_the_handshake_and_nothing_happens_after_the_end() -> None:
    assert TlsState.HANDSHAKE in READING and TlsState.HANDSHAKE not in WRITING
    for state in (TlsState.CLOSING, TlsState.GONE):
        assert state not in READING and state not in WRITING


def test_every_end_is_an_error_of_the_connection_for_those_above() -> None:
    assert issubclass(TruncatedError, ConnectionError) and issubclass(TlsError, ConnectionError)
