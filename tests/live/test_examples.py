"""The examples as a visitor sees them: `python -m wsdaemon.examples`, and its pages in real browsers."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.support.browser import Browser
from tests.support.daemon import ROOT, SECONDS, Daemon, Program, program
from wsdaemon import WebSocketServer
from wsdaemon.examples.__main__ import FOLDER, MODULE, PAGES, make_server

pytestmark = pytest.mark.live

WATCH_FAULTS = """
window.faults = [];
addEventListener("error", (event) => faults.push(event.message));
addEventListener("unhandledrejection", (event) => faults.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => faults.push(event.violatedDirective + " " + event.blockedURI));
"""

UNTIL = """
new Promise((resolve, reject) => {
    const end = performance.now() + %(milliseconds)d;
    (function look() {
        const value = (%(condition)s);
        if (value) resolve(value);
        else if (performance.now() > end) reject(new Error("it did not come to that; the page: " + document.body.innerText));
        else setTimeout(look, 20);
    })();
})
"""


class Tab:
    """A page in a browser context of its own: it shares no storage with another tab, as if it were another person's."""

    def __init__(self, browser: Browser, url: str, width: int = 1000, height: int = 700) -> None:
        self._browser = browser
        self._context = browser._call("Target.createBrowserContext")["browserContextId"]
        target = browser._call("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        self._session = browser._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        self.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH_FAULTS)
        self.call("Page.navigate", url=url)
        self.until("location.href !== 'about:blank' && document.readyState === 'complete'")

    def call(self, method: str, **parameters: Any) -> Any:
        return self._browser._call(method, self._session, **parameters)

    def run(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str) -> Any:
        """Until a JavaScript expression is true in the page; its value."""
        return self.run(UNTIL % {"condition": condition, "milliseconds": SECONDS * 900})

    def write(self, field: str, text: str) -> None:
        """Into a field, as typed."""
        self.run(f"document.getElementById({field!r}).select()")
        self.call("Input.insertText", text=text)

    def press(self, key: str, code: int) -> None:
        self.call("Input.dispatchKeyEvent", type="rawKeyDown", key=key, code=key, windowsVirtualKeyCode=code)
        if key == "Enter":
            self.call("Input.dispatchKeyEvent", type="char", key=key, code=key, windowsVirtualKeyCode=code, text="\r")
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def point(self, x: float, y: float) -> None:
        """Move the mouse to a place of the field, in its widths and heights."""
        box = self.run("(({x, y, width, height}) => ({x, y, width, height}))(document.getElementById('field').getBoundingClientRect())")
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=box["x"] + x * box["width"], y=box["y"] + y * box["height"])

    def say(self, text: str) -> None:
        self.write("text", text)
        self.press("Enter", 13)

    def close(self) -> None:
        """Nothing went wrong in it; then end it."""
        assert self.run("faults") == []
        self._browser._call("Target.disposeBrowserContext", browserContextId=self._context)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(program("chromium", "Debian packages chromium and chromium-driver"), tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture
def server() -> Iterator[WebSocketServer]:
    with make_server() as started:
        yield started


@pytest.fixture
def tabs(browser: Browser, server: WebSocketServer) -> Iterator[Any]:
    """Opens pages of the server."""
    opened = []

    def open_tab(path: str, **options: Any) -> Tab:
        opened.append(Tab(browser, f"http://127.0.0.1:{server.port}{path}", **options))
        return opened[-1]

    yield open_tab
    for tab in opened:
        tab.close()


CONNECTED = "document.getElementById('state').classList.contains('live')"
SAID = "Array.from(document.querySelectorAll('#log > :not(.waiting) .said'), (each) => each.textContent)"


def shows(*texts: str) -> str:
    return f"JSON.stringify({SAID}) === {json.dumps(json.dumps(texts, separators=(',', ':'), ensure_ascii=False))}"


def people(*names: str) -> str:
    return f"Array.from(document.querySelectorAll('#people li'), (each) => each.textContent).join() === {json.dumps(','.join(names))}"


def test_chat(tabs: Any) -> None:
    ada, bob = tabs("/chat"), tabs("/chat", width=390, height=740)
    ada.write("name", "Ada")
    bob.write("name", "Bob")
    bob.say("hello <b>Ada</b>")
    ada.until(shows("hello <b>Ada</b>"))
    ada.say("grüße, Bob")
    for tab in (ada, bob):
        tab.until(shows("hello <b>Ada</b>", "grüße, Bob"))
    ada.until(people("Ada (you)", "Bob"))
    bob.until(people("Ada", "Bob (you)"))
    assert ada.run("document.querySelector('.mine .said').textContent") == "grüße, Bob"
    late = tabs("/chat")
    late.until(shows("hello <b>Ada</b>", "grüße, Bob"))
    late.until("document.getElementById('count').textContent === '3'")
    elsewhere = tabs("/chat#elsewhere")
    elsewhere.until(CONNECTED)
    elsewhere.until(people(elsewhere.run("document.getElementById('name').value") + " (you)"))
    assert elsewhere.run(SAID) == []


def test_chat_comes_back_and_has_missed_nothing(tabs: Any, server: WebSocketServer) -> None:
    ada, bob = tabs("/chat"), tabs("/chat")
    ada.say("before")
    bob.until(shows("before"))
    for tab in (ada, bob):
        tab.run("window.socket_before = link.socket")
    server.close_all(1012, "a drop")
    lobby = server.rooms_at("/rooms/{room}")["lobby"]
    for text in ("one", "two", "three"):  # while no page is connected
        lobby.publish(text).result(SECONDS)
    ada.say("four")  # written while there is no connection
    for tab in (ada, bob):
        tab.until("link.socket !== socket_before")
        tab.until(shows("before", "one", "two", "three", "four"))
        tab.until(CONNECTED)
        assert tab.run("document.querySelectorAll('.waiting, .notice').length") == 0
        tab.until("document.getElementById('count').textContent === '2'")


def test_an_empty_chat_says_so(tabs: Any) -> None:
    tab = tabs("/chat#empty")
    tab.until(CONNECTED)
    hint = "getComputedStyle(document.getElementById('log'), '::before').content"
    assert "No messages yet" in tab.run(hint)
    tab.say("hello")
    tab.until(shows("hello"))
    assert tab.run(hint) == "none"


def test_a_name_fits_its_field_on_a_phone(tabs: Any) -> None:
    tab = tabs("/chat", width=390, height=740)
    tab.until(CONNECTED)
    tab.write("name", "a name of thirty characters !!")
    assert tab.run("((field) => field.scrollWidth <= field.clientWidth)(document.getElementById('name'))")


@pytest.mark.parametrize(
    ("known", "notices"),
    [(0, []), (7, ["The server has started this room anew: it no longer has the earlier messages."])],
)
def test_a_chat_whose_server_was_restarted(tabs: Any, known: int, notices: list[str]) -> None:
    tab = tabs(f"/chat#restarted{known}")
    tab.until(CONNECTED)
    tab.until("talk.epoch && position.epoch === talk.epoch")
    earlier = f"{{epoch: 'an-earlier-one', offset: {known}}}"
    tab.run(f"Object.assign(position, {earlier}); Object.assign(talk, {earlier}); window.socket_before = link.socket; link.socket.close()")
    tab.until(f"link.socket !== socket_before && {CONNECTED} && position.epoch !== 'an-earlier-one'")
    assert tab.run("Array.from(document.querySelectorAll('.notice'), (each) => each.textContent)") == notices


def test_dashboard(tabs: Any, server: WebSocketServer) -> None:
    tab = tabs("/dashboard")
    for chart in ("cpu", "delay", "memory", "trip"):
        tab.until(f"document.getElementById('{chart}').dataset.points >= 3")
        line = tab.until(f"document.querySelector('#{chart} .line').getAttribute('d')")
        points = [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", line)]
        assert len(points) >= 3
        assert points == sorted(points, key=lambda point: point[0])
        assert tab.run(f"document.querySelector('#{chart} svg').getAttribute('aria-label')").count("now") == 1
    tab.until("document.getElementById('watching').textContent === '1 watching'")
    tab.run("window.socket_before = link.socket; window.before = samples.at(-1).time")
    server.close_all(1012)
    tab.until("link.socket !== socket_before && samples.at(-1).time > before")
    with connect(f"ws://127.0.0.1:{server.port}/vitals", proxy=None) as newcomer:
        measured = [sample["time"] for sample in json.loads(newcomer.recv(SECONDS))]
    tab.until(f"samples.at(-1).time >= {measured[-1]}")
    times = tab.run("samples.map((sample) => sample.time)")
    assert times[: len(measured)] == measured


def pointer(name: str) -> str:
    return f"Array.from(document.querySelectorAll('.pointer:not(.mine)')).find((each) => each.textContent === {json.dumps(name)})"


def test_cursors(tabs: Any) -> None:
    ada, bob = tabs("/cursors"), tabs("/cursors", width=390, height=740)
    ada.write("name", "Ada")
    bob.write("name", "Bob")
    for tab in (ada, bob):
        tab.until(CONNECTED)
    ada.point(0.5, 0.02)
    bob.point(0.02, 0.98)
    for seeing, name, x, y in ((bob, "Ada", 0.5, 0.02), (ada, "Bob", 0.02, 0.98)):
        seeing.until(f"((each) => each && Math.abs(each.dataset.x - {x}) < 0.01 && Math.abs(each.dataset.y - {y}) < 0.01)({pointer(name)})")
    dots = [tab.until("(({round, x, y}) => x && [round, x, y])(document.getElementById('dot').dataset)") for tab in (ada, bob)]
    assert dots[0] == dots[1]
    ada.point(float(dots[0][1]), float(dots[0][2]))
    ada.until("document.getElementById('scores').textContent === 'Ada (you)1'")
    bob.until("document.getElementById('scores').textContent === 'Ada1'")
    assert bob.run("document.getElementById('said').textContent") == "Ada caught it."
    bob.until(f"document.getElementById('dot').dataset.round !== {dots[0][0]!r}")
    bob.run("document.getElementById('field').focus()")
    bob.press("ArrowRight", 39)
    ada.until(f"((each) => each && Math.abs(each.dataset.x - 0.05) < 0.01)({pointer('Bob')})")
    bob.run("dispatchEvent(new Event('pagehide'))")
    ada.until(f"!{pointer('Bob')}")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_label_of_a_pointer_stays_inside_the_field(tabs: Any, width: int) -> None:
    tab = tabs("/cursors", width=width, height=800)
    tab.until(CONNECTED)
    for x, y in ((0.99, 0.5), (0.5, 0.99), (0.98, 0.98), (0.3, 0.3)):  # further out the field is round
        tab.point(x, y)
        tab.until(f"(({{x, y}}) => Math.abs(x - {x}) < 0.01 && Math.abs(y - {y}) < 0.01)(document.querySelector('.pointer.mine').dataset)")
        label, field = (
            tab.run(f"((box) => [box.left, box.top, box.right, box.bottom])(document.querySelector('{each}').getBoundingClientRect())")
            for each in (".pointer.mine span", "#field")
        )
        assert field[0] <= label[0] and field[1] <= label[1]
        assert label[2] <= field[2] and label[3] <= field[3]


def test_cursors_come_back(tabs: Any, server: WebSocketServer) -> None:
    ada, bob = tabs("/cursors"), tabs("/cursors")
    for tab in (ada, bob):
        tab.until(CONNECTED)
        tab.run("window.socket_before = field_link.socket")
    server.close_all(1012)
    lobby = server.rooms_at("/rooms/{room}")["catch"]
    lobby.publish(json.dumps({"round": 0, "id": "eve", "name": "Eve"})).result(SECONDS)
    lobby.publish(json.dumps({"round": 0, "id": "mallory", "name": "Mallory"})).result(SECONDS)  # too late
    for tab in (ada, bob):
        tab.until(f"field_link.socket !== socket_before && {CONNECTED}")
        tab.until("document.getElementById('scores').textContent === 'Eve1'")
    ada.point(0.1, 0.9)
    bob.until("document.querySelectorAll('.pointer:not(.mine)').length === 1")


def test_the_front_page_leads_to_all(tabs: Any) -> None:
    tab = tabs("/")
    assert sorted(tab.run("Array.from(document.querySelectorAll('a'), (each) => each.pathname)")) == sorted(set(PAGES) - {"/"})


def test_nothing_is_wider_than_a_phone(tabs: Any) -> None:
    for path in PAGES:
        tab = tabs(path, width=360, height=640)
        assert tab.run("document.documentElement.scrollWidth") <= 360, path


def test_the_command(tmp_path: Path) -> None:
    with Program([sys.executable, "-m", "wsdaemon.examples", "--port", "0"], tmp_path, {"PYTHONPATH": str(ROOT)}) as running:
        [found] = running.output.wait_for(r"^the examples are at http://127\.0\.0\.1:(\d+)/$")
        client = HTTPConnection("127.0.0.1", int(found[1]), timeout=SECONDS)
        for path, file in PAGES.items():
            client.request("GET", path)
            answer = client.getresponse()
            assert (answer.status, answer.read()) == (200, (FOLDER / file).read_bytes())
            assert answer.getheader("Content-Type") == "text/html; charset=utf-8"
        client.request("GET", "/wsdaemon.js")
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, (FOLDER.parent / MODULE).read_bytes())
        assert answer.getheader("Content-Type") == "text/javascript; charset=utf-8"
        client.close()  # the server keeps it open
        assert running.stop(signal.SIGINT) == 0


def test_the_mounts_without_the_pages(tmp_path: Path) -> None:
    with Daemon(tmp_path, (FOLDER / "examples.ini").read_text().replace("tcp:8080", "tcp:0")) as daemon:
        with daemon.connect("/vitals") as client:
            assert isinstance(json.loads(client.recv(SECONDS)), list)
        with daemon.connect("/rooms/lobby") as one, daemon.connect("/rooms/lobby") as two:
            one.send("hello")
            assert two.recv(SECONDS) == "hello"


def test_pages_have_all_in_them() -> None:
    """Nothing is loaded from elsewhere but the client, and no page makes a connection by itself."""
    using = 0
    for file in PAGES.values():
        text = (FOLDER / file).read_text()
        assert not re.search(r"<script[^>]+src|<link[^>]+stylesheet|@import|https?://(?!www\.w3\.org/2000/svg)", text), file
        imports = re.findall(r"^import .*$", text, re.MULTILINE)
        using += imports == ['import { WebSocketClient } from "/wsdaemon.js";']
        assert len(imports) <= 1 and "new WebSocket(" not in text, file
    assert using == len(PAGES) - 1  # all but the front page
