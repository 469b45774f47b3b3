"""command/tailing.py: frames in lines and as JSON, the exit statuses, and a server that is none of ours."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from click.testing import CliRunner, Result
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from wsdaemon.command import tailing
from wsdaemon.command.exits import Exit
from wsdaemon.command.main import cli
from wsdaemon.command.tailing import LIVE_PATH, PAUSES_SECONDS, payload_text
from wsdaemon.core.seen_frame import SeenFrame
from wsdaemon.ops.taps import MAX_BYTES, MAX_FRAMES, PAYLOAD_BYTES, frame_record

TOKEN = "0123456789abcdef"
CONNECTION = {"id": "c-1", "mount": "/chat\x1b", "address": "192.0.2.7"}


def record(**more: object) -> dict[str, Any]:
    return {"time": 1.25, "direction": "in", "type": "text", "opcode": 1, "size": 5, "final": True, "compressed": False, **more}


@contextlib.contextmanager
def pages(answer: Callable[[ServerConnection, dict[str, Any]], None], asked: list[Any]) -> Iterator[str]:
    """Admin pages with their live WebSocket; the URL. `asked` gets each first message, and the path."""

    def handle(connection: ServerConnection) -> None:
        first = json.loads(connection.recv())
        assert connection.request is not None
        asked.append((connection.request.path, connection.request.headers.get("Host"), first))
        answer(connection, first)

    with serve(handle, "127.0.0.1", 0) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{serving.socket.getsockname()[1]}"
        finally:
            serving.shutdown()
            thread.join()


def tail(url: str, *line: str) -> Result:
    return CliRunner().invoke(cli, ["tail", "--url", url, *line, "c-1"], env={"WSDAEMON_ADMIN_TOKEN": TOKEN})


def send(*messages: object, code: int = 1000, reason: str = "") -> Callable[[ServerConnection, dict[str, Any]], None]:
    def answer(connection: ServerConnection, first: dict[str, Any]) -> None:
        for message in messages:
            connection.send(json.dumps(message))
        connection.close(code, reason)

    return answer


ALL = (
    {"tap": CONNECTION, "payload": True},
    {"frames": [record(), record(direction="out", payload="he\x1b[2J", final=False, cut=True)], "dropped": 7},
    {"frames": [record(type="close", opcode=8, size=2, code=1000)], "dropped": 0},
    {"over": "the connection has ended: 1000"},
)


def test_frames_are_lines_and_no_text_steers_the_terminal() -> None:
    asked: list[Any] = []
    with pages(send(*ALL), asked) as url:
        done = tail(url, "--payload")
    assert done.exit_code == Exit.DONE
    first, second, third = done.stdout.splitlines()
    assert first.endswith(".250 in  text, 5 B") and third.endswith("in  close, 2 B, code 1000")
    assert second.endswith(r"out text, 5 B, to be continued: he\x1b[2J ...")
    began, dropped, over = done.stderr.splitlines()
    assert began == r"c-1: /chat\x1b, 192.0.2.7, with payloads"
    assert dropped == "7 frames were not shown, because they came too fast"
    assert over == "the connection has ended: 1000"
    assert asked == [(LIVE_PATH, url.removeprefix("http://"), {"token": TOKEN, "tap": {"connection": "c-1", "payload": True}})]


def test_the_worker_is_told_if_it_is_another_one() -> None:
    with pages(send({"tap": {**CONNECTION, "worker": 2}, "payload": False}, {"over": "gone"}), []) as url:
        assert tail(url).stderr.splitlines()[0].endswith("without payloads, in worker 2")


def test_json_has_one_value_a_line() -> None:
    with pages(send(*ALL), []) as url:
        done = tail(url, "--json")
    values = [json.loads(line) for line in done.stdout.splitlines()]
    assert values == [*ALL[1]["frames"], {"dropped": 7}, *ALL[2]["frames"], ALL[3]]  # type: ignore[misc]


def test_it_ends_after_so_many_frames() -> None:
    def answer(connection: ServerConnection, first: dict[str, Any]) -> None:
        connection.send(json.dumps({"frames": [record(size=number) for number in range(9)], "dropped": 0}))
        with contextlib.suppress(Exception):
            connection.recv()

    with pages(answer, []) as url:
        done = tail(url, "--json", "--count", "3")
    assert done.exit_code == Exit.DONE
    assert [json.loads(line)["size"] for line in done.stdout.splitlines()] == [0, 1, 2]


@pytest.mark.parametrize(
    ("code", "reason", "status"),
    [
        (4401, "this is not the token", Exit.REFUSED), (4403, "[admin] tap is off", Exit.REFUSED), (4404, "no connection", Exit.FAILED),
        (4429, "too many taps are open", Exit.BUSY), (1012, "the settings have changed", Exit.LOST), (1013, "", Exit.BUSY),
    ],
)  # fmt: skip
def test_a_refusal_has_its_reason_and_its_status(code: int, reason: str, status: Exit) -> None:
    with pages(send(code=code, reason=reason), []) as url:
        done = tail(url)
    assert done.exit_code == status
    assert (reason or f"closed with {code}") in done.output


SHOWN = {"tap": CONNECTION, "payload": False}, {"frames": [record()], "dropped": 0}
RELOADED = send(*SHOWN, code=1012, reason="the settings have changed")
MOVED = send(*SHOWN, {"over": "an upgrade moves the connection to another process", "again": True})
GONE = send(code=4404, reason="no open connection has this id")


def tail_answered(monkeypatch: pytest.MonkeyPatch, *line: str, answers: tuple[Any, ...]) -> tuple[Result, int, list[float]]:
    """The command against pages whose answers follow each other, the last again and again; the requests, and its pauses."""
    asked, pauses = list[Any](), list[float]()
    monkeypatch.setattr(tailing, "Tail", partial(tailing.Tail, pause=pauses.append))

    def answer(connection: ServerConnection, first: dict[str, Any]) -> None:
        answers[min(len(asked), len(answers)) - 1](connection, first)

    with pages(answer, asked) as url:
        done = tail(url, *line)
    return done, len(asked), pauses


@pytest.mark.parametrize(("first", "reason"), [(RELOADED, "the settings have changed"), (MOVED, "moves the connection")])
def test_it_asks_again_after_a_reload_and_an_upgrade(monkeypatch: pytest.MonkeyPatch, first: Any, reason: str) -> None:
    done, asked, pauses = tail_answered(monkeypatch, answers=(first, RELOADED, GONE, send(*ALL)))
    assert (done.exit_code, asked, pauses) == (Exit.DONE, 4, [PAUSES_SECONDS[0], *PAUSES_SECONDS[:2]])
    assert done.stdout.count(" text, 5 B") == 4
    told = [line for line in done.stderr.splitlines() if "asking again" in line]
    assert len(told) == 2 and reason in told[0] and "settings" in told[1]


def test_a_connection_that_ended_meanwhile_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    done, asked, pauses = tail_answered(monkeypatch, "--json", answers=(RELOADED, GONE))
    assert (done.exit_code, asked, tuple(pauses)) == (Exit.DONE, 1 + len(PAUSES_SECONDS), PAUSES_SECONDS)
    told = [json.loads(line) for line in done.stdout.splitlines()][1:]
    assert told == [{"again": "the settings have changed"}, {"over": "the connection has ended while its frames were not shown"}]


@pytest.mark.parametrize(("code", "status"), [(4401, Exit.REFUSED), (4403, Exit.REFUSED), (4429, Exit.BUSY), (1011, Exit.LOST)])
def test_a_reload_that_permits_no_frames_ends_it(monkeypatch: pytest.MonkeyPatch, code: int, status: Exit) -> None:
    done, asked, _ = tail_answered(monkeypatch, answers=(RELOADED, send(code=code, reason="no")))
    assert (done.exit_code, asked) == (status, 2)


def test_pages_that_do_not_come_back_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    done, asked, _ = tail_answered(monkeypatch, answers=(RELOADED, send(code=1012)))
    assert (done.exit_code, asked) == (Exit.LOST, 1 + len(PAUSES_SECONDS))


@pytest.mark.parametrize("message", [{"connections": 3}, [], {"frames": [{}], "dropped": 0}, {"frames": None}])
def test_an_answer_that_is_none_is_told(message: object) -> None:
    with pages(send(message), []) as url:
        done = tail(url)
    assert done.exit_code == Exit.FAILED
    assert "this version" in done.output


def test_pages_that_are_not_there() -> None:
    def nothing(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(404, "nothing here\n")

    assert tail("unix:/nothing/there").exit_code == Exit.UNREACHABLE
    with serve(lambda connection: None, "127.0.0.1", 0, process_request=nothing) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        done = tail(f"http://127.0.0.1:{serving.socket.getsockname()[1]}")
        serving.shutdown()
        thread.join()
    assert done.exit_code == Exit.REFUSED and "404" in done.output


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, ""), ({"payload": "AP8=", "encoding": "base64", "compressed": True}, "not inflated: 00 ff"),
        ({"payload": "AP8=", "encoding": "base64", "compressed": True, "inflated": True}, "00 ff"),
        ({"payload": "a", "compressed": True, "inflated": True}, "a"),
        ({"payload": "a"}, "a"), ({"payload": "AP8=", "encoding": "base64"}, "00 ff"),
        ({"payload": "AAAA" * 20, "encoding": "base64"}, " ".join(["00"] * 32) + " ..."), ({"payload": "a", "cut": True}, "a ..."),
    ],
)  # fmt: skip
def test_payloads_in_one_line(given: dict[str, Any], shown: str) -> None:
    assert payload_text(record(**given)) == shown


def test_all_that_a_tap_holds_fits_into_one_message() -> None:
    frame = SeenFrame(1, PAYLOAD_BYTES, b"\0" * PAYLOAD_BYTES)
    full = [frame_record(1.0, True, frame, PAYLOAD_BYTES)] * (MAX_BYTES // PAYLOAD_BYTES + 1)
    small = [frame_record(1.0, True, frame._replace(beginning=b""), 0)] * (MAX_FRAMES - len(full))
    with pages(send({"tap": CONNECTION, "payload": True}, {"frames": full + small, "dropped": 0}, {"over": "gone"}), []) as url:
        found = tail(url, "--payload")
    assert (found.exit_code, found.stdout.count("text")) == (0, MAX_FRAMES)
