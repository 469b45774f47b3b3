"""The messages of the daemon in rooms.v1.json: answers, events and errors. Each is one text message that holds one JSON object.

If a request had an `id`, its answer has the same. MESSAGE below stands for an event of type "message".

    {"type": "subscribed", "id": 1, "room": "lobby", "member": "4f2a-17", "epoch": "9c1d...", "offset": 12, "messages": [MESSAGE, ...],
     "gap": true, "latest": MESSAGE, "count": 3, "present": [{"id": "4f2a-17", "identity": {"name": "ada", "method": "jwt:staff"}}, ...]}
        `member` is the client's own id. Live messages follow with offset + 1. `messages`: the messages after the position in the request,
        in order, up to `offset`; the daemon sent those that do not fit as events before this answer. `gap` is there, and true, if the
        room no longer has all of them, or has begun anew. `latest`: the room's last message, for a newcomer and after a gap, if the
        mount keeps it. `count` and `present`: the members, if the request asked for presence; `present` has up to 1000 of them.
    {"type": "subscribed", "id": 2, "pattern": "prices.*", "member": "4f2a-17", "rooms": [{"room": "prices.eur", "epoch": ..., ...}]}
        One entry for each room in `since`, with the fields as above. An `epoch` of "" is a room that does not exist now.
    {"type": "unsubscribed", "id": 3, "room": "lobby"}                      or with "pattern"
    {"type": "published", "id": 4, "room": "lobby", "epoch": "9c1d...", "offset": 13, "duplicate": false}
        `duplicate`: the room knew the key, nothing was sent, and the position is that of the first time. If a policy dropped the message,
        the answer has "dropped": true instead of a position.
    {"type": "history", "id": 5, "room": "lobby", "epoch": "9c1d...", "offset": 13, "first": 4, "messages": [MESSAGE, ...], "gap": true,
     "more": true}
        `offset` is that of the room's last message, `first` that of the oldest message that it keeps. `more`: ask again from the last
        message of this page.
    {"type": "presence", "id": 6, "room": "lobby", "count": 2, "members": [{"id": ..., "identity": ...}, ...]}
    {"type": "pong", "id": 7}
    {"type": "error", "id": 8, "code": "room_full", "message": "the room has 100 members"}
        With "retry_after" in seconds if the code is rate_limited. The connection continues.

Events, which answer no request:

    {"type": "message", "room": "lobby", "epoch": "9c1d...", "offset": 13, "time": 1790000000.123, "publisher": "4f2a-17", "data": "hello"}
        `time` is in seconds since 1970. `publisher` is the member's id, null for the server itself. Binary `data` is in base64, and then
        there is "encoding": "base64".
    {"type": "joined", "room": "lobby", "members": [{"id": ..., "identity": ...}, ...]}       and the same with "left"
    {"type": "gap", "room": "lobby", "epoch": "9c1d...", "offset": 40, "messages": [MESSAGE], "count": 3, "present": [...]}
        Messages of a room that the client is in may be lost, because its server was cut off from the room's order: of another process, or
        of Redis. The room continues with offset + 1, perhaps in another epoch. `messages` has the message at `offset`, if the mount keeps
        each room's latest. `count` and `present` are as in "subscribed", if the client asked for presence, and replace its list. A client
        that has the room by a pattern is told the "pattern" too. If nothing is lost, there is no such event.
    {"type": "expiring", "seconds": 60}
        The client's token expires then, and the connection closes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from ...brokers.contract import HistoryPage, Message, Notice, Presence, PresencePage, Published, Subscribed
from ...brokers.pages import has_more

SUBPROTOCOL = "rooms.v1.json"

MAX_PRESENT = 1000
"""Members in one answer."""

ENVELOPE_BYTES = 100
"""The usual size of an event besides its data."""

Event = dict[str, Any]


def encode(event: Mapping[str, Any]) -> bytes:
    """The JSON text of an event."""
    text = _TO_JSON(event)
    try:
        return text.encode()
    except UnicodeEncodeError:  # a client sent a lone surrogate and gets it back
        return json.dumps(event, separators=(",", ":")).encode()


_TO_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def message_event(message: Message) -> Event:
    event: Event = {
        "type": "message",
        "room": message.room,
        "epoch": message.epoch,
        "offset": message.offset,
        "time": round(message.time, 3),
        "publisher": message.publisher,
    }
    if message.text:
        event["data"] = message.payload.decode()
    else:
        event["encoding"], event["data"] = "base64", base64.b64encode(message.payload).decode()
    return event


def notice_events(notice: Notice) -> Iterator[Event]:
    """The events of a notice: one for each run of changes of one kind."""
    for kind, changes in groupby(notice.changes, lambda change: change.kind):
        yield {"type": kind, "room": notice.room, "members": _members([change.who for change in changes])}


def subscribed(answer: Subscribed) -> Event:
    """The fields of an answer to `subscribe` besides `type` and `member`, and of an entry in the answer for a pattern."""
    event: Event = {"room": answer.room, "epoch": answer.epoch, "offset": answer.offset, "messages": _messages(answer.messages)}
    if answer.gap:
        event["gap"] = True
    if answer.latest is not None:
        event["latest"] = message_event(answer.latest)
    if answer.present is not None:
        event |= _present(answer.present)
    return event


def gap_event(answer: Subscribed, pattern: str | None) -> Event:
    """The event for a member that may have lost messages; `pattern` is as in `Member.interrupted`."""
    event: Event = {"type": "gap", "room": answer.room, "epoch": answer.epoch, "offset": answer.offset}
    if pattern is not None:
        event["pattern"] = pattern
    if answer.messages:
        event["messages"] = _messages(answer.messages)
    if answer.present is not None:
        event |= _present(answer.present)
    return event


def published(room: str, answer: Published | None) -> Event:
    """The answer to `publish`. `answer` is None if a policy dropped the message."""
    if answer is None:
        return {"type": "published", "room": room, "dropped": True}
    return {"type": "published", "room": room, "epoch": answer.epoch, "offset": answer.offset, "duplicate": answer.duplicate}


def history(page: HistoryPage, messages: Sequence[Message], reverse: bool) -> Event:
    """The answer to `history`. `messages` are the first of the page's messages, as many as may be sent at once."""
    event: Event = {
        "type": "history",
        "room": page.room,
        "epoch": page.epoch,
        "offset": page.offset,
        "first": page.first,
        "messages": _messages(messages),
    }
    if page.gap:
        event["gap"] = True
    if has_more(page, messages, reverse):
        event["more"] = True
    return event


def presence(room: str, page: PresencePage) -> Event:
    return {"type": "presence", "room": room, "count": page.count, "members": _members(page.members)}


def _present(members: Sequence[Presence]) -> Event:
    return {"count": len(members), "present": _members(members[:MAX_PRESENT])}


def _messages(messages: Sequence[Message]) -> list[Event]:
    return [message_event(message) for message in messages]


def _members(members: Sequence[Presence]) -> list[Event]:
    return [{"id": who.id, "identity": dict(who.identity) or None} for who in members]
