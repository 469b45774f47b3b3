"""The checks of an app's answer to an opening handshake: see AdmittingApp."""

from __future__ import annotations

from collections.abc import Sequence

from .contract import Acceptance

MAX_REFUSAL_BYTES = 1024 * 1024
"""The longest body of a refusal."""


class HandshakeRefused(Exception):
    """Raised by an app's `admit`: the client is answered with this status and sent away.

    ValueError for a status outside 200 to 599, a header that would break out of its line, a header that the daemon writes itself
    (Connection, Content-Length, Transfer-Encoding, Upgrade), and a body over 1 MiB.
    """

    def __init__(self, status: int = 403, body: str | bytes = b"", headers: Sequence[tuple[str, str]] = ()) -> None:
        """`body` as text is UTF-8; without a Content-Type among `headers` it is plain text."""
        super().__init__(status)
        if not 200 <= status <= 599:
            raise ValueError(f"expected a status from 200 to 599, not {status}")
        payload = body.encode() if isinstance(body, str) else body
        if len(payload) > MAX_REFUSAL_BYTES:
            raise ValueError(f"expected a body of up to {MAX_REFUSAL_BYTES} bytes, not {len(payload)}")
        for name, value in headers:
            check_header(name, value)
        self.status = status
        self.body = payload
        self.headers = tuple(headers)

    def __str__(self) -> str:
        return f"refused with {self.status}"


RETRY_AFTER_SECONDS = 5
"""The Retry-After header of `unavailable`."""


def unavailable(body: str) -> HandshakeRefused:
    """The 503 of an app that cannot take the client now. The client may try again after RETRY_AFTER_SECONDS."""
    return HandshakeRefused(503, body, [("Retry-After", str(RETRY_AFTER_SECONDS))])


OF_THE_DAEMON = frozenset({"connection", "content-length", "transfer-encoding", "upgrade"})
"""Headers that tell where a message ends and what follows it: the daemon writes them in every answer."""

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def check_header(name: str, value: str) -> None:
    """ValueError for a line that is no header (RFC 9110 5.1, 5.5), and for a header that the daemon writes itself."""
    if not name or not _TOKEN.issuperset(name):
        raise ValueError(f"expected the name of a header, not {name!r}")
    if any((character < " " and character != "\t") or character == "\x7f" or character > "\xff" for character in value):
        raise ValueError(f"the value of the header {name} has characters that no header may have")
    if name.lower() in OF_THE_DAEMON:
        raise ValueError(f"the header {name} is the daemon's")


def check_acceptance(accepted: object, offered: Sequence[str]) -> Acceptance:
    """The answer of an app's `admit`.

    TypeError if it is none; ValueError for a subprotocol that the client has not `offered`, and for a bad header.
    """
    if accepted is None:
        return Acceptance()
    if not isinstance(accepted, Acceptance):
        raise TypeError(f"admit() returned {accepted!r}; expected None or an Acceptance")
    if accepted.subprotocol and accepted.subprotocol not in offered:
        raise ValueError(f"admit() chose the subprotocol {accepted.subprotocol!r}, which the client does not offer")
    for name, value in accepted.headers:
        if name.lower().startswith("sec-websocket-"):
            raise ValueError(f"the header {name} is the daemon's")
        check_header(name, value)
    return accepted
