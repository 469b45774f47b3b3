"""Sockets that listen: opened from an address of the settings, before privileges are dropped."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from ..settings.addresses import TcpAddress, UnixAddress


class ListenError(Exception):
    """A listener's address cannot be opened; the text is for the operator."""


def open_tcp(address: TcpAddress, backlog: int) -> socket.socket:
    """A listening TCP socket. Without an interface it takes IPv4 and IPv6 alike. ListenError when that cannot be."""
    if address.interface:
        family = socket.AF_INET6 if ":" in address.interface else socket.AF_INET
        return _tcp(family, address.interface, address.port, backlog, False)
    if socket.has_dualstack_ipv6():
        try:
            return _tcp(socket.AF_INET6, "::", address.port, backlog, True)
        except ListenError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
    return _tcp(socket.AF_INET, "0.0.0.0", address.port, backlog, False)  # noqa: S104 - asked for by leaving the interface out


def _tcp(family: socket.AddressFamily, host: str, port: int, backlog: int, both: bool) -> socket.socket:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(_why(error)) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        sock.bind((host, port))
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise ListenError(_why(error)) from error
    sock.setblocking(False)
    return sock


def open_unix(address: UnixAddress, backlog: int) -> socket.socket:
    """A listening unix socket with the mode and owner of the settings. A file that a dead daemon left is replaced; a live one is not."""
    _remove_stale(address.path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)  # nobody gets in between bind() and chmod()
        try:
            sock.bind(address.path)
        finally:
            os.umask(before)
        _own(address)
        Path(address.path).chmod(address.mode)
        sock.listen(backlog)
    except ListenError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise ListenError(_why(error)) from error
    sock.setblocking(False)
    return sock


def _own(address: UnixAddress) -> None:
    try:
        user = _number(address.user, lambda name: pwd.getpwnam(name).pw_uid)
        group = _number(address.group, lambda name: grp.getgrnam(name).gr_gid)
    except KeyError as error:
        raise ListenError(f"there is no such user or group: {error.args[0]}") from None
    if user != -1 or group != -1:
        os.chown(address.path, user, group)


def _number(name: str | None, look_up: Callable[[str], int]) -> int:
    """The number of a user or group that is given by its name or its number; -1, for none, changes nothing. KeyError."""
    if not name:
        return -1
    return int(name) if name.isascii() and name.isdigit() else look_up(name)


def _remove_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ListenError("a file that is not a socket has this name")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ListenError(_why(error)) from error
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()
        except OSError as error:
            raise ListenError(_why(error)) from error
        else:
            raise ListenError("another process listens there")


def _why(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use by another process"
        case errno.EACCES:
            return "permission denied (ports below 1024 need root or CAP_NET_BIND_SERVICE)" if not error.filename else "permission denied"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address"
    return os.strerror(error.errno) if error.errno else str(error)
