"""Chromium as a client: ws and wss, compressed and not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Browser
from tests.support.daemon import ECHO, TLS_ECHO, Daemon, make_certificate, program

pytestmark = pytest.mark.live

TALK = """
new Promise((resolve, reject) => {
    const socket = new WebSocket(%(url)r);
    socket.binaryType = "arraybuffer";
    const long = "grüße ".repeat(20000), bytes = new Uint8Array(100000).map((_, i) => i * 7);
    const got = [];
    socket.onerror = () => reject(new Error("the connection failed"));
    socket.onopen = () => { socket.send("hello"); socket.send(long); socket.send(bytes); socket.send(""); };
    socket.onmessage = (event) => {
        got.push(event.data);
        if (got.length == 4) socket.close(4001, "enough");
    };
    socket.onclose = (event) => resolve({
        short: got[0], long: got[1] === long, empty: got[3],
        bytes: got[2].byteLength == bytes.length && new Uint8Array(got[2]).every((byte, i) => byte == bytes[i]),
        extensions: socket.extensions, code: event.code, reason: event.reason, clean: event.wasClean,
    });
})
"""

UNTIL_CLOSED = """
new Promise((resolve) => {
    const socket = new WebSocket(%(url)r);
    socket.onclose = (event) => resolve({code: event.code, reason: event.reason, clean: event.wasClean});
    socket.onopen = () => socket.send("hello");
    socket.onmessage = () => { document.title = "open"; };
})
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(program("chromium", "Debian packages chromium and chromium-driver"), tmp_path_factory.mktemp("chromium")) as started:
        yield started


def talk(browser: Browser, url: str) -> dict[str, Any]:
    browser.go(f"http{url.removeprefix('ws')}")  # any page of the daemon's, so that the origin is its own
    result: dict[str, Any] = browser.run(TALK % {"url": url})
    extensions = result.pop("extensions")
    assert result == {
        "short": "hello", "long": True, "bytes": True, "empty": "", "code": 4001, "reason": "enough", "clean": True,
    }  # fmt: skip
    return {"compressed": "permessage-deflate" in extensions}


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("compression", ["on", "off"])
def test_echo(browser: Browser, tmp_path: Path, scheme: str, compression: str) -> None:
    make_certificate(tmp_path)
    text = (ECHO if scheme == "ws" else TLS_ECHO) + f"[defaults]\ncompression = {compression}\n"
    with Daemon(tmp_path, text) as daemon:
        assert talk(browser, daemon.url(scheme=scheme)) == {"compressed": compression == "on"}


@pytest.mark.parametrize("key", ["server_context_takeover = off", "client_context_takeover = on", "window_bits = 9", "window_bits = 15"])
def test_echo_with_other_compression(browser: Browser, tmp_path: Path, key: str) -> None:
    with Daemon(tmp_path, ECHO + f"[defaults]\ncompression_{key}\n") as daemon:
        assert talk(browser, daemon.url()) == {"compressed": True}


def test_a_page_of_another_site_is_refused(browser: Browser, tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon, Daemon(tmp_path) as other:
        browser.go(other.url(scheme="http"))  # another port is another origin
        assert browser.run(UNTIL_CLOSED % {"url": daemon.url()})["code"] == 1006
        browser.go(daemon.url(scheme="http"))
        assert talk(browser, daemon.url()) == {"compressed": True}


def test_a_page_is_told_that_the_daemon_goes_away(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import os, signal\n\nasync def app(connection):\n"
        "    async for message in connection:\n        os.kill(os.getpid(), signal.SIGTERM)\n"
    )  # fmt: skip
    with Daemon(tmp_path, ECHO.replace("= echo", "= app:app")) as daemon:
        browser.go(daemon.url(scheme="http"))
        told = browser.run(UNTIL_CLOSED % {"url": daemon.url()})
        assert (told["code"], told["clean"]) == (1012, True)
        assert daemon.wait() == 0
