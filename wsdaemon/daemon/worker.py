"""The main program of a worker: the daemon on sockets that the supervisor has bound."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from twisted.logger import Logger

from ..ops.workers import TOTALS
from ..settings.model import Settings
from ..settings.problems import SettingsError
from .all_workers import AllWorkers
from .channel import Message, close_all
from .child_process import LAST_SECONDS, ChildProcess
from .heartbeats import Band, SlotState
from .hub_brokers import HubBrokers, make_client
from .inheritance import Role
from .parts import StartError
from .preload import preload
from .process import Process
from .reactor import install, loop_of, stop_reactor
from .signals import IN_WORKER, Signals, StartStopped
from .sockets import Inherited

DRAIN_PART: Final = 0.75
"""The part of LAST_SECONDS for the closing handshakes."""

log = Logger(namespace="wsdaemon")


class Worker:
    """The content of a worker's process."""

    def __init__(self, child: ChildProcess, settings: Settings, reactor: Any) -> None:
        # Here, because they take a second to import, and the process should have its name by then.
        from ..edge.pages import Pages
        from .daemon import Daemon
        from .handover_here import HandoverHere
        from .hub_places import HubPlaces
        from .hub_tickets import HubTickets
        from .reload_here import ReloadHere
        from .shared import Shared

        self._child = child
        self._reactor = reactor
        self._retiring: asyncio.Future[None] | None = None
        manifest = child.manifest
        loop = loop_of(reactor)
        self._all = AllWorkers(loop, child.send)
        self._hub = make_client(manifest.number, manifest.generation, loop)
        self._hub.broken.append(self._cut_off)
        shared = Shared(
            Band(child.heartbeats, manifest.number, self._count), HubBrokers(self._hub), HubPlaces(self._hub, loop, loop.time),
            HubTickets(self._hub), self._all,
        )  # fmt: skip
        pages = Pages()
        for path, (name, content) in manifest.pages.items():
            pages.add_content(path, name, content)
        self.daemon = Daemon(
            settings, loop, reactor, directory=Path(manifest.directory), sockets=Inherited(manifest.descriptors),
            pages=pages.answer if pages else None, shared=shared,
        )  # fmt: skip
        self._handover = HandoverHere(self.daemon)
        child.join(loop, self._received, self._orphaned)
        self.adopt_log: Callable[[int], object] | None = None
        self.reload_here = ReloadHere(self.daemon, manifest.source, Path(manifest.directory), manifest.files, child.send)

    def _count(self) -> int:
        return len(self.daemon.connections) + sum(listener.handshakes for listener in self.daemon.assembly.listeners)

    # -- as Process calls it

    def open(self) -> None:
        self.daemon.open()

    async def start(self) -> None:
        self._child.follow_files()
        preload(self.daemon.settings)
        self._hub.attach(socket.socket(fileno=self._child.manifest.descriptors["hub"]))
        await self.daemon.start(accept=False)
        assert self._child.heart is not None
        self._child.heart.count = self._count
        self._child.ready()

    def close(self) -> None:
        self.daemon.close()

    def reload(self) -> None:
        self.daemon.reload()

    def drop(self) -> None:
        self.daemon.drop()

    async def leave(self) -> None:
        await self.daemon.leave()

    async def stop(self) -> None:
        self._child.slot.state = SlotState.STOPPING
        await self._handover.end()
        await self.daemon.stop()
        await self._all.tell_last(TOTALS)
        self._hub.close()

    # -- as the supervisor calls it

    def _received(self, message: Message, descriptors: Sequence[int]) -> None:
        if self._all.received(message, descriptors) or self.reload_here.received(message, descriptors):
            return
        match message["kind"]:
            case "serve":
                self.daemon.begin()
                self._child.slot.state = SlotState.SERVING
            case "hub" if not descriptors:  # the kernel drops them if this process has no room for more
                self._cut_off("this worker has too many open files for the socket of a new hub")
            case "hub":
                self._hub.attach(socket.socket(fileno=descriptors[0]))
                descriptors = descriptors[1:]
            case "stop":
                stop_reactor(self._reactor)
            case "retire" if self._retiring is None:
                successor = socket.socket(fileno=descriptors[0]) if descriptors else None
                descriptors = descriptors[1:]
                self._retiring = asyncio.ensure_future(self._retire(successor))
            case "take" if descriptors:
                self._handover.take_from(socket.socket(fileno=descriptors[0]))
                descriptors = descriptors[1:]
            case "drop":
                self.drop()
            case "drain":
                self.daemon.assembly.leaving.drain(message.get("over"))
            case "leave":
                self.daemon.assembly.leaving.show_leaving()
            case "resume":
                self.daemon.assembly.leaving.resume()
            case "log" if self.adopt_log is not None and descriptors:
                self.adopt_log(descriptors[0])
        close_all(descriptors)

    async def _retire(self, successor: socket.socket | None) -> None:
        """A newer generation serves: complete the opening handshakes, hand the connections over to a worker of it, and then stop."""
        self._child.slot.state = SlotState.STOPPING
        try:
            await self.daemon.assembly.listening.retire()
            given = await self._handover.give_to(successor)
            self._child.send("given", went=given.went, stayed=given.stayed)
        finally:
            stop_reactor(self._reactor)

    def _cut_off(self, reason: str) -> None:
        """The link to the hub does not come back: the supervisor replaces this worker when it has ended."""
        log.error("this worker has no link to the hub any more ({reason}); it closes its connections and ends", reason=reason)
        stop_reactor(self._reactor)

    def _orphaned(self) -> None:
        """The supervisor has died."""
        log.error("the supervisor has died; this worker closes its connections and ends")
        self.daemon.assembly.drain.hurry(LAST_SECONDS * DRAIN_PART)
        stop_reactor(self._reactor)


def main() -> None:
    """Serve until the supervisor says stop, or dies."""
    child = ChildProcess.begin(Role.WORKER)
    signals = Signals()
    signals.about_upgrades = IN_WORKER
    signals.install()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's, which then stops its workers
    try:
        reactor = install()
        settings, problems = child.read_settings()
        opened = child.make_log(settings.logging)
        if opened is not None:
            opened.gather(loop_of(reactor))
        worker = Worker(child, settings, reactor)
        if opened is not None:
            worker.adopt_log = opened.adopt
            worker.reload_here.choose_levels = opened.choose
        process = Process(worker, reactor, signals, reopen_log=(lambda: None) if opened is None else opened.reopen)
        if problems:
            raise StartError(SettingsError(problems))
        process.open()
        process.start()
    except StartStopped:
        sys.exit(0)
    except StartError as error:
        child.failed(str(error))
        sys.exit(1)
    except Exception:
        child.failed(traceback.format_exc().rstrip())
        sys.exit(1)
    reactor.addSystemEventTrigger("before", "shutdown", process.stop)
    reactor.run()
