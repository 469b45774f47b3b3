"""Limits that hold over all workers, and tickets: clients come to any worker, and none is let in above a limit."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from tests.live.test_admin import ADMIN, Operator, write_token
from tests.support.daemon import Daemon, check_echo
from tests.support.workers import ECHO, children

pytestmark = pytest.mark.live

FOUR = ECHO.format(workers=4)


def come(daemon: Daemon, stack: contextlib.ExitStack, count: int, path: str = "/echo") -> tuple[list[ClientConnection], list[int]]:
    """Those of so many clients that were let in, and the statuses of the others."""
    clients, statuses = [], []
    for _ in range(count):
        try:
            clients.append(stack.enter_context(daemon.connect(path)))
        except InvalidStatus as refused:
            statuses.append(refused.response.status_code)
    return clients, statuses


def test_connections_in_all(tmp_path: Path) -> None:
    text = FOUR.replace("workers = 4", "workers = 4\nmax_connections = 10")
    with Daemon(tmp_path, text) as daemon, contextlib.ExitStack() as stack:
        clients, statuses = come(daemon, stack, 16)
        assert (len(clients), statuses) == (10, [503] * 6)
        for client in clients[:4]:
            client.close()
            daemon.output.wait_for("wsdaemon.connection worker=", 1)
        again, statuses = come(daemon, stack, 8)
        assert (len(again), statuses) == (4, [503] * 4)
        for client in again + clients[4:]:
            check_echo(client)


def test_the_places_of_a_worker_that_is_killed_are_free(tmp_path: Path) -> None:
    text = ECHO.format(workers=2).replace("workers = 2", "workers = 2\nmax_connections = 10")
    write_token(tmp_path)
    with Daemon(tmp_path, text + ADMIN) as daemon, contextlib.ExitStack() as stack:
        assert len(come(daemon, stack, 10)[0]) == 10
        with Operator(daemon) as operator:
            workers = [one["worker"] for one in operator.json("GET", "/api/connections")["connections"]]
        killed = max(workers, key=workers.count)
        os.kill(children(daemon.pid)[f"worker {killed}"], signal.SIGKILL)
        daemon.output.wait_for(rf"worker {killed} is ready", 2)
        again, statuses = come(daemon, stack, 12)
        assert (len(again), set(statuses)) == (workers.count(killed), {503})


def test_a_hub_that_is_killed_forgets_no_place(tmp_path: Path) -> None:
    text = ECHO.format(workers=2).replace("workers = 2", "workers = 2\nmax_connections = 10")
    with Daemon(tmp_path, text) as daemon, contextlib.ExitStack() as stack:
        clients, _ = come(daemon, stack, 9)
        os.kill(children(daemon.pid)["hub"], signal.SIGKILL)
        daemon.output.wait_for(r"hub is ready", 2)
        again, statuses = come(daemon, stack, 5)
        assert (len(again), statuses) == (1, [503] * 4)
        for client in clients + again:
            check_echo(client)


TICKETS = """
[mount:/members]
app = echo
auth = site

[auth:site]
kind = ticket
"""


def test_a_ticket_is_taken_at_any_worker_and_once(tmp_path: Path) -> None:
    write_token(tmp_path)
    with Daemon(tmp_path, FOUR + TICKETS + ADMIN) as daemon, contextlib.ExitStack() as stack:
        operators = [stack.enter_context(Operator(daemon)) for _ in range(4)]
        tickets = [operator.json("POST", "/api/tickets/site", b'{"identity":"ada"}')["ticket"] for operator in operators * 3]
        for ticket in tickets:
            check_echo(stack.enter_context(daemon.connect(f"/members?ticket={ticket}")))
        _, statuses = come(daemon, stack, 4, f"/members?ticket={tickets[0]}")
        assert statuses == [401] * 4
        found = operators[0].json("GET", "/api/connections?user=ada")
        assert found["count"] == 12
