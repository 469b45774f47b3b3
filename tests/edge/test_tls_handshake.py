"""edge/tls_handshake.py: a handshake record by record, with a real client of OpenSSL."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
import trustme

from wsdaemon.edge import tls_failure
from wsdaemon.edge.tls_handshake import Step, TlsHandshake
from wsdaemon.edge.tls_hello import UNRECOGNIZED_NAME
from wsdaemon.edge.tls_records import record_size

AUTHORITY = trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("localhost")


class Pair:
    """A client and a handshake of ours, with the bytes between them."""

    def __init__(self, trusted: bool = True, **client: object) -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        CERTIFICATE.configure_cert(server)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for name, value in client.items():
            setattr(context, name, value)
        if trusted:
            AUTHORITY.configure_trust(context)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.to_client, self.from_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self.to_client, self.from_client, server_hostname="localhost")
        self.handshake = TlsHandshake(server.wrap_bio(self.incoming, self.outgoing, server_side=True), self.incoming)

    def records(self) -> Iterator[bytes]:
        """What the client sends next, record by record."""
        try:
            self.client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            pass  # its alert is among the records
        data, at = self.from_client.read(), 0
        while at < len(data):
            size = record_size(data, at)
            yield data[at : at + size]
            at += size

    def run(self) -> list[Step]:
        """Each step until the handshake is over."""
        steps: list[Step] = []
        while not steps or steps[-1] is Step.MORE:
            before = len(steps)
            steps += [self.handshake.take(record) for record in self.records()]
            self.to_client.write(self.outgoing.read())
            assert len(steps) > before, "the client sends nothing any more"
        return steps


def test_a_handshake_is_done_with_the_clients_last_record() -> None:
    steps = Pair().run()
    assert steps[-1] is Step.DONE
    assert set(steps[:-1]) == {Step.MORE}


def test_a_client_that_does_not_trust_us_says_so() -> None:
    pair = Pair(trusted=False)
    assert pair.run()[-1] is Step.FAILED
    assert pair.handshake.word == tls_failure.REFUSED_BY_CLIENT
    assert "ALERT" in pair.handshake.detail
    assert pair.handshake.alert == b""


def test_a_name_that_is_not_ascii_never_reaches_openssl() -> None:
    pair = Pair()
    [record] = pair.records()
    assert pair.handshake.take(record.replace(b"localhost", b"localh\xf6st")) is Step.FAILED
    assert (pair.handshake.word, pair.handshake.alert) == (tls_failure.SERVER_NAME, UNRECOGNIZED_NAME)
    assert pair.incoming.pending == 0


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x01\x00", b"\0" * 20])
def test_what_is_no_tls_fails_with_a_word(data: bytes) -> None:
    handshake = Pair().handshake
    step = handshake.take(data)
    assert step is Step.MORE or (step is Step.FAILED and handshake.word.startswith("tls_") and handshake.detail)
