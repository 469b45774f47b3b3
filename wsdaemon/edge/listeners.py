"""A listener: accepts in batches, refuses before TLS costs anything, and hands each socket to a transport of the loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from ..core.handshake import UNIX, Peer
from .gate import Arrival, Gate

if TYPE_CHECKING:
    from .certificates import Certificates

BATCH = 64
"""Connections accepted before the loop looks after the open ones again."""

NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

REST = 0.5
"""Seconds without accepting when the process has no descriptors left: the socket stays readable, and trying at once would burn a core."""


class Listener:
    """One listening socket.

    At most `max_handshakes` opening handshakes are under way; the one that has waited longest makes room for a new one, so that silent
    clients lock nobody out.
    """

    def __init__(
        self, *, name: str, sock: socket.socket, gate: Gate, loop: asyncio.AbstractEventLoop, max_handshakes: int,
        certificates: Certificates | None = None, path: str | None = None,
    ) -> None:  # fmt: skip
        """`certificates` make it speak TLS; `path` is a unix socket's file, removed at the end."""
        self.name = name
        self.gate = gate
        self._sock = sock
        self._loop = loop
        self._max_handshakes = max_handshakes
        self._certificates = certificates
        self._path = path
        self._is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
        self._arrivals: dict[Arrival, None] = {}
        self._resting: asyncio.TimerHandle | None = None
        self._log = Logger(namespace="wsdaemon.edge")
        self.accepted = 0
        self.crowded_out = 0

    @property
    def port(self) -> int | None:
        """The TCP port it listens on; None for a unix socket."""
        return self._sock.getsockname()[1] if self._is_tcp and self._sock.fileno() >= 0 else None

    @property
    def handshakes(self) -> int:
        """Opening handshakes that are under way."""
        return len(self._arrivals)

    def start(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._acceptable)

    def stop(self) -> None:
        """Accept no more, close the socket, and drop what has not finished its handshake."""
        if self._resting is not None:
            self._resting.cancel()
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            if self._path is not None:
                with contextlib.suppress(OSError):
                    Path(self._path).unlink()
        for arrival in list(self._arrivals):
            arrival.drop()

    def gone(self, arrival: Arrival) -> None:
        """An arrival has become a connection, or is gone."""
        self._arrivals.pop(arrival, None)

    def _acceptable(self) -> None:
        for _ in range(BATCH):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue
            except OSError as error:
                if error.errno not in NO_DESCRIPTORS:
                    raise
                self._rest(error)
                return
            self._take_in(sock, address)

    def _rest(self, error: OSError) -> None:
        self._log.warn("{listener} accepts nothing for a moment: {problem}", listener=self.name, problem=error.strerror)
        self._loop.remove_reader(self._sock.fileno())
        self._resting = self._loop.call_later(REST, self.start)

    def _take_in(self, sock: socket.socket, address: object) -> None:
        self.accepted += 1
        sock.setblocking(False)
        if self._is_tcp:
            with contextlib.suppress(OSError):  # the client may be gone already
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer, local = Peer.from_sockname(address), Peer.from_sockname(sock.getsockname())
        else:
            peer, local = UNIX, UNIX
        if len(self._arrivals) >= self._max_handshakes:
            self.crowded_out += 1
            next(iter(self._arrivals)).drop()
        arrival = Arrival(self.gate, self, peer, local, -1 if self._certificates else sock.fileno())
        self._arrivals[arrival] = None
        arrival.task = self._loop.create_task(self._connect(arrival, sock))

    async def _connect(self, arrival: Arrival, sock: socket.socket) -> None:
        try:
            if self._certificates is None:
                await self._loop.connect_accepted_socket(lambda: arrival, sock)
            else:
                await self._connect_tls(self._certificates, arrival, sock)
        except (OSError, ssl.SSLError, asyncio.CancelledError) as error:
            self._log.debug(
                "no connection with a client of {listener}: {problem}", listener=self.name, problem=str(error) or type(error).__name__
            )
            arrival.connection_lost(None)
            sock.close()
        finally:
            arrival.task = None

    async def _connect_tls(self, certificates: Certificates, arrival: Arrival, sock: socket.socket) -> None:
        limits: dict[str, Any] = {"ssl_handshake_timeout": self.gate.handshake_timeout, "ssl_shutdown_timeout": self.gate.handshake_timeout}
        import aiofastnet

        if certificates.by_name:  # aiofastnet's TLS objects cannot call back into Python for the name: the loop's own can
            await self._loop.connect_accepted_socket(lambda: arrival, sock, ssl=certificates.context, **limits)
        else:
            await aiofastnet.connect_accepted_socket(self._loop, lambda: arrival, sock, ssl=certificates.context, **limits)
