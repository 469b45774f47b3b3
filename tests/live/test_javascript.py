"""The JavaScript client in Node.js and in Chromium: the daemon is killed, drained, upgraded and away, the machine sleeps, tokens expire."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.live.test_development import APP as CHAT_APP
from tests.live.test_development import SETTINGS as DEVELOPED
from tests.live.test_development import development
from tests.live.test_examples import UNTIL, Tab
from tests.support.browser import Browser
from tests.support.daemon import LISTENING, ROOT, SECONDS, Daemon, environment, program
from tests.support.troubled_network import TroubledNetwork
from wsdaemon.ops.control import ask

pytestmark = pytest.mark.live

FOLDER = ROOT / "clients" / "js"
DRIVER = ROOT / "tests" / "support" / "driver.mjs"
MAX_GZIPPED_BYTES = 4000
SECRET = "0123456789abcdef0123456789abcdef"

MOUNTS = """
[listener:web]
address = tcp:0:interface=127.0.0.1
[defaults]
origins = any
[mount:/rooms/{room}]
app = rooms
history = 1000
[mount:/echo]
app = echo
"""

SETTINGS = f"""
[daemon]
drain_retry = 1s-2s
drain_grace = 0
{MOUNTS}[mount:/drained]
app = drained:app
[mount:/signed]
app = echo
auth = staff
subprotocols = chat
[auth:staff]
kind = jwt
algorithms = HS256
key_file = secret
leeway = 0
token_from = subprotocol:bearer.
"""

UPGRADING = f"""
[daemon]
workers = 2
control = unix:control.sock
drain_retry = 1s-1s
{MOUNTS}"""

DRAINED = """
async def app(connection):
    async for message in connection:
        await connection.close(1012, message)
"""

MAKE = """
globalThis.told = [];
globalThis.make = (path, options = {}) => {
    const tell = (name) => (client, ...given) => told.push([name, ...given]);
    globalThis.client = new WebSocketClient("ws://127.0.0.1:%d" + path, {
        reconnect: "20ms-200ms", whileHidden: true, onOpen: tell("open"), onMessage: tell("message"), onClose: tell("close"),
        onReconnect: tell("reconnect"), ...options });
};
globalThis.count = (name) => told.filter(([each]) => each === name).length;
globalThis.enter = (name, options) => {
    globalThis.seen = [];
    make("/rooms/" + name, options);
    globalThis.room = client.room(name);
    room.subscribe(({ data }) => seen.push(data), { onGap: () => seen.push("gap"), onEntered: () => told.push(["entered"]) });
};
true
"""


class Page(Protocol):
    """A place where JavaScript runs: a tab of a browser, or a process of Node.js."""

    def run(self, script: str) -> Any: ...

    def until(self, condition: str) -> Any: ...


class Node:
    """A process of Node.js that evaluates expressions."""

    def __init__(self, folder: Path) -> None:
        line = [program("node", "Debian: nodejs"), "--no-warnings", "--experimental-websocket", str(DRIVER)]
        self._process = subprocess.Popen(line, env=environment(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, script: str) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(script) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def until(self, condition: str) -> Any:
        waiting = UNTIL.replace("document.body.innerText", "JSON.stringify(told)")
        return self.run(waiting % {"condition": condition, "milliseconds": SECONDS * 900})

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(SECONDS) == 0
        self._process.stdout.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(program("chromium", "Debian packages chromium and chromium-driver"), tmp_path_factory.mktemp("chromium")) as started:
        yield started


class World:
    """A daemon behind a network, and the pages whose clients go through it."""

    def __init__(self, folder: Path, network: TroubledNetwork) -> None:
        self._folder = folder
        self.network = network
        self.daemon = self._start()

    def _start(self) -> Daemon:
        daemon = Daemon(self._folder, SETTINGS).__enter__()
        self.network.target = daemon.port
        return daemon

    def start_again(self) -> None:
        """Another daemon takes the place of the one that has ended."""
        self.daemon.__exit__(None, None, None)
        self.daemon = self._start()

    def close(self) -> None:
        self.daemon.__exit__(None, None, None)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "drained.py").write_text(DRAINED)
    (folder / "secret").write_text(SECRET)
    (folder / "secret").chmod(0o600)
    with TroubledNetwork() as network:
        made = World(folder, network)
        yield made
        made.close()


@pytest.fixture(scope="module", params=["node", "chromium"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, world: World) -> Iterator[Page]:
    """A place that has the module."""
    module = json.dumps((FOLDER / "wsdaemon.js").read_text())
    if request.param == "node":
        made: Node | Tab = Node(tmp_path_factory.mktemp("node"))
    else:
        made = Tab(request.getfixturevalue("browser"), f"http://127.0.0.1:{world.network.port}/")  # any page of the daemon
    made.run(f"import('data:text/javascript,' + encodeURIComponent({module})).then((found) => {{ Object.assign(globalThis, found); }})")
    made.run(MAKE % world.network.port)
    yield made
    made.close()


@pytest.fixture
def page(place: Page, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The place without an earlier test's client."""
    place.run("told.length = 0; true")
    yield place
    place.run("client.close()")
    place.until("client.state === 'closed'")


@pytest.fixture
def lobby(request: pytest.FixtureRequest) -> str:
    """The name of a room of the test's own."""
    return str(request.node.name).replace("[", "-").replace("]", "")


def test_the_module_is_small_and_alone() -> None:
    text = (FOLDER / "wsdaemon.js").read_bytes()
    assert len(gzip.compress(text, 9, mtime=0)) < MAX_GZIPPED_BYTES
    assert b"import" not in text and b"require" not in text
    package = json.loads((FOLDER / "package.json").read_text())
    assert "dependencies" not in package
    assert {package["types"], *package["files"]} == {"./wsdaemon.d.ts", "wsdaemon.js", "wsdaemon.d.ts"}


def test_its_own_tests(tmp_path: Path) -> None:
    """In memory, with a socket and a clock that are fakes."""
    line = [program("node", "Debian: nodejs"), "--test", str(FOLDER / "tests")]
    done = subprocess.run(line, cwd=FOLDER, env=environment(tmp_path), capture_output=True, text=True, check=False, timeout=SECONDS * 4)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# fail 0" in done.stdout and "# pass 0" not in done.stdout


SAMPLE = """
import { ClientError, WebSocketClient, type Room, type RoomMessage } from "wsdaemon-client";

const client: WebSocketClient = new WebSocketClient("ws://localhost/chat", {
    reconnect: "500ms-30s", queue: "drop_oldest", subprotocols: ["chat"], token: async () => "secret", tokenFrom: "query:token",
    onOpen: (opened) => opened.send("hello"),
    onMessage: (from, message) => { if (typeof message === "string") message.length; else message.byteLength; },
    onClose: (closed, code, reason) => { const both: [number, string] = [code, reason]; },
    onError: (failed, error) => { if (error.final && error.name === "ConnectionClosed") failed.close(); },
});
const room: Room = client.room("prices.eur").subscribe((message: RoomMessage) => console.log(message.offset, message.data), {
    since: { epoch: "e", offset: 3 }, presence: true,
    onGap: ({ epoch, offset }) => {}, onJoined: ({ id }) => {}, onEnd: (error: ClientError) => {},
});
const published = await room.publish(new Uint8Array(3), { key: "k" });
const offset: number | undefined = published.offset;
const past = await room.ask("history", { limit: 3, reverse: true });
const first: RoomMessage | undefined = past.messages[0];
const count: number = (await room.ask("presence")).count;
client.onMessage = undefined;
client.close(4000, "enough");
// @ts-expect-error
new WebSocketClient("ws://localhost", { reconnect: "often" });
// @ts-expect-error
new WebSocketClient("ws://localhost", { onmessage: () => {} });
// @ts-expect-error
client.send(7);
// @ts-expect-error
room.ask("gossip");
"""


def test_it_installs_with_npm_and_its_types_are_checked(tmp_path: Path) -> None:
    npm, tsc = program("npm", "Debian: npm"), program("tsc", "npm package typescript", "WSDAEMON_TSC")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "sample.ts").write_text(SAMPLE)
    for line in (
        [npm, "install", "--offline", "--no-audit", "--no-fund", "--install-links", str(FOLDER)],
        [program("node", "Debian: nodejs"), "-e", "import('wsdaemon-client').then(({ WebSocketClient }) => WebSocketClient.name.at(0))"],
        [tsc, "--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "sample.ts"],
    ):
        done = subprocess.run(
            line, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False, timeout=SECONDS * 4
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_daemon_that_is_killed(page: Page, world: World, lobby: str) -> None:
    page.run(f"enter('{lobby}')")
    page.until("count('entered') === 1")
    page.run("room.publish('before')")
    page.until("seen.length === 1")
    world.network.cut()
    page.until("count('close') === 1")
    page.run("globalThis.kept = room.publish('meanwhile'); true")
    assert world.daemon.stop(signal.SIGKILL) == -signal.SIGKILL
    world.start_again()
    world.network.mend()
    page.until("count('entered') === 2")
    assert page.run("kept.then(({ offset }) => offset)") == 1
    page.until("seen.length === 3")
    assert page.run("seen") == ["before", "gap", "meanwhile"]


def test_a_daemon_that_stops(page: Page, world: World) -> None:
    page.run("make('/echo')")
    page.until("client.state === 'open'")
    assert world.daemon.stop() == 0
    page.until("count('close') === 1")
    page.run("client.send('waits')")
    world.start_again()
    page.until("count('message') === 1")
    assert page.run("told.at(-1)") == ["message", "waits"]


def test_a_daemon_that_drains(page: Page) -> None:
    page.run("make('/drained', { reconnect: '300s-600s' })")  # so that nothing but the hint brings it back in time
    page.until("client.state === 'open'")
    page.run("client.send('restart; retry=0.25')")
    page.until("count('open') === 2")
    assert page.run("told.slice(1, 3)") == [["close", 1012, "restart; retry=0.25"], ["reconnect", 1, 0.25]]


@pytest.fixture(scope="module")
def upgrading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with workers, which can be upgraded."""
    folder = tmp_path_factory.mktemp("upgrading")
    with Daemon(folder, UPGRADING) as daemon:
        yield daemon


def test_a_daemon_that_is_upgraded(page: Page, world: World, upgrading: Daemon, lobby: str) -> None:
    """A member of a room misses nothing, whether its connection goes along or is drained, and gets nothing twice; an echo goes on."""
    before, world.network.target = world.network.target, upgrading.port
    try:
        page.run(f"enter('{lobby}')")
        page.run("globalThis.member = client; make('/echo'); globalThis.talker = client; client = member; true")
        page.until("count('entered') === 1 && talker.state === 'open'")
        with upgrading.connect(f"/rooms/{lobby}") as other:
            other.send("before")
            page.until("seen.length === 1")
        page.run("talker.send('before'); true")
        page.until("count('message') === 1")
        outcome = ask(upgrading.folder / "control.sock", "upgrade", {}, lambda line: None)
        assert outcome.status == 0, outcome
        with upgrading.connect(f"/rooms/{lobby}") as other:
            for number in range(20):
                other.send(f"after {number}")
            page.until("seen.length >= 21")
        page.until("talker.state === 'open'")
        page.run("talker.send('after'); true")
        page.until("count('message') === 2")
        page.run("talker.close(); true")
        page.until("talker.state === 'closed'")
    finally:
        world.network.target = before
    assert page.run("seen") == ["before", *[f"after {number}" for number in range(20)]]
    assert page.run("told.filter(([name, code]) => name === 'close' && code !== 1012 && code !== 1000)") == []


def test_a_network_that_is_cut(page: Page, world: World, lobby: str) -> None:
    page.run(f"enter('{lobby}')")
    page.until("count('entered') === 1")
    world.network.cut()
    page.until("count('close') === 1")
    with world.daemon.connect(f"/rooms/{lobby}") as other:
        for number in range(20):
            other.send(f"missed {number}")
        world.network.mend()
        page.until("seen.length === 20")
        other.send("live")
        page.until("seen.length === 21")
    assert page.run("seen") == [*[f"missed {number}" for number in range(20)], "live"]


def test_a_network_that_stands_still(page: Page, world: World, lobby: str) -> None:
    page.run(f"enter('{lobby}', {{ pingInterval: '400ms', pingTimeout: '300ms', connectTimeout: '1s' }})")
    page.until("count('entered') >= 1")
    world.network.stall()
    page.until("told.some(([name, code, reason]) => name === 'close' && code === 1006 && reason === 'no answer')")
    with world.daemon.connect(f"/rooms/{lobby}") as other:
        other.send("missed")
        world.network.mend()
        page.until("seen.includes('missed')")
    assert page.run("seen") == ["missed"]


def test_a_machine_that_was_asleep(page: Page) -> None:
    page.run("make('/echo', { pingInterval: '100ms' })")
    page.until("client.state === 'open'")
    page.run("globalThis.now = Date.now; Date.now = () => now() + 600e3; true")
    page.until("count('open') === 2")
    page.run("Date.now = now; true")
    assert page.run("told.find(([name]) => name === 'close')") == ["close", 1006, "asleep"]


PAGE = """<!doctype html><title>Development</title><pre></pre><script type="module">
import { WebSocketClient } from "/wsdaemon.js";
const show = (text) => document.querySelector("pre").append(text + "\\n");
globalThis.client = new WebSocketClient("/chat", {
    reconnect: "100ms-1s", connectTimeout: "5s", onOpen: () => show("open"), onMessage: (client, message) => show(message),
});
</script>
"""

PAGE_APP = f"""
FILES = {{
    "/": (b"text/html", {PAGE!r}.encode()),
    "/wsdaemon.js": (b"text/javascript", open({str(FOLDER / "wsdaemon.js")!r}, "rb").read()),
}}

async def app(scope, receive, send):
    kind, body = FILES.get(scope["path"], (b"text/plain", b""))
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]}})
    await send({{"type": "http.response.body", "body": body}})
"""


def test_a_page_comes_back_when_its_server_s_code_changes(browser: Browser, tmp_path: Path) -> None:
    """`--dev` restarts the daemon, also after code that cannot be imported; the page stays as it is, and its client connects again."""
    (tmp_path / "page_app.py").write_text(PAGE_APP)
    with development(tmp_path, f"{DEVELOPED}[mount:/{{rest...}}]\napp = asgi\nhttp = on\napplication = page_app:app\n") as program:
        port = program.output.wait_for(LISTENING)[0]["port"]
        tab = Tab(browser, f"http://127.0.0.1:{port}/")
        for opened, word in enumerate(("one", "two", "three"), 1):
            if word == "three":
                (tmp_path / "chat.py").write_text("def app(:")
                program.output.wait_for(r"SyntaxError")
                tab.until("client.state !== 'open'")
            if word != "one":
                (tmp_path / "chat.py").write_text(CHAT_APP.format(word=word))
            tab.until(f"(document.body.innerText.match(/open/g) ?? []).length === {opened} && client.state === 'open'")
            tab.run("client.send('hello'); true")
            tab.until(f"document.body.innerText.includes('{word} hello')")
        tab.close()
        assert program.stop(signal.SIGINT) == 0


SIGN = f"""
globalThis.sign = async (seconds) => {{
    const encode = (bytes) => btoa(String.fromCharCode(...bytes)).replace(/\\+/g, "-").replace(/\\//g, "_").replace(/=/g, "");
    const text = (value) => encode(new TextEncoder().encode(JSON.stringify(value)));
    const secret = new TextEncoder().encode("{SECRET}");
    const key = await crypto.subtle.importKey("raw", secret, {{ name: "HMAC", hash: "SHA-256" }}, false, ["sign"]);
    const signed = text({{ alg: "HS256", typ: "JWT" }}) + "." + text({{ sub: "ada", exp: Math.floor(Date.now() / 1000) + seconds }});
    return signed + "." + encode(new Uint8Array(await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(signed))));
}};
globalThis.expired = () => told.some(([name, code]) => name === "close" && code === 4401);
true
"""


def test_a_token_that_expires(page: Page) -> None:
    page.run(SIGN)
    page.run("make('/signed', { subprotocols: 'chat', token: () => sign(expired() ? 3600 : 2) })")
    page.until("expired() && client.state === 'open'")
    page.run("client.send('with a new token')")
    page.until("count('message') === 1")
    page.run("client.close()")


def test_a_token_that_stays_expired(page: Page) -> None:
    """On a machine so slow that it expires before the first attempt, no connection opens, and no browser tells of the 401."""
    page.run(SIGN)
    page.run("sign(2).then((token) => make('/signed', { subprotocols: 'chat', token }))")
    page.until("client.state === 'closed' || count('reconnect') > 100")
    assert page.run("expired() || count('open') === 0")
