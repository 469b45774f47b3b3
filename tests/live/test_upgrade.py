"""An upgrade: new code takes over while clients come and go, or everything goes on as before."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import TracebackType

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.support.daemon import SECONDS, Daemon, Program, check_echo
from tests.support.workers import children, wait_for_ends
from wsdaemon.ops.control import Outcome, ask

pytestmark = pytest.mark.live

SETTINGS = """
[daemon]
workers = 2
control = unix:control.sock
drain_retry = 7s-7s

[listener:web]
address = tcp:0:interface=127.0.0.1

[mount:/echo]
app = echo
compression = on

[mount:/rooms/{room}]
app = rooms
subprotocols = rooms.v1.json
history = 10

[mount:/mine]
app = mine:App
"""

MINE = """
class Session:
    def __init__(self, connection):
        self.connection = connection
    def received(self, message):
        self.connection.send({version!r})
    def closed(self, code, reason):
        pass

class App:
    async def start(self):
        {start}
    def open(self, connection, handshake):
        return Session(connection)
"""


def write_app(folder: Path, version: str, start: str = "pass") -> None:
    (folder / "mine.py").write_text(MINE.format(version=version, start=start))


def upgrade(folder: Path) -> Outcome:
    return ask(folder / "control.sock", "upgrade", {}, lambda line: None)


PACE_SECONDS = 0.005
"""Between two messages of a client, so that clients leave the processors to the daemon."""


class Newcomers:
    """Clients that come one after the other, until stop()."""

    def __init__(self, daemon: Daemon) -> None:
        self._url, self._stopping = daemon.url("/echo"), threading.Event()
        self.served = 0
        self.refused: list[BaseException] = []
        self._thread = threading.Thread(target=self._come)
        self._thread.start()

    def _come(self) -> None:
        while not self._stopping.is_set():
            try:
                with connect(self._url, open_timeout=SECONDS, close_timeout=SECONDS, proxy=None) as client:
                    check_echo(client)
            except ConnectionClosed as closed:  # it was let in, and then drained with the former generation
                if closed.rcvd is None or closed.rcvd.code != 1012:
                    self.refused.append(closed)
            except Exception as error:
                self.refused.append(error)
            self.served += 1

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(2 * SECONDS)


class Talking:
    """A client that sends numbered messages, several on their way at once, and checks that each comes back once, and in order."""

    def __init__(self, daemon: Daemon, compression: str | None) -> None:
        self._url, self._compression = daemon.url("/echo"), compression
        self._stopping = threading.Event()
        self.heard = 0
        self.failure: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._talk)
        self._thread.start()

    def _talk(self) -> None:
        try:
            with connect(self._url, open_timeout=SECONDS, close_timeout=SECONDS, proxy=None, compression=self._compression) as client:
                self._talk_with(client)
        except BaseException as error:
            self.failure = error

    def _talk_with(self, client: ClientConnection) -> None:
        sent = 0
        while not self._stopping.is_set() or self.heard < sent:
            while not self._stopping.is_set() and sent < self.heard + 5:
                client.send(message(sent))
                sent += 1
                self._stopping.wait(PACE_SECONDS)
            assert client.recv(SECONDS) == message(self.heard)
            with self._changed:
                self.heard += 1
                self._changed.notify_all()

    def hear(self, more: int) -> None:
        """Until so many more messages have come back."""
        with self._changed:
            goal = self.heard + more
            assert self._changed.wait_for(lambda: self.heard >= goal or not self._thread.is_alive(), SECONDS)
        assert self.failure is None, self.failure

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(2 * SECONDS)


def message(number: int) -> str:
    return f"{number} " + "x" * (number % 700)


class Complaining(Daemon):
    """A daemon whose log has the traceback of an app."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        Program.__exit__(self, kind, error, traceback)


def said(daemon: Daemon) -> str | bytes:
    with daemon.connect("/mine") as client:
        client.send("version?")
        return client.recv(SECONDS)


def publish(daemon: Daemon, data: str) -> tuple[str, int]:
    """The epoch and the offset of a publication."""
    with daemon.connect("/rooms/lobby", subprotocols=[Subprotocol("rooms.v1.json")]) as client:
        client.send(json.dumps({"type": "publish", "id": 1, "room": "lobby", "data": data}))
        while (answer := json.loads(client.recv(SECONDS))).get("id") != 1:
            pass
        return answer["epoch"], answer["offset"]


def test_new_code_takes_over_with_the_connections_and_no_newcomer_is_refused(tmp_path: Path) -> None:
    """Connections of echo go along under traffic; a member with a pattern, which cannot go, is drained with a hint."""
    write_app(tmp_path, "one")
    with Daemon(tmp_path, SETTINGS) as daemon:
        before = children(daemon.pid)
        newcomers = Newcomers(daemon)
        talking = [Talking(daemon, None), Talking(daemon, "deflate")]
        try:
            with daemon.connect("/rooms/lobby", subprotocols=[Subprotocol("rooms.v1.json")]) as member:
                member.send('{"type": "subscribe", "pattern": "quiet.*"}')
                member.recv(SECONDS)
                for each in talking:
                    each.hear(20)
                assert said(daemon) == "one"
                epoch, offset = publish(daemon, "before")
                write_app(tmp_path, "two")
                outcome = upgrade(tmp_path)
                assert (outcome.status, outcome.result["generation"]) == (0, 2), outcome
                with pytest.raises(ConnectionClosed):
                    member.recv(SECONDS)
                assert (member.close_code, member.close_reason) == (1012, "restart; retry=7")
            [ended] = daemon.output.wait_for(r"generation 1 has ended: (\d+) connections? went along, (\d+) drained$")
            assert int(ended[1]) >= 2 and int(ended[2]) >= 1
            for each in talking:
                each.hear(20)
            assert said(daemon) == "two"
            assert publish(daemon, "after") == (epoch, offset + 1), "the rooms live on"
            wait_for_ends(list(before.values()))
        finally:
            for each in talking:
                each.stop()
            newcomers.stop()
        assert [each.failure for each in talking] == [None, None]
        assert (newcomers.refused, newcomers.served > 0) == ([], True)
        after = children(daemon.pid)
        assert set(after) == {"hub", "worker 1", "worker 2"} and not {*after.values()} & {*before.values()}
        status = ask(daemon_control(tmp_path), "status", {}, lambda line: None).result
        assert (status["pid"], status["generation"], status["state"]) == (daemon.pid, 2, "ready")
        assert daemon.stop() == 0
    wait_for_ends(list(after.values()))
    assert not (tmp_path / "control.sock").exists()


def daemon_control(folder: Path) -> Path:
    return folder / "control.sock"


def test_code_that_cannot_be_imported_or_does_not_start_changes_nothing(tmp_path: Path) -> None:
    write_app(tmp_path, "one")
    with Complaining(tmp_path, SETTINGS) as daemon, daemon.connect() as client:
        before = children(daemon.pid)
        (tmp_path / "mine.py").write_text("import nothing_of_this_name\n")
        outcome = upgrade(tmp_path)
        assert outcome.status == 1 and "nothing_of_this_name" in str(outcome.problems)
        daemon.output.wait_for("the upgrade failed, and generation 1 goes on as before: .*")
        write_app(tmp_path, "two", "raise RuntimeError('no database')")
        outcome = upgrade(tmp_path)
        assert outcome.status == 1 and "no database" in str(outcome.problems)
        daemon.output.wait_for("the upgrade failed, and generation 1 goes on as before: worker . did not start", 1)
        assert children(daemon.pid) == before
        check_echo(client)
        assert said(daemon) == "one"
        assert daemon.log.count("the upgrade failed") == 2
        assert ask(daemon_control(tmp_path), "status", {}, lambda line: None).result["generation"] == 1
        assert daemon.stop() == 0
