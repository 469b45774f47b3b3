"""The admin pages of a daemon with two workers: whichever worker answers, they show the whole, and act on the whole."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.live.test_admin import ADMIN, TOKEN, Operator, wait_for_members, write_token
from tests.support.daemon import SECONDS, Daemon, check_echo
from tests.support.workers import ECHO, worker_ids

pytestmark = pytest.mark.live

TWO = ECHO.format(workers=2)

Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


def two_operators(daemon: Daemon, stack: contextlib.ExitStack) -> list[Operator]:
    """More than one connection to the pages, so that both workers most likely answer some."""
    return [stack.enter_context(Operator(daemon)) for _ in range(6)]


def fallen(before: Numbers, after: Numbers) -> list[Any]:
    """Counters that are smaller than they were."""
    counters = [key for key in before if key[0].endswith(("_total", "_count", "_sum", "_bucket"))]
    return [(key, before[key], after.get(key)) for key in counters if after.get(key, -1.0) < before[key]]


def test_the_pages_show_all_workers_and_counters_never_fall(tmp_path: Path) -> None:
    write_token(tmp_path)
    with Daemon(tmp_path, TWO + ADMIN) as daemon, contextlib.ExitStack() as stack:
        operators = two_operators(daemon, stack)
        clients = [stack.enter_context(daemon.connect()) for _ in range(10)]
        for client in clients:
            check_echo(client)
        place = {"mount": "/echo", "listener": "web"}
        for operator in operators:
            found = operator.metrics()
            here = [found["wsdaemon_connections", frozenset({**place, "worker": number}.items())] for number in "12"]
            assert sum(here) == 10
            assert found["wsdaemon_received_messages_total", frozenset(place.items())] == 10
            status = operator.json("GET", "/status")
            assert (status["pid"], status["connections"]["now"]) == (daemon.pid, 10)
            assert operator.get("/readyz") == (200, b"ready\n")
        workers = worker_ids(daemon)
        killed, stopped = ("worker 1", "worker 2") if here[0] > here[1] else ("worker 2", "worker 1")
        os.kill(workers[killed], signal.SIGKILL)
        daemon.output.wait_for(rf"{killed} is ready", 2)
        with Operator(daemon) as operator:
            after = operator.metrics()
            assert fallen(found, after) == []
            assert after["wsdaemon_received_messages_total", frozenset(place.items())] == 10
            os.kill(workers[stopped], signal.SIGSTOP)
            try:
                with Operator(daemon) as other:
                    assert fallen(after, other.metrics()) == []
                    assert other.get("/readyz") == (200, b"ready\n")
                    wait_for_state(other, "hung")
            finally:
                os.kill(workers[stopped], signal.SIGCONT)


def wait_for_state(operator: Operator, state: str) -> None:
    for _ in range(1000):
        if state in [worker["state"] for worker in operator.json("GET", "/status")["workers"]]:
            return
    raise AssertionError(state)


def test_connections_of_all_workers_are_listed_and_closed_from_any(tmp_path: Path) -> None:
    write_token(tmp_path)
    with Daemon(tmp_path, TWO + ADMIN) as daemon, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(daemon.connect()) for _ in range(8)]
        for client in clients:
            check_echo(client)
        for operator in two_operators(daemon, stack):
            found, after = list[Any](), ""
            while True:
                page = operator.json("GET", f"/api/connections?limit=3&after={after}")
                assert page["count"] == 8
                found += page["connections"]
                if "after" not in page:
                    break
                after = page["after"]
            assert len({one["id"] for one in found}) == len(found) == 8
            assert {one["worker"] for one in found} <= {1, 2}
        for one in found:
            operator.json("DELETE", f"/api/connections/{one['id']}?code=4001&reason=spam")
        for client in clients:
            with pytest.raises(ConnectionClosed):
                client.recv(SECONDS)
            assert (client.close_code, client.close_reason) == (4001, "spam")
        assert operator.ask("DELETE", f"/api/connections/{found[0]['id']}")[0] == 404
        closes = wait_for_closes(operator, 8)
        assert {one["id"] for one in closes} == {one["id"] for one in found}
        assert {(one["code"], one["reason"]) for one in closes} == {(4001, "spam")} and {one["worker"] for one in closes} <= {1, 2}
        with connect(f"{operator.url.replace('http', 'ws')}/console/live", proxy=None, open_timeout=SECONDS) as console:
            console.send(json.dumps({"token": TOKEN}))
            figures = json.loads(console.recv(SECONDS))
            assert (figures["messages_in"], [one["number"] for one in figures["workers"]]) == (8, [1, 2])


def wait_for_closes(operator: Operator, count: int) -> list[Any]:
    """The latest closes, once there are so many: the daemon counts one a moment after its client has seen it."""
    for _ in range(1000):
        closes: list[Any] = operator.json("GET", "/api/closes")["closes"]
        if len(closes) == count:
            return closes
    raise AssertionError(closes)


ROOMS = """
[daemon]
workers = 2

[listener:web]
address = tcp:0:interface=127.0.0.1

[mount:/rooms/{room}]
app = rooms
history = 100
"""


def test_rooms_are_reached_from_any_worker(tmp_path: Path) -> None:
    write_token(tmp_path)
    with Daemon(tmp_path, ROOMS + ADMIN) as daemon, contextlib.ExitStack() as stack:
        operators = two_operators(daemon, stack)
        clients = [stack.enter_context(daemon.connect("/rooms/lobby")) for _ in range(8)]
        members = wait_for_members(operators[0], 8)["members"]
        for number, operator in enumerate(operators):
            done = operator.json("POST", "/api/rooms/lobby/messages", b"%d" % number, Content_Type="text/plain")
            assert (done["offset"], done["members"]) == (number + 1, 8)
            assert operator.json("GET", "/api/rooms/lobby/members")["count"] == 8
            assert [one["data"] for one in operator.json("GET", "/api/rooms/lobby/messages")["messages"]][-1] == str(number)
            assert [one["members"] for one in operator.json("GET", "/api/rooms")["rooms"]] == [8]
            assert operator.metrics()["wsdaemon_rooms", frozenset({"mount": "/rooms/{room}"}.items())] == 1
            assert operator.json("GET", "/status")["mounts"][0]["members"] == 8
        for client in clients:
            assert [client.recv(SECONDS) for _ in operators] == [str(number) for number in range(len(operators))]
        for member in members:
            operators[0].json("DELETE", f"/api/rooms/lobby/members/{member['id']}")
        for client in clients:
            with pytest.raises(ConnectionClosed):
                client.recv(SECONDS)
            assert (client.close_code, client.close_reason) == (4403, "removed")
        wait_for_members(operators[1], 0)
