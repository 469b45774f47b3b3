"""The hub that takes over the state of its predecessor: see `succession` for the messages, and for the moment at which it owns the order.

Until then it serves no worker. Afterwards the workers of both generations link themselves to it. A worker of the former hub is known by its
instance: its members, places and publications are those that the former hub knew, until the worker declares them. No publication is taken
before, because a worker that is not linked yet would miss it in rooms without a history.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from . import succession
from .given_counts import TakenCounts
from .given_rooms import TakenRooms
from .protocol import Malformed, frame
from .room_messages import read_limits, read_sheet
from .room_server import RoomServer
from .server import HubServer, WorkerLink
from .shared import SharedCounts
from .stream import FramedStream
from .succession import CAUGHT_UP, GONE, HELLO, MOUNT, NUMBERS, OWN, PLACES, RATES, READY, ROOM, ROSTER, SWITCH, TICKETS, UNWELCOME, WELCOME
from .tickets import TicketServer

FORMER_SECONDS = 15.0
"""A worker of the former hub that has not linked itself after so long has ended: its members leave, and its places are free."""


class Successor:
    """Takes the state of the hub at the other end of the socket.

    `caught_up` is called once when everything was read. `done` is called once at the end: with None if the order is this hub's, else with
    the reason why it is not.
    """

    def __init__(
        self, end: socket.socket, server: HubServer, rooms: RoomServer, counts: SharedCounts, tickets: TicketServer,
        caught_up: Callable[[], None], done: Callable[[str | None], None],
    ) -> None:  # fmt: skip
        self._server = server
        self._rooms = rooms
        self._counts = counts
        self._caught_up = caught_up
        self._done = done
        self._instance = b""
        self._former: dict[bytes, WorkerLink] = {}
        self._mounts: list[TakenRooms] = []
        self._taken = TakenCounts(counts.places, tickets.tickets, self._former_link)
        self._is_over = False
        self._sheets: dict[int, Callable[[Any], None]] = {
            MOUNT: self._mount, GONE: self._gone, ROSTER: self._roster, PLACES: self._taken.places, RATES: self._taken.rates,
            TICKETS: self._taken.tickets, SWITCH: self._switch,
        }  # fmt: skip
        rooms.rest()
        counts.wait()
        self._stream = FramedStream(end, server.loop, self._received, lambda reason, _: self._fail(f"the former hub has ended: {reason}"))
        self._stream.send(frame(HELLO, 0, succession.hello()))

    def close(self) -> None:
        """This hub ends."""
        self._is_over = True
        self._stream.close()

    def _former_link(self, instance: bytes) -> WorkerLink:
        """The link that stands for a worker of the former hub."""
        link = self._former.get(instance)
        if link is None:
            link = self._former[instance] = WorkerLink.of_former_hub(instance)
        return link

    # -- reading

    def _received(self, kind: int, request: int, body: bytes) -> None:
        if kind == ROOM:
            value, messages = read_sheet(body, self._mounts[request].order.account)
            self._mounts[request].room(value, messages)
        elif kind == NUMBERS:
            mount, instance, answers = succession.read_numbers(body)
            self._mounts[mount].numbers(instance, answers)
        elif (take := self._sheets.get(kind)) is not None:
            take(read_sheet(body)[0])
        elif kind == WELCOME:
            self._instance = succession.read_instance(body)
        elif kind == UNWELCOME:
            self._fail(succession.difference(body))
        elif kind == CAUGHT_UP:
            for taken in self._mounts:
                taken.settle()
            self._stream.send(frame(READY, 0, b""))
            self._caught_up()
        elif kind == OWN:
            self._own()
        else:
            raise Malformed(f"kind {kind}")

    def _mount(self, value: Any) -> None:
        path, limits = value
        self._mounts.append(TakenRooms(self._rooms.restore(path, read_limits(limits)), self._former_link, self._rooms.clock))

    def _gone(self, value: Any) -> None:
        number, name = value
        self._mounts[number].gone(name)

    def _roster(self, value: Any) -> None:
        number, name, members = value
        self._mounts[number].roster(name, members)

    # -- the switch

    def _switch(self, value: Any) -> None:
        """The last of the state has come. These workers are expected."""
        for worker, generation, instance, mounts in value:
            link = self._former_link(bytes.fromhex(instance))
            link.worker, link.generation = worker, generation
            for number in mounts:
                self._mounts[number].order.awaited[link.instance] = link
        self._stream.send(frame(READY, 0, b""))

    def _own(self) -> None:
        """The order is this hub's."""
        self._is_over = True
        self._stream.close()
        self._server.instance = self._instance
        self._server.begun.insert(0, self._linked)
        self._server.loop.call_later(FORMER_SECONDS, self._forget_former)
        self._rooms.begin()
        self._counts.begin()
        self._done(None)

    def _linked(self, link: WorkerLink) -> None:
        """A worker has said hello. Its places are those that the former hub knew, until it declares them."""
        former = self._former.pop(link.instance, None)
        if former is not None:
            self._counts.places.rename(former, link)

    def _forget_former(self) -> None:
        """The workers that have not come have ended."""
        for former in self._former.values():
            self._counts.places.gone(former)
        for mount in self._mounts:
            for former in list(mount.order.awaited.values()):
                mount.order.end(former)
        self._former.clear()

    def _fail(self, reason: str) -> None:
        if not self._is_over:
            self._is_over = True
            self._stream.close()
            self._done(reason)
