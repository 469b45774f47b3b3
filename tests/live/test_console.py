"""The console in Chromium, by clicks: two tabs, phones, light and dark, and nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.test_admin import ADMIN, PORT, TOKEN, write_token
from tests.support.browser import Browser
from tests.support.daemon import Daemon, program

pytestmark = pytest.mark.live

INI = """
[listener:web]
address = tcp:0:interface=127.0.0.1
console = on
[mount:/echo]
app = echo
subprotocols = plain
[mount:/rooms/{room}]
app = rooms
history = 100
"""

HOSTILE = "<img src=x onerror=alert(1)><b>bold</b>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(program("chromium", "Debian packages chromium and chromium-driver"), tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("daemon")
    write_token(folder)
    with Daemon(folder, INI + ADMIN + "tap = payload\n") as daemon:
        yield daemon


@pytest.fixture
def console(daemon: Daemon) -> str:
    [port] = daemon.output.wait_for(PORT)
    return f"http://127.0.0.1:{port[1]}/"


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Callable[[str], Tab]]:
    opened: list[Tab] = []

    def open_one(url: str) -> Tab:
        opened.append(Tab(browser, url))
        return opened[-1]

    yield open_one
    for tab in opened:
        browser.close_tab(tab.name)


class Tab:
    """A tab of the browser, as its user has it."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.name = browser.tab()
        self.here()
        browser.watch()
        browser.go(url)

    def here(self) -> Browser:
        self.browser.switch(self.name)
        return self.browser

    def sees(self, words: str, where: str) -> None:
        """Wait until an element that is shown has these words in it."""
        found = f"one.checkVisibility() && one.textContent.includes({json.dumps(words)})"
        self.here().until(f"[...document.querySelectorAll({where!r})].some((one) => {found})")

    def click(self, what: str) -> None:
        self.here().until(f"document.querySelector({what!r})?.checkVisibility() && !document.querySelector({what!r}).disabled")
        self.browser.run(f"document.querySelector({what!r}).click()")

    def write(self, what: str, text: str) -> None:
        self.here().run(f"document.querySelector({what!r}).value = {json.dumps(text)}")

    def sign_in(self, token: str = TOKEN) -> None:
        self.sees("Sign in", "#login")
        self.write("#token", token)
        self.click("#login button")


    def urls(self) -> list[str]:
        """The requests and the WebSockets that it made."""
        mine = [(method, told) for tab, method, told in self.browser.told if tab == self.name]
        urls = [told["request"]["url"] for method, told in mine if method == "Network.requestWillBeSent"]
        return urls + [told["url"] for method, told in mine if method == "Network.webSocketCreated"]

    def check(self, *own: str) -> None:
        """It asked for nothing but URLs that begin with one of `own`, and its console is empty."""
        urls = self.urls()
        assert urls and [url for url in urls if not url.startswith((*own, "data:,"))] == []
        assert [told for tab, method, told in self.browser.told if tab == self.name and not method.startswith("Network.")] == []


def test_two_tabs_watch_talk_and_close(open_tab: Callable[[str], Tab], daemon: Daemon, console: str) -> None:
    one, other = open_tab(console), open_tab(console)
    one.sign_in()
    one.sees("connected", "#state")
    one.sees("/echo", "#mounts")
    other.sign_in()  # a token stays in its tab

    # a connection that one tab makes is found and closed by the other
    one.click("#tab-try")
    one.write("#url", daemon.url("/echo"))
    one.write("#subprotocols", "plain")
    one.click("#open")
    one.sees("subprotocol plain", "#try-state")
    one.write("#message", HOSTILE)
    one.click("#send .main")
    one.sees(HOSTILE, "#frames .received")
    one.click("#time-echo")
    one.sees("after", "#frames .received")
    one.click("[data-copy=wscat]")
    assert one.here().run("document.querySelector('#copied').value") == f"wscat -c '{daemon.url('/echo')}' -s 'plain'"
    other.click("#tab-connections")
    other.write("#search-by", "mount")
    other.write("#search-for", "/echo")
    other.click("#search .main")
    other.sees("1 open connections match", "#found")
    other.click("#connection-list tbody button")
    other.sees("/echo", "#inspect-facts dd")
    other.click("#tap-payload")
    other.click("#tap")
    other.sees("as they pass", "#tap-state")
    one.write("#message", "seen by the operator")
    one.click("#send .main")
    other.sees("  in  text  ", "#tap-frames .received .head")
    other.write("#close-code", "4001")
    other.write("#close-reason", "by the operator")
    other.click("#close-connection .danger")
    one.sees('Closed with 4001 "by the operator".', "#try-state")
    other.click("#tab-live")
    other.sees("by the operator", "#closes td")

    # a message that one tab publishes is text in the other
    other.click("#tab-rooms")
    other.here().until("document.querySelector('#room-mount').value !== ''")
    other.write("#room-name", "lobby")
    other.click("#watch .main")
    one.click("#tab-rooms")
    one.here().until("document.querySelector('#room-mount').value !== ''")
    one.write("#room-name", "lobby")
    one.click("#watch .main")
    one.write("#publish-text", HOSTILE)
    one.click("#publish .main")
    other.sees(HOSTILE, "#room-messages li")
    with daemon.connect("/rooms/lobby"):
        other.sees("1", "#room-count")
    for tab in (one, other):
        assert tab.here().run("document.querySelectorAll('main img, main b').length") == 0
        tab.check(console, console.replace("http", "ws"), daemon.url("/echo"))


def test_with_workers_the_rooms_are_shown_too(open_tab: Callable[[str], Tab], tmp_path: Path) -> None:
    write_token(tmp_path)
    with Daemon(tmp_path, "[daemon]\nworkers = 2\n" + INI + ADMIN) as daemon, daemon.connect("/rooms/lobby"):
        [port] = daemon.output.wait_for(PORT)
        tab = open_tab(f"http://127.0.0.1:{port[1]}/")
        tab.sign_in()
        tab.sees("lobby", "#room-list td")
        tab.click("#tab-rooms")
        tab.here().until("document.querySelector('#room-mount').value === '/rooms/{room}'")


def test_a_wrong_token_shows_nothing_and_a_good_one_is_in_no_url(open_tab: Callable[[str], Tab], console: str) -> None:
    tab = open_tab(console)
    tab.sign_in("another-token-entirely")
    tab.sees("This is not the token.", "#problem")
    tab.sign_in()
    tab.sees("connected", "#state")
    tab.click("#forget")
    tab.sees("Sign in", "#login")
    assert tab.here().run("sessionStorage.length + localStorage.length + document.cookie.length") == 0
    assert not [url for url in tab.urls() if TOKEN in url]


def test_every_part_fits_and_can_be_read(open_tab: Callable[[str], Tab], console: str) -> None:
    tab = open_tab(console)
    browser = tab.here()
    tab.sign_in()
    for width in (1280, 390, 360):
        for scheme in ("light", "dark"):
            browser.resize(width, 800, scheme)
            for part in ("live", "connections", "rooms", "try"):
                tab.click(f"#tab-{part}")
                assert browser.run("document.documentElement.scrollWidth") <= width, part
                assert browser.run(CONTRASTS) == [], (part, scheme)


CONTRASTS = """
(() => {
    const color = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map((one) => (one /= 255) <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const behind = (one) => {
        for (; one; one = one.parentElement) {
            const found = color(getComputedStyle(one).backgroundColor);
            if (found.length === 3 || found[3] === 1) return found;
        }
        return [255, 255, 255];
    };
    return [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility() && !one.disabled && one.matches(
        "label, button, th, td, p, h1, h3, span, input, select, textarea, li, dd, dt"
    )).map((one) => {
        const [high, low] = [light(color(getComputedStyle(one).color)), light(behind(one))].sort((a, b) => b - a);
        return [(high + 0.05) / (low + 0.05), one.tagName, one.id, one.textContent.slice(0, 20)];
    }).filter(([ratio]) => ratio < 4.5);
})()
"""


def test_keys_alone_lead_through_the_parts(open_tab: Callable[[str], Tab], console: str) -> None:
    tab = open_tab(console)
    tab.sign_in()
    tab.sees("connected", "#state")
    browser = tab.here()
    browser.run("document.querySelector('#tab-live').focus()")
    for part in ("connections", "rooms", "try", "live"):
        browser.run("document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}))")
        assert browser.run("document.activeElement.id") == f"tab-{part}"
        assert browser.run(f"document.querySelector('#{part}').checkVisibility()")


def test_the_tool_alone_on_a_listener(open_tab: Callable[[str], Tab], daemon: Daemon) -> None:
    tab = open_tab(daemon.url("/console", scheme="http"))
    tab.here().until("document.querySelector('#url')?.value.endsWith('/echo')")
    tab.click("#open")
    tab.sees("Connected in", "#try-state")
    tab.click("#send .main")
    tab.sees("Hello, wsdaemon", "#frames .received")
    tab.write("#try-code", "3001")
    tab.click("#try-close .danger")
    tab.sees("Closed with 3001", "#try-state")
    for hidden in ("#tab-live", "#tab-rooms", "#tab-connections", "#login"):
        assert not tab.here().run(f"document.querySelector({hidden!r}).checkVisibility()")
    tab.check(daemon.url("/console", scheme="http"), daemon.url("/echo"))
