"""Rooms for other programs: publish, read histories, list members and remove them."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ...brokers.contract import HistoryPage, Message, Position, PresencePage, Published, RoomPage
from ...brokers.errors import BrokerError, RateLimited
from ...brokers.pages import first_messages, has_more
from ..connections import OpenConnections
from . import room_table
from .contract import Answer, PageProblem, PageRequest, as_json, asked
from .publishing import Wanted, parse
from .routes import Handler, Route
from .schemas import LONGEST_TYPE

T = TypeVar("T")

PAGE_BYTES = 1 << 20
"""Bytes of payload on one page of a history; a first message that is larger is sent alone."""

STATUSES = {
    "bad_room": 400, "bad_pattern": 400, "bad_key": 400, "rate_limited": 429,
    "too_many_rooms": 503, "memory": 503, "busy": 503, "closed": 503, "unavailable": 503,
}  # fmt: skip
"""The status of each of a broker's errors, by code; 409 for the others."""

_TEXT_TYPE = re.compile(r"text/.*|application/(?:json|xml|javascript|x-ndjson|x-www-form-urlencoded|.+\+json|.+\+xml)|.+\+xml", re.DOTALL)
_SINCE = re.compile(r"([^:]+):([0-9]{1,15})", re.ASCII)


class Rooms(Protocol):
    """An app's rooms. Their errors are BrokerErrors."""

    async def publish(self, room: str, payload: bytes, text: bool, *, key: str | None, content_type: str | None) -> Published: ...

    async def history(self, room: str, since: Position | None, limit: int, reverse: bool) -> HistoryPage: ...

    async def presence(self, room: str, limit: int | None) -> PresencePage: ...

    async def rooms(self, after: str, limit: int, pattern: str | None) -> RoomPage: ...


@dataclass(frozen=True, slots=True)
class RoomsMount:
    """A mount with rooms. `max_message` in bytes; `closed`: no client may publish there."""

    path: str
    rooms: Rooms
    max_message: int
    closed: bool = False


class RoomsPages:
    """The operations on the rooms of `mounts`."""

    def __init__(self, mounts: Sequence[RoomsMount], connections: OpenConnections) -> None:
        """`connections` are asked to close the connection of a member that is removed; its id is the member's."""
        self._mounts = {mount.path: mount for mount in mounts}
        self._connections = connections

    def pages(self) -> list[tuple[Route, Handler]]:
        return [
            (room_table.LIST_ROOMS, self.listing),
            (room_table.PUBLISH, self.publish),
            (room_table.HISTORY, self.history),
            (room_table.PRESENCE, self.presence),
            (room_table.REMOVE, self.remove),
            (room_table.PUBLISH_MANY, self.publish_many),
        ]

    def _mount(self, path: str | None) -> RoomsMount:
        if path is None and len(self._mounts) == 1:
            return next(iter(self._mounts.values()))
        if path is None and self._mounts:
            raise PageProblem(404, "no_mount", f"Several mounts have rooms; name one with `mount`: {', '.join(self._mounts)}.")
        if path is None or path not in self._mounts:
            raise PageProblem(404, "no_mount", "There is no such mount with rooms.")
        return self._mounts[path]

    # -- publishing

    async def publish(self, request: PageRequest) -> Answer:
        mount = self._mount(request.values["mount"])
        content_type = request.headers.joined("content-type")
        wanted = Wanted(request.values["room"], request.body, *_kind(content_type), request.values["Idempotency-Key"])
        return as_json(await self._publish(mount, wanted))

    async def publish_many(self, request: PageRequest) -> Answer:
        results = []
        for wanted in parse(request.body):
            try:
                results.append(await self._publish(self._mount(wanted.mount), wanted))
            except PageProblem as problem:
                after = dict(problem.headers).get("Retry-After")
                results.append({"room": wanted.room, **problem.members(), **({"retry_after": int(after)} if after else {})})
        return as_json({"results": results})

    async def _publish(self, mount: RoomsMount, wanted: Wanted) -> dict[str, Any]:
        if mount.closed:
            raise PageProblem(403, "forbidden", "This mount has publish = none: no client may publish.")
        if len(wanted.payload) > mount.max_message:
            raise PageProblem(413, "message_too_big", f"The message is longer than the mount's max_message, {mount.max_message} bytes.")
        if wanted.text and not _is_utf8(wanted.payload):
            raise PageProblem(400, "not_utf8", "The message is text by its Content-Type, and is not UTF-8.")
        try:
            done = await mount.rooms.publish(
                wanted.room, wanted.payload, wanted.text, key=own_key(wanted.key), content_type=wanted.content_type
            )
        except BrokerError as error:
            raise _refused(error) from None
        return {"room": wanted.room, "epoch": done.epoch, "offset": done.offset, "duplicate": done.duplicate, "members": done.members}

    # -- reading

    async def listing(self, request: PageRequest) -> Answer:
        values = request.values
        page = await self._ask(self._mount(values["mount"]).rooms.rooms(values["after"], values["limit"], values["pattern"]))
        rooms = [room._asdict() for room in page.rooms]
        return as_json({"rooms": rooms} if page.after is None else {"rooms": rooms, "after": page.after})

    async def history(self, request: PageRequest) -> Answer:
        values = request.values
        match = _SINCE.fullmatch(values["since"]) if values["since"] else None
        since = None if match is None else Position(match[1], int(match[2]))
        mount = self._mount(values["mount"])
        page = await self._ask(mount.rooms.history(values["room"], since, values["limit"], values["reverse"]))
        messages = first_messages(page.messages, PAGE_BYTES)
        answer: dict[str, Any] = {"room": page.room, "epoch": page.epoch, "offset": page.offset, "first": page.first}
        answer["messages"] = [_shown(one) for one in messages]
        if page.gap:
            answer["gap"] = True
        if has_more(page, messages, values["reverse"]):
            answer["more"] = True
        return as_json(answer)

    async def presence(self, request: PageRequest) -> Answer:
        values = request.values
        page = await self._ask(self._mount(values["mount"]).rooms.presence(values["room"], values["limit"]))
        members = [{"id": who.id, "identity": dict(who.identity) or None} for who in page.members]
        return as_json({"room": values["room"], "count": page.count, "members": members})

    async def remove(self, request: PageRequest) -> Answer:
        values = request.values
        room, member, code = values["room"], values["member"], values["code"]
        page = await self._ask(self._mount(values["mount"]).rooms.presence(room, None))
        if not any(who.id == member for who in page.members):
            raise PageProblem(404, "no_member", "No member of the room has this id.")
        if not await asked(self._connections.close(member, code, values["reason"])):
            raise PageProblem(409, "elsewhere", "The member is connected to another daemon.")
        return as_json({"room": room, "member": member, "code": code})

    async def _ask(self, asked: Awaitable[T]) -> T:
        try:
            return await asked
        except BrokerError as error:
            raise _refused(error) from None


def own_key(key: str | None) -> str | None:
    """An idempotency key that no client can have, because all publishers of a room share its keys.

    Theirs have up to 128 characters, or where it is known whose they are, 33 more in front that end in a colon.
    """
    return None if key is None else "api:" + hashlib.sha512(key.encode()).hexdigest()


def _refused(error: BrokerError) -> PageProblem:
    status = STATUSES.get(error.code, 409)
    seconds = error.retry_after if isinstance(error, RateLimited) else 1.0
    headers = (("Retry-After", str(max(1, -int(-seconds // 1)))),) if status in (429, 503) else ()
    text = str(error) or error.code
    return PageProblem(status, error.code, text[0].upper() + text[1:] + ".", headers)


def _kind(content_type: str | None) -> tuple[bool, str | None]:
    """Whether a message of this type is text, and the type to keep. PageProblem 415 for text that is not UTF-8."""
    if content_type is None:
        return False, None
    if len(content_type) > LONGEST_TYPE:
        raise PageProblem(400, "bad_parameter", f"Content-Type: expected up to {LONGEST_TYPE} characters.")
    kind, *parameters = [part.strip().lower() for part in content_type.split(";")]
    if _TEXT_TYPE.fullmatch(kind) is None:
        return False, content_type
    charset = next((one.partition("=")[2].strip('"') for one in parameters if one.startswith("charset=")), "utf-8")
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise PageProblem(415, "charset", "Text is taken as UTF-8 only.")
    return True, None if kind == "application/x-www-form-urlencoded" else content_type  # curl's default


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(message: Message) -> dict[str, Any]:
    shown: dict[str, Any] = {"offset": message.offset, "time": round(message.time, 3), "publisher": message.publisher}
    if message.content_type is not None:
        shown["content_type"] = message.content_type
    if message.text:
        shown["data"] = message.payload.decode()
    else:
        shown["encoding"], shown["data"] = "base64", base64.b64encode(message.payload).decode()
    return shown
