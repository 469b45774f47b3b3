"""command/doctor_way.py: each check against connections that behave as they are told. tests/live/test_doctor.py has real proxies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self, cast

import pytest

from wsdaemon.command import doctor_way as way
from wsdaemon.command.admin_api import AdminPages
from wsdaemon.command.findings import Verdict
from wsdaemon.command.raw import CLOSE, PING, PONG, RawAnswer, RawConnection

YES = RawAnswer(101, {})


class ToldConnection:
    """Answers a request by a function, and gives frames; an exception among them is raised, after a second has passed."""

    def __init__(self, answer: Callable[..., RawAnswer], frames: Sequence[Any] = (), clock: Clock | None = None) -> None:
        self.answer, self.frames, self.clock = answer, list(frames), clock
        self.sent: list[tuple[int, bytes, int | None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.over = True

    def request(self, headers: Any = (), *, body: bytes = b"", connection: str = "Upgrade") -> RawAnswer:
        return self.answer(list(headers), body, connection)

    def send_frame(self, opcode: int, payload: bytes = b"", length: int | None = None) -> None:
        self.sent.append((opcode, payload, length))

    def frame(self, seconds: float) -> tuple[int, bytes] | None:
        if self.clock is not None:
            self.clock.time += 1.0
        found = self.frames.pop(0) if self.frames else TimeoutError()
        if isinstance(found, Exception):
            raise found
        return cast("tuple[int, bytes] | None", found)


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = 50.0
        monkeypatch.setattr("wsdaemon.command.doctor_way.time.monotonic", lambda: self.time)
        monkeypatch.setattr("wsdaemon.command.doctor_way.time.sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def one(connection: ToldConnection) -> way.Connect:
    return lambda: cast(RawConnection, connection)


@pytest.mark.parametrize(("status", "verdict"), [(101, "good"), (0, "problem"), (426, "problem"), (400, "problem"), (403, "problem")])
def test_the_upgrade(status: int, verdict: str) -> None:
    found = way.check_upgrade(RawAnswer(status, {"server": "nginx\x1b[2J"}))
    assert found.verdict == verdict
    assert "\x1b" not in found.text
    assert bool(found.fix) is (status in (0, 400, 426))


def test_compression() -> None:
    assert way.check_compression(RawAnswer(101, {"sec-websocket-extensions": "permessage-deflate"})).verdict is Verdict.GOOD
    assert way.check_compression(YES).fix == {"ws.ini": "compression = on"}


@pytest.mark.parametrize(("limit", "taken"), [(1 << 20, 1 << 20), (3 << 20, 1 << 21), (1 << 40, None), (10, None)])
def test_the_largest_message_is_found_between_two_powers_of_two(limit: int, taken: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    class Limited(ToldConnection):
        def send_frame(self, opcode: int, payload: bytes = b"", length: int | None = None) -> None:
            assert length is not None
            if length > limit:
                self.frames = [(PING, b""), (CLOSE, (1009).to_bytes(2, "big"))]

    found = way.check_limit(lambda: cast(RawConnection, Limited(lambda *request: YES, clock=clock)), [])
    assert found.verdict is (Verdict.WARNING if taken is None else Verdict.GOOD)
    assert found.values.get("taken") == taken


def test_a_cut_before_the_first_ping_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    found = way.check_idle(one(ToldConnection(lambda *request: YES, [TimeoutError()] * 9 + [None], clock)), [], 60.0, lambda passed: None)
    assert found.verdict is Verdict.PROBLEM
    assert found.values == {"ping": None, "cut": 10.0}
    assert found.fix["ws.ini"] == "ping_interval = 4s"


def test_pings_are_answered_and_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, progress = Clock(monkeypatch), list[float]()
    silent = ToldConnection(lambda *request: YES, [*[TimeoutError()] * 4, (PING, b"p")], clock)
    found = way.check_idle(one(silent), [], 20.0, progress.append)
    assert found.verdict is Verdict.GOOD
    assert found.values["ping"] == 5.0
    assert silent.sent == [(PONG, b"p", None)]
    assert progress == sorted(progress)
    assert len(progress) == 20


@pytest.mark.parametrize(
    ("frames", "verdict", "text"),
    [
        ([(PING, b""), TimeoutError(), None], Verdict.PROBLEM, "after a ping"),
        ([(CLOSE, (1001).to_bytes(2, "big"))], Verdict.NOTE, "closes a silent connection with 1001"),
        ([], Verdict.NOTE, "--idle-time"),
    ],
)
def test_other_ends_of_silence(frames: list[Any], verdict: Verdict, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = way.check_idle(one(ToldConnection(lambda *request: YES, frames, Clock(monkeypatch))), [], 10.0, lambda passed: None)
    assert found.verdict is verdict
    assert text in found.text


def test_requests_that_can_be_read_in_two_ways() -> None:
    [good] = way.check_smuggling(one(ToldConnection(lambda *request: RawAnswer(400, {}))), [])
    assert good.verdict is Verdict.GOOD
    [bad] = way.check_smuggling(one(ToldConnection(lambda headers, body, connection: YES if body == b"hello" else RawAnswer(400, {}))), [])
    assert bad.verdict is Verdict.PROBLEM
    assert bad.values == {"taken": ["two lengths"]}


@pytest.mark.parametrize(
    ("believed", "forged"),
    [
        (lambda headers, connection: "192.0.2.1", []),
        (lambda headers, connection: headers.get("X-Forwarded-For", "192.0.2.1"), ["X-Forwarded-For", "two lines of X-Forwarded-For"]),
        (lambda headers, connection: "10.0.0.1" if "X-Forwarded-For" in connection else "192.0.2.1", ["Connection: X-Forwarded-For"]),
    ],
)
def test_forged_addresses_are_those_that_the_daemon_believes(
    believed: Callable[[dict[str, str], str], str], forged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch)
    listed: dict[str, str] = {}

    def answer(headers: list[tuple[str, str]], body: bytes, connection: str) -> RawAnswer:
        listed[dict(headers)["User-Agent"]] = believed(dict(headers), connection)
        return YES

    class Pages:
        def connections(self, most: int, address: str | None = None) -> tuple[list[dict[str, str]], int]:
            found = [{"user_agent": mark, "address": seen} for mark, seen in listed.items() if address in (None, seen)]
            return found, len(found)

    found = way.check_forged(one(ToldConnection(answer)), [], cast(AdminPages, Pages()))
    assert found.verdict is (Verdict.PROBLEM if forged else Verdict.GOOD)
    assert found.values.get("forged", []) == forged


def test_without_admin_pages_addresses_are_not_known() -> None:
    assert way.check_forged(one(ToldConnection(lambda *request: YES)), [], None).verdict is Verdict.NOTE
