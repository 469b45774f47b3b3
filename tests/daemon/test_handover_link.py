"""daemon/handover_link.py: frames and descriptors between two workers."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from typing import Any

import pytest

from tests.support.handover import run, turns
from tests.support.inside import descriptors
from wsdaemon.daemon.handover_link import GIVE, HEAD, HELLO, TAKEN, HandoverLink
from wsdaemon.wire.handed import MAX_HANDED_BYTES


class End:
    def __init__(self, sock: socket.socket) -> None:
        self.frames: list[tuple[int, int, bytes]] = []
        self.descriptors: list[int] = []
        self.ends = 0
        self.link = HandoverLink(sock, asyncio.get_running_loop(), self._received, self._ended)

    def _received(self, kind: int, number: int, body: bytes, descriptor: int) -> None:
        self.frames.append((kind, number, body))
        if descriptor >= 0:
            self.descriptors.append(descriptor)

    def _ended(self) -> None:
        self.ends += 1


def pair() -> tuple[End, End]:
    ours, theirs = socket.socketpair()
    return End(ours), End(theirs)


def test_frames_and_their_descriptors_arrive_in_order_however_long_they_are() -> None:
    """More than the socket holds: the rest waits, each descriptor stays with its frame, and none is left open."""

    async def story() -> None:
        before = descriptors()
        old, new = pair()
        files = [os.memfd_create(f"{number}") for number in range(6)]
        old.link.send(HELLO, 0, b"\0\1")
        for number, file in enumerate(files):
            os.write(file, b"%d" % number)
            old.link.send(GIVE, number, bytes([number]) * 300_000, file)
        assert old.link.frames_left < old.link.frames == 7
        await turns(lambda: len(new.frames) == 7)
        assert old.link.frames_left == 7
        for file in files:
            os.close(file)
        assert new.frames == [(HELLO, 0, b"\0\1"), *[(GIVE, number, bytes([number]) * 300_000) for number in range(6)]]
        for number, file in enumerate(new.descriptors):
            assert os.pread(file, 10, 0) == b"%d" % number
            assert not os.get_inheritable(file)
            os.close(file)
        old.link.close()
        await turns(lambda: new.ends)
        assert (old.ends, new.ends) == (1, 1)
        assert descriptors() == before

    run(story())


def test_close_receives_what_has_arrived_and_nothing_can_follow() -> None:
    async def story() -> None:
        old, new = pair()
        new.link.send(TAKEN, 1)
        assert new.link.frames_left == 1
        old.link.close()
        assert old.frames == [(TAKEN, 1, b"")]
        new.link.send(TAKEN, 2)
        assert new.link.frames_left == 1
        assert (old.ends, new.ends) == (1, 1)
        new.link.send(TAKEN, 3)
        assert new.link.frames_left == 1

    run(story())


def test_descriptors_that_have_come_and_those_that_wait_are_not_lost() -> None:
    async def story() -> None:
        before = descriptors()
        old, new = pair()
        file = os.memfd_create("x")
        for number in range(5):
            old.link.send(GIVE, number, bytes(400_000), file)
        os.close(file)
        new.link.close()
        old.link.close()
        for each in new.descriptors:
            os.close(each)
        assert descriptors() == before

    run(story())


def test_a_descriptor_that_is_lost_for_want_of_room_ends_the_link() -> None:
    """Else the next connection's descriptor would stand with this connection, and a client's messages with another client."""

    async def story() -> None:
        old, new = pair()
        files = [os.memfd_create(f"{number}") for number in range(2)]
        new_link: Any = new.link
        asyncio.get_running_loop().remove_reader(new_link._sock.fileno())
        for number, file in enumerate(files):
            old.link.send(GIVE, number, bytes(50_000), file)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(files[0])
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            assert not new_link._read()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert (new.frames, new.ends) == ([], 1)
        for file in files:
            os.close(file)
        old.link.close()

    run(story())


@pytest.mark.parametrize("length", [MAX_HANDED_BYTES + 1, 2**32 - 1])
def test_a_frame_that_is_too_long_ends_the_link(length: int) -> None:
    async def story() -> None:
        ours, theirs = socket.socketpair()
        new: Any = End(ours)
        theirs.sendall(HEAD.pack(length, GIVE, 1))
        await turns(lambda: new.ends)
        assert not new.link.open
        theirs.close()

    run(story())
