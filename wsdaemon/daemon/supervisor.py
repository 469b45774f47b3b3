"""With `workers`: the process that binds the sockets, starts the hub and the workers, watches them, and replaces each one that dies.

It carries no data of clients and imports nothing that serves them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from twisted.logger import Logger, LogLevel

from ..ops.control import BUSY
from ..ops.systemd import Notifier, watchdog_interval
from ..settings.inherited import InheritedFile
from ..settings.model import Settings
from ..settings.workers import AUTO
from .announcement import announce, announce_admin
from .capacity import read_system, tell, tell_doubts
from .channel import Message, close_all
from .child_watch import ChildWatch
from .children import LaunchedChild, adopt_child, start_child
from .colleagues import RunningWorker, shown_number
from .coming import Coming
from .control import Operation, OperationFailed, Operations, Say
from .cpus import usable_cpus
from .drain import StopExtension, add_drain, grace_of
from .gathering import Gathering
from .generation import Generation
from .inheritance import Heritage, Manifest, Plan, Role, take_files
from .keeper import beneath
from .parts import StartError, State
from .reload_all import ReloadOfAll
from .reloading import ReloadCommand
from .reread import SettingsFile
from .signals import Signals
from .sockets import ADMIN, Bound, LeftSocket, Sockets, take_sockets, wanted_sockets
from .status import describe, describe_generation
from .supervisor_state import ControlSocket, RunningChild, SupervisorState

STATUS_SECONDS: Final = 10.0
"""Between two messages to systemd, at most."""

QUIET_LOOK_SECONDS: Final = 0.02
"""Between two looks whether a worker waits for an answer."""

FIRST_GENERATION: Final = 1

SERVING: Final = (State.READY, State.DRAINED, State.DRAINING)
"""The states in which clients are served, and a child that ends is started again unless the daemon stops."""

LEAVING: Final = {State.DRAINED: "drain", State.DRAINING: "leave"}
"""The message by which a worker that becomes ready in a state learns that it is not ready for load balancers."""

log = Logger(namespace="wsdaemon.supervisor")


def worker_count(settings: Settings) -> int:
    """The number of workers of these settings, which have the key."""
    chosen = settings.daemon.workers
    return usable_cpus() if chosen == AUTO else int(chosen or 1)


class Supervisor:
    """The hub and the workers of one daemon, and the sockets that the workers accept from."""

    def __init__(
        self, settings: Settings, loop: asyncio.AbstractEventLoop, heritage: Heritage, *, failed: Callable[[str], None],
        environ: Mapping[str, str] = os.environ, left: SupervisorState | None = None,
    ) -> None:  # fmt: skip
        """`failed` is called with the reason when the daemon must end: a child does not start any more. `left`: the state of the program
        before, whose sockets and children open() and start() take over."""
        self.state = State.STOPPED
        self.notifier = Notifier.from_environment(environ)
        self._settings, self.loop, self._heritage, self._failed, self._environ = settings, loop, heritage, failed, environ
        self._count = worker_count(settings)
        self._watchdog = watchdog_interval(environ, os.getpid())
        self._files: Mapping[str, InheritedFile] = {}
        self._sockets: dict[str, Bound] = {}
        self._told_at = 0.0
        self._status = ""
        self._watch = ChildWatch(loop, lambda: self._generations, lambda: self._settings.daemon, self._tell_systemd)
        self._gathering = Gathering(loop, self._colleagues, lambda: str(self.state.value), os.getpid(), time.time())
        self._all_ready: asyncio.Future[None] | None = None
        self._source = Sockets(environ)
        self._reload = ReloadOfAll(self, self._source)
        self._since = time.time()
        self.operations = Operations(lambda: self.state.value)
        self.operations.add("status", self._tell_status, looks=True)
        add_drain(self.operations, lambda: self)
        self._generation: Generation | None = None
        self._left = left
        self._coming: Coming | None = None
        self._former: Generation | None = None
        self._upgrade: asyncio.Task[None] | None = None
        if left is not None:
            self._since = left.since
            self._count = left.workers
        self._stopping = False
        self._extension = StopExtension(self.notifier, loop)

    @property
    def _generations(self) -> list[Generation]:
        """The generations that have children."""
        coming = None if self._coming is None else self._coming.generation
        return [each for each in (self._former, coming, self._generation) if each is not None]

    @property
    def generation(self) -> Generation:
        """The generation that serves new clients. There is one from open() on."""
        assert self._generation is not None
        return self._generation

    # -- the start

    def open(self) -> None:
        """Bind the sockets, and read the files that only a privileged process may read. StartError with every problem."""
        if self._left is not None:
            self._take_over(self._left)
            return
        self._files = take_files(self._settings)
        if problems := take_sockets(self._settings, self._source, self._sockets, {}):
            self.close()
            raise StartError(*problems)
        tell(self._settings, read_system(self._environ), self._count)
        self._generation = self._make_generation(FIRST_GENERATION)
        self.state = State.STARTING

    async def start(self) -> None:
        """Start the hub and the workers; returns when all are ready, and the workers accept. StartError if one cannot start."""
        if self._left is not None:
            self._watch.start()
            return
        log.info("starting the hub and {count} workers", count=self._count)
        if self._settings.admin is not None:
            announce_admin(self._settings.admin, self._port(ADMIN))
        self._all_ready = self.loop.create_future()
        self._watch.start()
        try:
            self.generation.start()
            await self._all_ready
        except BaseException:
            await self.generation.kill()
            self.close()
            raise
        self.state = State.READY
        self.generation.let_serve()
        announce([(each, self.port(each.name)) for each in self._settings.listeners], [mount.path for mount in self._settings.mounts])
        self.notifier.ready(self._describe())

    def close(self) -> None:
        """The start has failed: close the sockets and remove their files."""
        self._release_sockets()
        self._gathering.close()
        self._extension.end()
        for generation in self._generations:
            generation.close()
        self._watch.stop()
        self.notifier.close()
        self.state = State.STOPPED

    def port(self, listener: str) -> int | None:
        """The TCP port of a listener; None for a unix socket, and once the sockets are closed."""
        return self._port(f"listener:{listener}")

    def _port(self, section: str) -> int | None:
        bound = self._sockets.get(section)
        return None if bound is None or bound.sock.family == socket.AF_UNIX else int(bound.sock.getsockname()[1])

    @property
    def ports(self) -> list[int | None]:
        """The TCP ports of the listeners, in their order; None for a unix socket."""
        return [self.port(each.name) for each in self._settings.listeners]

    def _release_sockets(self) -> None:
        while self._sockets:
            self._sockets.popitem()[1].close()

    def _make_generation(self, number: int, workers: int = 0, page: int = -1) -> Generation:
        return Generation(
            number, workers or self._count, self.loop, launch=self._launch, ready=self._became_ready, gave_up=self._gave_up, page=page
        )  # fmt: skip

    def _launch(self, generation: Generation, role: Role, number: int, descriptors: Mapping[str, int]) -> LaunchedChild:
        plan = Plan(self._settings, self._heritage, self._files)
        if self._coming is not None and self._coming.generation is generation:
            plan = self._coming.plan
        heritage = plan.heritage
        sockets = {section: bound.sock.fileno() for section, bound in self._sockets.items()} if role is Role.WORKER else {}
        log_descriptor = heritage.log_descriptor()
        opened = {"log": log_descriptor} if log_descriptor >= 0 else {}

        def make_manifest(named: Mapping[str, int]) -> Manifest:
            return Manifest(
                role=role, number=number, generation=generation.number, supervisor=os.getpid(), workers=len(generation.workers),
                settings=heritage.text, source=plan.settings.source, directory=str(heritage.directory), log=heritage.log,
                descriptors=named, files=plan.files, pages=heritage.pages,
            )  # fmt: skip

        received, ended = partial(self._received, generation), partial(self._ended, generation)
        return start_child(self.loop, make_manifest, {**sockets, **descriptors, **opened}, received=received, ended=ended)

    # -- told by children

    def _ended(self, generation: Generation, child: LaunchedChild) -> None:
        if child.role is Role.WORKER:
            self._gathering.ended(self._colleague(generation, child).number)
            self._reload.ended(child)
        generation.keeper(child).channel_ended(child)

    def _received(self, generation: Generation, child: LaunchedChild, message: Message, descriptors: Sequence[int]) -> None:
        if child.role is Role.WORKER and self._gathering.received(self._colleague(generation, child), message, descriptors):
            return
        if child.role is Role.WORKER and self._reload.received(child, message):
            return
        close_all(descriptors)  # no child sends any but for those
        if message["kind"] == "ready":
            generation.keeper(child).became_ready()
        elif message["kind"] == "failed":
            child.reason = str(message["reason"])
        elif message["kind"] == "given":
            generation.given[child.number] = int(message["went"]), int(message["stayed"])
        elif message["kind"] == "succession" and self._coming is not None:
            self._coming.order_changed(generation, message)

    def _colleague(self, generation: Generation, child: LaunchedChild) -> RunningWorker:
        return RunningWorker(child, generation.slot(child), generation.number if generation is self._former else 0)

    def _colleagues(self) -> list[RunningWorker]:
        """The workers that serve, or have served."""
        return [
            self._colleague(generation, keeper.child)
            for generation in (self._former, self._generation)
            if generation is not None
            for keeper in generation.workers
            if keeper.child is not None
        ]

    def _became_ready(self, generation: Generation, child: LaunchedChild) -> None:
        if self._coming is not None and generation is self._coming.generation:
            self._coming.became_ready()
        elif self.state in SERVING and not self._stopping:
            if child.role is Role.WORKER and generation is self._generation:
                if self.state in LEAVING:  # it answers /readyz by itself while this process is silent
                    child.channel.send(LEAVING[self.state])
                child.channel.send("serve")
        elif self._all_ready is not None and not self._all_ready.done() and generation.ready:
            self._all_ready.set_result(None)

    def _gave_up(self, generation: Generation, reason: str) -> None:
        if self._coming is not None and generation is self._coming.generation:  # ends the upgrade, never the daemon
            self._coming.gave_up(reason)
        elif self.state in SERVING:
            first, _, rest = reason.partition("\n")
            log.emit(LogLevel.critical, "{reason}; the daemon ends", reason=first, **beneath(rest))
            self._failed(reason)
        elif self._all_ready is not None and not self._all_ready.done():
            self._all_ready.set_exception(StartError(reason))

    # -- the watch

    def _tell_systemd(self, overdue: bool) -> None:
        """Tell systemd that this loop turns, unless a child is `overdue`."""
        if not self.notifier.active or overdue:
            return
        now, status = self.loop.time(), self._describe()
        if now - self._told_at >= min(self._watchdog or STATUS_SECONDS, STATUS_SECONDS):
            self._told_at = now
            if self._watchdog is not None:
                self.notifier.watchdog()
            if status != self._status:
                self._status = status
                self.notifier.status(status)

    def _describe(self) -> str:
        connections = sum(generation.heartbeats.connections for generation in self._generations)
        ready = sum(keeper.ready for keeper in self.generation.workers)
        return f"{self.state.value}, {connections} connections, {ready} of {self._count} workers"

    # -- asked by the operator

    @property
    def settings(self) -> Settings:
        """Those in force."""
        return self._settings

    def go_on_with(self, settings: Settings, text: str, added: Mapping[str, Bound]) -> None:
        """A reload: have these settings in force, with these new sockets. Workers that are started from now on begin with `text`."""
        wanted = {section for section, _, _ in wanted_sockets(settings)}
        replaced = [self._sockets.pop(section) for section in list(self._sockets) if section in added or section not in wanted]
        self._sockets.update(added)
        self._settings, self._heritage = settings, replace(self._heritage, text=text)
        tell_doubts(settings)
        self._take_files_again()
        new = [each for each in settings.listeners if f"listener:{each.name}" in added]
        for bound in replaced:
            bound.close()
        if new:
            announce([(each, self.port(each.name)) for each in new], [mount.path for mount in settings.mounts])

    def reload_from_file(self) -> None:
        """The settings are those of a file: have the command `reload`, and SIGHUP, read it again. Called once it is open()."""
        file = SettingsFile(self._settings.source, self._heritage.directory, self._files)
        reload = ReloadCommand(file, lambda: self._settings, self._reload.apply, self._refresh, self.notifier, self._describe)
        self.operations.add("reload", reload)

    async def _tell_status(self, arguments: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
        offset = time.time() - self.loop.time()
        children = [describe_generation(generation, offset) for generation in self._generations]
        hubs, workers = [hub for hub, _ in children], [worker for _, each in children for worker in each]
        return describe(
            self._settings, state=self.state.value, since=self._since, ports=self.ports,
            connections=sum(each.heartbeats.connections for each in self._generations), generation=self.generation.number,
            workers=workers, hub=hubs[-1],
        )  # fmt: skip

    def reload(self) -> None:
        """SIGHUP to a daemon without a settings file: every worker reads certificates and secrets again."""
        self._take_files_again()
        self.generation.tell_workers("reload")

    async def _refresh(self) -> list[str]:
        self._take_files_again()
        return await self._reload.refresh()

    def _take_files_again(self) -> None:
        """Children that are started from now on have the secret files as they are now; those that only root could read, as they were."""
        self._files = {**self._files, **take_files(self._settings)}

    def reopen_for_all(self, reopen: Callable[[], bool]) -> bool:
        """SIGUSR1: open the log anew by `reopen`, and give every child the descriptor, because a child may lack the right to open it."""
        reopened = reopen()
        descriptor = self._heritage.log_descriptor()
        if reopened and descriptor >= 0:
            self._tell_all("log", [descriptor])
        return reopened

    def drop(self) -> None:
        """Wait for no client any more."""
        self._tell_all("drop")

    def _tell_all(self, kind: str, descriptors: Sequence[int] = ()) -> None:
        for generation in self._generations:
            generation.tell_all(kind, descriptors)

    def drain(self, over: float | None = None) -> int:
        """Be not ready any more, and have the workers close the present connections evenly over so many seconds, `drain_over` by default.

        Returns their number. The workers accept on, and newcomers stay.
        """
        self.state = State.DRAINED
        self.generation.tell_workers("drain", over=over)
        return self.generation.heartbeats.connections

    def resume(self) -> None:
        """Be ready again. A connection that the drain has not closed yet stays."""
        self.state = State.READY
        self.generation.tell_workers("resume")

    # -- the upgrade

    _asked: asyncio.Task[None] | None = None

    def allow_upgrades(self, reexecute: Operation, signals: Signals) -> None:
        """Carry out the command `upgrade`, and SIGUSR2, by a re-execution of this process."""
        self.operations.add("upgrade", reexecute)

        async def ask() -> None:
            answer = await self.operations.run("upgrade", {}, lambda line: None)
            if answer["status"] == BUSY:
                log.warn("SIGUSR2: {problem}", problem="; ".join(answer["problems"]))

        def begin() -> None:
            self._asked = self.loop.create_task(ask())

        signals.upgrade = begin

    @property
    def directory(self) -> Path:
        """The directory that the daemon was started in."""
        return self._heritage.directory

    def check_upgradable(self) -> None:
        """OperationFailed if another generation is there already, or a child is not in order."""
        if self._former is not None or self._coming is not None:
            raise OperationFailed(f"generation {self._generations[0].number} has not ended yet: wait until it has drained")
        unready = [keeper.name for keeper in self.generation.keepers if not keeper.ready]
        if unready:
            raise OperationFailed(f"{', '.join(unready)}: not ready; an upgrade begins when all are")

    async def until_quiet(self, seconds: float) -> None:
        """Wait until no worker waits for an answer, up to so many seconds."""
        end = self.loop.time() + seconds
        while not self._gathering.quiet and self.loop.time() < end:  # noqa: ASYNC110 - questions are many, and end by themselves
            await asyncio.sleep(QUIET_LOOK_SECONDS)

    def leave_state(self, new_settings: str, control: ControlSocket, pidfile: str) -> SupervisorState:
        """Everything that the next program of this process must know. OperationFailed if a child does not read its messages, or if the
        daemon is not ready."""
        if self.state not in (State.READY, State.DRAINED):
            raise OperationFailed(f"the daemon is {self.state.value}")
        self.check_upgradable()
        descriptors = {section: bound.sock.fileno() for section, bound in self._sockets.items()}
        descriptors["heartbeats"] = self.generation.page
        optional = {"log": self._heritage.log_descriptor(), "control": control.descriptor, "asker": control.asker}
        children = []
        for keeper in self.generation.keepers:
            child = keeper.child
            assert child is not None
            assert child.ready_since is not None
            if child.channel.waiting:
                raise OperationFailed(f"{child.name} does not read its messages")
            descriptors[f"channel:{child.number}"] = child.channel.descriptor
            optional[f"stack:{child.number}"] = child.stack
            children.append(
                RunningChild(number=child.number, pid=child.process.pid, ready_for=self.loop.time() - child.ready_since)
            )  # fmt: skip
        addresses = {section: str(address) for section, address, _ in wanted_sockets(self._settings)}
        return SupervisorState(
            since=self._since, state=self.state.value, generation=self.generation.number, workers=len(self.generation.workers),
            children=children, settings=self._heritage.text, new_settings=new_settings, source=self._settings.source,
            directory=str(self._heritage.directory), log=self._heritage.log, pidfile=pidfile, control=control.left,
            sockets={
                section: LeftSocket(address=addresses[section], path=bound.path, file=bound.file)
                for section, bound in self._sockets.items()
            },
            descriptors=descriptors | {name: number for name, number in optional.items() if number >= 0},
            counts=self._gathering.left(), files=self._files,
        )  # fmt: skip

    def _take_over(self, left: SupervisorState) -> None:
        """Go on where the program before has stopped."""
        self._files, self.state = left.files, State(left.state)
        for section, one in left.sockets.items():
            self._sockets[section] = Bound.again(left.descriptors[section], one)
        self._gathering.take_over(left.counts)
        generation = self._generation = self._make_generation(left.generation, left.workers, left.descriptors["heartbeats"])
        received, ended = partial(self._received, generation), partial(self._ended, generation)
        for told in left.children:
            role, stack = Role.WORKER if told.number else Role.HUB, left.descriptors.get(f"stack:{told.number}", -1)
            child = adopt_child(
                self.loop, role, told.number, told.pid, left.descriptors[f"channel:{told.number}"], stack, received=received, ended=ended
            )  # fmt: skip
            child.ready_since = self.loop.time() - told.ready_for
            generation.adopt(child)

    def upgrade_by(self, upgrade: Coroutine[Any, Any, None]) -> None:
        """Carry out the second half of an upgrade. A stop cancels it; until it ends, other operations are refused as busy."""
        self._upgrade = self.loop.create_task(upgrade)
        self.operations.occupy("upgrade", self._upgrade)

    def begin_generation(self, plan: Plan) -> Coming:
        """Start a generation beside the one that serves."""
        new = self._make_generation(self.generation.number + 1, worker_count(plan.settings))
        self._coming = Coming(new, plan, self.generation, self.loop)
        self._coming.start()
        return self._coming

    def change_generation(self, plan: Plan) -> None:
        """The new generation serves from now on; the one before is the former."""
        assert self._coming is not None
        former, new = self.generation, self._coming.generation
        self._coming, self._former, self._generation = None, former, new
        self._gathering.rename({keeper.number: shown_number(keeper.number, former.number) for keeper in former.workers})
        self._settings, self._heritage, self._files = plan.settings, plan.heritage, plan.files
        tell_doubts(self._settings)
        self._count = len(new.workers)
        new.let_serve()
        for keeper in new.keepers:
            if keeper.child is None:  # it has ended since the switch, and its keeper has given up
                keeper.start()
        if self.state is State.DRAINED:
            new.tell_workers("drain", over=0.0)

    async def take_back(self) -> None:
        """End the new generation, which never served, as a whole."""
        if self._coming is not None:
            await self._coming.take_back()
            self._coming = None

    def forget_former(self) -> None:
        """The former generation has ended."""
        if self._former is not None:
            self._former.close()
            self._former = None

    def log_failed_upgrade(self, reason: object) -> None:
        """The one line about it. The lines after the first of the reason stand beneath."""
        first, _, details = str(reason).partition("\n")
        log.emit(
            LogLevel.error, "the upgrade failed, and generation {generation} goes on as before: {reason}",
            generation=self.generation.number, reason=first, **beneath(details),
        )  # fmt: skip

    async def leave(self) -> None:
        """SIGTERM: be not ready any more, and have the workers accept on for `drain_grace`; a stop follows."""
        if self.state in SERVING and (grace := grace_of(self._settings)):
            self.state = State.DRAINING
            self.notifier.stopping("draining")
            self._extension.begin(grace)
            for generation in self._generations:
                generation.tell_workers("leave")
            log.info("not ready any more: accepting on for {seconds:g} s", seconds=grace)
            await asyncio.sleep(grace)

    async def stop(self) -> None:
        """Drain all workers, and then end the hub."""
        if self._stopping or self.state not in SERVING:
            return
        self._stopping, self.state = True, State.DRAINING
        self.notifier.stopping("draining")
        log.info("stopping {count} workers", count=self._count)
        if self._upgrade is not None and not self._upgrade.done():
            self._upgrade.cancel()
            await asyncio.wait([self._upgrade])
        self._release_sockets()
        self._extension.begin(self._settings.daemon.drain_over + self._settings.daemon.drain_timeout)
        await asyncio.gather(*[generation.end() for generation in self._generations])
        self.close()
        log.info("stopped")
