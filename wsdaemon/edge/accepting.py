"""Accepted sockets, made with less work than `socket.accept()`, which finds out family and type as enums for each of them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, ClassVar


class TcpSocket(socket.socket):
    """An accepted IPv4 connection. The loop asks for family and type, which are those of its listener."""

    __slots__ = ()
    family: ClassVar[socket.AddressFamily] = socket.AF_INET
    type: ClassVar[socket.SocketKind] = socket.SOCK_STREAM


class Tcp6Socket(TcpSocket):
    """The same for IPv6."""

    __slots__ = ()
    family = socket.AF_INET6


class UnixSocket(TcpSocket):
    """The same for a unix socket."""

    __slots__ = ()
    family = socket.AF_UNIX


_CLASSES: dict[int, type[TcpSocket]] = {each.family: each for each in (TcpSocket, Tcp6Socket, UnixSocket)}


def acceptor(listening: Any) -> Callable[[], tuple[socket.socket, Any]]:
    """A function that accepts one connection from this stream socket, as its `accept()` does: a non-blocking socket and its address."""
    made, family, kind = _CLASSES[listening.family], int(listening.family), int(socket.SOCK_STREAM)

    def accept() -> tuple[socket.socket, Any]:
        descriptor, address = listening._accept()
        sock = made(family, kind, 0, descriptor)
        sock.setblocking(False)
        return sock, address

    return accept
