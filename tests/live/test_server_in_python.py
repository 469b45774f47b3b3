"""WebSocketServer as a program uses it: run_forever, start() in a thread, `with server:`."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.daemon import LISTENING, ROOT, SECONDS, Program, check_echo, environment, make_certificate

pytestmark = pytest.mark.live

APP = """
import asyncio
from wsdaemon import WebSocketServer
from websockets.sync.client import connect

server = WebSocketServer(port=0)

@server.route("/upper")
async def upper(connection):
    async for message in connection:
        await connection.send(message.upper())

def ask(port):
    with connect(f"ws://127.0.0.1:{port}/upper", proxy=None) as client:
        client.send("hello")
        return client.recv()
"""


def run_program(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """A program of the user's that ends by itself."""
    path = folder / "program.py"
    path.write_text(text)
    line = [sys.executable, "-W", "error", str(path)]
    extra = {"PYTHONPATH": str(ROOT), "CERTIFICATES": str(folder)}
    return subprocess.run(
        line, cwd=folder, env=environment(folder, extra), capture_output=True, text=True, check=False, timeout=SECONDS
    )  # fmt: skip


def answers(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines that the program itself printed."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return [line for line in done.stdout.splitlines() if not re.match(r"\d{4}-", line)]


def test_start_and_stop_in_a_thread(tmp_path: Path) -> None:
    done = run_program(tmp_path, APP + "\nserver.start()\nprint(ask(server.port))\nserver.stop()\nprint('stopped')\n")
    assert answers(done) == ["HELLO", "stopped"]


def test_with(tmp_path: Path) -> None:
    done = run_program(tmp_path, APP + "\nwith server:\n    print(ask(server.port))\nprint('stopped')\n")
    assert answers(done) == ["HELLO", "stopped"]


def test_again_and_again(tmp_path: Path) -> None:
    done = run_program(tmp_path, APP + "\nfor _ in range(3):\n    with server:\n        print(ask(server.port))\n")
    assert answers(done) == ["HELLO"] * 3


def test_two_at_once(tmp_path: Path) -> None:
    two = (
        "\nother = WebSocketServer(port=0)\nother.mount('/upper', upper)\n"
        "with server, other:\n    print(ask(server.port), ask(other.port))\n"
    )
    assert answers(run_program(tmp_path, APP + two)) == ["HELLO HELLO"]


def test_with_inside_a_program_that_has_a_loop_of_its_own(tmp_path: Path) -> None:
    own = (
        "\nasync def main():\n    with server:\n"
        "        print(await asyncio.to_thread(ask, server.port))\n"
        "asyncio.run(main())\n"
    )  # fmt: skip
    assert answers(run_program(tmp_path, APP + own)) == ["HELLO"]


def test_an_exception_in_the_block_still_stops_the_server(tmp_path: Path) -> None:
    done = run_program(tmp_path, APP + "\nwith server:\n    raise SystemExit('the program is over')\n")
    assert done.returncode == 1
    assert done.stderr.strip().endswith("the program is over")


def test_start_on_a_busy_port_raises(tmp_path: Path) -> None:
    busy = (
        "\nimport wsdaemon\nwith server:\n    second = WebSocketServer(port=server.port)\n    second.mount('/upper', upper)\n"
        "    try:\n        second.start()\n    except wsdaemon.StartError as error:\n        print(error)\n"
    )
    [line] = answers(run_program(tmp_path, APP + busy))
    assert "in use" in line


def test_stop_drains(tmp_path: Path) -> None:
    drain = (
        "\nserver.start()\nwith connect(f'ws://127.0.0.1:{server.port}/upper', proxy=None) as client:\n"
        "    client.send('a')\n    client.recv()\n    print(len(server.connections))\n    server.stop()\n"
        "    try:\n        client.recv()\n    except Exception as error:\n        print(error.rcvd.code)\n"
    )
    assert answers(run_program(tmp_path, APP + drain)) == ["1", "1012"]


def test_tls(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    tls = (
        "\nimport os, ssl\nfolder = os.environ['CERTIFICATES']\n"
        "secure = WebSocketServer(port=0, tls=(f'{folder}/cert.pem', f'{folder}/key.pem'))\nsecure.mount('/echo', 'echo')\n"
        "context = ssl.create_default_context()\ncontext.check_hostname = False\ncontext.verify_mode = ssl.CERT_NONE\n"
        "context.maximum_version = ssl.TLSVersion.TLSv1_2\n"  # see tests/support/shared_tls_socket.py
        "with secure, connect(f'wss://127.0.0.1:{secure.port}/echo', ssl=context, proxy=None) as client:\n"
        "    client.send('hello')\n    print(client.recv())\n"
    )
    assert answers(run_program(tmp_path, APP + tls)) == ["hello"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_forever_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "program.py"
    path.write_text(APP + "\nserver.run_forever()\nprint('after')\n")
    with Program([sys.executable, str(path)], tmp_path, {"PYTHONPATH": str(ROOT)}) as program:
        [found] = program.output.wait_for(LISTENING)
        with connect(f"ws://127.0.0.1:{found['port']}/upper", proxy=None) as client:
            check_echo(client, "HELLO")
            program.tell(number)
            with pytest.raises(ConnectionClosed):
                client.recv(SECONDS)
            assert client.close_code == 1012
        assert program.wait() == 0
        program.output.wait_for("^after$")


# -- threads, broadcasts, coroutines at a stop

THREADS = """
import threading
from wsdaemon import WebSocketServer
from websockets.sync.client import connect

server = WebSocketServer(port=0, ping_interval=0)

@server.route("/quiet")
async def quiet(connection):
    await connection.wait_closed()

@server.route("/other")
async def other(connection):
    await connection.wait_closed()

def client(path):
    return connect(f"ws://127.0.0.1:{server.port}{path}", proxy=None)
"""


def test_a_thread_sends_while_the_loop_sleeps(tmp_path: Path) -> None:
    body = """
with server, client("/quiet") as one:
    [connection] = server.connections
    for number in range(3):
        connection.send(str(number))
    connection.close(4000, "bye")
    print([one.recv(5) for _ in range(3)])
    try:
        connection.state
    except RuntimeError as error:
        print("run_coroutine_threadsafe" in str(error))
    try:
        one.recv(5)
    except Exception as error:
        print(error.rcvd.code, error.rcvd.reason)
"""
    assert answers(run_program(tmp_path, THREADS + body)) == ["['0', '1', '2']", "True", "4000 bye"]


def test_a_broadcast_from_a_thread(tmp_path: Path) -> None:
    body = """
with server, client("/quiet") as one, client("/other") as two:
    server.broadcast("quiet alone", where="/quiet")
    server.broadcast(b"both")
    server.broadcast("chosen", where=lambda connection: connection.path == "/other")
    print(one.recv(5), one.recv(5), two.recv(5), two.recv(5))
    try:
        server.broadcast("x", where="/nowhere")
    except KeyError as error:
        print(error)
"""
    assert answers(run_program(tmp_path, THREADS + body)) == ["quiet alone b'both' b'both' chosen", "'no mount at /nowhere'"]


def test_a_coroutine_that_saves_is_finished_at_a_stop_and_one_that_hangs_is_named(tmp_path: Path) -> None:
    body = """
import asyncio
from twisted.logger import formatEvent, globalLogPublisher
from wsdaemon import WebSocketServer
from websockets.sync.client import connect

server = WebSocketServer(port=0, drain_timeout=2)
lines = []
globalLogPublisher.addObserver(lambda event: lines.append(formatEvent(event)))

@server.route("/saving")
async def saving(connection):
    await connection.send("here")
    await connection.wait_closed()
    await asyncio.sleep(0.5)
    print("saved", flush=True)

@server.route("/hanging")
async def hanging(connection):
    await connection.send("here")
    await asyncio.Event().wait()

server.start()
clients = [connect(f"ws://127.0.0.1:{server.port}{path}", proxy=None) for path in ("/saving", "/hanging")]
with clients[0], clients[1]:
    for client in clients:
        client.recv(5)
    server.stop()
print("stopped", *[line for line in lines if "cancelled" in line], sep="\\n", flush=True)
"""
    done = run_program(tmp_path, body)
    *told, line = answers(done)
    assert told == ["saved", "stopped"]
    assert re.search(r"cancelled, because drain_timeout is over: __main__:hanging at /hanging, connection [0-9a-f]{16}-\d+", line)


def test_start_refuses_code_that_needs_the_global_reactor(tmp_path: Path) -> None:
    (tmp_path / "ticking.py").write_text(
        "from autobahn.twisted.websocket import WebSocketServerProtocol\n"
        "class Ticking(WebSocketServerProtocol):\n"
        "    def onOpen(self):\n"
        "        from twisted.internet import reactor\n"
        "        reactor.callLater(0.1, self.sendMessage, b'tick')\n"
    )
    body = """
import sys
import wsdaemon
server = wsdaemon.WebSocketServer(port=0, python_path=".")
server.mount("/ticking", "ticking:Ticking")
try:
    server.start()
except wsdaemon.StartError as error:
    print(error)
"""
    [line] = answers(run_program(tmp_path, body))
    assert line.startswith("WebSocketServer: [mount:/ticking] app = ticking:Ticking: ticking imports Twisted's global reactor")
    assert "run_forever()" in line


MINE = """
async def app(connection):
    async for message in connection:
        await connection.send(message)
"""

WITH_WORKERS = """
from wsdaemon import WebSocketServer

server = WebSocketServer(port=0, workers=2)
server.mount("/echo", "mine:app")
server.page("/", "page.html")
server.run_forever(ready=lambda: print("port", server.port, flush=True))
print("ended", flush=True)
"""


def test_run_forever_with_workers(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "page.html").write_text("<h1>page</h1>")
    (tmp_path / "program.py").write_text(WITH_WORKERS)
    with Program([sys.executable, "-W", "error", "program.py"], tmp_path, {"PYTHONPATH": f"{ROOT}:{tmp_path}"}) as program:
        port = program.output.wait_for(r"^port (\d+)$")[0][1]
        with connect(f"ws://127.0.0.1:{port}/echo", proxy=None, open_timeout=SECONDS) as client:
            check_echo(client)
        with urlopen(f"http://127.0.0.1:{port}/", timeout=SECONDS) as answer:
            assert answer.read() == b"<h1>page</h1>"
        program.tell(signal.SIGUSR2)
        program.output.wait_for("SIGUSR2: only a daemon of an INI file can be upgraded")
        with connect(f"ws://127.0.0.1:{port}/echo", proxy=None, open_timeout=SECONDS) as client:
            check_echo(client)
        assert program.stop() == 0
        program.output.wait_for("^ended$")
