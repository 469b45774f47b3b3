"""From the [admin] section and the daemon's parts to the operator's pages. Imported only where there is such a section."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from twisted.logger import Logger

from ..apps.rooms import RoomsApp
from ..core.failed_logins import FailedLogins
from ..core.histogram import Histogram
from ..core.rare_lines import RareLines
from ..core.registry import Connections, Count
from ..core.reloading import Reloading
from ..core.wheel import Wheel
from ..edge.admission import Admission
from ..edge.auth.contract import Authenticator
from ..edge.auth.files import FileError, WatchedFile
from ..edge.auth.make import Authenticators
from ..edge.auth.shared_tickets import SharedTicketBook
from ..edge.auth.ticket import TicketAuthenticator, TicketBook, TicketsFull
from ..edge.crowd import LeastWorth
from ..edge.gate import Gate
from ..edge.hosts import LOOPBACK_HOSTS, Hosts
from ..edge.listeners import Listener
from ..edge.request import head_reader
from ..edge.site import MadeSite
from ..ops.admin.connections import ConnectionPages
from ..ops.admin.console import ConsolePages
from ..ops.admin.exposition import MetricsPage, Sources
from ..ops.admin.health import HealthPages, MountView
from ..ops.admin.health_of_all import HealthOfAll
from ..ops.admin.rooms import RoomsMount, RoomsPages
from ..ops.admin.site import AdminSite
from ..ops.admin.tickets import TicketPages
from ..ops.connections import OwnConnections
from ..ops.latest_closes import ClosesOfAll, LatestCloses
from ..ops.metrics import LoopLatency, Totals
from ..ops.workers import ConnectionsOfAll, Workers
from ..settings.admin import AdminSettings, is_token
from ..settings.auth import TicketAuthSettings
from ..settings.model import Settings
from ..settings.text import first_line
from ..settings.values import LARGEST_SECRET, app_text
from ..version import __version__
from ..wire.frames import Frames
from ..wire.turns import Turns
from .announcement import announce_admin
from .mounts import Mount
from .sockets import Bound

if TYPE_CHECKING:
    from ..edge.certificates import Certificates
    from ..ops.console.feed import FeedApp
    from .redis import RedisBrokers


@runtime_checkable
class Counting(Protocol):
    """A broker that knows how many rooms and members it has."""

    @property
    def room_count(self) -> int: ...

    @property
    def member_count(self) -> int: ...


@runtime_checkable
class Recounting(Protocol):
    """A broker whose rooms are kept elsewhere."""

    async def count_rooms(self) -> None:
        """Take their number from there."""


class Admin:
    """The admin listener: a part of the daemon that is started first and stopped last."""

    name = "admin"

    def __init__(
        self,
        settings: AdminSettings,
        bound: Bound,
        listener: Listener,
        feed: FeedApp,
        latency: LoopLatency,
        tokens: Sequence[WatchedFile[str]],
        announced: bool = False,
    ) -> None:
        """`feed` has the console's WebSockets. `latency` is measured while this runs. `tokens` are read again on a reload.

        `announced`: the supervisor has logged the address for all workers.
        """
        self._settings = settings
        self._bound = bound
        self._listener = listener
        self._feed = feed
        self.latency = latency
        self._tokens = tokens
        self._announced = announced

    @property
    def port(self) -> int | None:
        """The TCP port it listens on; None for a unix socket."""
        return self._listener.port

    async def start(self) -> None:
        await self.latency.start()
        self._listener.start()
        if not self._announced:
            announce_admin(self._settings, self.port)

    async def stop(self) -> None:
        await self.latency.stop()
        self._bound.release()
        self._listener.stop()

    def close(self) -> None:
        """Listen no more, whether it was started or not."""
        self._bound.release()
        self._listener.leave()

    def show_pages_of(self, other: Admin) -> None:
        """A reload: show the pages that were made for new settings, with their tokens and limits. Open consoles come again."""
        self._settings, self._tokens = other._settings, other._tokens
        feed, self._feed = self._feed, other._feed
        self._listener.renew_in_place(other._listener)
        feed.close()

    def refresh(self) -> None:
        """SIGHUP: take changed tokens now."""
        for token in self._tokens:
            token.refresh()


def make_hosts(settings: AdminSettings, sock: socket.socket) -> Hosts | None:
    """The names and addresses that requests may have in their Host header; None: any."""
    return None if sock.family == socket.AF_UNIX else Hosts.parse(settings.hosts or LOOPBACK_HOSTS, own=not settings.hosts)


def make_listener(
    settings: AdminSettings, site: AdminSite, admission: Admission, sock: socket.socket, loop: asyncio.AbstractEventLoop, wheel: Wheel,
    failed_logins: FailedLogins, certificates: Certificates | None, turns: Turns, frames: Frames,
) -> Listener:  # fmt: skip
    """The listener of the pages, on the listening socket `sock`. `admission` has the console's WebSocket."""
    log = Logger(namespace="wsdaemon.admin")
    pages = MadeSite(site, settings.max_body, failed_logins)
    gate = Gate(
        admission, wheel, secure=certificates is not None, handshake_timeout=settings.timeout, site=pages, refuse=pages.refuse, log=log,
        read_head=head_reader(frames.head),
    )  # fmt: skip
    return Listener(
        name=admission.listener, sock=sock, gate=gate, loop=loop, max_handshakes=settings.max_connections, certificates=certificates,
        turns=turns, send=frames.send, spare=LeastWorth(RareLines(log)), for_operators=True, log=log,
    )  # fmt: skip


def watch_token(path: Path, source: str = "[admin] token_file") -> WatchedFile[str]:
    """A token of the admin pages; `source` names its key. FileError if the file has none that can be used."""
    return WatchedFile(path, _read_token, largest=LARGEST_SECRET, source=source)


def _read_token(content: bytes) -> str:
    try:
        text = first_line(content).decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not is_token(text):
        raise FileError("expected one line with a token of at least 16 letters, digits and -._~+/")
    return text


def make_site(
    settings: Settings, admin: AdminSettings, *, state: Callable[[], str], frames: str, count: Count, totals: Totals, latency: Histogram,
    round_trips: Histogram, connections: Connections, listeners: Sequence[Listener], mounts: Sequence[Mount],
    authenticators: Authenticators, token: WatchedFile[str] | None, tokens: Mapping[str, WatchedFile[str]], closes: LatestCloses,
    certificates: Iterable[Certificates] = (), redis: RedisBrokers | None = None, workers: Workers | None = None,
) -> tuple[AdminSite, MetricsPage]:  # fmt: skip
    """All the pages, and that of the metrics apart. `certificates` are those of the pages themselves. `frames` names the frame reader.

    `state` is a daemon's state in one word; `redis` has the brokers, if any.
    With `workers` the pages show the whole daemon.
    """
    shown_tokens = [*([] if token is None else [token]), *tokens.values()]
    reloading = partial(_reloading, authenticators, shown_tokens, list(certificates), listeners)
    _name_places(settings, mounts, totals)
    recount = _recount(mounts)
    views = [MountView(mount.path, app_text(mount.settings.app), mount.count, _rooms_of(mount)) for mount in mounts]
    health = HealthPages(
        version=__version__, state=state, count=count, listeners=listeners, mounts=views, reloading=reloading,
        away=(lambda: False) if redis is None else redis.away, recount=recount,
    )  # fmt: skip
    sources = Sources(
        version=__version__, frames=frames, ready=lambda: state() == "ready", count=count, totals=totals, connections=connections,
        listeners=listeners, mounts=views, loop_latency=latency, round_trips=round_trips, reloading=reloading, recount=recount,
        links=dict if redis is None else redis.counts,
    )  # fmt: skip
    own = OwnConnections(connections)
    opened = own if workers is None else ConnectionsOfAll(own, workers)
    metrics = MetricsPage(sources, admin.metrics_open, workers)
    whole = health if workers is None else HealthOfAll(health, workers, metrics.gather)
    rooms = RoomsPages(_rooms_mounts(mounts), opened)
    tickets = TicketPages(_books(settings, authenticators))
    pages = [*whole.pages(), *metrics.pages()]
    console = ConsolePages(closes if workers is None else ClosesOfAll(closes, workers))
    pages += [*ConnectionPages(opened).pages(), *rooms.pages(), *tickets.pages(), *console.pages()]
    roles = {each.name: each.roles for each in settings.tokens}
    site = AdminSite(
        pages, lambda: None if token is None else token.get(), __version__,
        lambda: [(file.get(), roles[name]) for name, file in tokens.items()],
    )  # fmt: skip
    return site, metrics


def _reloading(
    authenticators: Authenticators, tokens: Iterable[WatchedFile[str]], certificates: Iterable[Certificates], listeners: Iterable[Listener]
) -> list[Reloading]:  # fmt: skip
    """All files that are read again when they change."""
    every = [*certificates, *(listener.certificates for listener in listeners if listener.certificates is not None)]
    return [*authenticators.files, *tokens, *(file for one in every for file in one.files)]


def _name_places(settings: Settings, mounts: Iterable[Mount], totals: Totals) -> None:
    """Have the totals show each mount of each listener from the beginning."""
    for listener in settings.listeners:
        for mount in mounts:
            if not listener.mounts or mount.path in listener.mounts:
                totals.place(mount.path, listener.name)


def _recount(mounts: Iterable[Mount]) -> Callable[[], Awaitable[None]] | None:
    """Takes the numbers of rooms that are kept elsewhere from there; None if there are none."""
    found = [mount.app.rooms.broker for mount in mounts if isinstance(mount.app, RoomsApp)]
    brokers = [broker for broker in found if isinstance(broker, Recounting)]

    async def recount() -> None:
        await asyncio.gather(*[broker.count_rooms() for broker in brokers])

    return recount if brokers else None


def _rooms_of(mount: Mount) -> Callable[[], Mapping[str, int]] | None:
    app = mount.app
    if not isinstance(app, RoomsApp):
        return None
    broker = app.rooms.broker
    return (lambda: {"rooms": broker.room_count, "members": broker.member_count}) if isinstance(broker, Counting) else None


def _rooms_mounts(mounts: Iterable[Mount]) -> list[RoomsMount]:
    return [
        RoomsMount(mount.path, mount.app.rooms, mount.settings.max_message, mount.app.rooms.rules.publish == "none")
        for mount in mounts
        if isinstance(mount.app, RoomsApp)
    ]


class _Tickets:
    """The tickets of one section, as the pages see them."""

    def __init__(self, book: TicketBook | SharedTicketBook, lifetime: float) -> None:
        self._book = book
        self.lifetime = lifetime

    async def issue(self, identity: str, claims: Mapping[str, object], path: str | None, expires: float | None) -> str | None:
        try:
            issued = self._book.issue(identity, claims, path, expires)
            return issued if isinstance(issued, str) else await issued
        except TicketsFull:
            return None


def _books(settings: Settings, authenticators: Mapping[str, Authenticator]) -> dict[str, _Tickets]:
    books = {}
    for section in settings.auths:
        found = authenticators.get(section.name)
        if not isinstance(section, TicketAuthSettings) or not isinstance(found, TicketAuthenticator):
            continue
        if isinstance(found.book, TicketBook | SharedTicketBook):
            books[section.name] = _Tickets(found.book, section.lifetime)
    return books
