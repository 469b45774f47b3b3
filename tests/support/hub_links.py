"""A hub and its workers in memory: links whose frames a test lets through one by one, loses and cuts."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar, cast

from wsdaemon.hub.client import HubAway, HubRefused
from wsdaemon.hub.server import HubServer, RefusedByHub, WorkerLink

T = TypeVar("T")

HELLO, WELCOME, RESYNC = "hello", "welcome", "resync"


class FakeHub:
    """The part of HubServer that handlers need. `links` are those that said hello."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.links: list[FakeLink] = []
        self.begun: list[Callable[[WorkerLink], None]] = []
        self.ended: list[Callable[[WorkerLink], None]] = []
        self.handlers: dict[int, Callable[[Any, int, bytes], None]] = {}
        self.instance = object()

    @property
    def server(self) -> HubServer:
        return cast(HubServer, self)

    def handle(self, kind: int, handler: Callable[[Any, int, bytes], None]) -> None:
        self.handlers[kind] = handler

    def answer(self, link: Any, request: int, body: bytes) -> None:
        link.send(("answer", request, body))


class FakeLink:
    """Both ends of one link: the worker's HubClient, and the hub's WorkerLink. A frame arrives when `pump` lets it."""

    generation = 1

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.is_there = False
        self.lost: list[Callable[[str], None]] = []
        self.returned: list[Callable[[bool], None]] = []
        self.hub: FakeHub | None = None
        self._loop = loop
        self._questions: dict[int, tuple[asyncio.Future[Any], Callable[[bytes], Any]]] = {}
        self._last = 0
        self._last_hub: object = None
        self.to_hub: deque[Any] = deque()
        self.to_worker: deque[Any] = deque()
        self._is_dropping = False
        self._is_declared = False

    # -- the worker's end

    def ask(self, kind: int, body: bytes, read: Callable[[bytes], T]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._loop.create_future()
        if not self.is_there:
            future.set_exception(HubAway("away"))
        else:
            self._last += 1
            self._questions[self._last] = future, read
            self.to_hub.append((kind, self._last, body))
        return future

    def tell(self, kind: int, body: bytes = b"") -> bool:
        if self.is_there:
            self.to_hub.append((kind, 0, body))
        return self.is_there

    def attach(self, hub: FakeHub) -> None:
        """A new socket to this hub."""
        self.cut()
        self.hub = hub
        self.to_hub.append(HELLO)

    def cut(self) -> None:
        """The socket ends: the hub sees it, and so does the worker. The hub reads no more of it."""
        hub, self.hub = self.hub, None
        self.to_hub.clear()
        self.to_worker.clear()
        self._is_dropping = False
        if hub is not None and self._is_declared:
            hub.links.remove(self)
            for call in hub.ended:
                call(cast(WorkerLink, self))
        self._is_declared = False
        self._lose()

    def slow(self) -> None:
        """The worker was too slow for the hub, which drops its frames to it, and asks it to begin anew."""
        if self.hub is not None and self._is_declared and not self._is_dropping:
            self.to_worker.clear()
            self.to_worker.append(RESYNC)
            self._is_dropping = True

    def _lose(self) -> None:
        was_there, self.is_there = self.is_there, False
        questions, self._questions = self._questions, {}
        for future, _ in questions.values():
            if not future.done():
                future.set_exception(HubAway("lost"))
        if was_there:
            for call in self.lost:
                call("lost")

    # -- frames on their way

    def send(self, frame: Any) -> None:
        if not self._is_dropping:
            self.to_worker.append(frame)

    def pump_to_hub(self) -> bool:
        """Let one frame through; False if there is none."""
        if self.hub is None or not self.to_hub:
            return False
        frame = self.to_hub.popleft()
        if frame == HELLO:
            self._is_dropping = False
            if not self._is_declared:
                self._is_declared = True
                self.hub.links.append(self)
            self.send(WELCOME)
            for call in self.hub.begun:
                call(cast(WorkerLink, self))
        elif not self._is_dropping:
            kind, request, body = frame
            try:
                self.hub.handlers[kind](self, request, body)
            except RefusedByHub as error:
                self.send(("refusal", request, error))
        return True

    def pump_to_worker(self) -> bool:
        if not self.to_worker:
            return False
        frame = self.to_worker.popleft()
        if frame == WELCOME:
            assert self.hub is not None
            same, self._last_hub = self._last_hub is self.hub.instance, self.hub.instance
            self.is_there = True
            for call in self.returned:
                call(same)
        elif frame == RESYNC:
            self._lose()
            self.to_hub.append(HELLO)
        elif self.is_there and (question := self._questions.pop(frame[1], None)) is not None and not question[0].done():
            what, _, found = frame
            if what == "answer":
                question[0].set_result(question[1](found))
            else:
                question[0].set_exception(HubRefused(found.code, str(found)))
        return True
