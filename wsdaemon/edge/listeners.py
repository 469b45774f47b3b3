"""A listener: accepts in batches, refuses before TLS costs anything, and hands each socket to a transport of the loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from ..core.handshake import UNIX, Peer
from .arrival import Arrival
from .forwarded import Networks
from .gate import Gate
from .limits import Key, too_many
from .proxy_protocol import ProxyHeader, ProxyHeaderError, ProxyHeaderReader
from .responses import error_response

if TYPE_CHECKING:
    from .certificates import Certificates

BATCH = 64
"""Connections accepted before the loop looks after the open ones again."""

NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

OF_THE_NETWORK = frozenset(
    {
        errno.ENETDOWN, errno.EPROTO, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET, errno.EHOSTUNREACH, errno.EOPNOTSUPP,
        errno.ENETUNREACH, errno.EPERM,
    }
)  # fmt: skip
"""What accept() on Linux passes on from the new connection, or from a firewall: that one is lost, and the listener is not."""

REST = 0.5
"""Seconds without accepting when the process has no descriptors left: the socket stays readable, and trying at once would burn a core."""

ANYWHERE = frozenset({"", "::", "0.0.0.0"})  # noqa: S104 - compared with, not bound to


class TurnedAway(Exception):
    """This connection is not taken in. `reason` is one word, for the count; `told`: the operator should know."""

    def __init__(self, reason: str, detail: str = "", *, told: bool = True, limit: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.told = told
        self.limit = limit


class Listener:
    """One listening socket.

    At most `max_handshakes` opening handshakes are under way; the one that has waited longest makes room for a new one, so that silent
    clients lock nobody out.
    """

    def __init__(
        self, *, name: str, sock: socket.socket, gate: Gate, loop: asyncio.AbstractEventLoop, max_handshakes: int,
        certificates: Certificates | None = None, path: str | None = None, proxies: Networks | None = None,
    ) -> None:  # fmt: skip
        """`certificates` make it speak TLS; `path` is a unix socket's file, removed at the end.

        Connections from `proxies` must begin with a PROXY header, and others are refused; None: nobody sends one.
        """
        self.name = name
        self.gate = gate
        self.certificates = certificates
        self._sock = sock
        self._loop = loop
        self._max_handshakes = max_handshakes
        self._path = path
        self._proxies = proxies
        self._is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
        if self._is_tcp:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets have it from here
        self._local = self._own_address()
        self._arrivals: dict[Arrival, None] = {}
        self._answers: dict[str, bytes] = {}
        self._resting: asyncio.TimerHandle | None = None
        self._log = Logger(namespace="wsdaemon.edge")
        self.accepted = 0
        self.crowded_out = 0

    def _own_address(self) -> Peer | None:
        """The address that all its clients connect to; None when that must be asked for each."""
        if not self._is_tcp:
            return UNIX
        address = self._sock.getsockname()
        return None if address[0] in ANYWHERE else Peer.from_sockname(address)

    @property
    def port(self) -> int | None:
        """The TCP port it listens on; None for a unix socket."""
        return self._sock.getsockname()[1] if self._is_tcp and self._sock.fileno() >= 0 else None

    @property
    def handshakes(self) -> int:
        """Opening handshakes that are under way."""
        return len(self._arrivals)

    @property
    def certificate_days(self) -> float | None:
        """Days until the first of its certificates expires, negative when one has; None without TLS."""
        return None if self.certificates is None else self.certificates.expires_in_days()

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

    # -- accepting

    def _acceptable(self) -> None:
        for _ in range(BATCH):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue
            except OSError as error:
                if error.errno in OF_THE_NETWORK:
                    continue
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
        peer = Peer.from_sockname(address) if self._is_tcp else UNIX
        try:
            local = self._local or Peer.from_sockname(sock.getsockname())
            key = self._begin(peer)
        except TurnedAway as refused:
            self._turn_away(sock, peer, refused)
            return
        except OSError:  # gone already
            sock.close()
            return
        if len(self._arrivals) >= self._max_handshakes:
            self.crowded_out += 1
            next(iter(self._arrivals)).drop()
        arrival = Arrival(self.gate, self, peer, local, -1 if self.certificates else sock.fileno(), key)
        self._arrivals[arrival] = None
        arrival.connecting = self._loop.create_task(self._connect(arrival, sock))

    def _begin(self, peer: Peer) -> Key | None:
        """Of an accepted connection: the key that its address is counted under; None where a PROXY header will tell that."""
        if self._proxies is None:
            return self._count(peer)
        if peer not in self._proxies:
            raise TurnedAway("not_a_proxy", ": it is not in proxy_protocol_from")
        return None

    def _count(self, peer: Peer, named: bool = False) -> Key | None:
        """Enter a handshake for the client's address; the key it is counted under. TurnedAway when that has too many.

        `named`: a load balancer named it, and it is not the far end of the socket.
        """
        clients = self.gate.clients
        key, reason = clients.begin_named(peer) if named else clients.begin(peer)
        if reason is not None:
            raise TurnedAway(reason, limit=True)
        return key

    def _turn_away(self, sock: socket.socket, peer: Peer, refused: TurnedAway) -> None:
        """Close an accepted socket. Where that is plain HTTP the answer is given as well as it can be without keeping the client."""
        self.gate.refusals.add(refused.reason, peer, refused.detail, refused.told)
        try:
            if refused.limit and self.certificates is None:
                sock.send(self._answer(refused.reason))
                sock.shutdown(socket.SHUT_WR)
                sock.recv(4096)  # what is left unread would turn the end into a reset
        except OSError:
            pass
        finally:
            sock.close()

    def _answer(self, reason: str) -> bytes:
        answer = self._answers.get(reason)
        if answer is None:
            answer = self._answers[reason] = error_response(too_many(reason, self.gate.admission.retry_after))
        return answer

    # -- from a socket to a transport

    async def _connect(self, arrival: Arrival, sock: socket.socket) -> None:
        if arrival.gone:  # crowded out by those who came in the same batch
            sock.close()
            arrival.connecting = None
            return
        assert arrival.connecting is not None
        arrival.stop_connecting = arrival.connecting.cancel
        try:
            if self._proxies is not None:
                await self._hear_proxy(arrival, sock)
            if self.certificates is None:
                await self._loop.connect_accepted_socket(lambda: arrival, sock)
            else:
                await self._connect_tls(self.certificates, arrival, sock)
        except TurnedAway as refused:
            self._turn_away(sock, arrival.peer, refused)
            arrival.connection_lost(None)
        except (OSError, ssl.SSLError, asyncio.CancelledError) as error:
            self._log.debug(
                "no connection with a client of {listener}: {problem}", listener=self.name, problem=str(error) or type(error).__name__
            )
            arrival.connection_lost(None)
            sock.close()
        except Exception:
            self._log.failure("no connection with a client of {listener}", listener=self.name)
            arrival.connection_lost(None)
            sock.close()
        finally:
            arrival.connecting = arrival.stop_connecting = None

    async def _hear_proxy(self, arrival: Arrival, sock: socket.socket) -> None:
        """Take exactly the PROXY header off the socket, and with it the client's address. What follows, TLS or not, is left there."""
        reader = ProxyHeaderReader()
        header: ProxyHeader | None = None
        try:
            while header is None:
                data = await self._loop.sock_recv(sock, reader.needed)
                if not data:
                    raise TurnedAway("proxy_header", ": the connection ended before its PROXY header did", told=False)
                header = reader.feed(data)
        except ProxyHeaderError as error:
            raise TurnedAway("proxy_header", f": {error}") from None
        if header.destination is not None:
            arrival.local = header.destination
        if header.source is not None:  # else the proxy speaks for itself, and is not counted
            arrival.peer = header.source
            arrival.key = self._count(header.source, named=True)

    async def _connect_tls(self, certificates: Certificates, arrival: Arrival, sock: socket.socket) -> None:
        """Let TLS take the socket. TurnedAway when the two cannot agree; OSError for a client that just goes, which is not counted."""
        patience = self.gate.handshake_timeout
        # The deadline of the whole handshake comes first and is counted; this one is there in case it does not.
        limits: dict[str, Any] = {"ssl_handshake_timeout": patience + 1, "ssl_shutdown_timeout": patience}
        import aiofastnet

        try:
            if certificates.by_name:  # aiofastnet's TLS objects cannot call back into Python for the name: the loop's own can
                await self._loop.connect_accepted_socket(lambda: arrival, sock, ssl=certificates.context, **limits)
            else:
                arrival.stop_connecting = partial(_hang_up, sock)
                await aiofastnet.connect_accepted_socket(self._loop, lambda: arrival, sock, ssl=certificates.context, **limits)
        except ssl.SSLError as error:
            if arrival.gone:  # ended by us, and counted where that was
                raise
            raise TurnedAway("tls_handshake", f": {error.reason or type(error).__name__}", told=False) from None


def _hang_up(sock: socket.socket) -> None:
    """End a TLS handshake of aiofastnet from outside, as if the client had gone.

    When it is cancelled its timer keeps the transport with its TLS buffers until the handshake would have timed out.
    """
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
