"""Any process of a daemon is killed at any moment of an upgrade or of a reload, under clients: nothing is left half done.

WSDAEMON_KILLS: how many processes are killed in each of the two tests (default: 5). WSDAEMON_KILLS_SEED: another choice of them.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect, unix_connect

from tests.support.daemon import SECONDS, Daemon, check_echo
from tests.support.workers import children, processes_in
from wsdaemon.ops.control import DONE, FAILED, ControlError, Outcome, ask

pytestmark = pytest.mark.live

KILLS = int(os.environ.get("WSDAEMON_KILLS", "5"))

SEED = int(os.environ.get("WSDAEMON_KILLS_SEED", "7"))

SETTINGS = """
[daemon]
workers = 2
control = unix:control.sock
drain_timeout = 1s
[listener:web]
address = tcp:0:interface=127.0.0.1
[listener:local]
address = unix:local.sock
[mount:/echo]
app = echo
[mount:/limited]
app = echo
max_message = {size}
[mount:/rooms/{{room}}]
app = rooms
"""

UPGRADE_STAGES = ("", "the new code takes over", "starting generation", r"generation \d+ serves")
"""A kill comes soon after one of these lines of the log. The empty one is the beginning."""

CHILDREN = {"hub", "worker 1", "worker 2"}

CLIENTS = 3

LOOK_SECONDS = 0.02

PATIENCE_SECONDS = 4 * SECONDS
"""The longest that an operation may take. It starts four processes, and a loaded machine needs its time for them."""

PACE_SECONDS = 0.01
"""Between two messages of a client."""


class Clients:
    """Clients that echo, and come back when their connection ends, until stop(). A wrong or missing answer is a failure."""

    def __init__(self, daemon: Daemon) -> None:
        self._url = daemon.url("/echo")
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._come, args=(number,)) for number in range(CLIENTS)]
        self.failures: list[BaseException] = []
        for thread in self._threads:
            thread.start()

    def _come(self, number: int) -> None:
        count = 0
        while not self._stopping.wait(PACE_SECONDS):
            try:
                with connect(self._url, open_timeout=SECONDS, close_timeout=SECONDS, proxy=None) as client:
                    while not self._stopping.wait(PACE_SECONDS):
                        count += 1
                        check_echo(client, f"{number}: {count}")
            except (TimeoutError, AssertionError) as failure:
                self.failures.append(failure)
                return
            except (OSError, WebSocketException):  # its worker has been killed, it was drained, or there is no daemon
                continue

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(2 * SECONDS)


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()[-80:]
    except OSError:
        return "ended already"


def until(holds: Callable[[], bool], told: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, told()
        time.sleep(LOOK_SECONDS)


def control(folder: Path, command: str) -> Outcome:
    return ask(folder / "control.sock", command, {}, timeout=PATIENCE_SECONDS)


def at_rest(daemon: Daemon) -> bool:
    """Whether one generation is there, whose processes are all ready, and no other process."""
    status: Any = control(daemon.folder, "status").result
    told = [status["hub"], *status["workers"]]
    found = children(daemon.pid)
    return (
        status["state"] == "ready"
        and [(each["state"], each["generation"]) for each in told] == [("ready", status["generation"])] * 3
        and set(found) == CHILDREN
        and {each["pid"] for each in told} == set(found.values())
        and processes_in(daemon.folder) == {daemon.pid, *found.values()}
    )


def check_serves(daemon: Daemon, size: int) -> None:
    """Both listeners serve, again and again, so that each worker has its turn, and with this limit."""
    for _ in range(4):
        for connect_there in (lambda: daemon.connect("/limited"), lambda: connect_local(daemon.folder)):
            with let_in(connect_there) as client:
                check_limit(client, size)


def connect_local(folder: Path) -> ClientConnection:
    return unix_connect(str(folder / "local.sock"), "ws://localhost/limited", open_timeout=SECONDS)


def let_in(connect_there: Callable[[], ClientConnection]) -> ClientConnection:
    """A client that comes again while it is answered 503: a worker that has been without a hub for 5 s may still wait for the new one."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return connect_there()
        except InvalidStatus as refused:
            if refused.response.status_code != 503 or time.monotonic() > deadline:
                raise
            time.sleep(LOOK_SECONDS)


def check_limit(client: ClientConnection, size: int) -> None:
    check_echo(client, "x" * size)
    client.send("x" * (size + 1))
    with pytest.raises(WebSocketException, match="1009"):
        client.recv(SECONDS)


class Kills:
    """KILLS processes are killed, each in the midst of `command`. After the supervisor's end the next daemon starts in its folder."""

    def __init__(self, folder: Path, command: str, stages: tuple[str, ...], delay: float) -> None:
        """A kill comes up to `delay` seconds after the beginning of a stage."""
        self._folder, self._command, self._stages, self._delay = folder, command, stages, delay
        self._chance = random.Random(SEED)
        self._left = KILLS
        self._size = 8

    def run(self) -> None:
        while self._left:
            with Daemon(self._folder, SETTINGS.format(size=self._size), seconds=PATIENCE_SECONDS) as daemon:
                clients = Clients(daemon)
                try:
                    while self._left and daemon.running:
                        until(lambda: at_rest(daemon), lambda: daemon.log)
                        check_serves(daemon, self._size)
                        self._kill_one(daemon)
                    if daemon.running:
                        self._succeed(daemon)
                finally:
                    clients.stop()
                assert clients.failures == [], daemon.log
                if daemon.running:
                    assert daemon.stop() == 0
                    assert not (self._folder / "control.sock").exists() and not (self._folder / "local.sock").exists()
            until(lambda: not processes_in(self._folder), lambda: processes_in(self._folder))

    def _succeed(self, daemon: Daemon) -> None:
        """After the last kill: the operation can be carried out."""
        until(lambda: at_rest(daemon), lambda: daemon.log)
        outcome = self._ask()
        assert outcome is not None and outcome.status == DONE, (outcome, daemon.log)
        until(lambda: at_rest(daemon), lambda: daemon.log)
        check_serves(daemon, self._size)

    def _ask(self) -> Outcome | None:
        """Have the operation carried out, with other settings; None: the supervisor has been killed."""
        self._size = 64 if self._size == 8 else 8
        (self._folder / "ws.ini").write_text(SETTINGS.format(size=self._size))
        try:
            return control(self._folder, self._command)
        except ControlError:
            return None

    def _kill_one(self, daemon: Daemon) -> None:
        self._left -= 1
        before, stage = self._size, self._chance.choice(self._stages)
        count = len(re.findall(stage, daemon.log))
        outcomes: list[Outcome | None] = []
        asking = threading.Thread(target=lambda: outcomes.append(self._ask()))
        asking.start()
        until(lambda: not stage or len(re.findall(stage, daemon.log)) > count, lambda: daemon.log)
        time.sleep(self._chance.uniform(0.0, self._delay))  # the point of the kill is the content of this test
        victim, name = self._kill()
        asking.join(PATIENCE_SECONDS)
        assert outcomes, (name, daemon.log)
        [outcome] = outcomes
        print(f"{self._left} left: {name} was killed after {stage or 'the beginning'}: {outcome}")
        if victim == daemon.pid:
            daemon.wait()
            until(lambda: not processes_in(self._folder), lambda: (processes_in(self._folder), daemon.log))
            return
        assert outcome is not None and outcome.status in (DONE, FAILED), (name, outcome, daemon.log)
        if outcome.status == FAILED:
            self._size = before

    def _kill(self) -> tuple[int, str]:
        """Kill any process of the daemon; its number and its title."""
        while True:
            victim = self._chance.choice(sorted(processes_in(self._folder)))
            name = title(victim)
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.kill(victim, signal.SIGKILL)
                return victim, name


def test_a_process_that_is_killed_in_the_midst_of_an_upgrade_leaves_nothing_half_done(tmp_path: Path) -> None:
    Kills(tmp_path, "upgrade", UPGRADE_STAGES, 0.5).run()


def test_a_process_that_is_killed_in_the_midst_of_a_reload_leaves_nothing_half_done(tmp_path: Path) -> None:
    Kills(tmp_path, "reload", ("",), 0.15).run()
