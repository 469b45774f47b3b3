"""Reloads of real daemons under clients that talk: nothing is lost. test_killed.py kills processes in the midst of reloads.

WSDAEMON_RELOADS: how many reloads (default: 6).
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection

from tests.support.daemon import SECONDS, Daemon, check_echo
from wsdaemon.ops.control import DONE, FAILED, Outcome, ask

pytestmark = pytest.mark.live

RELOADS = int(os.environ.get("WSDAEMON_RELOADS", "6"))

COLLECTIONS = 8
"""So many clients are likely to find each of two workers."""

MAX_GROWTH = 2 * 1024 * 1024
"""Bytes that a serving process may grow by in the second half of many reloads."""

BASE = """
[daemon]
control = unix:control.sock
{daemon}
[listener:web]
address = tcp:0:interface=127.0.0.1
[mount:/echo]
app = echo
max_message = {size}
[mount:/rooms/{{room}}]
app = rooms
[mount:/collect]
app = collecting:collect
"""

COLLECTING = """
import gc

async def collect(connection):
    async for message in connection:
        gc.collect()
        await connection.send(message)
"""
MORE = "[mount:/more]\napp = echo\n[listener:unix]\naddress = unix:more.sock\n"


def reload(daemon: Daemon, text: str, **arguments: object) -> Outcome:
    (daemon.folder / "ws.ini").write_text(text)
    return ask(daemon.folder / "control.sock", "reload", arguments, timeout=2 * SECONDS)


def serving(daemon: Daemon) -> list[int]:
    """The processes that serve clients."""
    status = ask(daemon.folder / "control.sock", "status", timeout=SECONDS).result
    return [each["pid"] for each in status["workers"]] or [status["pid"]]


def collected(daemon: Daemon, pid: int) -> int:
    """The memory of a process after a collection of garbage, which one of several workers may not have been asked for."""
    for _ in range(COLLECTIONS if RELOADS >= 100 else 1):
        with daemon.connect("/collect") as client:
            check_echo(client, "done")
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


class Talk(threading.Thread):
    """Publishes numbers into a room, one after the other has come back to both members."""

    def __init__(self, one: ClientConnection, two: ClientConnection) -> None:
        super().__init__()
        self.one, self.two = one, two
        self.over = threading.Event()
        self.count = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                self.one.send(f"number {self.count}")
                assert self.two.recv(SECONDS) == f"number {self.count}"
                self.count += 1
        except BaseException as error:
            self.failure = error


def join(one: ClientConnection, two: ClientConnection) -> None:
    """Have two members of a room hear each other, also across workers."""
    for _ in range(100):
        one.send("hello")
        try:
            two.recv(1.0)
        except TimeoutError:
            continue
        break
    one.send("begin")
    while two.recv(SECONDS) != "begin":
        pass


@pytest.mark.parametrize("workers", ["", "workers = 2"])
def test_reloads_lose_nothing_and_refused_ones_change_nothing(tmp_path: Path, workers: str) -> None:
    (tmp_path / "collecting.py").write_text(COLLECTING)
    with Daemon(tmp_path, BASE.format(daemon=workers, size="1MiB")) as daemon:
        with daemon.connect("/rooms/a") as one, daemon.connect("/rooms/a") as two, daemon.connect() as echo:
            join(one, two)
            talk = Talk(one, two)
            talk.start()
            try:
                reload_often(daemon, workers, echo)
                refuse(daemon, BASE.format(daemon=workers, size="1MiB"))
            finally:
                talk.over.set()
                talk.join(SECONDS)
            assert talk.failure is None, talk.failure
            assert talk.count > 0
        assert daemon.stop() == 0
    assert not (tmp_path / "control.sock").exists()


def hears(client: ClientConnection, text: str) -> None:
    """Until the client gets this message."""
    while client.recv(SECONDS) != text:
        pass


def test_with_workers_the_members_of_a_mount_whose_rooms_get_other_limits_stay_together(tmp_path: Path) -> None:
    """New connections get a new app; the hub keeps the rooms of both."""
    (tmp_path / "collecting.py").write_text(COLLECTING)
    text = BASE.format(daemon="workers = 2", size="1MiB")
    with Daemon(tmp_path, text) as daemon:
        with daemon.connect("/rooms/a") as one, daemon.connect("/rooms/a") as two:
            join(one, two)
            for number in range(20):
                one.send(f"{number}")
            hears(two, "19")
            outcome = reload(daemon, text.replace("app = rooms", "app = rooms\nhistory = 10"))
            assert (outcome.status, outcome.result["changes"]) == (DONE, ["[mount:/rooms/{room}] history: 0 > 10"])
            with daemon.connect("/rooms/a") as new:
                join(one, new)
                for sender, others in ((new, (one, two)), (one, (two, new)), (two, (one, new))):
                    words = f"of {sender.id}"
                    sender.send(words)
                    for other in others:
                        hears(other, words)
            two.send("the new app has no member any more")
            hears(one, "the new app has no member any more")
        assert daemon.stop() == 0


def reload_often(daemon: Daemon, workers: str, echo: ClientConnection) -> None:
    """Another mount, another listener and another limit, there and back."""
    before, grown = serving(daemon), dict[int, int]()
    for number in range(RELOADS):
        size, more = ("2MiB", MORE) if number % 2 == 0 else ("1MiB", "")
        outcome = reload(daemon, BASE.format(daemon=workers, size=size) + more)
        assert (outcome.status, outcome.problems) == (DONE, [])
        assert len(outcome.result["changes"]) == 3
        check_echo(echo, f"open {number}")
        with daemon.connect("/more" if more else "/echo") as client:
            check_echo(client)
        assert (daemon.folder / "more.sock").exists() == bool(more)
        if number == RELOADS // 2:
            grown = {pid: collected(daemon, pid) for pid in before}
    assert serving(daemon) == before, "the processes are the same"
    if RELOADS >= 100:
        growth = [collected(daemon, pid) - size for pid, size in grown.items()]
        print(f"grown by {growth} bytes")
        assert workers or max(growth) < MAX_GROWTH


def refuse(daemon: Daemon, text: str) -> None:
    """Every reason is told, and the settings in force stay."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = reload(daemon, text.replace("1MiB", "8") + f"[listener:x]\naddress = tcp:{port}:interface=127.0.0.1\n")
    assert outcome.status == FAILED
    assert "the port is in use by another process" in outcome.problems[0]
    outcome = reload(daemon, text.replace("1MiB", "8") + "[mount:/x]\napp = nothing:here\n[mount:/y]\napp = neither:here\n")
    assert (outcome.status, len(outcome.problems)) == (FAILED, 2)
    with daemon.connect() as client:
        check_echo(client, "more than eight bytes")
    daemon.tell(signal.SIGHUP)
    daemon.output.wait_for(r"the reload is refused, and nothing has changed: .*nothing:here.*neither:here", 2)
    reloaded = len([line for line in daemon.output.lines if "reloaded:" in line])
    (daemon.folder / "ws.ini").write_text(text)
    daemon.tell(signal.SIGHUP)
    daemon.output.wait_for("reloaded:", reloaded + 1)
