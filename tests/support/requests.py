"""Shared by the tests of the request head: whole heads, and the reader's results for them."""

from __future__ import annotations

from wsdaemon.edge.request import BadRequest, Head, HeadReader

KEY = b"MDEyMzQ1Njc4OWFiY2RlZg=="
BROWSER = (
    b"GET /chat/room-1?token=abc&x=1 HTTP/1.1\r\n"
    b"Host: ws.example.com:8080\r\n"
    b"Connection: keep-alive, Upgrade\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n"
    b"Upgrade: websocket\r\n"
    b"Origin: https://example.com\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Cookie: session=abc; theme=dark\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
)


def request(*lines: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes | None = b"Host: a.example") -> bytes:
    return b"\r\n".join([line, *([host] if host is not None else []), *lines, b"", b""])


def read(data: bytes, max_body: int = 0) -> Head:
    head = HeadReader(max_body).feed(data)
    assert head is not None
    return head


def outcome(chunks: list[bytes]) -> tuple[Head, bytes] | int | None:
    """The head and what follows it, the status of a refusal, or None for an unfinished head."""
    reader = HeadReader()
    for index, chunk in enumerate(chunks):
        try:
            head = reader.feed(chunk)
        except BadRequest as error:
            return error.status
        if head is not None:
            return head, reader.rest + b"".join(chunks[index + 1 :])
    return None


def written_again(head: Head) -> bytes:
    """The head as a client would write it; reading that gives an equal head, but for `raw`."""
    lines = [f"{head.method} {head.target} HTTP/{head.version}".encode("latin-1")]
    lines += [name + b": " + value for name, value in head.headers.raw]
    return b"\r\n".join([*lines, b"", b""])
