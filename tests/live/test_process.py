"""`app = process` in a real daemon: websocketd's kind of programs, and nothing that is left of many of them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.daemon import SECONDS, Daemon, run

pytestmark = pytest.mark.live

CONNECTIONS = int(os.environ.get("WSDAEMON_PROCESSES", "300"))
"""10,000 in a nightly run."""

HEAD = """
[daemon]
max_connections = 2000

[listener:web]
address = tcp:0:interface=127.0.0.1
max_connections_per_address = 2000
connections_per_second_per_address = 100000
max_handshakes = 2000
"""


def mount(path: str, command: str, *more: str) -> str:
    return "\n".join([f"[mount:{path}]", "app = process", f"command = {command}", *more, ""])


def ended(client: Any) -> tuple[int, str]:
    """Read on until the connection is closed; its code and reason."""
    try:
        while True:
            client.recv(SECONDS)
    except ConnectionClosed as error:
        return (1006, "") if error.rcvd is None else (error.rcvd.code, error.rcvd.reason)


def children(pid: int) -> list[str]:
    """The processes below a daemon, zombies included."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(")")
        except OSError:
            continue
        if int(rest.split()[1]) == pid:
            found.append(name)
    return found


def until(condition: Callable[[], object]) -> None:
    async def wait() -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():  # noqa: ASYNC110 - the system tells of nothing
                await asyncio.sleep(0.02)

    asyncio.run(wait())


COUNT = "bash -c 'for i in 1 2 3; do echo $i; sleep 0.01; done'"
GREETER = """bash -c 'while read line; do echo "Hello $line!"; done'"""
DUMP = (
    "bash -c 'for name in AUTH_TYPE CONTENT_LENGTH CONTENT_TYPE GATEWAY_INTERFACE PATH_INFO PATH_TRANSLATED QUERY_STRING REMOTE_ADDR "
    "REMOTE_HOST REMOTE_IDENT REMOTE_PORT REMOTE_USER REQUEST_METHOD REQUEST_URI SCRIPT_NAME SERVER_NAME SERVER_PORT SERVER_PROTOCOL "
    'SERVER_SOFTWARE UNIQUE_ID HTTPS HTTP_USER_AGENT HTTP_X_TEST HTTP_PROXY SECRET; do echo "$name=${!name-<unset>}"; done\''
)
CHAT = """bash -c 'log=chat.log; touch $log; echo "Please enter your name:"; read user; echo "[$(date)] $user joined" >>$log;
 tail -n 0 -f $log --pid=$$ | grep --line-buffered -v "> $user>" & while read message; do echo "> $user> $message" >>$log; done;
 echo "$user left" >>$log'""".replace("\n", "")
PYTHON = "python3 -u -c 'import sys; [print(line.strip()[::-1]) for line in sys.stdin]'"


def test_programs_as_people_write_them_for_websocketd(tmp_path: Path) -> None:
    text = HEAD + mount("/count", COUNT) + mount("/greeter", GREETER) + mount("/dump", DUMP) + mount("/chat", CHAT) + mount("/py", PYTHON)
    with Daemon(tmp_path, text, environ={"SECRET": "hunter2"}) as daemon:
        with daemon.connect("/count") as client:
            assert [client.recv(SECONDS) for _ in range(3)] == ["1", "2", "3"]
            assert ended(client) == (1000, "")
        with daemon.connect("/greeter") as client:
            for name in ("Ada", "Bob"):
                client.send(name)
                assert client.recv(SECONDS) == f"Hello {name}!"
        with daemon.connect("/py") as client:
            client.send("abc")
            assert client.recv(SECONDS) == "cba"
        headers = [("X-Test", "a"), ("X-Test", "b"), ("Proxy", "http://evil.example")]
        with daemon.connect("/dump?x=1", additional_headers=headers) as client:
            variables = dict(str(client.recv(SECONDS)).partition("=")[::2] for _ in range(25))
            assert ended(client) == (1000, "")
        assert variables["HTTP_X_TEST"] == "a, b"
        assert (variables["REQUEST_URI"], variables["REMOTE_ADDR"], variables["SERVER_PORT"]) == (
            "/dump?x=1",
            "127.0.0.1",
            str(daemon.port),
        )
        assert [name for name, value in variables.items() if value == "<unset>"] == ["HTTPS", "HTTP_PROXY", "SECRET"]
        with daemon.connect("/chat") as ada, daemon.connect("/chat") as bob:
            for client, name in ((ada, "ada"), (bob, "bob")):
                assert client.recv(SECONDS) == "Please enter your name:"
                client.send(name)
                while not (tmp_path / "chat.log").read_text().count(f"{name} joined"):
                    pass
            bob.send("hello")
            while ada.recv(SECONDS) != "> bob> hello":
                pass
        until(lambda: children(daemon.pid) == [])
        assert (tmp_path / "chat.log").read_text().endswith("left\n")


def test_refusals_limits_and_ends(tmp_path: Path) -> None:
    text = (
        HEAD
        + mount("/refuse", "sh -c 'test \"$QUERY_STRING\" = ok || exit 1; echo in; cat'", "refuse_status = 403")
        + mount("/one", "sh -c 'echo $$; exec cat'", "max_processes = 1")
        + mount("/stubborn", "sh -c 'trap \"\" TERM; sleep 1000 & echo $$; sleep 1000'", "stop_timeout = 50ms")
        + mount("/codes", "sh -c 'exit $QUERY_STRING'", "exit_codes = 3=4003")
        + mount("/memory", "python3 -c 'x = bytes(500_000_000); print(len(x))' 2>/dev/null", "shell = on", "max_memory = 200MiB")
        + mount("/escape", "cat", "newlines = escape")
        + mount("/flood", "yes")
    )
    with Daemon(tmp_path, text) as daemon:
        with pytest.raises(InvalidStatus) as caught:
            daemon.connect("/refuse?no")
        assert caught.value.response.status_code == 403
        with daemon.connect("/refuse?ok") as client:
            assert client.recv(SECONDS) == "in"
        until(lambda: children(daemon.pid) == [])
        with daemon.connect("/one") as client:
            client.recv(SECONDS)
            with pytest.raises(InvalidStatus) as caught:
                daemon.connect("/one")
            assert (caught.value.response.status_code, caught.value.response.headers["Retry-After"]) == (503, "5")
        with daemon.connect("/stubborn") as client:
            client.recv(SECONDS)
        until(lambda: children(daemon.pid) == [])
        for status, code in ((0, 1000), (3, 4003), (9, 1011)):
            with daemon.connect(f"/codes?{status}") as client:
                assert ended(client)[0] == code
        with daemon.connect("/memory") as client:
            assert ended(client)[0] == 1011
        with daemon.connect("/escape") as client:
            client.send("a\nb\\")
            assert client.recv(SECONDS) == "a\\nb\\\\"
        with daemon.connect("/flood", max_queue=1, close_timeout=0.1) as client, daemon.connect("/escape") as other:
            assert client.recv(SECONDS) == "y"
            other.send("still served")
            assert other.recv(SECONDS) == "still served"
        assert daemon.stop(signal.SIGTERM) == 0
        assert children(daemon.pid) == []


def test_one_program_for_all(tmp_path: Path) -> None:
    program = """
import json, sys
for line in sys.stdin:
    event = json.loads(line)
    if event.get("text") == "die": sys.exit(1)
    if "text" in event: print(json.dumps({"id": "*", "text": event["text"].upper()}), flush=True)
"""
    (tmp_path / "program.py").write_text(program)
    with Daemon(tmp_path, HEAD + mount("/all", "python3 program.py", "shared = on")) as daemon:
        with daemon.connect("/all") as ada, daemon.connect("/all") as bob:
            ada.send("hello")
            assert ada.recv(SECONDS) == bob.recv(SECONDS) == "HELLO"
            assert len(children(daemon.pid)) == 1
            ada.send("die")
            assert ended(ada)[0] == ended(bob)[0] == 1012

        def back() -> bool:
            try:
                with daemon.connect("/all") as client:
                    client.send("again")
                    return bool(client.recv(SECONDS) == "AGAIN")
            except InvalidStatus:
                return False

        until(back)
        assert daemon.stop() == 0
        assert children(daemon.pid) == []


def test_check_finds_a_command_that_does_not_exist(tmp_path: Path) -> None:
    done = run(tmp_path, HEAD + mount("/p", "no-such-program --flag") + mount("/q", "cat 'x"), "--check")
    assert done.returncode == 1
    assert "[mount:/p] command = no-such-program --flag: there is no program no-such-program in PATH" in done.stderr
    assert "[mount:/q] command = cat 'x: expected a command line" in done.stderr


def test_nothing_is_left_of_many_programs(tmp_path: Path) -> None:
    cat = shutil.which("cat")
    with Daemon(
        tmp_path, HEAD + mount("/cat", f"{cat}", "max_processes = 1000") + mount("/end", "sh -c 'sleep 1000 & echo end'")
    ) as daemon:
        with daemon.connect("/cat") as client:
            client.send("x")
            client.recv(SECONDS)
        until(lambda: children(daemon.pid) == [])
        before = len(os.listdir(f"/proc/{daemon.pid}/fd"))  # noqa: PTH208

        async def one(number: int) -> None:
            path = "/end" if number % 10 == 0 else "/cat"
            async with connect_async(daemon.url(path), proxy=None, open_timeout=SECONDS, compression=None) as client:
                if path == "/end":
                    assert await client.recv() == "end"
                    await client.wait_closed()
                elif number % 3:
                    await client.send(json.dumps(number))
                    assert await client.recv() == str(number)
                else:
                    client.transport.abort()

        async def many() -> None:
            waiting = iter(range(CONNECTIONS))

            async def several() -> None:
                for number in waiting:
                    await one(number)

            await asyncio.gather(*[several() for _ in range(20)])

        asyncio.run(many())
        until(lambda: children(daemon.pid) == [])
        until(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) <= before)  # noqa: PTH208
        assert daemon.stop() == 0
