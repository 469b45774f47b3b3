"""Admission of candidates, once a request was read: the route, the client's address, its origin, authentication, and a place.

Every step either lets the candidate go on or raises BadRequest with the answer. Only authentication may take time. The places are taken
after it, together with the making of the connection, so a candidate that waits for authentication holds none. An app that decides about
handshakes itself is asked last, so that no limit is broken while it thinks: its candidates have their places.

    draining 503 > limits of the address 429 > another host 421 > no mount 404 > no WebSocket 405, 426, 400 > the mount's rate for the
    address 429 > full 503 > origin 403 > too many that wait for auth 503 > auth 401, 403, 429, 503 > places 503, 429 >
    the app
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.logger import Logger

from ..core.handshake import ClientCertificate, Draft, Handshake
from ..core.identity import Identity
from ..core.rare_lines import LineLog, RareLines
from ..core.registry import Count, Place
from ..core.routing import Routes
from .candidate import Candidate, Entrance
from .clients import Clients
from .hosts import Hosts
from .limits import PER_SECOND, too_many
from .origins import ConsoleAddress, Origins, is_console
from .places import Places
from .request import BadRequest, Head, unavailable
from .upgrade import upgrade, wants_upgrade

SHOWN_ORIGIN = 200
"""Characters of a refused origin in the log."""

ORIGIN_LINES = 20
"""Lines a minute about refused origins, of all sites and mounts together."""


def counted(answer: Identity | Awaitable[Identity | None] | None, count: Count) -> Identity | Awaitable[Identity | None] | None:
    """The same answer. While one that takes time is awaited, it has a place in `count`."""
    if answer is None or isinstance(answer, Identity):
        return answer
    place, future = Place((count,)), asyncio.ensure_future(answer)
    future.add_done_callback(lambda done: place.leave())
    return future


class Admission:
    """Decides for one listener."""

    def __init__(
        self, listener: str, routes: Routes[Entrance], places: Places, clients: Clients, *, retry_after: float = 5.0,
        closed: Callable[[], bool] = lambda: False, hosts: Hosts | None = None,
        show_certificate: Callable[[Any], ClientCertificate | None] | None = None, console: ConsoleAddress | None = None,
        log: LineLog | None = None,
    ) -> None:  # fmt: skip
        """`listener` is its name. `retry_after` in seconds. `closed`: whether the daemon is stopping.

        `hosts` are the names that clients may call the listener; None: any. `show_certificate` reads the client's certificate from the
        TLS object of a transport; ValueError: it cannot be read. `console` is the address of the admin pages, whose console may
        connect wherever pages of the same origin may.
        """
        self.listener = listener
        self.routes = routes
        self.places = places
        self.clients = clients
        self.retry_after = retry_after
        self.closed = closed
        self.show_certificate = show_certificate
        self._hosts = hosts
        self._raw_paths = {each.mount: each.mount.encode() for each in routes.targets()}
        self._console = console
        self._lines = RareLines(log or Logger(namespace="wsdaemon.edge"), in_all=ORIGIN_LINES)

    def receive(self, candidate: Candidate, tls_object: object = None) -> None:
        """Find out where the candidate comes from.

        Where a trusted proxy told another address, that one's limits are checked, and a handshake is entered for the candidate's new
        `address`.
        """
        self.check_open()
        self.clients.find(candidate)
        if self._hosts is not None and not self._hosts.serves(candidate.head.headers["host"], candidate.local):
            raise BadRequest(421, "misdirected", "The Host header names a host that is not served here.")
        if self.show_certificate is not None and tls_object is not None:
            try:
                candidate.client_certificate = self.show_certificate(tls_object)
            except ValueError:
                raise BadRequest(403, "client_certificate", "The client's certificate cannot be read.") from None

    def ask(self, candidate: Candidate) -> Identity | Awaitable[Identity | None] | None:
        """The candidate's identity; None if its mount has no authentication. An awaitable only if authentication takes time."""
        head = candidate.head
        found = self.routes.match(head.path)
        if found is None:
            raise BadRequest(404, "no_mount", "nothing is mounted at this path")
        entrance, candidate.params = found
        candidate.entrance = entrance
        plain = entrance.wires.policy.plain
        if plain is None or wants_upgrade(head):
            candidate.wanted = upgrade(head)
            candidate.subprotocols = candidate.wanted.subprotocols
        else:
            candidate.plain = plain
            self._check_body(head, entrance)
        if entrance.rate is not None and candidate.address is not None and not entrance.rate.take(candidate.address):
            raise too_many(PER_SECOND, self.retry_after)
        self.places.check(entrance)
        if candidate.plain is None and entrance.origins is not None and candidate.wanted.origin is not None:  # else it is no browser's
            self._check_origin(candidate, entrance, entrance.origins)
        if entrance.chain is None:
            return None
        if entrance.handshakes is not None and entrance.handshakes.full:
            raise self.unavailable("max_handshakes", "too many clients wait here for authentication")
        answer = entrance.chain.authenticate(candidate)
        return answer if entrance.handshakes is None else counted(answer, entrance.handshakes)

    def _check_body(self, head: Head, entrance: Entrance) -> None:
        most = entrance.wires.policy.settings.max_message
        if head.content_length > most:
            raise BadRequest(413, "body", f"The body is longer than {most} bytes.")

    def _is_console(self, candidate: Candidate) -> bool:
        console, host = self._console, candidate.head.headers["host"]
        return console is not None and is_console(candidate.wanted.origin, host, candidate.secure, console)

    def _check_origin(self, candidate: Candidate, entrance: Entrance, origins: Origins) -> None:
        """BadRequest, 403, for a page that may not open WebSockets here. Plain requests are for the app's own rules (CORS)."""
        if origins.allows(candidate.wanted.origin, candidate.head.headers["host"], candidate.secure):
            return
        if origins.same_origin and self._is_console(candidate):
            return
        origin = (candidate.wanted.origin or "")[:SHOWN_ORIGIN]
        self._lines.info(
            (origin, entrance.mount),
            "{listener} refused a page of {origin} on {mount}: origins in [mount:{mount}] does not name it; the latest came from {peer}",
            listener=self.listener, origin=origin, mount=entrance.mount, peer=str(candidate.peer),
        )  # fmt: skip
        raise BadRequest(403, "origin", "Pages of this origin may not connect here.")

    def admit(self, candidate: Candidate, entrance: Entrance, identity: Identity | None) -> tuple[Handshake, Place]:
        """The handshake for the app, and the places that its connection now has."""
        self.check_open()
        handshake = self._handshake(candidate, entrance, identity)
        return handshake, self.places.take(candidate, entrance, identity)

    def check_open(self) -> None:
        """BadRequest, 503, if the daemon is stopping."""
        if self.closed():
            raise self.unavailable("draining", "the server is shutting down")

    def _handshake(self, candidate: Candidate, entrance: Entrance, identity: Identity | None) -> Handshake:
        head, headers, offered = candidate.head, candidate.head.headers, candidate.subprotocols
        if offered and entrance.chain is not None:
            all_offered, offered = offered, entrance.chain.offered(offered)
            if len(offered) < len(all_offered):
                headers = headers.with_members("sec-websocket-protocol", offered)
        path, raw_path = head.path, head.raw_path
        if path == entrance.mount and raw_path == self._raw_paths.get(path):  # one object for all connections of the mount
            path, raw_path = entrance.mount, self._raw_paths[path]
        chosen = next((name for name in entrance.subprotocols if name in offered), None) if offered else None
        return Draft(
            head.target, path, raw_path, head.query_string, headers, candidate.params, candidate.peer, candidate.local,
            candidate.secure, candidate.client_certificate, identity, offered, chosen, self.listener, entrance.mount,
        ).admitted()  # fmt: skip

    def unavailable(self, reason: str, detail: str) -> BadRequest:
        """The 503 for a fault that is not the client's."""
        return unavailable(reason, detail, self.retry_after)
