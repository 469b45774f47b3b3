"""Rooms as the admin pages reach them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.support.admin import ask
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import HistoryPage, Message, Notice, Position, PresencePage, Published, RoomPage, Subscribed
from wsdaemon.brokers.errors import Busy
from wsdaemon.brokers.memory import MemoryBroker
from wsdaemon.ops.admin.rooms import RoomsMount, RoomsPages
from wsdaemon.ops.admin.site import AdminSite
from wsdaemon.ops.connections import ConnectionPage, Filter


class Rooms:
    """An app's rooms, on the broker of one process."""

    def __init__(self, **limits: Any) -> None:
        self.broker = MemoryBroker(Limits(**{"history": 100, **limits}), lambda member, error: None, wall=lambda: 1_790_000_000.1234)
        self.busy = False

    async def publish(self, room: str, payload: bytes, text: bool, *, key: str | None, content_type: str | None) -> Published:
        if self.busy:
            raise Busy("the room is busy")
        return self.broker.publish(room, payload, text, key=key, content_type=content_type)

    async def history(self, room: str, since: Position | None, limit: int, reverse: bool) -> HistoryPage:
        return self.broker.history(room, since, limit, reverse)

    async def presence(self, room: str, limit: int | None) -> PresencePage:
        return self.broker.presence(room, limit)

    async def rooms(self, after: str, limit: int, pattern: str | None) -> RoomPage:
        return self.broker.rooms(after, limit, pattern)


class Member:
    def __init__(self, id: str, **identity: Any) -> None:
        self.id = id
        self.identity: Mapping[str, Any] = identity
        self.messages: list[Message] = []

    def deliver(self, message: Message) -> None:
        self.messages.append(message)

    def presence_changed(self, notice: Notice) -> None:
        """Nothing is done with it."""

    def interrupted(self, room: str, answer: Subscribed, pattern: str | None = None) -> None:
        raise AssertionError("the memory broker never interrupts")


class Outside:
    """The API, and what is behind it."""

    def __init__(self, *mounts: str, max_message: int = 1000, closed: bool = False, **limits: Any) -> None:
        self.rooms = {path: Rooms(**limits) for path in mounts or ("/rooms/{room}",)}
        self.dismissed: list[tuple[str, int, str]] = []
        self.here = {"m-1"}
        pages = RoomsPages([RoomsMount(path, rooms, max_message, closed) for path, rooms in self.rooms.items()], self)
        self.site = AdminSite(pages.pages(), lambda: None, "1")

    @property
    def broker(self) -> MemoryBroker:
        return next(iter(self.rooms.values())).broker

    async def page(self, wanted: Filter, after: str, limit: int) -> ConnectionPage:
        raise NotImplementedError

    async def close(self, id: str, code: int, reason: str) -> bool:
        self.dismissed.append((id, code, reason))
        return id in self.here

    def post(self, path: str, body: bytes, *lines: str) -> Any:
        return json.loads(self.ask(f"POST {path}", *lines, body=body).body)

    def get(self, path: str) -> Any:
        answer = self.ask(f"GET {path}")
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    def ask(self, line: str, *lines: str, body: bytes = b"") -> Any:
        return ask(self.site, line, *lines, body=body)

    def many(self, *messages: Mapping[str, object]) -> Any:
        return self.post("/api/publish", json.dumps({"messages": messages}).encode())["results"]
