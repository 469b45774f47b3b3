"""edge/pages.py: web pages beside the WebSockets of a listener, and the way to them through the gate."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import LOCAL, PEER, App, House, Transport, request
from tests.support.gates import make_gate
from wsdaemon import WebSocketServer
from wsdaemon.core.registry import Count
from wsdaemon.core.routing import Routes
from wsdaemon.edge.arrival import Arrival
from wsdaemon.edge.candidate import Entrance
from wsdaemon.edge.pages import Pages, content_security_policy
from wsdaemon.edge.request import BadRequest, parse_head
from wsdaemon.edge.request_body import LINGER_SECONDS

HTML = "<!DOCTYPE html><style>p { color: red }</style>\n<p>grüße</p><script>alert(1)</script>".encode()
TIMEOUT = 10.0


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    (tmp_path / "page.html").write_bytes(HTML)
    (tmp_path / "secret.txt").write_text("secret")
    found = Pages()
    found.add("/", tmp_path / "page.html")
    found.add("/a/page", tmp_path / "page.html")
    return found


def ask(pages: Pages, target: str, method: str = "GET") -> tuple[int, dict[str, str], bytes] | None:
    """Status, headers and body."""
    answer = pages.answer(parse_head(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))
    return None if answer is None else (answer.status, {"Content-Type": answer.content_type, **dict(answer.headers)}, answer.body)


def test_a_page(pages: Pages) -> None:
    for target in ("/", "/?x=1", "/a/page", "/a/p%61ge", "http://x/a/page"):
        found = ask(pages, target)
        assert found is not None
        status, headers, body = found
        assert (status, body) == (200, HTML)
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
def test_other_methods(pages: Pages, method: str) -> None:
    with pytest.raises(BadRequest) as error:
        ask(pages, "/", method)
    assert (error.value.status, error.value.headers) == (405, (("Allow", "GET, HEAD"),))
    assert ask(pages, "/nowhere", method) is None, "the gate knows what to say"


@pytest.mark.parametrize(
    "target", ["/secret.txt", "/page.html", "//", "/a", "/a/", "/A/page", "/a/./page", "/a/../secret.txt", "/..%2fsecret.txt", "/%2e%2e/x"]
)
def test_no_path_reaches_another_file(pages: Pages, target: str) -> None:
    assert ask(pages, target) is None


def test_a_page_is_as_it_was_when_it_was_added(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("one")
    pages = Pages()
    assert not pages
    pages.add("/", tmp_path / "a.html")
    assert pages
    (tmp_path / "a.html").unlink()
    found = ask(pages, "/")
    assert found is not None and found[2] == b"one"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.css", "text/css; charset=utf-8"),
        ("a.svg", "image/svg+xml; charset=utf-8"),
        ("a.png", "image/png"),
        ("a", "application/octet-stream"),
    ],
)
def test_content_types(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    pages = Pages()
    pages.add("/x", tmp_path / name)
    found = ask(pages, "/x")
    assert found is not None and found[1]["Content-Type"] == kind


def test_what_cannot_be_added(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Pages().add("/", tmp_path / "nothing.html")
    with pytest.raises(ValueError, match="begins with a slash"):
        Pages().add("chat", tmp_path / "nothing.html")
    with pytest.raises(FileNotFoundError):
        WebSocketServer().page("/", tmp_path / "nothing.html")


def test_only_the_scripts_and_styles_of_the_page_itself_may_run(pages: Pages) -> None:
    def named(text: bytes) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"

    policy = dict(part.strip().split(" ", 1) for part in content_security_policy(HTML).split(";"))
    assert policy["script-src"] == f"'self' {named(b'alert(1)')}"
    assert policy["style-src"] == f"'self' {named(b'p { color: red }')}"
    assert policy["default-src"] == "'self'"
    assert "unsafe-inline" not in content_security_policy(HTML)
    assert named(b"a\nb") in content_security_policy(b"<SCRIPT type='module'>a\r\nb</script >")
    assert "sha256" not in content_security_policy(b"")


# -- through the gate


class Door:
    """A gate with a mount at / and a page there."""

    def __init__(self, made: House, pages: Pages, secure: bool = False) -> None:
        self.loop, self.count, self.left, self.answered = made.loop, Count(), list[Arrival](), 0
        wire = made.make_wires(App())
        self.gate = make_gate(
            listener="here", secure=secure, routes=Routes([("/", Entrance("/", wire, self.count))]), counts=(), wheel=made.wheel(),
            handshake_timeout=TIMEOUT, retry_after=1.0, pages=pages.answer,
        )  # fmt: skip

    def gone(self, arrival: Any) -> None:
        self.left.append(arrival)

    def again(self, arrival: Any) -> None:
        self.answered += 1

    def get(self, data: bytes, descriptor: int = 7) -> Transport:
        transport = Transport(self.loop)
        transport.protocol = Arrival(self.gate, self, PEER, LOCAL, descriptor)
        transport.protocol.connection_made(transport)
        transport.receive(data)
        return transport


@pytest.mark.parametrize("secure", [False, True])
def test_a_page_and_a_mount_at_one_path(made: House, pages: Pages, secure: bool) -> None:
    door = Door(made, pages, secure)
    page = door.get(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", -1 if secure else 7)
    assert b"".join(page.writes).endswith(b"\r\n\r\n" + HTML)
    made.loop.settle()
    assert (page.eof_written, page.closing, door.answered) == (False, False, 1)
    assert (door.count.now, door.gate.refused) == (0, {}), "a page is neither a connection nor a refusal"
    assert door.get(request("/")).writes[0].startswith(b"HTTP/1.1 101 ")


def test_several_pages_on_one_connection_and_head_has_no_body(made: House, pages: Pages) -> None:
    page = Door(made, pages).get(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET /a/page HTTP/1.1\r\nHost: x\r\n\r\n")
    made.loop.settle()
    first, empty, second = b"".join(page.writes).partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(HTML) in first and empty and second.startswith(b"HTTP/1.1 200 OK") and second.endswith(HTML)


def test_a_client_has_time_to_read_a_page_but_not_for_ever(made: House, pages: Pages) -> None:
    door = Door(made, pages)
    page = door.get(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    made.loop.settle()
    made.loop.advance(LINGER_SECONDS * 2)
    assert not page.lost
    made.loop.advance(TIMEOUT)
    assert page.lost and page.writes[-1].endswith(HTML), "no answer to a request that was not made"
    assert len(door.left) == 1
    assert len(door.gate.wheel) == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (request("/a/page"), 404),  # an opening handshake never gets a page
        (request("/", sec_websocket_version="8"), 426),
    ],
)
def test_what_is_refused_still_is(made: House, pages: Pages, data: bytes, status: int) -> None:
    transport = Door(made, pages).get(data)
    assert transport.writes[0].startswith(f"HTTP/1.1 {status} ".encode())
