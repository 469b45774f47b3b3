"""The main program of a supervisor after its re-execution: it takes over everything that the program before has left, and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from twisted.logger import Logger

from ..settings.problems import SettingsError
from .control import ControlChannel, OperationFailed
from .inheritance import Heritage, InheritanceError, Plan, take_files
from .inherited_log import begin_log
from .next_generation import NextGeneration
from .process import Process
from .reactor import install, loop_of, stop_reactor
from .reexecution import Reexecution
from .signals import Signals
from .sockets import Bound
from .supervisor import Supervisor
from .supervisor_state import SupervisorState
from .title import name_process

ANSWER_SECONDS: Final = 1.0
"""How long the client that asked for the upgrade may keep its answer waiting."""

log = Logger(namespace="wsdaemon.supervisor")


class Asker:
    """The client of the control channel that asked the former program for the upgrade. Without one, answers go nowhere."""

    def __init__(self, descriptor: int | None) -> None:
        self._sock = None if descriptor is None else socket.socket(fileno=descriptor)
        if self._sock is not None:
            self._sock.settimeout(ANSWER_SECONDS)

    def answer(self, answer: Mapping[str, Any]) -> None:
        """The last line, after which the connection ends."""
        sock, self._sock = self._sock, None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.sendall(json.dumps(answer).encode() + b"\n")
            sock.close()


class NewProgram:
    """A supervisor that goes on where the program before it has stopped."""

    def __init__(self, state: SupervisorState, signals: Signals, reactor: Any) -> None:
        self._state = state
        self._reactor = reactor
        self._loop: asyncio.AbstractEventLoop = loop_of(reactor)
        self.failed = False
        new, problems = state.read_settings(state.new_settings)
        old, _ = state.read_settings(state.settings)
        self._problem = SettingsError(problems) if problems or new is None else None
        settings = old or new
        assert settings is not None, "the check has read them"
        self._new = new
        self._log = begin_log(settings.logging, state.log, state.descriptors.get("log", -1))
        self._asker = Asker(state.descriptors.get("asker"))
        opened = None if self._log is None else self._log.file
        self._heritage = Heritage(
            text=state.settings, directory=Path(state.directory), log=state.log,
            log_descriptor=(lambda: -1) if opened is None else (lambda: opened.descriptor),
        )  # fmt: skip
        self.supervisor = Supervisor(settings, self._loop, self._heritage, failed=self._end, left=state)
        self.control = ControlChannel(self._take_control, self.supervisor.operations, self._loop)
        flush = (lambda: None) if self._log is None else self._log.flush
        self.supervisor.allow_upgrades(Reexecution(self.supervisor, self.control, state.pidfile, flush, signals).run, signals)
        reopen = (lambda: True) if self._log is None else self._log.reopen
        self.process = Process(
            self.supervisor, reactor, signals, reopen_log=partial(self.supervisor.reopen_for_all, reopen), control=self.control
        )  # fmt: skip

    def run(self) -> None:
        """Serve until the daemon is told to stop."""
        self.process.open()
        self.supervisor.reload_from_file()
        self.process.start()
        self._reactor.addSystemEventTrigger("before", "shutdown", self.process.stop)
        self._reactor.callWhenRunning(self._begin)
        self._reactor.run()
        if self._state.pidfile:
            with contextlib.suppress(OSError):
                Path(self._state.pidfile).unlink()

    def _begin(self) -> None:
        if self._new is None or self._problem is not None:
            self._fail(self._problem)
            return
        try:
            files = {**self._state.files, **take_files(self._new)}
        except Exception as error:
            log.failure("the second half of the upgrade cannot begin")
            self._fail(error)
            return
        plan = Plan(self._new, replace(self._heritage, text=self._state.new_settings), files)
        self.supervisor.upgrade_by(NextGeneration(self.supervisor, plan, self._asker.answer).run())

    def _fail(self, reason: object) -> None:
        self.supervisor.log_failed_upgrade(reason)
        self._asker.answer({"status": 1, "problems": OperationFailed(reason).problems})

    def _take_control(self) -> Bound | None:
        left = self._state.control
        return None if left is None else Bound.again(self._state.descriptors["control"], left)

    def _end(self, reason: str) -> None:
        self.failed = True
        stop_reactor(self._reactor)


def main() -> None:
    """Go on as the supervisor that this process was. Signals are blocked until the reactor runs."""
    try:
        state = SupervisorState.read(os.environ)
    except InheritanceError as error:
        print(f"wsdaemon: {error}", file=sys.stderr)
        sys.exit(2)
    state.close_on_exec()
    name_process("wsdaemon: supervisor", "wsdaemon")
    signals = Signals()
    signals.install()
    successor = NewProgram(state, signals, install())
    successor.run()
    if successor.failed:
        os._exit(1)
