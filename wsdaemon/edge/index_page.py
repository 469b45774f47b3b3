"""A short page at `/` of a listener, for a person who looks at it with a web browser: which WebSockets there are."""

from __future__ import annotations

from collections.abc import Iterable

from .hosts import Hosts
from .request import Head
from .site import ReadyPage

MAX_MOUNTS_SHOWN = 50


class IndexPage:
    """Answers `GET /`, where nothing is mounted. It shows the mounts' patterns and nothing of their settings."""

    __slots__ = ("_hosts", "_paths", "_scheme")

    def __init__(self, mounts: Iterable[str], secure: bool, hosts: Hosts | None = None) -> None:
        """`mounts` are the patterns of the listener's mounts; `secure`: clients come over TLS. `hosts`: only requests for these are
        answered, so that a page of a hostile name that was made to lead here (DNS rebinding) sees no paths; None: all are.
        """
        self._hosts = hosts
        self._paths = tuple(sorted(mounts))
        self._scheme = "wss" if secure else "ws"

    def answer(self, head: Head) -> ReadyPage | None:
        """The answer; None for another path or method, and if there is a mount at `/`."""
        if head.path != "/" or head.method not in ("GET", "HEAD") or "/" in self._paths:
            return None
        host = head.headers["host"]
        if self._hosts is not None and not self._hosts.serves(host):
            return None
        shown = [f"  {self._scheme}://{host}{path}" for path in self._paths[:MAX_MOUNTS_SHOWN]]
        if len(self._paths) > MAX_MOUNTS_SHOWN:
            shown.append(f"  and {len(self._paths) - MAX_MOUNTS_SHOWN} more")
        text = "\n".join(
            [
                "wsdaemon serves WebSockets here:" if shown else "wsdaemon serves WebSockets, and this listener has no mount.",
                "",
                *shown,
                "",
                "Open them with a WebSocket client. A plain HTTP request for one of them is answered 426 (Upgrade Required).",
                "",
            ]
        )
        return ReadyPage(text.encode(), "text/plain; charset=utf-8", (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")))
