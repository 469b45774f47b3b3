"""apps/process/app.py: a program for each connection, from before the 101 to the close code."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from typing import Any, cast

import pytest

from tests.support.lines import Lines as LogLines
from tests.support.processes import FakeConnection, Slow, children, handshake, launch, no_kill, run, until
from wsdaemon.apps.process.app import ProcessApp, ProcessRules, ProcessSession
from wsdaemon.apps.process.framing import JsonLines, Lines
from wsdaemon.core.acceptance import HandshakeRefused


def make(script: str, log: LogLines | None = None, **values: Any) -> ProcessApp:
    stop_timeout = values.pop("stop_timeout", 20.0)
    chosen: dict[str, Any] = {"framing": lambda: Lines(1000, False), "exit_codes": {}, **values}
    how = launch(script, stop_timeout=stop_timeout)
    environment: Mapping[bytes, bytes] = {b"PATH": b"/usr/bin:/bin", b"COLOR": b"red"}
    return ProcessApp(ProcessRules(mount="/p", launch=how, environment=environment, software="wsdaemon/1", **chosen), log or LogLines())


def open_session(app: ProcessApp, query: bytes = b"") -> tuple[ProcessSession, FakeConnection]:
    connection = FakeConnection()
    return app.open(cast(Any, connection), handshake(query=query)), connection


async def until_none(app: ProcessApp) -> None:
    await until(lambda: not len(app))


def test_lines_in_both_directions_and_the_environment() -> None:
    async def story() -> None:
        app = make('echo "$COLOR $REQUEST_METHOD $HTTP_X_COLOR ${HTTP_PROXY-none}"; while read x; do echo "Hello $x!"; done; printf bye')
        session, connection = open_session(app)
        assert session.received_payload(b"Ada", True) is None
        session.received_payload(b"Bob", True)
        await until(lambda: len(connection.sent) == 3)
        assert connection.texts == ["red GET red, blue none", "Hello Ada!", "Hello Bob!"]
        session.closed(1000, "")
        await until_none(app)
        assert connection.texts[3:] == []

    run(story())


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [("exit 0", 1000, ""), ("exit 1", 1011, "the program has ended"), ("exit 3", 4003, "the program has ended"),
     ("kill -9 $$", 1011, "the program has ended")],
)  # fmt: skip
def test_the_exit_status_chooses_the_close_code_after_the_last_line(script: str, code: int, reason: str) -> None:
    async def story() -> None:
        app = make(f"printf last; {script}", exit_codes={3: 4003})
        session, connection = open_session(app)
        await until(lambda: connection.close_code)
        assert (connection.close_code, connection.close_reason, connection.texts) == (code, reason, ["last"])
        session.closed(code, reason)
        await until_none(app)

    run(story())


def test_a_message_with_a_newline_closes_the_connection() -> None:
    async def story() -> None:
        app = make("cat")
        session, connection = open_session(app)
        assert session.received_payload(b"a\nb", True) is None
        assert connection.close_code == 1007
        session.closed(1007, "")
        await until_none(app)
        assert connection.sent == []

    run(story())


def test_a_program_that_does_not_read_stops_its_client_until_the_client_leaves() -> None:
    async def story() -> None:
        app = make("echo; sleep 1000", stop_timeout=0.05)
        session, connection = open_session(app)
        waiting = session.received_payload(bytes(900_000), False)
        assert waiting is not None
        task = asyncio.ensure_future(waiting)
        await until(lambda: connection.sent)
        assert not task.done()
        connection.close()
        await task
        session.closed(1000, "")
        await until_none(app)

    run(story())


def test_a_slow_client_stops_its_program() -> None:
    async def story() -> None:
        app = make("i=0; while [ $i -lt 30000 ]; do echo $i; i=$((i+1)); done")
        session, connection = open_session(app)
        connection.slow = slow = Slow()
        await until(lambda: connection.sent)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(connection.sent) == 1
        connection.slow = None
        slow.future.set_result(None)
        await until(lambda: connection.close_code)
        assert connection.texts == [str(number) for number in range(30_000)]
        session.closed(1000, "")
        await until_none(app)

    run(story())


def test_output_that_is_too_long_ends_the_program() -> None:
    async def story() -> None:
        log = LogLines()
        app = make("head -c 2000 /dev/zero; sleep 1000", log, stop_timeout=0.05)
        session, connection = open_session(app)
        await until(lambda: connection.close_code)
        assert connection.close_code == 1011
        await until_none(app)
        assert any("wrote a line of more than 1000 bytes" in line for line in log.lines)
        session.closed(1011, "")

    run(story())


def test_errors_and_failures_are_logged_once_a_minute() -> None:
    async def story() -> None:
        log = LogLines()
        app = make("echo oops >&2; exit 9", log)
        for _ in range(3):
            _, connection = open_session(app)
            await until(lambda: connection.close_code)  # noqa: B023
        await until_none(app)
        assert len([line for line in log.lines if line.endswith("ended with status 9")]) == 1
        assert len([line for line in log.lines if line.endswith(": oops")]) == 3

    run(story())


def test_json_and_a_close_code_of_the_program() -> None:
    async def story() -> None:
        script = """read x; echo "$x" >&2; echo '{"text":"ok"}'; echo '{"close":4001,"reason":"so"}'; echo '{"text":"late"}'; sleep 1000"""
        log = LogLines()
        app = make(script, log, framing=lambda: JsonLines(1000), stop_timeout=0.05)
        session, connection = open_session(app)
        session.received_payload(b"\xff", False)
        await until(lambda: connection.close_code)
        assert (connection.close_code, connection.close_reason, connection.texts) == (4001, "so", ["ok"])
        session.closed(4001, "so")
        await until_none(app)
        [line] = [line for line in log.lines if "binary" in line]
        assert json.loads(line.partition(": ")[2]) == {"binary": "/w=="}

    run(story())


# -- before the 101


def test_max_processes_counts_those_that_are_ending() -> None:
    async def story() -> None:
        log = LogLines()
        app = make("echo; trap '' TERM; cat; sleep 1000", log, max_processes=2, stop_timeout=0.1)
        accepted = [await app.admit(handshake()) for _ in range(2)]
        for _ in range(2):
            with pytest.raises(HandshakeRefused) as caught:
                await app.admit(handshake())
            assert (caught.value.status, dict(caught.value.headers)) == (503, {"Retry-After": "5"})
        assert log.lines == ["/p: max_processes = 2 programs run"]
        for each in accepted:
            assert each.abandoned is not None
            each.abandoned()
        with pytest.raises(HandshakeRefused):
            await app.admit(handshake())
        await until_none(app)
        last = await app.admit(handshake())
        assert last.abandoned is not None
        last.abandoned()
        await until_none(app)

    run(story())


def test_a_program_that_cannot_be_started_is_a_500() -> None:
    async def story() -> None:
        log = LogLines()
        app = make("cat", log)
        object.__setattr__(app.rules, "launch", launch("cat"))
        object.__setattr__(app.rules.launch, "executable", "/nowhere/cat")
        with pytest.raises(HandshakeRefused) as caught:
            await app.admit(handshake())
        assert caught.value.status == 500
        assert len(app) == 0
        assert "/nowhere/cat" in log.lines[0]

    run(story())


REFUSING = 'test "$QUERY_STRING" = ok || exit 1; echo welcome; cat'


def test_a_program_refuses_a_client() -> None:
    async def story() -> None:
        app = make(REFUSING, refuse_status=403)
        with pytest.raises(HandshakeRefused) as caught:
            await app.admit(handshake(query=b"no"))
        assert caught.value.status == 403
        accepted = await app.admit(handshake(query=b"ok"))
        assert accepted.open is not None
        await asyncio.sleep(0.02)  # its output waits
        connection = FakeConnection()
        session = accepted.open(cast(Any, connection), handshake())
        await until(lambda: connection.texts == ["welcome"])
        session.received_payload(b"hi", True)  # type: ignore[union-attr]
        await until(lambda: connection.texts == ["welcome", "hi"])
        session.closed(1000, "")
        await until_none(app)

    run(story())


def test_a_program_that_ends_well_before_it_writes_refuses_nothing() -> None:
    async def story() -> None:
        app = make("exit 0", refuse_status=403)
        accepted = await app.admit(handshake())
        assert accepted.open is not None
        connection = FakeConnection()
        accepted.open(cast(Any, connection), handshake())
        await until(lambda: connection.close_code == 1000)
        await until_none(app)

    run(story())


def test_a_silent_program_lets_its_client_in_after_start_timeout() -> None:
    async def story() -> None:
        app = make("cat", refuse_status=403, start_timeout=0.02)
        accepted = await app.admit(handshake())
        assert accepted.abandoned is not None
        accepted.abandoned()
        await until_none(app)

    run(story())


def test_a_client_that_leaves_while_its_program_decides() -> None:
    async def story() -> None:
        app = make("cat", refuse_status=403, start_timeout=30.0)
        task = asyncio.ensure_future(app.admit(handshake()))
        await until(lambda: len(app) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_none(app)

    run(story())


def test_stop_ends_all_programs() -> None:
    async def story() -> None:
        app = make("cat; sleep 1000", stop_timeout=0.05)
        await app.start()
        sessions = [open_session(app) for _ in range(3)]
        assert len(app) == len(sessions) == 3
        await app.stop()
        assert children() == []
        await app.stop()

    run(story())


def test_stop_does_not_wait_for_a_program_that_this_user_cannot_end(monkeypatch: pytest.MonkeyPatch) -> None:
    kill = os.killpg

    async def story() -> None:
        log = LogLines()
        app = make("cat; sleep 1000", log, stop_timeout=0.05)
        open_session(app)
        [pid] = children()
        monkeypatch.setattr(os, "killpg", no_kill)
        await app.stop()
        [line] = [line for line in log.lines if "runs as another user" in line]
        assert line.startswith(f"/p: program {pid} has not ended, and this user may not kill it")
        assert len(app) == 1, "it still counts"
        await app.stop()
        monkeypatch.undo()
        kill(pid, signal.SIGKILL)
        await until_none(app)
        await app.stop()

    run(story())
