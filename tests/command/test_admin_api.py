"""command/admin_api.py: the place of the admin pages, their token, and their answers."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from tests.support.command_servers import admin_server
from wsdaemon.command.admin_api import MAX_ANSWER_BYTES, AdminPages, PagesChoice, pages_of, segment
from wsdaemon.command.exits import CommandFailed, Exit
from wsdaemon.command.main import cli

TOKEN = "0123456789abcdef0123456789abcdef"

FILE = "[listener:web]\naddress = tcp:0\n[mount:/echo]\napp = echo\n"


def write(folder: Path, admin: str) -> str:
    (folder / "token").write_text(TOKEN + "\n")
    (folder / "ws.ini").write_text(f"{FILE}[admin]\ntoken_file = token\n{admin}\n")
    return str(folder / "ws.ini")


def test_the_file_names_the_pages_and_the_token(tmp_path: Path) -> None:
    with admin_server({("GET", "/status"): (200, {"state": "ready"})}) as server:
        pages = pages_of(write(tmp_path, f"address = tcp:{server.port}:interface=127.0.0.1"), None, None, None)
        assert pages.get("/status") == {"state": "ready"}
        assert server.seen[0][2]["Authorization"] == f"Bearer {TOKEN}"
        assert TOKEN not in repr(pages)


def test_the_command_line_comes_before_the_environment_and_that_before_a_file_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").write_text("another-token-of-mine\n")
    with admin_server({("GET", "/status"): (200, {})}) as server:
        url = f"http://127.0.0.1:{server.port}"
        pages_of(None, url, str(tmp_path / "other"), None).get("/status")
        monkeypatch.setenv("WSDAEMON_ADMIN_TOKEN", "of-the-environment")
        pages_of(None, url, None, None).get("/status")
        file = write(tmp_path, f"address = tcp:{server.port}:interface=127.0.0.1")
        monkeypatch.setattr("wsdaemon.command.admin_api.settings_file", lambda config: config or file)
        pages_of(None, None, None, None).get("/status")
        monkeypatch.setenv("WSDAEMON_ADMIN_URL", "unix:/of/another/daemon")
        pages_of(file, None, None, None).get("/status")
        pages_of(file, url, None, None).get("/status")
        sent = [headers["Authorization"] for _, _, headers, _ in server.seen]
        environment = ["Bearer of-the-environment"] * 2
        assert sent == ["Bearer another-token-of-mine", *environment, f"Bearer {TOKEN}", f"Bearer {TOKEN}"]
        assert pages_of(None, None, None, None).where == "unix:/of/another/daemon"


@pytest.mark.parametrize(
    ("admin", "where"),
    [
        ("address = tcp:9464", "http://127.0.0.1:9464"),
        ("address = tcp:9464:interface=0.0.0.0", "http://127.0.0.1:9464"),
        (r"address = tcp:9464:interface=\:\:", "http://[::1]:9464"),
        ("address = tcp:9464:interface=10.1.2.3", "http://10.1.2.3:9464"),
        ("address = unix:admin.sock", "unix:{folder}/admin.sock"),
    ],
)
def test_addresses_as_this_machine_reaches_them(admin: str, where: str, tmp_path: Path) -> None:
    assert pages_of(write(tmp_path, admin), None, None, None).where == where.format(folder=tmp_path)


def test_a_host_that_the_pages_ask_for_is_sent(tmp_path: Path) -> None:
    with admin_server({("GET", "/status"): (200, {})}) as server:
        admin = f"address = tcp:{server.port}:interface=127.0.0.1\nhosts = *.example.com, ws.example.org"
        pages_of(write(tmp_path, admin), None, None, None).get("/status")
        assert server.seen[0][2]["Host"] == "ws.example.org"


def test_a_wildcard_of_hosts_is_filled_in(tmp_path: Path) -> None:
    admin = "address = tcp:9464:interface=127.0.0.1\nhosts = *.example.com"
    assert pages_of(write(tmp_path, admin), None, None, None).host == "wsdaemon.example.com"
    assert pages_of(write(tmp_path, "address = tcp:9464"), None, None, None).host is None


@pytest.mark.parametrize(
    ("admin", "text"), [("address = tcp:0:interface=127.0.0.1", "--url"), ("address = nowhere", "address"), ("timeout = soon", "timeout")]
)
def test_pages_that_the_file_does_not_name(admin: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=text):
        pages_of(write(tmp_path, admin), None, None, None)


def test_a_file_without_admin_pages(tmp_path: Path) -> None:
    (tmp_path / "ws.ini").write_text(FILE)
    with pytest.raises(CommandFailed, match=r"no section \[admin\]"):
        pages_of(str(tmp_path / "ws.ini"), None, None, None)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (["--ca", "token"], "--ca needs --url"),
        (["--url", "https://127.0.0.1:1", "--client-key", "token"], "--client-key needs --client-certificate"),
        (["--url", "https://127.0.0.1:1", "--client-certificate", "token"], "expected a certificate in PEM"),
    ],
)
def test_options_of_tls_that_cannot_be(line: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "address = tcp:9464:interface=127.0.0.1")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["ls", *line])
    assert done.exit_code == Exit.USAGE
    assert text in done.output


def test_a_client_certificate_is_shown_to_pages_that_want_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("ada@example.com").private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with admin_server({("GET", "/status"): (200, {"state": "ready"})}, context) as server:
        place = PagesChoice(None, f"https://127.0.0.1:{server.port}", None, str(tmp_path / "ca.pem"), str(tmp_path / "own.pem"), None)
        assert place.pages().get("/status") == {"state": "ready"}
        monkeypatch.setenv("WSDAEMON_ADMIN_CA", str(tmp_path / "ca.pem"))
        assert place._replace(ca=None).pages().get("/status") == {"state": "ready"}
        with pytest.raises(CommandFailed):
            place._replace(client_certificate=None).pages().get("/status")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:80", "http://127.0.0.1/api", "http://127.0.0.1:x"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(CommandFailed) as failed:
        pages_of(None, url, None, None).get("/status")
    assert failed.value.exit_code == Exit.USAGE


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        ((401, {"detail": "This is not the token."}), Exit.REFUSED, "This is not the token"),
        ((401, {"code": "no_token", "detail": "Show the token."}), Exit.REFUSED, "--token-file FILE, or WSDAEMON_ADMIN_TOKEN"),
        ((403, {"title": "Forbidden"}), Exit.REFUSED, "Forbidden"),
        ((404, {"detail": "No open connection has this id."}), Exit.FAILED, "this id"),
        ((200, b"<html>"), Exit.FAILED, "no admin pages of wsdaemon"),
        ((500, b""), Exit.FAILED, "status 500"),
    ],
)
def test_problems_are_told_in_the_words_of_the_daemon(answer: tuple[int, object], status: Exit, text: str) -> None:
    with admin_server({("GET", "/status"): answer}) as server, pytest.raises(CommandFailed, match=text) as failed:
        pages_of(None, f"http://127.0.0.1:{server.port}", None, None).get("/status")
    assert failed.value.exit_code == status


def test_an_answer_without_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsdaemon.command.admin_api.MAX_ANSWER_BYTES", 100)
    assert MAX_ANSWER_BYTES > 100
    with admin_server({("GET", "/status"): (200, b'"' + b"x" * 200 + b'"')}) as server, pytest.raises(CommandFailed, match="longer than"):
        pages_of(None, f"http://127.0.0.1:{server.port}", None, None).get("/status")


def test_no_daemon_is_there(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed) as failed:
        pages_of(None, f"unix:{tmp_path}/none", None, None).get("/status")
    assert failed.value.exit_code == Exit.UNREACHABLE


def test_connections_are_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {
        "": {"connections": [{"id": "a"}, {"id": "b"}], "count": 5, "after": "b"},
        "b": {"connections": [{"id": "c"}, {"id": "d"}], "count": 5, "after": "d"},
        "d": {"connections": [{"id": "e"}], "count": 5},
    }  # fmt: skip
    asked: list[tuple[str, object]] = []

    def get(self: AdminPages, path: str, **query: object) -> object:
        asked.append((str(query["after"]), query["limit"]))
        return pages[str(query["after"])]

    monkeypatch.setattr(AdminPages, "get", get)
    found = pages_of(None, "unix:/none", None, None)
    everything, count = found.connections(0, mount=None)
    assert ([each["id"] for each in everything], count) == (list("abcde"), 5)
    assert found.connections(4)[0] == everything[:4]
    assert asked == [("", 1000), ("b", 1000), ("d", 1000), ("", 4), ("b", 2)]


def test_names_of_rooms_are_one_segment() -> None:
    assert segment("a/b c?#%") == "a%2Fb%20c%3F%23%25"


def test_a_problem_of_the_pages_does_not_steer_a_terminal() -> None:
    answer = (400, {"detail": "\x1b[2J\nwsdaemon: all is well"})
    with admin_server({("GET", "/status"): answer}) as server, pytest.raises(CommandFailed) as failed:
        pages_of(None, f"http://127.0.0.1:{server.port}", None, None).get("/status")
    assert failed.value.message.endswith(r": \x1b[2J\nwsdaemon: all is well")


def test_a_token_is_stripped_and_never_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSDAEMON_ADMIN_TOKEN", f" {TOKEN}\n")
    assert pages_of(None, "unix:/none", None, None).token == TOKEN
    for wrong in (f"{TOKEN}\x01", f"{TOKEN}\N{EURO SIGN}", f"{TOKEN} more", "short", ""):
        monkeypatch.setenv("WSDAEMON_ADMIN_TOKEN", wrong)
        (tmp_path / "token").write_text(wrong)
        for file in (None, str(tmp_path / "token")):
            with pytest.raises(CommandFailed) as failed:
                pages_of(None, "unix:/none", file, None)
            assert failed.value.exit_code == Exit.USAGE
            assert not wrong or wrong not in failed.value.message
