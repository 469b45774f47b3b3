"""TLS in memory: a plain transport without a socket, the standard library's client at its far end, and records made by hand."""

from __future__ import annotations

import asyncio
import functools
import ssl
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.support.fake_loop import Loop
from wsdaemon.edge.tls import ClientCertificates, server_context
from wsdaemon.edge.tls_layer import TlsLayer
from wsdaemon.wire.turns import Turns

HEADER = 5


class Authority:
    """A server's certificate, and contexts for both sides."""

    def __init__(self, host: str = "localhost") -> None:
        self.ca = trustme.CA()
        self.clients = trustme.CA()
        leaf = self.ca.issue_cert(host)
        with tempfile.TemporaryDirectory() as folder:
            self.certificate, self.key, self.client_ca = (Path(folder) / name for name in ("c.pem", "k.pem", "ca.pem"))
            leaf.private_key_pem.write_to_path(self.key)
            leaf.cert_chain_pems[0].write_to_path(self.certificate)
            self.clients.cert_pem.write_to_path(self.client_ca)
            self.server = server_context(self.certificate, self.key)
            self.asking = server_context(
                self.certificate, self.key, client_ca=self.client_ca, client_certificates=ClientCertificates.REQUIRED
            )

    def client(self, certificate: trustme.LeafCert | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the default context reads all authorities of the system, for 30 ms
        self.ca.configure_trust(context)
        if certificate is not None:
            certificate.configure_cert(context)
        if version is not None:
            context.maximum_version = version
        return context


@functools.cache
def authority() -> Authority:
    return Authority()


class Plain:
    """The loop's transport as the layer sees it. `stuck`: the client takes nothing, and what is written waits."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.layer: Any = None
        self.sent = b""
        """The bytes that the client has not read yet."""
        self.waiting = b""
        self.incoming: list[bytes] = []
        """Reads that wait while reading is paused."""
        self.stuck = self.paused = self.closing = self.aborted = self.eof_written = self.lost = False
        self.eof = False
        self.largest = 0

    def write(self, data: bytes) -> None:
        assert not self.eof_written
        if self.closing:
            return
        self.largest = max(self.largest, len(data))
        if self.stuck:
            was_empty = not self.waiting
            self.waiting += data
            if was_empty:
                self.layer.pause_writing()
        else:
            self.sent += data

    def writelines(self, list_of_data: list[bytes]) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": ("192.0.2.7", 50123)}.get(name, default)

    def write_eof(self) -> None:
        self.eof_written = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        assert not self.closing
        if self.paused:
            self.paused = False
            self.loop.call_soon(self._read)

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            if not self.waiting:
                self.loop.call_soon(self.lose)

    def abort(self) -> None:
        self.closing = self.aborted = True
        self.waiting = b""
        self.loop.call_soon(self.lose)

    # called by the test

    def receive(self, *reads: bytes) -> None:
        self.incoming += [read for read in reads if read]
        self._read()

    def receive_eof(self) -> None:
        self.eof = True
        self._read()

    def _read(self) -> None:
        while self.incoming and not self.paused and not self.closing:
            self.layer.data_received(self.incoming.pop(0))
        if self.eof and not self.incoming and not self.paused and not self.closing:
            self.eof = False
            if not self.layer.eof_received():
                self.close()

    def drain(self) -> None:
        """The client reads again."""
        self.stuck = False
        self.sent, self.waiting = self.sent + self.waiting, b""
        self.layer.resume_writing()
        if self.closing:
            self.loop.call_soon(self.lose)

    def lose(self, error: Exception | None = None) -> None:
        if not self.lost:
            self.lost = self.closing = True
            self.layer.connection_lost(error)


class Upper(asyncio.Protocol):
    """The protocol above: notes what it is told."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.events: list[str] = []
        self.data = b""
        self.reads: list[int] = []
        self.error: Exception | None = None
        self.keeps_open = False
        self.on_data: Callable[[], object] = lambda: None
        self.inside = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        assert data
        self.data += data
        self.reads.append(len(data))
        self.on_data()

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.keeps_open

    def pause_writing(self) -> None:
        self.events.append("full")

    def resume_writing(self) -> None:
        self.events.append("free")

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.events.append("lost")


class Keys:
    """A TLS 1.3 client's keys after the handshake, to make records that no library would send."""

    def __init__(self, log: Path, cipher: str) -> None:
        line = next(line for line in log.read_text().splitlines() if line.startswith("CLIENT_TRAFFIC_SECRET_0"))
        self._hash: Any = hashes.SHA384() if "SHA384" in cipher else hashes.SHA256()
        self._secret = bytes.fromhex(line.split()[2])
        self._derive()

    def _expand(self, label: str, size: int) -> bytes:
        name = b"tls13 " + label.encode()
        info = size.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
        return HKDFExpand(self._hash, size, info).derive(self._secret)

    def _derive(self) -> None:
        self._key = AESGCM(self._expand("key", 32 if self._hash.digest_size == 48 else 16))
        self._iv = int.from_bytes(self._expand("iv", 12), "big")
        self._number = 0

    def record(self, content: bytes, kind: int = 23, padding: int = 0) -> bytes:
        inner = content + bytes([kind]) + bytes(padding)
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        nonce = (self._iv ^ self._number).to_bytes(12, "big")
        self._number += 1
        return header + self._key.encrypt(nonce, inner, header)

    def key_update(self, wants_answer: bool = True) -> bytes:
        made = self.record(b"\x18\x00\x00\x01" + bytes([wants_answer]), 22)
        self._secret = self._expand("traffic upd", self._hash.digest_size)
        self._derive()
        return made


class World:
    """One connection: an upper protocol, the layer, a plain transport, a client. `now` is the time that the layer sees."""

    def __init__(
        self, loop: Loop, *, context: ssl.SSLContext | None = None, client: ssl.SSLContext | None = None, upper: Any = None,
        server_hostname: str = "localhost", keylog: Path | None = None,
    ) -> None:  # fmt: skip
        self.loop = loop
        self.now = 0.0
        self.clock_step = 0.0
        self.looks = 0
        self.turns = Turns(loop.call_soon, now=self.look)
        self.upper = Upper() if upper is None else upper
        self.refused: list[tuple[str, str]] = []
        self.plain = Plain(loop)
        self.layer = TlsLayer(
            self.upper, context or authority().server, self.turns, send=lambda descriptor, data: 0,
            refused=lambda word, detail: self.refused.append((word, detail)),
        )  # fmt: skip
        self.plain.layer = self.layer
        self.layer.connection_made(self.plain)  # type: ignore[arg-type]
        self.to_client, self.from_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        trusting = client or authority().client()
        if keylog is not None:
            trusting.keylog_filename = str(keylog)
        self.client = trusting.wrap_bio(self.to_client, self.from_client, server_hostname=server_hostname)

    def look(self) -> float:
        self.looks += 1
        self.now += self.clock_step
        return self.now

    def flight(self) -> bytes:
        """The next bytes of the client's handshake."""
        self.to_client.write(self.take())
        with suppress(ssl.SSLWantReadError):
            self.client.do_handshake()
        return self.from_client.read()

    def take(self) -> bytes:
        """The bytes that the server has sent, as they are on the network."""
        sent, self.plain.sent = self.plain.sent, b""
        return sent

    def greet(self) -> World:
        """The whole handshake."""
        while data := self.flight():
            self.plain.receive(data)
        self.to_client.write(self.take())
        return self

    def encrypt(self, data: bytes) -> bytes:
        """The bytes that the client would send for this data."""
        self.client.write(data)
        return self.from_client.read()

    def send(self, data: bytes) -> None:
        self.plain.receive(self.encrypt(data))

    def hear(self) -> bytes:
        """The data that the client makes of what the server has sent."""
        self.to_client.write(self.take())
        heard = b""
        with suppress(ssl.SSLWantReadError):
            while piece := self.client.read(65536):
                heard += piece
        return heard

    def close_notify(self) -> bytes:
        """The client's."""
        with suppress(ssl.SSLError):
            self.client.unwrap()
        return self.from_client.read()


def hello_for(host: str) -> bytes:
    """A ClientHello that asks for this host."""
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=host).do_handshake()
    return outgoing.read()


def open_world(loop: Loop, **options: Any) -> World:
    """A world whose handshake is over."""
    return World(loop, **options).greet()
