"""edge/listeners.py: errors of accept(), and the listener's answers to them."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from tests.support.fakes import house
from tests.support.gates import make_gate
from tests.support.lines import Lines
from wsdaemon.core.routing import Routes
from wsdaemon.edge.listeners import Listener


class Failing:
    """A listening socket whose accept() fails in these ways, and then has no client waiting."""

    family = socket.AF_UNIX

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)

    def getsockname(self) -> str:
        return "/run/ws.sock"

    def accept(self) -> tuple[socket.socket, object]:
        if not self.errors:
            raise BlockingIOError
        number = self.errors.pop(0)
        raise OSError(number, "failed")


def accept_from(sock: Any) -> Listener:
    with house() as made:
        gate = make_gate(
            listener="web", secure=False, routes=Routes(), counts=(), wheel=made.wheel(), handshake_timeout=1.0, retry_after=1.0
        )  # fmt: skip
        listener = Listener(name="web", sock=sock, gate=gate, loop=made.loop, max_handshakes=10)
        listener._acceptable()
        return listener


def test_what_the_network_did_to_one_connection_stops_nothing() -> None:
    sock = Failing(errno.ECONNABORTED, errno.EHOSTUNREACH, errno.EPROTO, errno.EPERM, errno.EINTR)
    assert accept_from(sock).accepted == 0
    assert sock.errors == []


def test_what_is_our_own_fault_is_not_hidden() -> None:
    with pytest.raises(OSError, match="failed"):
        accept_from(Failing(errno.EBADF))


def test_without_descriptors_the_log_tells_once() -> None:
    log: Any = Lines()
    with house() as made:
        sock: Any = Failing(*[errno.EMFILE] * 200)
        sock.fileno = lambda: 99
        gate = make_gate(listener="web", routes=Routes(), wheel=made.wheel(), retry_after=1.0)
        listener = Listener(name="web", sock=sock, gate=gate, loop=made.loop, max_handshakes=10, log=log)
        rests: list[float] = []
        made.loop.remove_reader = made.loop.add_reader = lambda *arguments: True  # type: ignore[method-assign, assignment]
        for _ in range(200):
            listener._acceptable()
            rests.append(made.loop.timers)
            assert listener._resting is not None
            listener._resting.cancel()
        assert sock.errors == []
    [line] = log.lines
    assert line.startswith("web accepts no clients for a moment: failed") and "ulimit -n" in line
