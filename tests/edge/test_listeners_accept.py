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

    def _accept(self) -> tuple[int, object]:
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


class Sharing:
    """A rule that lets this process accept, or not."""

    def __init__(self) -> None:
        self.open = True
        self.told = 0

    def may_accept(self) -> bool:
        return self.open

    def accepted(self) -> None:
        self.told += 1


class Watched:
    """The readers that a listener adds and removes."""

    def __init__(self, loop: Any) -> None:
        self.reading = True
        loop.add_reader = lambda *arguments: setattr(self, "reading", True)
        loop.remove_reader = lambda *arguments: setattr(self, "reading", False)


def test_among_several_processes_one_wake_accepts_one_connection() -> None:
    with house() as made:
        sock: Any = Failing(*[errno.ECONNABORTED] * 3)
        sharing = Sharing()
        gate = make_gate(listener="web", routes=Routes(), wheel=made.wheel())
        listener = Listener(name="web", sock=sock, gate=gate, loop=made.loop, max_handshakes=10, sharing=sharing)
        listener._acceptable()
        assert (len(sock.errors), sharing.told) == (2, 1)


def test_a_process_that_is_ahead_leaves_the_socket_to_others_until_it_may_accept_again() -> None:
    with house() as made:
        sock: Any = Failing(*[errno.ECONNABORTED] * 3)
        sock.fileno, sock.close = lambda: 99, lambda: None
        sharing, watched = Sharing(), Watched(made.loop)
        gate = make_gate(listener="web", routes=Routes(), wheel=made.wheel())
        listener = Listener(name="web", sock=sock, gate=gate, loop=made.loop, max_handshakes=10, sharing=sharing)
        sharing.open = False
        listener._acceptable()
        assert (len(sock.errors), watched.reading) == (3, False)
        made.loop.advance(1.0)
        assert not watched.reading
        sharing.open = True
        made.loop.advance(0.06)
        assert watched.reading
        sharing.open = False
        listener._acceptable()
        listener.stop()
        watched.reading = False
        sharing.open = True
        made.loop.advance(1.0)
        assert not watched.reading, "a listener that was stopped does not come back"
