"""ops/log_writing.py: a descriptor is written to without ever waiting for its reader."""

from __future__ import annotations

import errno
import os
import socket
import termios
from typing import Any

import pytest

from tests.support.logs import Pipe, descriptors, fill
from wsdaemon.ops.log_destinations import DescriptorDestination


def test_the_descriptor_keeps_its_flags_and_is_not_closed(pipe: Pipe) -> None:
    destination = DescriptorDestination(pipe.writing)
    before = descriptors()
    destination.open()
    destination.write(b"one\n")
    assert os.get_blocking(pipe.writing), "the shell that started the daemon has this descriptor too"
    destination.close()
    assert descriptors() == before and pipe.text() == "one\n"


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_socket_that_is_not_read_never_waits(kind: socket.SocketKind) -> None:
    """Standard output under systemd is a stream socket of the journal."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with ours, theirs:
        destination = DescriptorDestination(ours.fileno())
        fill(destination, b"x" * 999 + b"\n")
        assert ours.getblocking()
        destination.close()


def test_a_terminal_that_is_stopped_never_waits() -> None:
    master, terminal = os.openpty()
    try:
        termios.tcflow(terminal, termios.TCOOFF)  # Ctrl-S
        destination = DescriptorDestination(terminal)
        fill(destination, b"x" * 999 + b"\n")
        assert os.get_blocking(terminal)
        destination.close()
    finally:
        os.close(master)
        os.close(terminal)


def test_a_pipe_that_cannot_be_opened_again_is_polled(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a daemon whose standard output belongs to another user."""
    real = os.open

    def refuse(path: str, *arguments: Any) -> int:
        if str(path).startswith("/proc/"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    destination = DescriptorDestination(pipe.writing)
    fill(destination, b"x" * 9999 + b"\n")
    destination.close()
