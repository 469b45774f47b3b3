"""To connect to a server that an app hosts: TCP, TLS or a unix socket, to addresses that are allowed."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

P = TypeVar("P", bound=asyncio.BaseProtocol)

AddressInfo = tuple[int, Any]
"""A family of sockets, and an address of it."""


MAX_LOOK_UPS = 64
"""Names that are looked up at once. The system's resolver works on a few, and may take half a minute for one that does not answer."""


class NotAllowed(OSError):
    """A name has no address that is allowed."""


class LookUps:
    """The look-ups of names that are under way, of all clients. Clients that want the same name share one.

    A look-up cannot be ended: it counts until the resolver has answered, though the client that wanted it has long given up.
    """

    __slots__ = ("_most", "_running")

    def __init__(self, most: int = MAX_LOOK_UPS) -> None:
        self._most = most
        self._running: dict[tuple[str, int], asyncio.Task[list[Any]]] = {}

    def __len__(self) -> int:
        return len(self._running)

    async def find(self, host: str, port: int) -> list[Any]:
        """The answer of getaddrinfo(3) for stream sockets. OSError; also if MAX_LOOK_UPS other names are looked up."""
        running = self._running.get((host, port))
        if running is None:
            if len(self._running) >= self._most:
                raise OSError("too many names are looked up at once")
            loop = asyncio.get_running_loop()
            running = self._running[host, port] = loop.create_task(_look_up(loop, host, port))
            running.add_done_callback(partial(self._ended, (host, port)))
        return await asyncio.shield(running)

    def _ended(self, name: tuple[str, int], task: asyncio.Task[list[Any]]) -> None:
        del self._running[name]
        if not task.cancelled():
            task.exception()  # looked at: perhaps no client waits for it any more


async def _look_up(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[Any]:
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server. `path` is that of a unix socket; then host and port have no meaning."""

    host: str = ""
    """A name, or an IP address without brackets."""
    port: int = 0
    path: str = ""
    tls: bool = False

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls' if self.tls else 'tcp'}:{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialing:
    """How servers are connected to. `allows` judges each IP address before it is connected to; None allows all."""

    context: ssl.SSLContext | None = None
    """For an endpoint with `tls`."""
    server_name: str = ""
    """The name that the server's certificate must have, also told by SNI. Empty: the endpoint's host."""
    allows: Callable[[str], bool] | None = None
    look_ups: LookUps = field(default_factory=LookUps, compare=False, repr=False)

    async def connect(self, protocol: Callable[[], P], endpoint: Endpoint, preface: bytes = b"") -> tuple[asyncio.Transport, P]:
        """Connect a new protocol to a server. `preface` is sent first, before TLS. OSError, of which ssl.SSLError is one; NotAllowed."""
        loop = asyncio.get_running_loop()
        sock = await self._socket(loop, endpoint)
        try:
            if preface:
                await loop.sock_sendall(sock, preface)
            if not endpoint.tls:
                return await loop.create_connection(protocol, sock=sock)
            name = self.server_name or endpoint.host
            return await loop.create_connection(protocol, sock=sock, ssl=self.context, server_hostname=name)
        except BaseException:
            sock.close()
            raise

    async def _socket(self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint) -> socket.socket:
        """A connected socket: the first address that answers, in the resolver's order."""
        failure: OSError | None = None
        for family, address in await self._addresses(endpoint):
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            try:
                if family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                await loop.sock_connect(sock, address)
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise failure or OSError("it has no address")

    async def _addresses(self, endpoint: Endpoint) -> list[AddressInfo]:
        if endpoint.path:
            return [(socket.AF_UNIX, endpoint.path)]
        numeric = _numeric(endpoint.host)
        if numeric is not None:
            found: list[AddressInfo] = [(numeric, (endpoint.host, endpoint.port))]
        else:
            infos = await self.look_ups.find(endpoint.host, endpoint.port)
            found = [(info[0], info[4]) for info in infos if info[0] in (socket.AF_INET, socket.AF_INET6)]
        if self.allows is None:
            return found
        allowed = [(family, address) for family, address in found if self.allows(str(address[0]).partition("%")[0])]
        if not allowed:
            raise NotAllowed("it has no address that is allowed")
        return allowed


def _numeric(host: str) -> socket.AddressFamily | None:
    """The family of an IP address; None for a name."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    return socket.AF_INET if version == 4 else socket.AF_INET6


def reason_of(error: BaseException) -> str:
    """Why a server could not be connected to, in a few words for the log.

    No words have the server's name or address, which a client may have chosen: the log counts lines of the same words.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message.partition(',')[0]}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or type(error).__name__}"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)  # its own text has the address in it
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
