"""The public types: a project outside this tree passes mypy --strict with them, and its mistakes are reported."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import wsdaemon
from wsdaemon.settings.model import MountSettings
from wsdaemon.settings.schema import keys_of

ROOT = Path(__file__).resolve().parents[1]

PROJECT = {
    "coroutine.py": '''
from wsdaemon import ConnectionClosed, CoroutineConnection


async def chat(connection: CoroutineConnection) -> None:
    connection.on_expiring(lambda seconds: connection.send(f"{seconds:.0f} seconds left"))
    first: str | bytes = await connection.receive()
    await connection.send(first)
    try:
        async for message in connection:
            await connection.send(message.upper())
            connection.broadcast(message, where="/chat")
            connection.broadcast(message, where=lambda other: other is not connection)
            connection.state["last"] = message
    except ConnectionClosed as closed:
        print(closed.code, closed.reason)
''',
    "classes.py": '''
from collections.abc import Awaitable

from wsdaemon import (
    Acceptance, AdmittingApp, App, ConnectionClassApp, Connection, ExpiringSession, Handshake, HandshakeApp, HandshakeRefused,
    PayloadSession, ServiceApp, Session, SubprotocolsApp,
)


class Numbered(Connection):
    __slots__ = ("seen",)


class Echo:
    """Everything that an app may have."""

    subprotocols = ("echo.v1",)
    keeps_handshake = False
    connection_class = Numbered

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def admit(self, handshake: Handshake) -> Acceptance | None:
        if handshake.origin is None:
            raise HandshakeRefused(403, "browsers only", [("X-Why", "origin")])
        return Acceptance(subprotocol="echo.v1", headers=[("Set-Cookie", "seen=1")])

    def open(self, connection: Connection, handshake: Handshake) -> "EchoSession":
        return EchoSession(connection)


class EchoSession:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def received(self, message: str | bytes) -> Awaitable[None]:
        return self.connection.send(message)

    def expiring(self, seconds: float) -> None:
        self.connection.close(4401, "expired")

    def closed(self, code: int, reason: str) -> None:
        print(code, reason, self.connection.id)


class Slow:
    """A session whose work is a coroutine, and an app that has nothing besides."""

    def open(self, connection: Connection, handshake: Handshake) -> "SlowSession":
        return SlowSession()


class SlowSession:
    async def received(self, message: str | bytes) -> None:
        print(len(message))

    def closed(self, code: int, reason: str) -> None: ...


class Bytes:
    def open(self, opened: Connection, request: Handshake) -> "BytesSession":
        return BytesSession()


class BytesSession:
    def received_payload(self, payload: bytes, text: bool) -> None: ...

    def closed(self, code: int, reason: str) -> None: ...


echo = Echo()
apps: list[App] = [echo, Slow(), Bytes()]
service: ServiceApp = echo
subprotocols: SubprotocolsApp = echo
handshake: HandshakeApp = echo
admitting: AdmittingApp = echo
connection_class: ConnectionClassApp = echo
session: Session = SlowSession()
payloads: PayloadSession = BytesSession()
''',
    "policy.py": '''
from wsdaemon import EnterHook, EnterPatternHook, PublishHook, Refused, Visitor


class Members:
    async def enter(self, visitor: Visitor, room: str) -> bool:
        return visitor.identity is not None and room in visitor.identity.claims

    def enter_pattern(self, visitor: Visitor, pattern: str) -> bool:
        return visitor.peer.is_unix

    def publish(self, visitor: Visitor, room: str, message: str | bytes) -> str | bytes | None:
        if len(message) > 100:
            raise Refused("too long")
        return message


enter: EnterHook = Members()
enter_pattern: EnterPatternHook = Members()
publish: PublishHook = Members()
''',
    "auth.py": '''
from wsdaemon import ClientCertificate, Connection, CoroutineConnection, Headers, Identity, Peer


def describe(connection: Connection) -> str:
    identity: Identity | None = connection.identity
    peer: Peer = connection.peer
    headers: Headers = connection.headers
    if identity is None:
        return f"{peer.host} {headers.get('User-Agent', '')}"
    return f"{identity.name} {identity.method} {identity.claims.get('role')} {identity.expires}"


async def greet(connection: CoroutineConnection) -> None:
    await connection.send(describe(connection))
    await connection.close(1000, "bye")
    await connection.wait_closed()
    connection.loop.call_soon_threadsafe(connection.abort)
''',
    "follower.py": '''
import asyncio

from wsdaemon.client import Acknowledged, ClientError, RoomGap, RoomMember, RoomMessage, Uncertain, WebSocketClient
from wsdaemon.client.compat import WebSocketApp


async def fresh_token() -> str:
    return "token"


def on_message(client: WebSocketClient, message: str | bytes) -> None:
    client.send(message)


async def on_open(client: WebSocketClient) -> None:
    await client.send("hello")


client = WebSocketClient(
    "wss://example.com/", on_open=on_open, on_message=on_message, on_close=lambda client, code, reason: print(code + 1, reason.upper()),
    on_reconnect=lambda client, attempt, delay: print(attempt + 1, delay), on_error=lambda client, error: print(error.args),
    token=fresh_token, reconnect="1s-60s", queue="drop_oldest", ping_interval=5, headers={"X-A": "b"},
)


def joined(member: RoomMember) -> None:
    print(member.id)


async def follow() -> None:
    async with client:
        subscription = client.rooms["prices.eur"].subscribe(presence=True, on_joined=joined)
        answer: Acknowledged = await client.rooms["prices.eur"].publish(b"data", key="k")
        async for item in subscription:
            if isinstance(item, RoomGap):
                continue
            message: RoomMessage = item
            print(message.data, answer.offset, subscription.members)
        async for text in client:
            print(text.upper())


def main() -> None:
    try:
        with client:
            client.send("x")
        client.run_forever()
        offset: int = client.rooms["a"].publish("b").result(5).offset
        print(offset)
    except (ClientError, Uncertain) as error:
        print(error)
    WebSocketApp("ws://example.com/", on_message=lambda ws, message: ws.close()).run_forever(ping_interval=5, reconnect=5)
    asyncio.run(follow())
''',
    "main.py": '''
from datetime import timedelta
from pathlib import Path

from wsdaemon import (
    AdminOptions, BlockingConnection, BrokerError, CoroutineConnection, MountOptions, Position, SendQueueFull, SettingsError, StartError,
    WebSocketServer,
)

import auth
import classes
import coroutine
import policy

admin: AdminOptions = {"token_file": Path("token"), "metrics_open": True}
server = WebSocketServer(port=0, admin=admin, max_message="64KiB", ping_interval=timedelta(seconds=30), level="debug", max_connections=5)


@server.route("/greet/{name}", slow_client="drop_oldest", max_message=1024, origins=["https://example.com"], on_disconnect="finish")
async def greet(connection: CoroutineConnection) -> None:
    await connection.send(connection.params["name"])


@server.route("/report")
def report(connection: BlockingConnection) -> None:
    for message in connection:
        first: str | bytes = connection.receive(timeout=5)
        connection.send(first)
        connection.send_json({"id": connection.id, "path": connection.handshake.path, "before": message == first})
    code: int | None = connection.close_code
    print(code, connection.state, connection.peer.host)
    connection.close(1000, "done")


greet_again = greet
report_again = report
options: MountOptions = {"history": 10, "policy": policy.Members}
server.mount("/chat", coroutine.chat)
server.mount("/greet", auth.greet)
server.mount("/reports", report)
server.mount("/echo", classes.Echo)
server.mount("/slow", classes.Slow())
server.mount("/rooms/{room}", "rooms", **options)
server.mount("/more/{room}", "rooms", policy=policy.Members(), room_names="[a-z]+", publish="server")


def main() -> None:
    try:
        with server:
            position: Position = server.rooms_at("/rooms/{room}")["lobby"].position().result()
            published = server.rooms["lobby"].publish("hello", key=f"{position.epoch}:{position.offset}").result()
            server.broadcast("hello", where="/chat")
            server.broadcast(b"hello", where=lambda connection: connection.is_open)
            print(published.epoch, published.offset, published.members, [c.peer for c in server.connections])
    except (SettingsError, StartError, BrokerError, SendQueueFull) as error:
        print(error)
''',
}

MISTAKES = {
    "a class app reads": (
        """
from wsdaemon import Connection

async def work(connection: Connection) -> None:
    await connection.receive()
""",
        '"Connection" has no attribute "receive"',
    ),
    "a class app iterates": (
        """
from wsdaemon import Connection

async def work(connection: Connection) -> None:
    async for message in connection:
        print(message)
""",
        '"Connection" has no attribute "__aiter__"',
    ),
    "a number is sent": (
        """
from wsdaemon import Connection

def work(connection: Connection) -> None:
    connection.send(1)
""",
        'Argument 1 to "send" of "Connection" has incompatible type "int"',
    ),
    "an option that does not exist": (
        """
from wsdaemon import WebSocketServer

WebSocketServer(max_mesage="1KiB")
""",
        'Unexpected keyword argument "max_mesage" for "WebSocketServer"',
    ),
    "a value that is none of the words": (
        """
from wsdaemon import WebSocketServer

WebSocketServer().mount("/echo", "echo", slow_client="drop")
""",
        'Argument "slow_client" to "mount" of "WebSocketServer" has incompatible type',
    ),
    "an option of rooms on a coroutine": (
        """
from wsdaemon import CoroutineConnection, WebSocketServer

@WebSocketServer().route("/", history=1)
async def work(connection: CoroutineConnection) -> None: ...
""",
        'Unexpected keyword argument "history" for "route"',
    ),
    "a plain function with the connection of a coroutine": (
        """
from wsdaemon import CoroutineConnection, WebSocketServer

def work(connection: CoroutineConnection) -> None: ...

WebSocketServer().mount("/", work)
""",
        'Argument 2 to "mount" of "WebSocketServer" has incompatible type',
    ),
    "a coroutine function with a blocking connection": (
        """
from wsdaemon import BlockingConnection, WebSocketServer

async def work(connection: BlockingConnection) -> None: ...

WebSocketServer().mount("/", work)
""",
        'Argument 2 to "mount" of "WebSocketServer" has incompatible type',
    ),
    "open() answers None": (
        """
from wsdaemon import App, Connection, Handshake

class Forgetful:
    def open(self, connection: Connection, handshake: Handshake) -> None: ...

app: App = Forgetful()
""",
        "Incompatible types in assignment",
    ),
    "an option that a client does not have": (
        """
from wsdaemon.client import WebSocketClient

WebSocketClient("ws://a/", reconect="1s-60s")
""",
        'Unexpected keyword argument "reconect" for "WebSocketClient"',
    ),
    "a session without closed()": (
        """
from wsdaemon import Session

class Half:
    def received(self, message: str | bytes) -> None: ...

session: Session = Half()
""",
        "Incompatible types in assignment",
    ),
}


def check(folder: Path, *words: str) -> tuple[int, str]:
    """Runs mypy --strict in `folder`, where this source tree is seen as an installed package only."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / ".mypy_cache"), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    return done.returncode, done.stdout + done.stderr


def test_a_project_and_its_mistakes(tmp_path: Path) -> None:
    """One run of mypy for all: most of its time goes to reading the package."""
    for name, text in PROJECT.items():
        (tmp_path / name).write_text(text)
    numbered = {f"mistake{number}.py": expected for number, (_, expected) in enumerate(MISTAKES.values())}
    for name, (text, _) in zip(numbered, MISTAKES.values(), strict=True):
        (tmp_path / name).write_text(text)
    examples = sorted(map(str, (ROOT / "examples").glob("*.py")))
    assert examples
    status, output = check(tmp_path, *PROJECT, *numbered, *examples)
    assert status == 1, output
    found = {name: [line for line in output.splitlines() if line.startswith(f"{name}:") and " error: " in line] for name in numbered}
    for name, expected in numbered.items():
        assert any(expected in line for line in found[name]), (expected, output)
        assert len(found[name]) == 1, found[name]
    others = [line for line in output.splitlines() if " error: " in line and line.split(":")[0] not in numbered]
    assert others == []


def test_the_examples_of_the_package_pass(tmp_path: Path) -> None:
    status, output = check(tmp_path, "-p", "wsdaemon.examples")
    assert status == 0, output


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(wsdaemon.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize("name", wsdaemon.__all__)
def test_every_public_name_is_there_and_is_described(name: str) -> None:
    found = getattr(wsdaemon, name)
    assert (found.__doc__ or "").strip(), name


def test_every_public_name_is_typed() -> None:
    source = Path(wsdaemon.__file__).read_text()
    typed = source[source.index("if TYPE_CHECKING:") : source.index("_HOMES")]
    assert set(wsdaemon.__all__) == set(re.findall(r"\b[A-Z]\w+", typed)) - {"TYPE_CHECKING"}


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="wsdaemon has no attribute Conection"):
        wsdaemon.Conection  # noqa: B018


REQUEST = {"cookies", "handshake", "headers", "identity", "params", "path", "peer", "query", "secure", "subprotocol"}
SENDING = {"broadcast", "prepare", "send", "send_json", "send_payload", "send_prepared", "writable"}
LIFE = {
    "abort", "close", "close_code", "close_reason", "closed_by", "counts", "id", "is_open", "loop", "opened_at", "state", "unsent",
    "wait_closed",
}  # fmt: skip


def test_users_see_nothing_of_a_connections_inside() -> None:
    """A new name is a promise: it is added here on purpose."""

    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(wsdaemon.Connection) == REQUEST | SENDING | LIFE
    assert public(wsdaemon.CoroutineConnection) == public(wsdaemon.Connection) | {"on_expiring", "receive", "receive_json"}
    assert public(wsdaemon.BlockingConnection) == REQUEST | (LIFE - {"unsent"}) | {
        "broadcast", "receive", "receive_json", "send", "send_json",
    }  # fmt: skip


@pytest.mark.parametrize("name", keys_of(MountSettings))
def test_an_editor_completes_every_option_of_a_mount(name: str) -> None:
    assert name == "app" or name in wsdaemon.RouteOptions.__annotations__
