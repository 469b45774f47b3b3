"""Several processes: a supervisor, workers that accept from one socket, and the end of each of them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.daemon import SECONDS, Daemon, Program, check_echo, command, write_settings
from tests.support.workers import ECHO, children, is_running, wait_for_ends, worker_ids

pytestmark = pytest.mark.live

TWO = ECHO.format(workers=2)

WHOLE = os.environ.get("WSDAEMON_WORKERS") == "whole"
"""Whether the tests that take long are run too: .ci/run --nightly."""


def test_a_worker_that_is_killed_is_replaced_and_the_other_notices_nothing(tmp_path: Path) -> None:
    with Daemon(tmp_path, TWO) as daemon, contextlib.ExitStack() as stack:
        workers = worker_ids(daemon)
        assert set(workers) == {"worker 1", "worker 2"}
        clients = [stack.enter_context(daemon.connect()) for _ in range(10)]
        os.kill(workers["worker 1"], signal.SIGKILL)
        daemon.output.wait_for(r"worker 1 was killed by SIGKILL; it is started again at once")
        daemon.output.wait_for(r"worker 1 is ready", 2)
        lost = 0
        for client in clients:
            try:
                check_echo(client)
            except ConnectionClosed:
                lost += 1
        assert 0 < lost < 10, "those of the worker that was killed, and no others"
        again = worker_ids(daemon)
        assert again["worker 2"] == workers["worker 2"]
        assert again["worker 1"] != workers["worker 1"]
        daemon.check_echo()
        assert daemon.stop() == 0
        assert not [pid for pid in again.values() if is_running(pid)]
    served = [sum(f"wsdaemon.connection worker={number} " in line for line in daemon.output.lines) for number in (1, 2)]
    assert sum(served) == 11 - lost


def test_when_the_supervisor_dies_the_others_say_1012_and_end(tmp_path: Path) -> None:
    with Daemon(tmp_path, TWO) as daemon, contextlib.ExitStack() as stack:
        others = list(children(daemon.pid).values())
        clients = [stack.enter_context(daemon.connect()) for _ in range(6)]
        daemon.tell(signal.SIGKILL)
        assert wait_for_ends(others, SECONDS) < 3
        for client in clients:
            with pytest.raises(ConnectionClosed):
                client.recv(SECONDS)
            assert client.close_code == 1012
        assert daemon.wait() == -signal.SIGKILL


def test_a_worker_that_hangs_is_killed_with_its_stack_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "spin.py").write_text(
        "async def app(connection):\n    async for message in connection:\n        if message == 'spin':\n            spin_for_ever()\n"
        "        await connection.send(message)\n\ndef spin_for_ever():\n    while True:\n        pass\n"
    )
    text = TWO.replace("workers = 2", "workers = 2\nworker_timeout = 1s").replace("app = echo", "app = spin:app")
    with Daemon(tmp_path, text) as daemon:
        with daemon.connect() as client:
            check_echo(client)
            client.send("spin")
            daemon.output.wait_for(r"worker \d is killed: its loop has stood still for 1 s; its main thread stood at:")
            with pytest.raises(ConnectionClosed):
                client.recv(SECONDS)
        daemon.output.wait_for(r"in spin_for_ever")
        daemon.output.wait_for(r"worker \d is ready", 3)
        daemon.check_echo()


def test_a_worker_that_is_stopped_keeps_no_client_waiting_and_is_replaced(tmp_path: Path) -> None:
    with Daemon(tmp_path, TWO.replace("workers = 2", "workers = 2\nworker_timeout = 2s")) as daemon:
        workers = worker_ids(daemon)
        os.kill(workers["worker 2"], signal.SIGSTOP)
        for _ in range(60):
            daemon.check_echo()
        daemon.output.wait_for(r"worker 2 is killed: .* it gave no stack, because it is stopped")
        daemon.output.wait_for(r"worker 2 is ready", 2)
        assert worker_ids(daemon)["worker 1"] == workers["worker 1"]


def test_a_worker_that_cannot_start_ends_the_daemon_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "class App:\n    async def start(self):\n        raise RuntimeError('no database')\n    def open(self, connection, handshake):\n"
        "        raise AssertionError\n"
    )
    with Program(command(write_settings(tmp_path, TWO.replace("app = echo", "app = broken:App"))), tmp_path) as daemon:
        for number in range(1, 5):  # one after the other, because a busy machine needs its time for each
            daemon.output.wait_for(rf"worker \d did not start \({number} of 5\)")
        assert daemon.wait() == 1
    assert re.search(r"wsdaemon:\nworker \d did not start 5 times in a row", daemon.log)
    assert daemon.log.count("RuntimeError: no database") == 3, "the first of each worker, and at the end"


if WHOLE:

    def test_a_worker_that_starts_no_more_ends_a_daemon_that_served(tmp_path: Path) -> None:
        module = tmp_path / "mine.py"
        module.write_text("from wsdaemon.apps.echo import EchoApp as App\n")
        with Daemon(tmp_path, TWO.replace("app = echo", "app = mine:App")) as daemon:
            daemon.check_echo()
            module.write_text("gone = True\n")
            os.kill(worker_ids(daemon)["worker 1"], signal.SIGKILL)
            daemon.output.wait_for(r"worker 1 did not start \(4 of 5\)")
            assert daemon.wait() == 1
        assert "worker 1 did not start 5 times in a row" in daemon.log
        assert "there is no App in mine" in daemon.log


def test_a_signal_while_workers_start_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\n")
    daemon = Daemon(tmp_path, TWO.replace("app = echo", "app = slow:App"))
    daemon.output.wait_for("starting the hub and 2 workers")
    deadline = time.monotonic() + SECONDS
    while len(children(daemon.pid)) < 3:
        assert time.monotonic() < deadline
    others = list(children(daemon.pid).values())
    assert daemon.stop() == 0
    wait_for_ends(others)
    daemon.output.close()
