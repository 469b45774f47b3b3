"""From settings and resources to the parts of a daemon, in the order of their start."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from ..core.contract import StartingApp, StoppingApp
from ..core.descriptors import raise_limit
from ..core.drain import restart
from ..core.histogram import Histogram
from ..core.registry import Connections, Count
from ..core.threads import ThreadCalls
from ..core.wheel import Wheel
from ..edge.gate import AnswerPage
from ..edge.listeners import Listener
from ..ops.stalls import StallWatch
from ..ops.systemd import Notifier
from ..settings.admin import AdminSettings
from ..settings.model import Settings
from ..settings.values import app_text
from ..wire.turns import Turns
from ..wire.writer import make_flusher
from .capacity import app_descriptors, read_system, tell
from .drain import Drain, Leaving, StopExtension
from .global_reactor import needs_global_reactor
from .listeners import ListenerMaker, Listening, make_entrance
from .mounts import FactoryStep, Mount, MountMaker
from .parts import AppStep, StartError, State, Step, Timers
from .resources import Resources
from .sockets import ADMIN
from .watch import Watch

if TYPE_CHECKING:
    from ..ops.workers import Workers
    from .admin import Admin
    from .redis import RedisBrokers
    from .shared import Shared

log = Logger(namespace="wsdaemon")

GLOBAL_REACTOR = (
    "{module} imports Twisted's global reactor, but start() runs a reactor of its own, so that callLater() would never call: use "
    "asyncio.get_running_loop().call_later(), or self.factory.reactor in an Autobahn class, or serve with run_forever()"
)


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts of a daemon in the order of their start, with the listeners apart, and those of them that others look at."""

    mounts: Sequence[Mount]
    listeners: Sequence[Listener]
    parts: Sequence[Step]
    listening: Listening
    drain: Drain
    leaving: Leaving
    reloads: Sequence[Callable[[], None]]

    def reload(self) -> None:
        """SIGHUP: read certificates and the files of authentication again."""
        for reload in self.reloads:
            reload()


def assemble(
    settings: Settings, resources: Resources, watch: Watch, *, loop: asyncio.AbstractEventLoop, reactor: Any, wheel: Wheel,
    connections: Connections, calls: ThreadCalls, state: Callable[[], State], notifier: Notifier, pages: AnswerPage | None,
    shared: Shared | None = None,
) -> Assembly:  # fmt: skip
    """Make the parts; nothing of them is started. `connections` is the registry that `watch` keeps."""
    open_files = raise_file_limit(settings)
    if shared is None:  # of workers the supervisor tells it, once
        tell(settings, replace(read_system(), open_files=open_files))
    count = Count(settings.daemon.max_connections)
    ending, extension = restart(settings.daemon.drain_retry), StopExtension(notifier, loop)
    leaving = Leaving(settings, connections, ending, state, notifier, extension)
    round_trips = None if settings.admin is None else Histogram()
    turns = Turns(loop.call_soon)
    mount_maker = MountMaker(
        watcher=watch, wheel=wheel, flusher=make_flusher(loop.call_soon), turns=turns, frames=resources.frames,
        fast=settings.daemon.accelerator != "off", next_id=connections.next_id, reactor=reactor, calls=calls,
        background=connections.background, round_trips=round_trips,
    )  # fmt: skip
    mounts = [mount_maker.make(each, resources.apps[each.path]) for each in settings.mounts]
    for mount in mounts:
        prepare(settings, mount, resources, reactor)
    entrances = [make_entrance(mount, resources.authenticators.chain(mount.settings.auth)) for mount in mounts]
    listener_maker = ListenerMaker(
        loop=loop, wheel=wheel, count=count, retry_after=settings.daemon.retry_after, closed=lambda: listening.closed,
        turns=turns, send=resources.frames.send, pages=pages,
        sharing=None if shared is None else shared.sharing, places=None if shared is None else shared.places,
        console_port=console_port(resources),
    )  # fmt: skip
    sockets = [resources.sockets[f"listener:{each.name}"] for each in settings.listeners]
    listeners = [
        listener_maker.make(each, bound.sock, resources.certificates.get(f"listener:{each.name}"), entrances)
        for each, bound in zip(settings.listeners, sockets, strict=True)
    ]
    reader = frame_reader(settings, resources)
    log.info("frame reader: {reader}{why}", reader=reader, why=f" ({resources.frames.reason})" if resources.frames.reason else "")
    parts: list[Step] = [Timers(wheel)]
    reloads: list[Callable[[], None]] = [resources.authenticators.refresh]
    if settings.admin is not None and round_trips is not None:
        admin = make_admin(
            settings, settings.admin, resources, loop=loop, wheel=wheel, state=leaving.state, frames=reader, count=count, watch=watch,
            round_trips=round_trips, connections=connections, listeners=listeners, mounts=mounts, redis=resources.redis,
            workers=None if shared is None else shared.workers, mount_maker=mount_maker, turns=turns,
        )  # fmt: skip
        parts.append(admin)
        reloads.append(admin.refresh)
    parts += [] if resources.redis is None else [resources.redis]
    parts += [
        AppStep(mount.app, f"{settings.source}: [mount:{mount.path}]")
        for mount in mounts
        if isinstance(mount.app, (StartingApp, StoppingApp))
    ]
    parts += [FactoryStep(mount) for mount in mounts if mount.settings.factory is not None]
    parts.append(resources.authenticators)
    if resources.certificates:
        from ..edge.renewal import CertificateWatch

        renewal = CertificateWatch(list(resources.certificates.values()))
        parts.append(renewal)
        reloads.append(renewal.reload)
    if settings.daemon.stall_warning:
        parts.append(StallWatch(loop, settings.daemon.stall_warning, apps_by_mount(settings), watch.totals.stalls))
    of_daemon = settings.daemon
    parts.append(drain := Drain(connections, of_daemon.drain_timeout, of_daemon.drain_over, ending, extension))
    listening = Listening(listeners, sockets, settings.listeners, [mount.path for mount in mounts], announced=shared is not None)
    return Assembly(mounts, listeners, parts, listening, drain, leaving, reloads)


def prepare(settings: Settings, mount: Mount, resources: Resources, reactor: object) -> None:
    """Make the Autobahn factory of a mount. StartError with the exception of a factory of the user's; then no socket is open.

    StartError too if the user's code imports Twisted's global reactor and that is not `reactor`: its calls would never come.
    """
    code = mount.wires.protocols.mounted or getattr(mount.app, "function", None) or type(mount.app)
    if module := needs_global_reactor(code, reactor):
        resources.close()
        raise StartError(settings.problem(f"mount:{mount.path}", GLOBAL_REACTOR.format(module=module), "app", app_text(mount.settings.app)))
    try:
        mount.wires.protocols.prepare()
    except Exception as error:
        resources.close()
        message = f"{type(error).__name__}: {error}"
        raise StartError(settings.problem(f"mount:{mount.path}", message, "factory", str(mount.settings.factory))) from error


def apps_by_mount(settings: Settings) -> Callable[[str], str]:
    """Returns a function that names the app of a mount."""
    names = {mount.path: app_text(mount.app) for mount in settings.mounts}
    return lambda mount: names.get(mount, "an app")


def raise_file_limit(settings: Settings) -> int:
    """Raise the soft limit of open files for as many clients as may come; the limit that now holds."""
    handshakes = sum(each.max_handshakes for each in settings.listeners)
    return raise_limit(settings.daemon.max_connections + handshakes + app_descriptors(settings))


def console_port(resources: Resources) -> int | None:
    """The TCP port of the admin pages; None if there are none, or on a unix socket, which no browser reaches."""
    bound = resources.sockets.get(ADMIN)
    return None if bound is None or bound.sock.family == socket.AF_UNIX else bound.sock.getsockname()[1]


def frame_reader(settings: Settings, resources: Resources) -> str:
    """The frame reader in use, in words."""
    return "Autobahn's own" if settings.daemon.accelerator == "off" else {"c": "compiled", "python": "Python"}[resources.frames.name]


def make_admin(
    settings: Settings, section: AdminSettings, resources: Resources, *, loop: asyncio.AbstractEventLoop, wheel: Wheel,
    state: Callable[[], State], frames: str, count: Count, watch: Watch, round_trips: Histogram, connections: Connections,
    listeners: Sequence[Listener], mounts: Sequence[Mount], redis: RedisBrokers | None, workers: Workers | None,
    mount_maker: MountMaker, turns: Turns,
) -> Admin:  # fmt: skip
    """The admin pages."""
    # Imported here, because most of what stands behind it is Prometheus' library, and many daemons have no admin pages.
    from ..ops.latest_closes import LatestCloses
    from ..ops.metrics import LoopLatency
    from .admin import Admin, make_pages, make_site, make_tls
    from .console import make_console

    latency = LoopLatency(loop)
    watch.closes = closes = LatestCloses()
    certificates = resources.certificates.get(ADMIN)
    site, metrics = make_site(
        settings, section, state=lambda: state().value, frames=frames, count=count, totals=watch.totals, latency=latency.latency,
        round_trips=round_trips, connections=connections, listeners=listeners, mounts=mounts,
        authenticators=resources.authenticators, token=resources.token, tokens=resources.tokens, closes=closes,
        certificates=[] if certificates is None else [certificates], redis=redis, workers=workers,
    )  # fmt: skip
    bound, failed_logins = resources.sockets[ADMIN], resources.authenticators.failed_logins
    tls = None if certificates is None else make_tls(certificates, turns, resources.frames.send)
    sockets = make_console(site, metrics, mount_maker, section, failed_logins)
    pages = make_pages(section, site, bound.sock, wheel, failed_logins, tls, sockets)
    tokens = [*([] if resources.token is None else [resources.token]), *resources.tokens.values()]
    return Admin(section, bound, pages, loop, latency, tokens, announced=workers is not None)
