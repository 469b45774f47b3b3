"""apps/process/shared.py: one program for all connections, started again when it has ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.lines import Lines
from tests.support.processes import FakeConnection, children, handshake, launch, no_kill, run, until
from wsdaemon.apps.process import shared
from wsdaemon.apps.process.child import Launch
from wsdaemon.apps.process.shared import SharedApp, SharedRules, SharedSession, opening
from wsdaemon.core.acceptance import HandshakeRefused
from wsdaemon.core.handshake import Handshake, Headers, Peer
from wsdaemon.core.identity import Identity

PROGRAM = """
import json, sys
names = {}
for line in sys.stdin:
    event = json.loads(line)
    id = event["id"]
    def send(**fields): print(json.dumps(fields), flush=True)
    if "open" in event:
        names[id] = event["open"]["query"]
        send(id=id, text="hello " + names[id])
    elif "close" in event:
        send(id="*", text=f"{names.pop(id)} left with {event['close']}")
    elif "binary" in event:
        send(id=id, binary=event["binary"])
    elif event["text"] == "die": sys.exit(3)
    elif event["text"] == "bad": print("nonsense", flush=True); send(text="no id"); send(id=id, text="still here")
    elif event["text"] == "long": print("x" * 100000, flush=True)
    elif event["text"] == "bye": send(id=id, close=4001, reason="as you wish")
    else: send(id="*", text=names[id] + ": " + event["text"])
"""


def make(program: str = PROGRAM, log: Lines | None = None) -> SharedApp:
    how = Launch(executable=sys.executable, argv=("python", "-c", program), directory=None, stop_timeout=20.0)
    return SharedApp(SharedRules(mount="/p", launch=how, environment={b"PATH": b"/usr/bin"}, max_output=1000), log or Lines())


def join(app: SharedApp, name: str) -> tuple[SharedSession, FakeConnection]:
    connection = FakeConnection(name)
    return app.open(cast(Any, connection), handshake(query=name.encode())), connection


def test_clients_of_one_program() -> None:
    async def story() -> None:
        app = make()
        await app.start()
        await app.admit(handshake())
        (ada, of_ada), (bob, of_bob) = join(app, "ada"), join(app, "bob")
        await until(lambda: of_ada.texts and of_bob.texts)
        assert (of_ada.texts, of_bob.texts) == (["hello ada"], ["hello bob"])
        assert ada.received_payload(b"to all", True) is None
        await until(lambda: len(of_ada.texts) == len(of_bob.texts) == 2)
        assert of_bob.texts[1] == "ada: to all"
        bob.received_payload(b"\xff\n", False)
        await until(lambda: (b"\xff\n", False) in of_bob.sent)
        bob.received_payload(b"bye", True)
        await until(lambda: of_bob.close_code)
        assert (of_bob.close_code, of_bob.close_reason) == (4001, "as you wish")
        bob.closed(4001, "")
        await until(lambda: len(of_ada.texts) == 3)
        assert of_ada.texts[2] == "bob left with 4001"
        assert len(of_bob.sent) == 3
        await app.stop()
        assert of_ada.close_code == 1012
        ada.closed(1012, "")

    run(story())


def test_a_program_that_ends_is_started_again_and_later_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "FIRST_DELAY_SECONDS", 0.01)

    async def story() -> None:
        log = Lines()
        app = make(log=log)
        app._delay = 0.01
        await app.start()
        for number in range(3):
            session, connection = join(app, "ada")
            await until(lambda: connection.texts)  # noqa: B023
            session.received_payload(b"die", True)
            await until(lambda: connection.close_code)  # noqa: B023
            assert connection.close_code == 1012
            session.closed(1012, "")
            with pytest.raises(HandshakeRefused) as caught:
                await app.admit(handshake())
            assert caught.value.status == 503
            late, refused = join(app, "late")
            assert refused.close_code == 1013
            assert late.received_payload(b"x", True) is None
            late.closed(1013, "")
            await until(lambda: app._serving)
            assert app._delay == 0.02 * 2**number
        assert log.lines == ["/p: the program ended with status 3"]
        await app.stop()

    run(story())


def test_the_delay_has_a_longest_and_begins_anew_after_a_good_run() -> None:
    async def story() -> None:
        app = make()
        app._delay, app._began = 20.0, asyncio.get_running_loop().time()
        app._start_later()
        assert app._delay == shared.LAST_DELAY_SECONDS
        await app.stop()
        app._began -= 61.0
        app._start_later()
        assert app._delay == 2 * shared.FIRST_DELAY_SECONDS
        await app.stop()

    run(story())


def test_lines_that_are_no_message_are_logged_and_harm_no_other() -> None:
    async def story() -> None:
        log = Lines()
        app = make(log=log)
        await app.start()
        session, connection = join(app, "ada")
        session.received_payload(b"bad", True)
        session.received_payload(b"bad", True)
        await until(lambda: len(connection.texts) == 3)
        assert connection.texts == ["hello ada", "still here", "still here"]
        assert log.lines == ["/p: the program wrote a line that is no JSON", "/p: the program wrote a JSON object without an id"]
        await app.stop()

    run(story())


def test_a_line_without_end_ends_the_program() -> None:
    async def story() -> None:
        app = make()
        app._delay = 0.01
        await app.start()
        session, connection = join(app, "ada")
        session.received_payload(b"long", True)
        await until(lambda: connection.close_code == 1012)
        session.closed(1012, "")
        await until(lambda: app._serving)
        await app.stop()

    run(story())


def test_what_waits_for_the_program_is_bounded_over_all_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MAX_UNWRITTEN_BYTES", 300_000)

    async def story(folder: Path) -> None:
        gate = folder / "go"
        script = f"while [ ! -e {gate} ]; do sleep 0.01; done; grep -c text >{folder / 'count'}"
        app = SharedApp(SharedRules(mount="/p", launch=launch(script), environment={b"PATH": b"/usr/bin:/bin"}, max_output=1000), Lines())
        await app.start()
        clients = [join(app, f"client {number}") for number in range(20)]
        waits = [session.received_payload(b"x" * 100_000, True) for session, _ in clients]
        tasks = [asyncio.ensure_future(wait) for wait in waits if wait is not None]
        assert len(tasks) == 20
        await asyncio.sleep(0.02)
        child = app._child
        assert child is not None
        assert 300_000 < child.unwritten < 420_000
        with pytest.raises(HandshakeRefused):
            await app.admit(handshake())
        assert join(app, "late")[1].close_code == 1013
        gone = clients[-1]
        gone[1].close()
        gate.touch()
        await asyncio.gather(*tasks)
        await app.admit(handshake())
        await app.stop()
        assert (folder / "count").read_text() == "19\n"

    with tempfile.TemporaryDirectory() as folder:
        run(story(Path(folder)))


def test_a_program_that_cannot_be_started_ends_the_start() -> None:
    async def story() -> None:
        how = Launch(executable="/nowhere/x", argv=("x",), directory=None, stop_timeout=1.0)
        app = SharedApp(SharedRules(mount="/p", launch=how, environment={}, max_output=10), Lines())
        with pytest.raises(OSError, match="nowhere"):
            await app.start()
        await app.stop()
        app._start_again()
        await app.stop()
        assert children() == []

    run(story())


def test_the_opening_handshake_as_the_program_sees_it() -> None:
    headers = Headers([(b"x-a", b"1"), (b"x-a", b"2"), (b"proxy", b"x"), (b"authorization", b"Basic eA==")])
    shown = opening(
        Handshake(
            target="/p/1", path="/p/1", raw_path=b"/p/1", query_string=b"a=1", headers=headers, params={"x": "1"},
            peer=Peer("192.0.2.7", 5), identity=Identity("ada", "basic:x"), subprotocol="chat",
        )
    )  # fmt: skip
    assert json.loads(json.dumps(shown)) == {
        "path": "/p/1", "query": "a=1", "params": {"x": "1"}, "host": "192.0.2.7", "port": 5, "secure": False, "user": "ada",
        "subprotocol": "chat", "headers": {"x-a": "1, 2"},
    }  # fmt: skip


def test_stop_does_not_wait_for_a_program_that_this_user_cannot_end(monkeypatch: pytest.MonkeyPatch) -> None:
    kill = os.killpg

    async def story() -> None:
        log = Lines()
        how = Launch(executable="/bin/sh", argv=("sh", "-c", "cat; sleep 1000"), directory=None, stop_timeout=0.05)
        app = SharedApp(SharedRules(mount="/p", launch=how, environment={b"PATH": b"/usr/bin:/bin"}, max_output=1000), log)
        await app.start()
        [pid] = children()
        monkeypatch.setattr(os, "killpg", no_kill)
        await app.stop()
        assert [line for line in log.lines if f"program {pid} has not ended, and this user may not kill it" in line]
        await app.stop()
        monkeypatch.undo()
        kill(pid, signal.SIGKILL)
        await until(lambda: children() == [])

    run(story())
