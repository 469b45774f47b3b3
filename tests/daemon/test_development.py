"""daemon/development.py: where --dev may run, and the differences that it makes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.logger import Logger

from tests.support.fakes import PEER
from wsdaemon.core.closing import LONGEST_REASON, reason_bytes
from wsdaemon.core.connection import Connection
from wsdaemon.core.handshake import Handshake
from wsdaemon.core.registry import Connections
from wsdaemon.daemon import development as module
from wsdaemon.daemon.development import DevelopmentWatch, close_reason, refusals, relaxed
from wsdaemon.edge.origins import Origins
from wsdaemon.ops.log_format import JsonRenderer
from wsdaemon.settings import ini
from wsdaemon.settings.model import Settings

HERE = "tcp:0:interface=127.0.0.1"


def settings(address: str = HERE, rest: str = "") -> Settings:
    problems: list[Any] = []
    text = f"[listener:web]\naddress = {address}\n[mount:/chat]\napp = echo\n{rest}\n"
    found = ini.parse(text.encode(), "ws.ini", problems)
    assert found is not None, problems
    return found


@pytest.mark.parametrize("address", [HERE, "tcp:8080:interface=[::1]", "tcp:8080:interface=127.8.8.8", "unix:/tmp/ws.sock"])
def test_it_runs_where_no_other_machine_comes(address: str) -> None:
    assert refusals(settings(address)) == []


@pytest.mark.parametrize(
    "address", ["tcp:8080", "tcp:8080:interface=0.0.0.0", "tcp:8080:interface=[::]", "tcp:8080:interface=192.0.2.1", "systemd:name=web"]
)
def test_it_is_refused_on_other_addresses(address: str) -> None:
    (problem,) = refusals(settings(address))
    assert (problem.section, problem.key, problem.line) == ("listener:web", "address", 2)
    assert "--dev serves this machine alone" in problem.message


def test_it_is_refused_with_workers_and_with_open_admin_pages() -> None:
    rest = "[daemon]\nworkers = 2\n[admin]\naddress = tcp:9000:interface=192.0.2.1\n"
    found = refusals(settings(rest=rest))
    assert [(problem.section, problem.key) for problem in found] == [("daemon", "workers"), ("admin", "address")]


LOCAL = ["http://localhost:5173", "https://localhost", "http://127.0.0.1:3000", "http://[::1]:8000", "http://LOCALHOST:1"]
OTHER = [
    "http://evil.example:5173", "http://localhost.evil.example", "http://evil-localhost:1", "http://127.0.0.1.evil.example", "null",
    "http://127.0.0.2:3000", "file://", "app://localhost", "http://sub.localhost:3000", "http://localhost:5173/path", "http://[::2]:1",
]  # fmt: skip


@pytest.mark.parametrize("secure", [False, True])
def test_pages_of_this_machine_may_connect_and_no_others(secure: bool) -> None:
    before, after = (Origins.parse(each.mounts[0].origins) for each in (settings(), relaxed(settings(), False)))
    assert [each for each in LOCAL if before.allows(each, "127.0.0.1:8080", secure)] == []
    assert [each for each in LOCAL if after.allows(each, "127.0.0.1:8080", secure)] == LOCAL
    assert [each for each in OTHER if after.allows(each, "127.0.0.1:8080", secure)] == []


def test_the_operators_own_origins_stay() -> None:
    listed, every = (relaxed(settings(rest=f"origins = {text}"), False).mounts[0].origins for text in ("https://www.example.com", "any"))
    assert listed[0] == "https://www.example.com"
    assert every == ("any",)


def test_a_restart_is_quick_and_clients_come_back_at_once() -> None:
    daemon = relaxed(settings(), False).daemon
    assert (daemon.drain_grace, daemon.drain_over, daemon.drain_retry) == (0.0, 0.0, (0.0, 0.0))
    assert daemon.drain_timeout <= 0.5


def test_compression_is_off_only_if_frames_are_shown() -> None:
    assert relaxed(settings(), False).mounts[0].compression
    assert not relaxed(settings(), True).mounts[0].compression


# -- the reason


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_reason_begins_with_the_exception() -> None:
    reason = close_reason(raised(ValueError("no such room: ä\x1b[31m\nand more")))
    assert reason.startswith("ValueError: no such room: ä\\x1b[31m\\nand more; test_development.py:")
    assert reason.endswith(" in raised")


def test_a_reason_of_a_frame_is_cut_at_a_character() -> None:
    sent = reason_bytes(close_reason(raised(ValueError("ä" * 200))))
    assert LONGEST_REASON - 1 <= len(sent) <= LONGEST_REASON
    assert sent.decode().startswith("ValueError: ää")


def test_a_syntax_error_and_an_exception_without_text_have_a_reason() -> None:
    assert close_reason(raised(KeyError())).startswith("KeyError; ")
    with pytest.raises(SyntaxError) as caught:
        compile("def app(:", "chat.py", "exec")
    assert close_reason(caught.value).startswith("SyntaxError: invalid syntax")


class Wire:
    def __init__(self) -> None:
        self.closed: list[tuple[int, str]] = []
        self.live = True

    @property
    def writer(self) -> Wire:
        return self

    def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


def test_a_failure_closes_with_its_reason_and_is_logged_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Any] = []
    observer: Any = events.append
    monkeypatch.setattr(module, "app_log", Logger("wsdaemon.app", observer=observer))
    watch, wire = DevelopmentWatch(Connections(), lines=False), Wire()
    handshake = Handshake(target="/chat", path="/chat", raw_path=b"/chat", peer=PEER, listener="web", mount="/chat")
    fake: Any = wire
    for _ in range(3):
        watch.app_failed(Connection(fake, handshake, "x-1"), "running", raised(ValueError("bad")))
    assert [code for code, _ in wire.closed] == [1011, 1011, 1011]
    assert wire.closed[0][1].startswith("ValueError: bad; test_development.py:")
    assert len(events) == 3
    entry = json.loads(JsonRenderer()(events[0]) or b"")
    assert "ValueError: bad" in json.dumps(entry)
