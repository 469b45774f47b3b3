"""The checks of `doctor` on the way to the daemon: the upgrade, compression, limits, idle cuts, and headers that a client forges."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from ..core.closing import MESSAGE_TOO_BIG, NO_STATUS
from ..core.sizes import size_text
from .admin_api import AdminPages
from .findings import (
    COMPRESSION_FIX,
    FORWARDED_FIX,
    SMUGGLED_FIX,
    UPGRADE_FIX,
    CheckFinding,
    Verdict,
    idle_fix,
)
from .output import harmless, seconds_text
from .raw import CLOSE, PING, PONG, RawAnswer, RawConnection

FORGED = "203.0.113.77"
"""An address for documentation (RFC 5737): no client has it."""


SIZES = tuple(1 << power for power in range(30, 9, -1))
"""Promised sizes of a message, from 1 GiB to 1 KiB."""

ANSWER_SECONDS = 2.0
"""How long a server may take to refuse the head of a frame."""

LIST_SECONDS = 30.0
"""How long a new connection may take to be among those of the admin pages."""

Headers = Sequence[tuple[str, str]]
Connect = Callable[[], RawConnection]


def check_upgrade(answer: RawAnswer) -> CheckFinding:
    """Whether the opening handshake reaches the daemon and its 101 comes back."""
    if answer.status == 101:
        return CheckFinding("upgrade", Verdict.GOOD, "the opening handshake is answered with 101")
    if answer.status == 0:
        return CheckFinding("upgrade", Verdict.PROBLEM, "the connection ends without an answer to the opening handshake", UPGRADE_FIX)
    server = harmless(answer.headers.get("server", "a server without a name"))
    text = f"the opening handshake is answered with {answer.status} by {server}"
    if answer.status in (401, 403):
        return CheckFinding("upgrade", Verdict.PROBLEM, f"{text}: give credentials with --header", {})
    if answer.status in (400, 404, 426, 501, 505, 200):
        text += ": a proxy drops the Upgrade header, or the path has no mount"
    return CheckFinding("upgrade", Verdict.PROBLEM, text, UPGRADE_FIX, {"status": answer.status})


def check_compression(answer: RawAnswer) -> CheckFinding:
    """The extensions that a 101 agrees to; the request offered permessage-deflate."""
    agreed = answer.headers.get("sec-websocket-extensions")
    if not agreed:
        return CheckFinding("compression", Verdict.NOTE, "no compression was agreed on", COMPRESSION_FIX, {"extensions": None})
    return CheckFinding("compression", Verdict.GOOD, f"agreed: {harmless(agreed)}", values={"extensions": agreed})


def check_limit(connect: Connect, headers: Headers) -> CheckFinding:
    """The largest message that the server takes, as it answers the heads of frames: a size that it refuses is closed with 1009."""
    refused: int | None = None
    for size in SIZES:
        with connect() as raw:
            if raw.request(headers).status != 101:
                return CheckFinding("largest message", Verdict.NOTE, "the check could not connect often enough", {})
            if not _refuses(raw, size):
                break
            refused = size
    else:
        return CheckFinding("largest message", Verdict.WARNING, f"even {size_text(SIZES[-1])} is refused", {"ws.ini": "max_message = 1MiB"})
    if refused is None:
        text = f"the server takes messages of {size_text(SIZES[0])} and more: one client can fill its memory"
        return CheckFinding("largest message", Verdict.WARNING, text, {"ws.ini": "max_message = 1MiB"})
    text = f"messages of {size_text(size)} are taken, and {size_text(refused)} is refused with 1009"
    return CheckFinding("largest message", Verdict.GOOD, text, values={"taken": size, "refused": refused})


def _refuses(raw: RawConnection, size: int) -> bool:
    """Whether the server closes with 1009 at the head of such a frame. A connection that only ends may have been cut by a proxy."""
    until = time.monotonic() + ANSWER_SECONDS
    with suppress(TimeoutError):
        raw.send_frame(2, b"x", size)
        while (left := until - time.monotonic()) > 0:
            frame = raw.frame(left)
            if frame is None:
                break
            if frame[0] == CLOSE:
                return int.from_bytes(frame[1][:2], "big") == MESSAGE_TOO_BIG
    return False


def check_idle(connect: Connect, headers: Headers, seconds: float, progress: Callable[[float], object]) -> CheckFinding:
    """Be silent for up to `seconds`, but answer pings: what comes first, a ping or a cut? `progress` gets the seconds that passed."""
    with connect() as raw:
        if raw.request(headers).status != 101:
            return CheckFinding("idle cut", Verdict.NOTE, "the check could not connect", {})
        began = last = time.monotonic()
        ping: float | None = None
        while (passed := time.monotonic() - began) < seconds:
            progress(passed)
            try:
                frame = raw.frame(min(1.0, seconds - passed))
            except TimeoutError:
                continue
            silent = time.monotonic() - last
            if frame is None or frame[0] == CLOSE:
                return _cut(frame, silent, ping)
            last = time.monotonic()
            if frame[0] == PING:
                ping = silent if ping is None else ping
                raw.send_frame(PONG, frame[1])
    if ping is not None:
        text = f"the server pings after {seconds_text(ping)} of silence, and nothing cut the connection within {seconds_text(seconds)}"
        return CheckFinding("idle cut", Verdict.GOOD, text, values={"ping": round(ping, 3), "cut": None})
    text = f"no ping and no cut within {seconds_text(seconds)}: --idle-time waits longer"
    return CheckFinding("idle cut", Verdict.NOTE, text, values={"ping": None, "cut": None})


def _cut(frame: tuple[int, bytes] | None, silent: float, ping: float | None) -> CheckFinding:
    values = {"ping": None if ping is None else round(ping, 3), "cut": round(silent, 3)}
    if frame is not None:
        code = int.from_bytes(frame[1][:2], "big") if len(frame[1]) > 1 else NO_STATUS
        text = f"the server closes a silent connection with {code} after {seconds_text(silent)}"
        return CheckFinding("idle cut", Verdict.NOTE, text, {"ws.ini": "idle_timeout = 0"}, values)
    if ping is not None:
        text = f"a proxy cuts the connection {seconds_text(silent)} after a ping, although the server pings after {seconds_text(ping)}"
    else:
        text = f"a proxy cuts a connection that is silent for {seconds_text(silent)}, before the server's first ping"
    return CheckFinding("idle cut", Verdict.PROBLEM, text, idle_fix(silent), values)


AMBIGUOUS: tuple[tuple[str, Headers, bytes], ...] = (
    ("Content-Length beside Transfer-Encoding", (("Content-Length", "5"), ("Transfer-Encoding", "chunked")), b"0\r\n\r\n"),
    ("two lengths", (("Content-Length", "0"), ("Content-Length", "5")), b"hello"),
    ("a blank before the colon", (("Transfer-Encoding ", "chunked"),), b"0\r\n\r\n"),
    ("a line that ends with a bare CR", (("X-Bare", "a\rTransfer-Encoding: chunked"),), b""),
)


def check_smuggling(connect: Connect, headers: Headers) -> Iterator[CheckFinding]:
    """Requests that two servers in a row could read in two ways: none may open a connection."""
    taken = []
    for name, lines, body in AMBIGUOUS:
        with connect() as raw:
            if raw.request([*headers, *lines], body=body).status == 101:
                taken.append(name)
    if taken:
        text = f"requests are taken that can be read in two ways: {', '.join(taken)}"
        yield CheckFinding("smuggling", Verdict.PROBLEM, text, SMUGGLED_FIX, {"taken": taken})
    else:
        yield CheckFinding("smuggling", Verdict.GOOD, f"{len(AMBIGUOUS)} requests that can be read in two ways are refused")


FORGERIES: tuple[tuple[str, Headers, str], ...] = (
    ("X-Forwarded-For", (("X-Forwarded-For", FORGED),), "Upgrade"),
    ("two lines of X-Forwarded-For", (("X-Forwarded-For", FORGED), ("X-Forwarded-For", FORGED)), "Upgrade"),
    ("X_Forwarded_For", (("X_Forwarded_For", FORGED),), "Upgrade"),
    ("Forwarded", (("Forwarded", f"for={FORGED}"),), "Upgrade"),
    ("X-Real-IP", (("X-Real-IP", FORGED),), "Upgrade"),
    ("Connection: X-Forwarded-For", (), "Upgrade, X-Forwarded-For, Forwarded"),
)
"""Names, headers and the value of Connection. The last has a proxy drop the header that it has made itself (hop by hop)."""


def check_forged(connect: Connect, headers: Headers, pages: AdminPages | None) -> CheckFinding:
    """Whether a client can choose the address that the daemon sees, as its admin pages show it."""
    if pages is None:
        text = "the address that the daemon sees is shown by its admin pages: give -c FILE or --admin-url"
        return CheckFinding("forged address", Verdict.NOTE, text, {})
    own = _address_seen(connect, headers, "Upgrade", pages)
    if own is None:
        return CheckFinding("forged address", Verdict.NOTE, "the admin pages do not list the connection: are they of this daemon?", {})
    forged = []
    for name, lines, connection in FORGERIES:
        seen = _address_seen(connect, [*headers, *lines], connection, pages)
        if seen is not None and seen != own:
            forged.append(name)
    if forged:
        text = f"a client can choose the address that the daemon sees, by {', '.join(forged)}"
        return CheckFinding("forged address", Verdict.PROBLEM, text, FORWARDED_FIX, {"seen": own, "forged": forged})
    return CheckFinding("forged address", Verdict.GOOD, f"the daemon sees {own}, whatever headers a client sends", values={"seen": own})


def _address_seen(connect: Connect, headers: Headers, connection: str, pages: AdminPages) -> str | None:
    """The address of a new connection in the list of the admin pages. Its User-Agent is its mark."""
    mark = f"wsdaemon-doctor/{secrets.token_hex(8)}"
    with connect() as raw:
        if raw.request([*headers, ("User-Agent", mark)], connection=connection).status != 101:
            return None
        until = time.monotonic() + LIST_SECONDS
        while time.monotonic() < until:
            for address in ({"address": FORGED}, {}):
                found, _ = pages.connections(0, **address)
                for each in found:
                    if each.get("user_agent") == mark:
                        return str(each["address"])
            time.sleep(0.1)
    return None
