"""From a target to a transport: DNS, happy eyeballs (RFC 8305), a unix socket or a proxy, and TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Protocol
from urllib.request import getproxies, proxy_bypass

from .errors import CertificateRejected, ConnectFailed
from .target import Target

ATTEMPT_SECONDS = 0.25
"""The head start of one address before the next is tried beside it (RFC 8305 section 5)."""

MAX_ADDRESSES = 16
"""Addresses of one name that are tried."""

Address = tuple[int, Any]
"""A family and a socket address."""


class Dial(Protocol):
    """The way to a server. A test has one without sockets."""

    async def __call__(self, target: Target, protocol: asyncio.Protocol, /) -> int:
        """Connect `protocol`; the plain socket's descriptor, -1 for TLS. ConnectFailed, CertificateRejected."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The certificates of a client: the authorities that it trusts (None: the system's), and its own certificate with key, if any."""

    ca: str | None = None
    certificate: tuple[str, str] | None = None

    def context(self) -> ssl.SSLContext:
        """The context for these files as they are now. OSError, ssl.SSLError."""
        paths = [Path(path) for path in (self.ca, *(self.certificate or ())) if path is not None]
        return _context(self, tuple([path.stat().st_mtime_ns for path in paths]))


@lru_cache(maxsize=16)
def _context(files: TlsFiles, changed: tuple[int, ...]) -> ssl.SSLContext:
    """Clients with the same files share one context, because the system's authorities alone take a megabyte."""
    if files.ca is None:
        context = ssl.create_default_context()
    elif Path(files.ca).is_dir():
        context = ssl.create_default_context(capath=files.ca)
    else:
        context = ssl.create_default_context(cafile=files.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # RFC 9525: the names are those of subjectAltName alone
    context.set_alpn_protocols(["http/1.1"])
    if files.certificate is not None:
        context.load_cert_chain(*files.certificate)
    return context


class Dialer:
    """Connects protocols by the network. `unix` is the path of a socket that takes the place of TCP; `proxy` is a URL, or "environment"."""

    __slots__ = ("_local", "_proxy", "_tls", "_unix")

    def __init__(
        self, tls: TlsFiles | ssl.SSLContext = TlsFiles(), proxy: str | None = None, unix: str | None = None,
        local_address: str | None = None,
    ) -> None:  # fmt: skip
        """`local_address`: the IP address that connections leave from."""
        self._tls = tls
        self._proxy = proxy
        self._unix = unix
        self._local = local_address

    async def __call__(self, target: Target, protocol: asyncio.Protocol, /) -> int:
        """Connect `protocol`, through TLS where the target wants it; the plain socket's descriptor, -1 for TLS."""
        loop = asyncio.get_running_loop()
        try:
            context = self._context() if target.secure else None
            connected = await self._socket(loop, target)
            descriptor = connected.fileno() if context is None else -1
            create = loop.create_connection if self._unix is None else loop.create_unix_connection
            try:
                await create(lambda: protocol, sock=connected, ssl=context, server_hostname=target.host if context is not None else None)
            except BaseException:
                connected.close()
                raise
            return descriptor
        except ssl.SSLCertVerificationError as error:
            raise CertificateRejected(f"{target.host}: {error.verify_message or error}") from error
        except ssl.SSLError as error:
            raise ConnectFailed(f"TLS with {target.authority}: {error.reason or error}") from error
        except OSError as error:
            raise ConnectFailed(f"{target.authority}: {_described(error)}") from error

    def _context(self) -> ssl.SSLContext:
        return self._tls if isinstance(self._tls, ssl.SSLContext) else self._tls.context()

    async def _socket(self, loop: asyncio.AbstractEventLoop, target: Target) -> socket.socket:
        if self._unix is not None:
            return await _connected(loop, (socket.AF_UNIX, self._unix))
        proxy = self._proxy_for(target)
        if proxy is not None:
            return await _through(proxy, target)
        connected: socket.socket = await race(loop, await addresses(loop, target), self._local)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        return connected

    def _proxy_for(self, target: Target) -> str | None:
        if self._proxy != "environment":
            return self._proxy
        if proxy_bypass(target.host):
            return None
        proxies = getproxies()
        return proxies.get(target.scheme) or proxies.get("https" if target.secure else "http") or proxies.get("all")


def _described(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


async def _through(url: str, target: Target) -> socket.socket:
    """A socket that a proxy has connected to the target. HTTP CONNECT, SOCKS5 and SOCKS4, by the name's scheme; ConnectFailed."""
    try:
        from python_socks import ProxyError  # an extra of the package
        from python_socks.async_.asyncio import Proxy
    except ImportError as error:
        raise ConnectFailed("a proxy needs python-socks: install wsdaemon[proxy]") from error
    # socks5h: the proxy looks the name up; python-socks does so by default.
    try:
        found: socket.socket = await Proxy.from_url(url.replace("socks5h://", "socks5://", 1)).connect(target.host, target.port)
    except (ProxyError, ValueError) as error:
        raise ConnectFailed(f"the proxy cannot reach {target.authority}: {error}") from error
    return found


async def addresses(loop: asyncio.AbstractEventLoop, target: Target) -> list[Address]:
    """The target's addresses, IPv6 and IPv4 in turn, the system's favourite first. OSError."""
    flags = socket.AI_NUMERICHOST if target.is_address else 0
    found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=flags)
    return interleaved([(family, address) for family, _, _, _, address in found])


def interleaved(found: Sequence[Address]) -> list[Address]:
    """Addresses of the first one's family and of the others in turn (RFC 8305 section 4)."""
    first = [each for each in found if each[0] == found[0][0]]
    others = [each for each in found if each[0] != found[0][0]]
    return [each for each in chain.from_iterable(zip_longest(first, others)) if each is not None][:MAX_ADDRESSES]


async def _connected(loop: asyncio.AbstractEventLoop, address: Address, local: str | None = None) -> socket.socket:
    """A socket that is connected to one address."""
    family, where = address
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        if local is not None:
            made.bind((local, 0))
        await loop.sock_connect(made, where)
    except BaseException:
        made.close()
        raise
    return made


async def race(
    loop: asyncio.AbstractEventLoop, found: Iterable[Address], local: str | None = None,
    connect: Callable[..., Any] = _connected, head_start: float = ATTEMPT_SECONDS,
) -> Any:  # fmt: skip
    """The first socket that connects: each address has `head_start` seconds, or until it fails, before the next is tried beside it.

    If all fail, the error is that of the first. The sockets of the losers are closed.
    """
    running: dict[asyncio.Task[Any], None] = {}
    errors: list[OSError] = []
    waiting = list(found)
    if len(waiting) == 1:
        return await connect(loop, waiting[0], local)
    try:
        while waiting or running:
            if waiting:
                running[loop.create_task(connect(loop, waiting.pop(0), local))] = None
            done, _ = await asyncio.wait(running, timeout=head_start if waiting else None, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                del running[task]
                error = task.exception()
                if error is None:
                    for other in done - {task}:
                        running[other] = None
                    return task.result()
                if not isinstance(error, OSError):
                    raise error
                errors.append(error)
        raise errors[0] if errors else OSError("the name has no address")
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_late)


def _close_late(task: asyncio.Task[Any]) -> None:
    """A loser's socket may have connected in the same turn as the winner's."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
