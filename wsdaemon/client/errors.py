"""The failures of a client. Each knows whether it is final: connecting again would lead to the same."""

from __future__ import annotations

from ..core.handshake import Headers

FINAL_STATUSES = frozenset({400, 401, 402, 403, 404, 405, 406, 407, 410, 411, 413, 414, 415, 417, 422, 426, 431, 451, 501, 505})
"""Answers to an opening handshake that do not change by themselves. 408, 425, 429 and 5xx do."""


class ClientError(Exception):
    """A client could not connect, or could not take a message. `final`: the client does not try again."""

    final = False


class ConnectFailed(ClientError):
    """No connection to the server, or to the proxy: DNS, TCP, TLS, or no answer in time. The cause is in `__cause__`, if there is one."""


class CertificateRejected(ClientError):
    """The server's certificate is not valid, or is for another name. Final."""

    final = True


class OpeningRefused(ClientError):
    """The server answered the opening handshake with another status than 101.

    `status` is that status, `headers` and `body` (its first 4 KiB) are the answer's. `retry_after`: the seconds of its Retry-After, None
    if it has none.
    """

    def __init__(self, status: int, phrase: str, headers: Headers, body: bytes = b"", retry_after: float | None = None) -> None:
        super().__init__(status, phrase)
        self.status = status
        self.phrase = phrase
        self.headers = headers
        self.body = body
        self.retry_after = retry_after

    @property
    def final(self) -> bool:  # type: ignore[override]
        """Whether this status does not change by itself. A redirect that is not followed is final too."""
        return self.status in FINAL_STATUSES or 300 <= self.status < 400

    def __str__(self) -> str:
        return f"the server answered the opening handshake with {self.status}{' ' if self.phrase else ''}{self.phrase}"


class BadHandshake(ClientError):
    """The server's answer to the opening handshake breaks the rules of HTTP or of RFC 6455."""


class BadRedirect(ClientError):
    """A redirect leads nowhere, from TLS to no TLS, or to one redirect more than `redirects` allows. Final."""

    final = True


class QueueFull(ClientError):
    """The queue of messages is full, and the message was not taken."""


class ClientClosed(ClientError):
    """The client is closed. `__cause__` is the final failure, if there was one."""

    final = True
