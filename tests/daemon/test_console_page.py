"""daemon/console_page.py: the test tool on a listener, at one path, with the console's policy."""

from __future__ import annotations

from wsdaemon.daemon.console_page import PUBLIC_PATH, public_console
from wsdaemon.edge.pages import Page
from wsdaemon.edge.request import parse_head
from wsdaemon.ops.console.files import POLICY, parts


def ask(path: str, method: str = "GET") -> Page | None:
    return public_console().answer(parse_head(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))


def test_the_page_and_its_parts() -> None:
    page = ask(PUBLIC_PATH)
    assert page is not None and b'data-only="try"' in page.body and ("Content-Security-Policy", POLICY) in page.headers
    assert b'src="/console/main.js"' in page.body and page.content_type == "text/html; charset=utf-8"
    for name, file in parts().items():
        answer = ask(f"{PUBLIC_PATH}/{name}")
        assert answer is not None and (answer.body, answer.content_type) == (file.body, file.content_type)
    assert ask("/") is None and ask("/console/") is None and ask("/console/console.html") is None
