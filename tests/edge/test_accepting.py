"""edge/accepting.py: accepted sockets are those that accept() makes."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from wsdaemon.edge.accepting import acceptor


def listening(family: socket.AddressFamily, folder: Path) -> socket.socket:
    addresses: dict[socket.AddressFamily, Any] = {
        socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0), socket.AF_UNIX: str(folder / "sock"),
    }  # fmt: skip
    sock = socket.socket(family)
    try:
        sock.bind(addresses[family])
    except OSError:
        sock.close()
        pytest.skip("this machine has no such addresses")
    sock.listen(5)
    sock.setblocking(False)
    return sock


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_an_accepted_socket_is_as_that_of_accept(family: socket.AddressFamily, tmp_path: Path) -> None:
    with listening(family, tmp_path) as server:
        accept = acceptor(server)
        with socket.socket(family) as one, socket.socket(family) as two:
            one.connect(server.getsockname())
            two.connect(server.getsockname())
            sock, address = accept()
            usual, usual_address = server.accept()
            with sock, usual:
                assert (sock.family, sock.type) == (usual.family, usual.type)
                assert sock.getsockname() == usual.getsockname()
                assert type(address) is type(usual_address)
                assert address == sock.getpeername()
                assert sock.gettimeout() == 0.0
                assert not sock.get_inheritable()
                one.sendall(b"hello")
                assert sock.recv(5, socket.MSG_WAITALL) == b"hello"


def test_nothing_to_accept(tmp_path: Path) -> None:
    with listening(socket.AF_INET, tmp_path) as server, pytest.raises(BlockingIOError):
        acceptor(server)()
