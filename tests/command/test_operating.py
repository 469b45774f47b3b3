"""command/operating.py: ls, kick, publish and token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.support.command_servers import AdminRequests, admin_server
from wsdaemon.command.exits import Exit
from wsdaemon.command.main import cli
from wsdaemon.command.operating import LARGEST_MESSAGE

CONNECTION = {
    "id": "c-1", "mount": "/echo", "listener": "web", "path": "/echo", "address": "192.0.2.7", "user": "ada\x1b[2J", "opened_at": 1.0,
    "messages_in": 3, "messages_out": 4, "backlog": 2048, "dropped": 0,
}  # fmt: skip


def command(server: AdminRequests, *line: str, given: bytes | None = None) -> Result:
    name, *rest = line
    return CliRunner().invoke(cli, [name, "--url", f"http://127.0.0.1:{server.port}", *rest], input=given)


def test_ls_shows_connections_and_no_control_characters() -> None:
    path = "/api/connections?mount=%2Fecho&after=&limit=1"
    with admin_server({("GET", path): (200, {"connections": [CONNECTION], "count": 2, "after": "c-1"})}) as server:
        done = command(server, "ls", "--mount", "/echo", "--limit", "1")
        assert done.exit_code == Exit.DONE
        assert "c-1" in done.stdout
        assert "2.0 KiB" in done.stdout
        assert "\x1b" not in done.stdout
        assert "1 of 2" in done.stderr
        done = command(server, "ls", "--mount", "/echo", "--limit", "1", "--json")
        assert json.loads(done.stdout) == {"connections": [CONNECTION], "count": 2}


def test_kick_closes_each_and_tells_of_those_that_are_gone() -> None:
    closed = {"id": "c-1", "code": 4001}
    with admin_server({("DELETE", "/api/connections/c-1?code=4001&reason=go"): (200, closed)}) as server:
        done = command(server, "kick", "--code", "4001", "--reason", "go", "c-0", "c-1")
        assert done.exit_code == Exit.FAILED
        assert done.stdout == "c-1 closes with 4001\n"
        assert "There is no such page" in done.stderr
        done = command(server, "kick", "--json", "--code", "4001", "--reason", "go", "c-1")
        assert (done.exit_code, json.loads(done.stdout)) == (0, closed)


@pytest.mark.parametrize(
    ("line", "given", "body", "content_type"),
    [
        (["hello"], None, b"hello", "text/plain; charset=utf-8"),
        ([], b"\x00\xff\n", b"\x00\xff\n", "text/plain; charset=utf-8"),
        (["--binary"], b"\x00\xff", b"\x00\xff", "application/octet-stream"),
        (["--content-type", "application/json", "{}"], None, b"{}", "application/json"),
    ],
)
def test_publish_sends_the_argument_or_standard_input(line: list[str], given: bytes | None, body: bytes, content_type: str) -> None:
    answer = {"room": "a/b", "epoch": "e", "offset": 7, "duplicate": False, "members": 2}
    with admin_server({("POST", "/api/rooms/a%2Fb/messages?mount=%2Frooms"): (200, answer)}) as server:
        done = command(server, "publish", "--mount", "/rooms", "--key", "k", "a/b", *line, given=given)
        assert (done.exit_code, done.stdout) == (0, "a/b: offset 7, to 2 members\n")
        _, _, headers, sent = server.seen[0]
        assert (sent, headers["Content-Type"], headers["Idempotency-Key"]) == (body, content_type, "k")


def test_publish_reads_no_more_than_a_message_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsdaemon.command.operating.LARGEST_MESSAGE", 10)
    assert LARGEST_MESSAGE > 10
    with admin_server({}) as server:
        assert command(server, "publish", "room", given=b"x" * 11).exit_code == Exit.FAILED
        assert server.seen == []


def test_token_makes_a_ticket() -> None:
    with admin_server({("POST", "/api/tickets/site"): (200, {"ticket": "abc", "lifetime": 30})}) as server:
        done = command(server, "token", "--auth", "site", "--claims", '{"role": "admin"}', "--path", "/chat", "--expires", "60", "ada")
        assert (done.exit_code, done.stdout) == (0, "abc\n")
        sent: dict[str, Any] = json.loads(server.seen[0][3])
        assert sent.pop("expires") > 60
        assert sent == {"identity": "ada", "claims": {"role": "admin"}, "path": "/chat"}
        assert command(server, "token", "--auth", "site", "--claims", "[1]", "ada").exit_code == Exit.USAGE
        assert command(server, "token", "ada").exit_code == Exit.USAGE, "without a file the section must be named"


@pytest.mark.parametrize(("sections", "status"), [(["site"], Exit.DONE), ([], Exit.USAGE), (["site", "other"], Exit.USAGE)])
def test_token_takes_the_only_section_of_the_file(sections: list[str], status: Exit, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef0123456789abcdef")
    with admin_server({("POST", "/api/tickets/site"): (200, {"ticket": "abc"})}) as server:
        text = f"[listener:web]\naddress = tcp:0\n[admin]\naddress = tcp:{server.port}:interface=127.0.0.1\ntoken_file = token\n"
        text += "".join(f"[auth:{name}]\nkind = ticket\n[mount:/{name}]\napp = echo\nauth = {name}\n" for name in sections)
        (tmp_path / "ws.ini").write_text(text)
        assert CliRunner().invoke(cli, ["token", "-c", str(tmp_path / "ws.ini"), "ada"]).exit_code == status


def test_answers_do_not_steer_a_terminal() -> None:
    hostile = "\x1b]0;title\x07\x9b2J"
    answers: dict[tuple[str, str], tuple[int, object]] = {
        ("DELETE", "/api/connections/c?code=4403&reason=removed"): (200, {"id": hostile, "code": 4403}),
        ("POST", "/api/rooms/r/messages"): (200, {"room": hostile, "offset": 1, "duplicate": False, "members": 2}),
        ("POST", "/api/tickets/site"): (200, {"ticket": hostile}),
    }
    with admin_server(answers) as server:
        for line in (["kick", "c"], ["publish", "r", "m"], ["token", "--auth", "site", "ada"]):
            done = command(server, *line)
            assert done.exit_code == Exit.DONE
            assert done.stdout.startswith(r"\x1b]0;title\x07\x9b2J")


@pytest.mark.parametrize("option", ["--key", "--content-type"])
def test_publish_refuses_what_no_header_can_have(option: str) -> None:
    with admin_server({}) as server:
        for wrong in ("\N{EURO SIGN}", "a\nb"):
            done = command(server, "publish", option, wrong, "r", "m")
            assert done.exit_code == Exit.USAGE
            assert f"{option}: expected printable ASCII" in done.stderr
        assert server.seen == []
