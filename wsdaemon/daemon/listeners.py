"""From a listener's settings to its parts: certificates, limits, and the entrances to its mounts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.handshake import ClientCertificate, Peer
from ..core.limits import Tally
from ..core.registry import Count
from ..core.routing import Routes
from ..core.wheel import Wheel
from ..edge.admission import Admission
from ..edge.candidate import Authentication, Entrance
from ..edge.clients import Clients
from ..edge.forwarded import Networks
from ..edge.gate import Gate
from ..edge.hosts import LOOPBACK_HOSTS, Hosts
from ..edge.index_page import IndexPage
from ..edge.limits import AddressLimits, address_rate, on_this_machine
from ..edge.listeners import Listener, Sharing
from ..edge.origins import ConsoleAddress, Origins
from ..edge.places import Places
from ..edge.request import head_reader
from ..edge.shared import SharedPlaces
from ..edge.shared_limits import SharedLimits
from ..edge.site import AnswerPage, ReadySite
from ..settings.listener import CONNECTION_LIMITS, SpeaksTls
from ..settings.model import ListenerSettings, Settings
from ..wire.frames import Frames
from ..wire.turns import Turns
from .announcement import announce
from .mounts import Mount
from .sockets import Bound

HANDSHAKE_LOOK_SECONDS = 0.02
"""Between two looks whether the last opening handshakes are over."""

if TYPE_CHECKING:
    from ..edge.certificates import Certificates

def load_certificates(settings: Settings, listener: SpeaksTls) -> Certificates | None:
    """The certificates of a listener or of the admin pages; None if it speaks no TLS. edge.tls.CertificateError if they cannot be used."""
    if not listener.secure:
        return None
    # Imported here, because the cryptography behind it is a fifth of a daemon's memory, and many daemons have a TLS proxy in front.
    from ..edge.certificates import CertificateFiles, Certificates
    from ..edge.tls import ClientCertificates

    if listener.tls_certificate is not None and listener.tls_key is not None:
        files = [CertificateFiles(listener.tls_certificate, listener.tls_key)]
    else:
        named = {pair.name: pair for pair in settings.tls}
        pairs = [named[name] for name in listener.tls if name in named]
        files = [CertificateFiles(pair.certificate, pair.key, pair.hosts) for pair in pairs]
    if not files:  # a [tls:NAME] section is reported already
        return None
    return Certificates(files, client_ca=listener.client_ca, client_certificates=ClientCertificates(listener.client_certificate))


def renewed(most: int, earlier: Tally | None, changes: list[Callable[[], object]]) -> Tally | None:
    """The tally with this limit; None for 0: no limit. `earlier`, the one in force, goes on, with the limit that `changes` give it."""
    if not most:
        return None
    if earlier is None:
        return Tally(most)
    changes.append(partial(setattr, earlier, "most", most))
    return earlier


def make_entrance(
    mount: Mount, chain: Authentication | None, earlier: Entrance | None = None, changes: list[Callable[[], object]] | None = None
) -> Entrance:  # fmt: skip
    """The rules of a mount for the gates; all listeners share its counts.

    `earlier` are those in force, in a reload: their counts go on, with the limits that `changes` give them.
    """
    settings, changes = mount.settings, [] if changes is None else changes
    before, per_second = earlier, settings.connections_per_second_per_address
    same_rate = before is not None and before.rate is not None and before.rate.per_second == per_second
    handshakes = Count(settings.max_handshakes) if settings.max_handshakes else None
    if handshakes is not None and before is not None and before.handshakes is not None:
        handshakes = before.handshakes
        changes.append(partial(setattr, handshakes, "most", settings.max_handshakes))
    return Entrance(
        mount=mount.path,
        wires=mount.wires,
        count=mount.count,
        subprotocols=mount.subprotocols,
        origins=None if settings.origins == ("any",) else Origins.parse(settings.origins),
        chain=chain,
        addresses=renewed(settings.max_connections_per_address, before.addresses if before else None, changes),
        users=renewed(settings.max_connections_per_user, before.users if before else None, changes),
        rate=before.rate if before and same_rate else address_rate(per_second, grace=mount.wires.policy.wheel.absence.grace),
        handshakes=handshakes,
        expiry_warning=settings.expiry_warning,
    )


def entrances_by(settings: ListenerSettings, entrances: Sequence[Entrance]) -> list[Entrance]:
    """The entrances of a listener: those of its mounts, with the listener's limits on single connections if these are lower."""
    limits = {name: getattr(settings, name) for name in CONNECTION_LIMITS}
    served = [each for each in entrances if not settings.mounts or each.mount in settings.mounts]
    return [replace(each, wires=each.wires.limited(limits)) for each in served]


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """The counts of one listener, which go on when its settings change."""

    count: Count
    addresses: AddressLimits | None
    users: Tally | None


class ListenerMaker:
    """Makes the listeners of one daemon. They share its loop, its wheel and the count of all its connections."""

    def __init__(
        self, *, loop: asyncio.AbstractEventLoop, wheel: Wheel, count: Count, retry_after: float, closed: Callable[[], bool],
        turns: Turns, frames: Frames, pages: AnswerPage | None = None, sharing: Sharing | None = None,
        places: SharedPlaces | None = None, console: ConsoleAddress | None = None,
    ) -> None:  # fmt: skip
        """`closed`: whether newcomers are answered 503, after `retry_after` seconds to come again. `pages` are beside the mounts.

        `sharing`: other processes accept from the same sockets. `places`: the counts that limits over all of them are asked of.

        `console`: see Admission. `turns` share the loop's time among connections.

        `frames` write to a socket's descriptor and read most heads.
        """
        self._loop = loop
        self._wheel = wheel
        self._count = count
        self._retry_after = retry_after
        self._closed = closed
        self._pages = pages
        self._turns = turns
        self._frames = frames
        self._read_head = head_reader(frames.head)
        self._places = places
        self._sharing = sharing
        self._console = console

    def make(
        self, settings: ListenerSettings, sock: socket.socket, certificates: Certificates | None, entrances: Sequence[Entrance],
        earlier: Listener | None = None, before: ListenerLimits | None = None, changes: list[Callable[[], object]] | None = None,
    ) -> tuple[Listener, ListenerLimits]:  # fmt: skip
        """A listener on an open socket, to those of `entrances` that it serves, and its counts; it does not accept yet.

        `earlier` is the listener in force on the same socket, in a reload: it goes on as `changes` change it. So do its counts, `before`.
        """
        changes = [] if changes is None else changes
        proxies, trusted = _networks(settings.proxy_protocol_from), _networks(settings.trusted_proxies)
        entrances = entrances_by(settings, entrances)
        mounts_count = any((each.addresses, each.rate, each.chain) != (None, None, None) for each in entrances)
        limits = _limits(settings, trusted, mounts_count, self._wheel.absence.grace, before.addresses if before else None, changes)
        users = renewed(settings.max_connections_per_user, before.users if before else None, changes)
        count = before.count if before else Count(settings.max_connections)
        changes.append(partial(setattr, count, "most", settings.max_connections))
        kept = ListenerLimits(count, limits, users)
        gate = Gate(
            self._admission(settings, entrances, kept, trusted, certificates is not None),
            self._wheel,
            secure=certificates is not None,
            handshake_timeout=settings.handshake_timeout,
            site=self._site_beside(settings, sock, entrances),
            refusals=earlier.gate.refusals if earlier is not None else None,
            read_head=self._read_head,
        )
        if earlier is not None:
            changes.append(
                partial(
                    earlier.renew, gate, backlog=settings.backlog, max_handshakes=settings.max_handshakes, certificates=certificates,
                    proxies=proxies, proxies_secure=settings.proxy_protocol_secure,
                )
            )  # fmt: skip
            return earlier, kept
        return self._new(settings, sock, gate, certificates, proxies), kept

    def _admission(
        self, settings: ListenerSettings, entrances: Sequence[Entrance], limits: ListenerLimits, trusted: Networks | None, secure: bool
    ) -> Admission:  # fmt: skip
        """The rules for the clients of a listener, with its counts."""
        show_certificate: Callable[[Any], ClientCertificate | None] | None = None
        if secure and settings.client_certificate != "none":
            from ..edge.tls import client_certificate

            show_certificate = client_certificate
        addresses = None if limits.addresses is None else limits.addresses.connections
        shared = None
        if self._places is not None:
            shared = SharedLimits(
                self._places, settings.name, count=limits.count, in_all=self._count, addresses=addresses, users=limits.users,
                rate=None if limits.addresses is None else limits.addresses.rate, retry_after=self._retry_after,
            )  # fmt: skip
        return Admission(
            settings.name,
            Routes((each.mount, each) for each in entrances),
            Places((limits.count, self._count), addresses, limits.users, self._retry_after, shared),
            Clients(limits.addresses, trusted, settings.forwarded_header, self._retry_after),
            retry_after=self._retry_after,
            closed=self._closed,
            hosts=Hosts.parse(settings.hosts) if settings.hosts else None,
            show_certificate=show_certificate,
            console=self._console,
        )

    def _new(
        self, settings: ListenerSettings, sock: socket.socket, gate: Gate, certificates: Certificates | None, proxies: Networks | None
    ) -> Listener:
        return Listener(
            name=settings.name,
            sock=sock,
            gate=gate,
            loop=self._loop,
            max_handshakes=settings.max_handshakes,
            turns=self._turns,
            send=self._frames.send,
            sharing=self._sharing,
            certificates=certificates,
            proxies=proxies,
            proxies_secure=settings.proxy_protocol_secure,
        )

    def _site_beside(self, settings: ListenerSettings, sock: socket.socket, entrances: Sequence[Entrance]) -> ReadySite | None:
        """The daemon's own pages, and behind them the console and the index page where the listener has them."""
        answers: list[AnswerPage] = [] if self._pages is None else [self._pages]
        if settings.console:
            from .console_page import public_console  # here, because it is for development

            answers.append(public_console().answer)
        if self._has_index(settings, sock, entrances):
            hosts = Hosts.parse((*LOOPBACK_HOSTS, _own_address(sock))) if settings.index_page == "auto" else None
            secure = settings.secure or settings.proxy_protocol_secure
            answers.append(IndexPage((each.mount for each in entrances), secure, hosts).answer)
        return ReadySite(answers) if answers else None

    def _has_index(self, settings: ListenerSettings, sock: socket.socket, entrances: Sequence[Entrance]) -> bool:
        if settings.index_page == "off" or (settings.index_page == "auto" and not _only_for_this_machine(settings, sock)):
            return False
        found = Routes((each.mount, each) for each in entrances).match("/")
        return found is None or not found[0].max_body  # else its app answers there


def _only_for_this_machine(settings: ListenerSettings, sock: socket.socket) -> bool:
    """Whether the socket is on a loopback address, and no proxy brings clients from elsewhere."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or settings.trusted_proxies or settings.proxy_protocol_from:
        return False
    return on_this_machine(Peer.from_sockname(sock.getsockname()).host)


def _own_address(sock: socket.socket) -> str:
    """The address that a TCP socket is bound to, as in a Host header."""
    host: str = sock.getsockname()[0]
    return f"[{host}]" if ":" in host else host


class Listening:
    """The listeners as one part of a daemon: the last to begin, and the first to stop."""

    name = "listeners"

    def __init__(
        self, listeners: Sequence[Listener], sockets: Sequence[Bound], settings: Sequence[ListenerSettings], paths: Sequence[str],
        announced: bool = False,
    ) -> None:  # fmt: skip
        """Each listener with its socket and its settings, in the same order. `paths` are those of all mounts.

        `announced`: another process logs the addresses.
        """
        self._served = list(zip(listeners, sockets, settings, strict=True))
        self._paths = paths
        self._announced = announced
        self.closed = True
        """Whether newcomers are answered 503."""

    def find(self, name: str, bound: Bound) -> Listener | None:
        """The listener of this name, if it is on this socket."""
        return next((listener for listener, its, settings in self._served if settings.name == name and its is bound), None)

    def renew(self, other: Listening) -> None:
        """A reload: go on with the listeners of `other`. The new ones accept from now on, and those that it lacks accept no more.

        Handshakes under way at a listener that is removed are completed.
        """
        before, self._served, self._paths = self._served, other._served, other._paths
        kept = [listener for listener, _, _ in self._served]
        for listener, bound, _ in before:
            if listener not in kept:
                bound.release()
                listener.leave()
        known = [listener for listener, _, _ in before]
        added = [(listener, settings) for listener, _, settings in self._served if listener not in known]
        for listener, _ in added:
            listener.start()
        if added and not self._announced:
            announce([(settings, listener.port) for listener, settings in added], self._paths)

    async def start(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Accept from now on."""
        self.closed = False
        for listener, _, _ in self._served:
            listener.start()
        if not self._announced:
            announce([(settings, listener.port) for listener, _, settings in self._served], self._paths)

    async def retire(self) -> None:
        """Accept no more, and wait until the opening handshakes under way are over; each has a time limit of its own."""
        for listener, _, _ in self._served:
            listener.leave()
        loop = asyncio.get_running_loop()
        end = loop.time() + max(settings.handshake_timeout for _, _, settings in self._served)
        while loop.time() < end and any(listener.handshakes for listener, _, _ in self._served):  # noqa: ASYNC110 - in many objects
            await asyncio.sleep(HANDSHAKE_LOOK_SECONDS)

    async def stop(self) -> None:
        self.closed = True
        for listener, bound, _ in self._served:
            bound.release()
            listener.stop()


def _networks(entries: Sequence[str]) -> Networks | None:
    return Networks.parse(" ".join(entries)) if entries else None


def _limits(
    settings: ListenerSettings, trusted: Networks | None, mounts_count: bool, grace: Callable[[], float],
    before: AddressLimits | None, changes: list[Callable[[], object]],
) -> AddressLimits | None:  # fmt: skip
    """None if no address is counted, here or on a mount: by its limits, or by its authentication, which counts wrong passwords."""
    here = (settings.max_connections_per_address, settings.max_handshakes_per_address, settings.connections_per_second_per_address)
    if not any(here) and not mounts_count:
        return None
    limits = AddressLimits(max_connections=here[0], max_handshakes=here[1], per_second=here[2], exempt=trusted, grace=grace)
    if before is not None:
        limits.go_on(before)
        changes += [partial(setattr, limits.connections, "most", here[0]), partial(setattr, limits.handshakes, "most", here[1])]
    return limits
