"""A listener: accepts in batches, refuses before TLS costs anything, and hands each socket to a transport of the loop."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure

from ..core.descriptors import first_reserved
from ..core.handshake import UNIX, Peer
from ..core.limits import Key
from ..core.rare_lines import LineLog, RareLines
from ..wire.frames.twin import send
from ..wire.turns import Turns
from .accepting import acceptor
from .arrival import Arrival
from .crowd import Crowd, Spare, oldest
from .forwarded import Networks
from .gate import Gate
from .limits import CONNECTIONS, HANDSHAKES, PER_SECOND, too_many
from .opening import open_transport
from .proxy_protocol import ProxyHeader, ProxyHeaderError, ProxyHeaderReader
from .request import BadRequest, unavailable
from .responses import error_response
from .tls_failure import RECORDS, SERVER_NAME

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
"""Errors of accept() on Linux that are the new connection's, or a firewall's: that connection is lost, and the listener goes on."""

REST = 0.5
"""Seconds without accepting when the process has no descriptors left: the socket stays readable, and trying at once would burn a core."""

ASIDE_SECONDS = 0.001
"""Until a listener that left new connections to other workers looks whether it may accept again. The wait doubles with each look."""

LONGEST_ASIDE_SECONDS = 0.05
"""The longest of these waits."""

DESCRIPTORS = "descriptors"
"""The reason for a client that would take one of the last descriptors."""

CROWDED = "crowded"
"""The reason for a client for which no other one makes room."""

ANSWERED = frozenset({CONNECTIONS, HANDSHAKES, PER_SECOND, DESCRIPTORS, CROWDED})
"""Reasons of TurnedAway for which plain listeners answer, 429 or 503, before they close."""

TOLD = frozenset({RECORDS, SERVER_NAME})
"""Faults of TLS that no honest client makes: the operator is told."""

ANYWHERE = frozenset({"", "::", "0.0.0.0"})  # noqa: S104 - compared with, not bound to


class TurnedAway(Exception):
    """This connection is not taken in. `reason` is one word, for the count; `told`: the operator should know."""

    def __init__(self, reason: str, detail: str = "", *, told: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.told = told


class Sharing(Protocol):
    """How several processes share the new connections of one socket."""

    def may_accept(self) -> bool:
        """Whether this process may accept a connection now."""

    def accepted(self) -> None:
        """This process has accepted one."""


class Listener:
    """One listening socket.

    At most `max_handshakes` opening handshakes are under way. The one that has waited longest makes room for a new one, so that silent
    clients lock no other client out.
    """

    def __init__(
        self, *, name: str, sock: socket.socket, gate: Gate, loop: asyncio.AbstractEventLoop, max_handshakes: int,
        certificates: Certificates | None = None, proxies: Networks | None = None, proxies_secure: bool = False,
        turns: Turns | None = None, send: Callable[[int, bytes], int] = send, sharing: Sharing | None = None, spare: Spare = oldest,
        for_operators: bool = False, log: LineLog | None = None,
    ) -> None:  # fmt: skip
        """`certificates` make it speak TLS, whose work is shared out by `turns` and whose writes try `send` first (see wire.frames).

        `sharing`: other processes accept from the same socket. Then this one accepts one connection for each wake of its loop.

        Connections from `proxies` must begin with a PROXY header, and others are refused; None: no connection begins with one.
        `spare` chooses the one that makes room. `for_operators`: these clients get the last descriptors too, and TLS faults are told.

        `proxies_secure`: whether clients come to those proxies over TLS, where the header does not say it.
        """
        self.name = name
        self.gate = gate
        self.certificates = certificates
        self._sock = sock
        self._accept_one = acceptor(sock)
        self._loop = loop
        self._proxies = proxies
        self._proxies_secure = proxies_secure
        self._turns = Turns(loop.call_soon) if turns is None else turns
        self._send = send
        self._refuse_tls = self._tls_refused  # one object for all connections
        self._is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
        if self._is_tcp:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets have it from here
        self._local = self._own_address()
        self._crowd = Crowd(gate, max_handshakes, spare)
        self._answers: dict[str, bytes] = {}
        self._resting: asyncio.TimerHandle | None = None
        self._sharing = sharing
        self._aside_seconds = ASIDE_SECONDS
        self._log = log or Logger(namespace="wsdaemon.edge")
        self._lines = RareLines(self._log)
        self._for_operators = for_operators
        self._first_reserved = sys.maxsize if for_operators else first_reserved()
        self.accepted = 0

    def _own_address(self) -> Peer | str | None:
        """The address that all its clients connect to, a unix socket's path; None when that must be asked for each."""
        if not self._is_tcp:
            path = self._sock.getsockname()
            return path if path and isinstance(path, str) else UNIX
        address = self._sock.getsockname()
        return None if address[0] in ANYWHERE else Peer.from_sockname(address)

    @property
    def port(self) -> int | None:
        """The TCP port it listens on; None for a unix socket."""
        return self._sock.getsockname()[1] if self._is_tcp and self._sock.fileno() >= 0 else None

    @property
    def handshakes(self) -> int:
        """Opening handshakes that are under way."""
        return len(self._crowd)

    @property
    def crowded_out(self) -> int:
        """Clients that have made room for newer ones."""
        return self._crowd.crowded_out

    def start(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._acceptable)

    def stop(self) -> None:
        """Accept no more, close the socket, and drop what has not finished its handshake."""
        self.leave()
        self._crowd.drop()

    def leave(self) -> None:
        """Accept no more and close the socket, and complete the handshakes that are under way."""
        self._crowd.close()
        if self._resting is not None:
            self._resting.cancel()
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def renew(
        self, gate: Gate, *, backlog: int, max_handshakes: int, certificates: Certificates | None, proxies: Networks | None,
        proxies_secure: bool,
    ) -> None:  # fmt: skip
        """Have connections that are accepted from now on go by this gate. Handshakes under way stay with the gate that they began at."""
        self.gate = self._crowd.gate = gate
        self.certificates = certificates
        self._crowd.most = max_handshakes
        self._proxies, self._proxies_secure = proxies, proxies_secure
        self._answers.clear()
        if self._sock.fileno() >= 0:
            self._sock.listen(backlog)

    def renew_in_place(self, other: Listener) -> None:
        """Go by the rules of another listener, which has no clients: they apply to clients that are here already, too."""
        self.gate.renew(other.gate)
        self._crowd.most = other._crowd.most

    @property
    def lagging(self) -> bool:
        """Whether a handshake is under way that began at an earlier gate."""
        return any(arrival.gate is not self.gate for arrival in self._crowd)

    # -- accepting

    def _acceptable(self) -> None:
        if self._sharing is None:
            for _ in range(BATCH):
                if not self._accept():
                    return
        elif self._sharing.may_accept():
            self._accept()
            self._sharing.accepted()
        else:
            self._step_aside()

    def _accept(self) -> bool:
        """Accept one connection; False if none waits, or if the process has no room for it."""
        try:
            sock, address = self._accept_one()
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionError:
            return True
        except OSError as error:
            if error.errno in OF_THE_NETWORK:
                return True
            if error.errno not in NO_DESCRIPTORS:
                raise
            self._rest(error)
            return False
        self._take_in(sock, address)
        return True

    def _step_aside(self) -> None:
        """Leave new connections to the other processes until this one may accept again."""
        self._loop.remove_reader(self._sock.fileno())
        self._aside_seconds = ASIDE_SECONDS
        self._resting = self._loop.call_later(ASIDE_SECONDS, self._come_back)

    def _come_back(self) -> None:
        if self._sharing is None or self._sharing.may_accept():
            self.start()
        else:
            self._aside_seconds = min(2 * self._aside_seconds, LONGEST_ASIDE_SECONDS)
            self._resting = self._loop.call_later(self._aside_seconds, self._come_back)

    def _rest(self, error: OSError) -> None:
        self._lines.warn(
            "resting", "{listener} accepts no clients for a moment: {problem}; see LimitNOFILE= of systemd, or ulimit -n, for open files",
            listener=self.name, problem=error.strerror,
        )  # fmt: skip
        self._loop.remove_reader(self._sock.fileno())
        self._resting = self._loop.call_later(REST, self.start)

    def _take_in(self, sock: socket.socket, address: object) -> None:
        self.accepted += 1
        peer = Peer.from_sockname(address) if self._is_tcp else UNIX
        try:
            if sock.fileno() >= self._first_reserved:
                raise TurnedAway(DESCRIPTORS, ": nearly all open files are in use; raise LimitNOFILE= of systemd, or ulimit -n")
            local = self._local or Peer.from_sockname(sock.getsockname())
            key = self._begin(peer)
            if not self._crowd.make_room():
                self.gate.clients.end(key)
                raise TurnedAway(CROWDED)
        except TurnedAway as refused:
            self._turn_away(sock, peer, refused)
            return
        except OSError:  # gone already
            sock.close()
            return
        arrival = Arrival(self.gate, self._crowd, peer, local, -1 if self.certificates else sock.fileno(), key)
        self._crowd.add(arrival)
        if self._proxies is None:
            self._make_transport(arrival, sock)
        else:
            arrival.connecting = self._loop.create_task(self._hear_proxy(arrival, sock))

    def _begin(self, peer: Peer) -> Key | None:
        """The key that an accepted connection's address is counted under; None if a PROXY header will name that address."""
        if self._proxies is None:
            return self._count(peer, self.gate)
        if peer not in self._proxies:
            raise TurnedAway("not_a_proxy", ": it is not in proxy_protocol_from")
        return None

    def _count(self, peer: Peer, gate: Gate, named: bool = False) -> Key | None:
        """Enter a handshake for the client's address; returns the key that it is counted under. TurnedAway if that address has too many.

        `named`: a load balancer named the address, which is not that of the far end of the socket.
        """
        clients = gate.clients
        key, reason = clients.begin_named(peer) if named else clients.begin(peer)
        if reason is not None:
            raise TurnedAway(reason)
        return key

    def _turn_away(self, sock: socket.socket, peer: Peer, refused: TurnedAway) -> None:
        """Close an accepted socket. A plain listener first answers, as far as it can without waiting for the client."""
        self.gate.refusals.add(refused.reason, peer, refused.detail, refused.told)
        try:
            if refused.reason in ANSWERED and self.certificates is None:
                sock.send(self._answer(refused.reason))
                sock.shutdown(socket.SHUT_WR)
                sock.recv(4096)  # unread bytes would turn the end into a reset
        except OSError:
            pass
        finally:
            sock.close()

    def _answer(self, reason: str) -> bytes:
        answer = self._answers.get(reason)
        if answer is None:
            answer = self._answers[reason] = error_response(self._refusal(reason))
        return answer

    def _refusal(self, reason: str) -> BadRequest:
        retry_after = self.gate.admission.retry_after
        if reason in (DESCRIPTORS, CROWDED):
            return unavailable(reason, "The server has no room for another connection.", retry_after)
        return too_many(reason, retry_after)

    # -- from a socket to a transport

    def _make_transport(self, arrival: Arrival, sock: socket.socket) -> None:
        """Put the loop's transport between the socket and the arrival, with a layer of TLS if the listener speaks TLS.

        The arrival, or the client, may end a TLS handshake at any time.
        """
        failed = partial(self._no_transport, arrival, sock)
        if self.certificates is None:
            arrival.stop_connecting = open_transport(self._loop, arrival, sock, failed)
            return
        from .tls_layer import TlsLayer  # here, because it is half a megabyte, and many daemons have a proxy in front that does TLS

        refused = partial(self._refuse_tls, arrival.peer)
        layer = TlsLayer(arrival, self.certificates.context, self._turns, descriptor=sock.fileno(), send=self._send, refused=refused)
        arrival.stop_connecting = layer.abort
        open_transport(self._loop, layer, sock, failed)

    def _no_transport(self, arrival: Arrival, sock: socket.socket, error: BaseException) -> None:
        if isinstance(error, (OSError, asyncio.CancelledError)):
            problem = str(error) or type(error).__name__
            self._log.debug("no connection with a client of {listener}: {problem}", listener=self.name, problem=problem)
        else:
            self._lines.failure(type(error).__name__, "no connection with a client of {listener}", Failure(error), listener=self.name)
        arrival.connection_lost(None)
        sock.close()

    async def _hear_proxy(self, arrival: Arrival, sock: socket.socket) -> None:
        """Learn the client's address from a PROXY header, then make the transport."""
        if arrival.gone:  # later clients of the same batch took its place
            sock.close()
            arrival.connecting = None
            return
        assert arrival.connecting is not None
        arrival.stop_connecting = arrival.connecting.cancel
        try:
            await self._read_proxy_header(arrival, sock)
        except TurnedAway as refused:
            self._turn_away(sock, arrival.peer, refused)
            arrival.connection_lost(None)
        except (Exception, asyncio.CancelledError) as error:
            self._no_transport(arrival, sock, error)
        else:
            self._make_transport(arrival, sock)
        finally:
            arrival.connecting = None

    async def _read_proxy_header(self, arrival: Arrival, sock: socket.socket) -> None:
        """Take exactly the PROXY header off the socket, and with it the client's address. All bytes behind it, TLS or not, stay there."""
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
        if header.source is not None and not self.gate.secure:
            arrival.secure = self._proxies_secure if header.secure is None else header.secure
        if header.destination is not None:
            arrival.local = header.destination
        if header.source is not None:  # else the connection is the proxy's own, and is not counted
            arrival.peer = header.source
            arrival.key = self._count(header.source, arrival.gate, named=True)

    def _tls_refused(self, peer: Peer, reason: str, detail: str) -> None:
        self.gate.refusals.add(reason, peer, f": {detail}", self._for_operators or reason in TOLD)
