"""The main program of the hub: the process that keeps what all workers share. It serves no client and loads neither Autobahn nor TLS."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from ..core.rare_lines import RareLines
from ..hub.predecessor import Predecessor
from ..hub.protocol import INSTANCE_BYTES
from ..hub.room_server import RoomServer
from ..hub.server import HubServer, WorkerLink
from ..hub.shared import SharedCounts
from ..hub.successor import Successor
from ..hub.tickets import TicketServer
from .channel import Message, close_all
from .child_process import LAST_SECONDS, ChildProcess
from .heartbeats import Heartbeats
from .inheritance import Role
from .reactor import new_loop, settle

END_PART: Final = 0.8
"""The part of LAST_SECONDS that the hub still serves workers whose supervisor has died, so that their last messages are ordered."""

LINK_PREFIX: Final = "worker:"

PREDECESSOR: Final = "predecessor"

FORMER_HEARTBEATS: Final = "former heartbeats"

log = Logger(namespace="wsdaemon.hub")


class Hub:
    """The content of the hub's process."""

    def __init__(self, child: ChildProcess, loop: asyncio.AbstractEventLoop) -> None:
        self._child = child
        self._loop = loop
        self._heartbeats = child.heartbeats
        self._lines = RareLines(log)
        self.server = HubServer(loop, os.urandom(INSTANCE_BYTES), self.has_heartbeat, self._report)
        self.rooms = RoomServer(self.server)
        self._former_heartbeats: Heartbeats | None = None
        if FORMER_HEARTBEATS in child.manifest.descriptors:
            self._former_heartbeats = Heartbeats(child.manifest.descriptors[FORMER_HEARTBEATS])
        self._predecessor: Predecessor | None = None
        self._successor: Successor | None = None
        self._links = [name for name in child.manifest.descriptors if name.startswith(LINK_PREFIX)]
        self.counts = SharedCounts(self.server, len(self._links))
        self.tickets = TicketServer(self.server)
        self.adopt_log: Callable[[int], object] | None = None
        self.choose_levels: Callable[[str, dict[str, str]], object] | None = None
        child.join(loop, self._received, self._orphaned)

    def start(self) -> None:
        """Serve the workers whose links were inherited; after a succession, if a former hub has the order."""
        descriptors = self._child.manifest.descriptors
        if PREDECESSOR in descriptors:
            self.server.hold()
            self._successor = Successor(
                socket.socket(fileno=descriptors[PREDECESSOR]), self.server, self.rooms, self.counts, self.tickets, self._child.ready,
                self._succeeded,
            )  # fmt: skip
        for name in self._links:
            self.server.attach(socket.socket(fileno=descriptors[name]))
        if self._successor is None:
            self._child.ready()

    # -- a succession

    def _succeeded(self, reason: str | None) -> None:
        """This hub has the order now; or not, for this reason, and then it is of no use."""
        self._child.send("succession", owner=reason is None, reason=reason or "")
        if reason is None:
            self.server.go_on()
            log.info("this hub keeps the order of the rooms now, as the former hub did")
        else:
            log.error("this hub does not take over the rooms: {reason}", reason=reason)
            self._loop.stop()

    def _give_to(self, end: socket.socket) -> None:
        if self._predecessor is not None:
            self._predecessor.take_back("another succession begins")
        self._predecessor = Predecessor(end, self.server, self.rooms, self.counts, self.tickets, self._given)

    def _given(self, reason: str | None) -> None:
        """The order is the successor's; or this hub goes on, for this reason."""
        self._child.send("succession", owner=reason is not None, reason=reason or "")
        if reason is not None:
            log.warn("this hub goes on with the order of the rooms: {reason}", reason=reason)

    def close(self) -> None:
        for part in (self._predecessor, self._successor):
            if part is not None:
                part.close()
        self.counts.close()
        self.rooms.close()
        self.server.close()

    def has_heartbeat(self, worker: int, generation: int) -> bool:
        """Whether the worker's loop turned within the last second."""
        page = self._heartbeats if generation == self._child.manifest.generation else self._former_heartbeats
        return page is None or page.worker(worker).live

    def _received(self, message: Message, descriptors: Sequence[int]) -> None:
        match message["kind"]:
            case "worker" if not descriptors:  # the kernel drops them if this process has no room for more; the worker sees that end
                log.error("the hub has too many open files for the link of worker {number}", number=message.get("number"))
            case "worker":
                self.server.attach(socket.socket(fileno=descriptors[0]))
                descriptors = descriptors[1:]
            case "successor" if descriptors:
                self._give_to(socket.socket(fileno=descriptors[0]))
                descriptors = descriptors[1:]
            case "switch" if self._predecessor is not None:
                self._predecessor.switch()
            case "keep" if self._predecessor is not None:
                self._predecessor.take_back("the supervisor has taken the upgrade back")
            case "stop":
                self._loop.stop()
            case "levels" if self.choose_levels is not None:
                self.choose_levels(message["level"], message["levels"])
            case "log" if self.adopt_log is not None and descriptors:
                self.adopt_log(descriptors[0])
        close_all(descriptors)

    def _orphaned(self) -> None:
        log.error("the supervisor has died; the hub ends with the last worker")
        self.server.ended.append(self._end_with_the_last)
        self._loop.call_later(LAST_SECONDS * END_PART, self._loop.stop)

    def _end_with_the_last(self, link: WorkerLink) -> None:
        if not self.server.links:
            self._loop.stop()

    def _report(self, line: str, error: BaseException | None) -> None:
        if error is None:
            self._lines.warn(line, "{line}", line=line)
        else:
            self._lines.failure(line, "{line}", Failure(error), line=line)


def main() -> None:
    """Serve the workers until the supervisor says stop, or dies."""
    child = ChildProcess.begin(Role.HUB)
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # the supervisor's: the hub ends after the workers
        signal.signal(ignored, signal.SIG_IGN)
    try:
        settings, _ = child.read_settings()  # their problems are the workers' to tell
        opened = child.make_log(settings.logging)
        loop = new_loop()
        asyncio.set_event_loop(loop)
        hub = Hub(child, loop)
        if opened is not None:
            opened.gather(loop)
            hub.adopt_log, hub.choose_levels = opened.adopt, opened.choose
        hub.start()
    except Exception:
        child.failed(traceback.format_exc().rstrip())
        sys.exit(1)
    settle()
    loop.run_forever()
    hub.close()
