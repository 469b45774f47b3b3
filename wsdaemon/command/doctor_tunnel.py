"""The check of `doctor` for tunnels through a refused upgrade.

A proxy may take a connection for a tunnel as soon as the request has Upgrade, without a look at the answer. If the server refuses, further
requests on that connection reach the server past all rules of the proxy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..client.opening import new_key
from .findings import TUNNEL_FIX, CheckFinding, Verdict
from .raw import RawAnswer, RawConnection

NO_REQUEST = b"wsdaemon doctor\r\n\r\n"
"""Bytes that every HTTP server refuses: the answer shows which server has read them."""

Headers = Sequence[tuple[str, str]]
Connect = Callable[[], RawConnection]

REFUSED: tuple[tuple[str, Headers], ...] = (
    ("a wrong Sec-WebSocket-Version", (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "777"))),
    ("an unknown protocol in Upgrade", (("Upgrade", "wsdaemon-doctor"), ("Sec-WebSocket-Version", "13"))),
)
"""Upgrades that no server agrees to."""


def check_tunnel(connect: Connect, headers: Headers) -> CheckFinding:
    """Whether bytes after a refused upgrade go on to another server than the one that reads new connections."""
    first, again = [_reader(_fresh(connect)) for _ in range(2)]
    if first != again:
        text = "the server answers bytes that are no request in several ways, so that this check cannot tell servers apart"
        return CheckFinding("tunnel", Verdict.NOTE, text, {})
    tunnels, refused = [], 0
    for name, lines in REFUSED:
        with connect() as raw:
            answer = raw.exchange(_upgrade(raw, [*lines, *headers]))
            if answer.status in (0, 101):
                continue
            refused += 1
            after = raw.exchange(NO_REQUEST)
        if after.status and _reader(after) != first:
            tunnels.append(name)
    if tunnels:
        text = f"a proxy takes the connection for a tunnel although the upgrade was refused: {', '.join(tunnels)}"
        return CheckFinding("tunnel", Verdict.PROBLEM, text, TUNNEL_FIX, {"tunnels": tunnels})
    if not refused:
        return CheckFinding("tunnel", Verdict.NOTE, "no upgrade was refused with an answer, so that this check has nothing to look at", {})
    return CheckFinding("tunnel", Verdict.GOOD, "a refused upgrade opens no tunnel")


def _fresh(connect: Connect) -> RawAnswer:
    with connect() as raw:
        return raw.exchange(NO_REQUEST)


def _upgrade(raw: RawConnection, lines: Headers) -> bytes:
    own = [("Host", raw.target.authority), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", new_key())]
    text = "".join(f"{name}: {value}\r\n" for name, value in [*own, *lines])
    return f"GET {raw.target.resource} HTTP/1.1\r\n{text}\r\n".encode("latin-1")


def _reader(answer: RawAnswer) -> tuple[int, str, list[str]]:
    """The marks of the server that has read the bytes. Values such as dates and numbers of requests differ by themselves."""
    return answer.status, answer.headers.get("server", ""), sorted(answer.headers)
