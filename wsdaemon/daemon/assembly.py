"""From settings and resources to the parts of a daemon, in the order of their start."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.logger import Logger

from ..core.connection import Broadcasting
from ..core.contract import StartingApp, StoppingApp
from ..core.descriptors import raise_limit
from ..core.drain import restart
from ..core.handshake import Peer
from ..core.histogram import Histogram
from ..core.registry import Connections, Count
from ..core.threads import ThreadCalls
from ..core.wheel import Wheel
from ..edge.limits import on_this_machine
from ..edge.listeners import Listener
from ..edge.origins import ConsoleAddress
from ..edge.site import AnswerPage
from ..ops.stalls import StallWatch
from ..ops.systemd import Notifier
from ..settings.model import Settings
from ..settings.values import app_text
from ..wire.turns import Turns
from ..wire.writer import make_flusher
from .capacity import System, app_descriptors, read_system, tell
from .drain import Drain, Leaving, StopExtension
from .global_reactor import needs_global_reactor
from .listeners import ListenerLimits, ListenerMaker, Listening, make_entrance
from .mounts import FactoryStep, Mount, MountMaker
from .parts import AppStep, StartError, State, Step, Timers
from .resources import Resources
from .retiring import Retiring
from .sockets import ADMIN
from .watch import Watch

if TYPE_CHECKING:
    from ..edge.candidate import Entrance
    from ..edge.renewal import CertificateWatch
    from ..ops.workers import Workers
    from .admin import Admin
    from .shared import Shared

log = Logger(namespace="wsdaemon")

GLOBAL_REACTOR = (
    "{module} imports Twisted's global reactor, but start() runs a reactor of its own, so that callLater() would never call: use "
    "asyncio.get_running_loop().call_later(), or self.factory.reactor in an Autobahn class, or serve with run_forever()"
)


@dataclass(frozen=True, slots=True)
class LastingParts:
    """Parts that live as long as the process, whatever the settings become."""

    count: Count
    """All connections."""
    round_trips: Histogram | None
    turns: Turns
    mount_maker: MountMaker
    retiring: Retiring
    system: System | None
    """The limits of the system as they were at the start, because to ask for them may take seconds; None in a worker, whose supervisor
    compares the settings with them."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts of a daemon in the order of their start, with the listeners apart, and those of them that others look at."""

    mounts: Sequence[Mount]
    listeners: Sequence[Listener]
    parts: Sequence[Step]
    listening: Listening
    drain: Drain
    leaving: Leaving
    reloads: Sequence[Callable[[], Sequence[str] | None]]
    resources: Resources
    entrances: Sequence[Entrance]
    tools: LastingParts
    limits: Mapping[str, ListenerLimits]
    """By the name of the listener."""
    admin: Admin | None = None
    renewal: CertificateWatch | None = None
    changes: Sequence[Callable[[], object]] = ()
    """The steps that take new settings into use in the parts that a reload keeps. They take no time and do not fail."""

    def reload(self) -> list[str]:
        """SIGHUP: read certificates and the files of authentication again; the reasons for which old certificates stay in use."""
        return [reason for reload in self.reloads for reason in reload() or ()]


def assemble(
    settings: Settings, resources: Resources, watch: Watch, *, loop: asyncio.AbstractEventLoop, reactor: Any, wheel: Wheel,
    connections: Connections, calls: ThreadCalls, broadcast: Broadcasting, state: Callable[[], State], notifier: Notifier,
    pages: AnswerPage | None, shared: Shared | None = None, earlier: Assembly | None = None,
) -> Assembly:  # fmt: skip
    """Make the parts; nothing of them is started. `connections` is the registry that `watch` keeps.

    `earlier`: the parts in force, for a reload. Those that the new settings leave as they are are parts of the result too, and nothing of
    them is changed before its `changes`.
    """
    open_files = raise_file_limit(settings)
    tools = earlier.tools if earlier is not None else make_tools(
        settings, resources, watch, loop, wheel, connections, calls, broadcast, reactor, None if shared else read_system()
    )  # fmt: skip
    if tools.system is not None:
        tell(settings, replace(tools.system, open_files=open_files))
    changes = changed_limits(settings, resources, tools)
    leaving, drain = make_ends(settings, connections, state, notifier, loop, earlier, changes)
    mounts = make_mounts(settings, resources, tools, earlier, changes, reactor)
    served = make_served(settings, resources, tools, mounts, earlier, changes, loop=loop, wheel=wheel, pages=pages, shared=shared)
    if earlier is None:
        tell_frame_reader(settings, resources)
    admin = make_admin(
        settings, resources, tools, served.listeners, mounts, loop=loop, wheel=wheel, state=leaving.state, watch=watch,
        connections=connections, shared=shared, earlier=earlier, changes=changes,
    )  # fmt: skip
    renewal = renewal_of(resources, earlier)
    parts: list[Step] = [
        Timers(wheel), tools.retiring, *_present(admin, resources.redis),
        *app_steps(settings, mounts, () if earlier is None else earlier.parts), *_present(resources.authenticators, renewal),
        *stall_watches(settings, loop, connections, watch, earlier), drain,
    ]  # fmt: skip
    return Assembly(
        mounts, served.listeners, parts, served.listening, drain, leaving, reloads_of(resources, admin, renewal), resources,
        served.entrances, tools, served.limits, admin or _admin_of(earlier), renewal, changes,
    )  # fmt: skip


def _present(*parts: Step | None) -> list[Step]:
    return [part for part in parts if part is not None]


Changes = list[Callable[[], object]]
"""Steps as those of Assembly.changes, to which the makers of parts add theirs."""


class ServedListeners(NamedTuple):
    """The listeners, the step that has them accept, the rules of the mounts behind them, and the listeners' counts by name."""

    listeners: list[Listener]
    listening: Listening
    entrances: list[Entrance]
    limits: dict[str, ListenerLimits]


def changed_limits(settings: Settings, resources: Resources, tools: LastingParts) -> Changes:
    """The limits of the whole daemon."""
    return [
        partial(setattr, tools.count, "most", settings.daemon.max_connections),
        partial(setattr, resources.threads, "most", settings.daemon.max_threads),
        partial(setattr, tools.retiring, "patience", settings.daemon.drain_timeout),
    ]


def reloads_of(
    resources: Resources, admin: Admin | None, renewal: CertificateWatch | None
) -> list[Callable[[], Sequence[str] | None]]:  # fmt: skip
    """The steps that read files again at SIGHUP."""
    reloads: list[Callable[[], Sequence[str] | None]] = [resources.authenticators.refresh]
    reloads += [] if admin is None else [admin.refresh]
    return reloads + ([] if renewal is None else [renewal.reload])


def tell_frame_reader(settings: Settings, resources: Resources) -> None:
    why = f" ({resources.frames.reason})" if resources.frames.reason else ""
    log.info("frame reader: {reader}{why}", reader=frame_reader(settings, resources), why=why)


def make_ends(
    settings: Settings, connections: Connections, state: Callable[[], State], notifier: Notifier, loop: asyncio.AbstractEventLoop,
    earlier: Assembly | None, changes: Changes,
) -> tuple[Leaving, Drain]:  # fmt: skip
    """The parts that send the clients away; a reload keeps them."""
    of_daemon = settings.daemon
    ending, extension = restart(of_daemon.drain_retry), StopExtension(notifier, loop)
    if earlier is None:
        leaving = Leaving(settings, connections, ending, state, notifier, extension)
        return leaving, Drain(connections, of_daemon.drain_timeout, of_daemon.drain_over, ending, extension)
    leaving, drain = earlier.leaving, earlier.drain
    changes += [partial(leaving.renew, settings, ending), partial(drain.renew, of_daemon.drain_timeout, of_daemon.drain_over, ending)]
    return leaving, drain


def make_entrances(mounts: Sequence[Mount], resources: Resources, earlier: Assembly | None, changes: Changes) -> list[Entrance]:
    """The rules of the mounts. The counts of those in `earlier` go on."""
    known = {} if earlier is None else {each.mount: each for each in earlier.entrances}
    chain = resources.authenticators.chain
    return [make_entrance(mount, chain(mount.settings.auth), known.get(mount.path), changes) for mount in mounts]


def make_served(
    settings: Settings, resources: Resources, tools: LastingParts, mounts: Sequence[Mount], earlier: Assembly | None, changes: Changes, *,
    loop: asyncio.AbstractEventLoop, wheel: Wheel, pages: AnswerPage | None, shared: Shared | None,
) -> ServedListeners:  # fmt: skip
    """The listeners with all that they share. Those of `earlier` on the same sockets go on."""
    entrances = make_entrances(mounts, resources, earlier, changes)
    serving = None if earlier is None else earlier.listening
    maker = ListenerMaker(
        loop=loop, wheel=wheel, count=tools.count, retry_after=settings.daemon.retry_after,
        closed=lambda: (serving or listening).closed, turns=tools.turns, frames=resources.frames, pages=pages,
        sharing=None if shared is None else shared.sharing, places=None if shared is None else shared.places,
        console=console_address(resources),
    )  # fmt: skip
    sockets = [resources.sockets[f"listener:{each.name}"] for each in settings.listeners]
    listeners, limits = list[Listener](), dict[str, ListenerLimits]()
    for each, bound in zip(settings.listeners, sockets, strict=True):
        before = None if earlier is None else earlier.listening.find(each.name, bound)
        limits_before = None if earlier is None else earlier.limits.get(each.name)
        certificates = resources.certificates.get(f"listener:{each.name}")
        found, limits[each.name] = maker.make(each, bound.sock, certificates, entrances, before, limits_before, changes)
        listeners.append(found)
    paths = [mount.path for mount in mounts]
    listening = Listening(listeners, sockets, settings.listeners, paths, announced=shared is not None)
    return ServedListeners(listeners, listening, entrances, limits)


def renewal_of(resources: Resources, earlier: Assembly | None) -> CertificateWatch | None:
    """Watches the files of certificates; None without any. In a reload the one in force goes on if the certificates are the same."""
    if not resources.certificates:
        return None
    from ..edge.renewal import CertificateWatch

    watched = list(resources.certificates.values())
    running = None if earlier is None else earlier.renewal
    return running if running is not None and running.certificates == watched else CertificateWatch(watched)


def stall_watches(
    settings: Settings, loop: asyncio.AbstractEventLoop, connections: Connections, watch: Watch, earlier: Assembly | None
) -> list[StallWatch]:  # fmt: skip
    """The watch for calls that hold the loop, if there is one. A reload neither begins nor ends it."""
    if earlier is not None:
        return [each for each in earlier.parts if isinstance(each, StallWatch)]
    if not settings.daemon.stall_warning:
        return []
    return [StallWatch(loop, settings.daemon.stall_warning, connections.background.app_at, watch.totals.stalls)]


def others_for_pages(shared: Shared | None, earlier: Assembly | None, changes: list[Callable[[], object]]) -> Workers | None:
    """The other workers, as new admin pages see them; None if there are none. In a reload they get the new pages' answers as a change."""
    if shared is None or earlier is None:
        return None if shared is None else shared.workers
    from ..ops.workers import AnswersInWaiting  # here, because a daemon without workers needs none

    waiting = AnswersInWaiting(shared.workers)
    changes.append(waiting.take_effect)
    return waiting


def make_tools(
    settings: Settings, resources: Resources, watch: Watch, loop: asyncio.AbstractEventLoop, wheel: Wheel, connections: Connections,
    calls: ThreadCalls, broadcast: Broadcasting, reactor: Any, system: System | None,
) -> LastingParts:  # fmt: skip
    """The parts that every later reload keeps."""
    round_trips = None if settings.admin is None else Histogram()
    turns = Turns(loop.call_soon)
    mount_maker = MountMaker(
        watcher=watch, wheel=wheel, flusher=make_flusher(loop.call_soon), turns=turns, frames=resources.frames,
        fast=settings.daemon.accelerator != "off", next_id=connections.next_id, reactor=reactor, calls=calls,
        background=connections.background, broadcast=broadcast, round_trips=round_trips, frame_log=watch.frame_log,
    )  # fmt: skip
    retiring = Retiring(connections, settings.daemon.drain_timeout)
    return LastingParts(Count(settings.daemon.max_connections), round_trips, turns, mount_maker, retiring, system)


def make_mounts(
    settings: Settings, resources: Resources, tools: LastingParts, earlier: Assembly | None, changes: list[Callable[[], object]],
    reactor: object,
) -> list[Mount]:  # fmt: skip
    """The mounts: those in force where nothing has changed, else new ones, which go on counting the connections of their path."""
    known = {} if earlier is None else {mount.path: mount for mount in earlier.mounts}
    mounts = []
    for each in settings.mounts:
        before, loaded = known.get(each.path), resources.apps[each.path]
        if before is None or before.settings != each or before.loaded is not loaded:
            mount = tools.mount_maker.make(each, loaded, None if before is None else before.count)
            try:
                prepare(settings, mount, reactor)
            except StartError:
                if earlier is None:
                    resources.close()
                raise
            changes.append(partial(setattr, mount.count, "most", each.max_connections))
            mounts.append(mount)
        else:
            mounts.append(before)
    return mounts


def app_steps(settings: Settings, mounts: Sequence[Mount], earlier: Sequence[Step]) -> list[Step]:
    """The apps and factories that are started and stopped; those in `earlier` are the same objects."""
    apps = {(step.path, id(step.app)): step for step in earlier if isinstance(step, AppStep)}
    factories = {id(step.mount): step for step in earlier if isinstance(step, FactoryStep)}
    steps: list[Step] = [
        apps.get((mount.path, id(mount.app))) or AppStep(mount.app, f"{settings.source}: [mount:{mount.path}]", mount.path)
        for mount in mounts
        if isinstance(mount.app, (StartingApp, StoppingApp))
    ]
    return [*steps, *[factories.get(id(mount)) or FactoryStep(mount) for mount in mounts if mount.settings.factory is not None]]


def prepare(settings: Settings, mount: Mount, reactor: object) -> None:
    """Make the Autobahn factory of a mount. StartError with the exception of a factory of the user's.

    StartError too if the user's code imports Twisted's global reactor and that is not `reactor`: its calls would never come.
    """
    code = mount.wires.protocols.mounted or getattr(mount.app, "function", None) or type(mount.app)
    if module := needs_global_reactor(code, reactor):
        raise StartError(settings.problem(f"mount:{mount.path}", GLOBAL_REACTOR.format(module=module), "app", app_text(mount.settings.app)))
    try:
        mount.wires.protocols.prepare()
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        raise StartError(settings.problem(f"mount:{mount.path}", message, "factory", str(mount.settings.factory))) from error


def raise_file_limit(settings: Settings) -> int:
    """Raise the soft limit of open files for as many clients as may come; the limit that now holds."""
    handshakes = sum(each.max_handshakes for each in settings.listeners)
    return raise_limit(settings.daemon.max_connections + handshakes + app_descriptors(settings))


def console_address(resources: Resources) -> ConsoleAddress | None:
    """The TCP address of the admin pages; None if there are none, or on a unix socket, which no browser reaches."""
    bound = resources.sockets.get(ADMIN)
    if bound is None or bound.sock.family == socket.AF_UNIX:
        return None
    own = Peer.from_sockname(bound.sock.getsockname())
    return ConsoleAddress(own.port, on_this_machine(own.host))


def frame_reader(settings: Settings, resources: Resources) -> str:
    """The frame reader in use, in words."""
    return "Autobahn's own" if settings.daemon.accelerator == "off" else {"c": "compiled", "python": "Python"}[resources.frames.name]


def _admin_of(earlier: Assembly | None) -> Admin | None:
    return None if earlier is None else earlier.admin


def make_admin(
    settings: Settings, resources: Resources, tools: LastingParts, listeners: Sequence[Listener], mounts: Sequence[Mount], *,
    loop: asyncio.AbstractEventLoop, wheel: Wheel, state: Callable[[], State], watch: Watch, connections: Connections,
    shared: Shared | None, earlier: Assembly | None, changes: Changes,
) -> Admin | None:  # fmt: skip
    """The admin pages, if there are any. Those of `earlier` go on, and show the new pages as a change."""
    section, round_trips, serving = settings.admin, tools.round_trips, _admin_of(earlier)
    if section is None or round_trips is None:
        return None
    # Imported here, because most of what stands behind it is Prometheus' library, and many daemons have no admin pages.
    from ..ops.latest_closes import LatestCloses
    from ..ops.metrics import LoopLatency
    from .admin import Admin, make_hosts, make_listener, make_site
    from .console import make_console

    workers = others_for_pages(shared, earlier, changes)
    latency = LoopLatency(loop) if serving is None else serving.latency
    watch.closes = closes = watch.closes or LatestCloses()
    certificates = resources.certificates.get(ADMIN)
    site, metrics = make_site(
        settings, section, state=lambda: state().value, frames=frame_reader(settings, resources), count=tools.count, totals=watch.totals,
        latency=latency.latency, round_trips=round_trips, connections=connections, listeners=listeners, mounts=mounts,
        authenticators=resources.authenticators, token=resources.token, tokens=resources.tokens, closes=closes,
        certificates=[] if certificates is None else [certificates], redis=resources.redis, workers=workers,
    )  # fmt: skip
    bound, failed_logins = resources.sockets[ADMIN], resources.authenticators.failed_logins
    admission, feed = make_console(
        site, metrics, tools.mount_maker, watch, section, failed_logins, make_hosts(section, bound.sock), workers
    )  # fmt: skip
    listener = make_listener(
        section, site, admission, bound.sock, loop, wheel, failed_logins, certificates, tools.turns, resources.frames
    )  # fmt: skip
    tokens = [*([] if resources.token is None else [resources.token]), *resources.tokens.values()]
    made = Admin(section, bound, listener, feed, latency, tokens, announced=workers is not None)
    if serving is not None:
        changes.append(partial(serving.show_pages_of, made))
    return serving or made
