"""The routes of rooms, as `table` has the others."""

from __future__ import annotations

from collections.abc import Mapping

from ...brokers.patterns import MAX_TOKENS
from ...settings.admin import TokenRole
from .routes import Content, Parameter, Route, Schema
from .schemas import CODE, LIMIT, LONGEST_KEY, LONGEST_MOUNT, LONGEST_NAME, LONGEST_TYPE, NAME, NUMBER, REASON, object_of, text

MOST_MESSAGES = 1000
"""Messages in one request."""

_ROOM_NAME = text(LONGEST_NAME, pattern=r"^[^\x00-\x20\x7f-\x9f*>]+$", title="a name without blanks, control characters, * and >")
_SEGMENT = r"[^\x00-\x20\x7f-\x9f*>.]*"
_TOKENS = rf"((\*|{_SEGMENT})\.){{0,{MAX_TOKENS - 1}}}(\*|>|{_SEGMENT})"
_PATTERN = text(LONGEST_NAME, pattern=f"^{_TOKENS}$", title="prices.*, up to ten tokens")
_MEMBER_ID = text(LONGEST_NAME, pattern="^[!-~]+$", title="printable ASCII")
_ROOM = Parameter("room", "path", "The room's name, percent-encoded.", _ROOM_NAME)
_MEMBER = Parameter("member", "path", "The member's id, as presence shows it.", _MEMBER_ID)
_MOUNT = Parameter("mount", "query", "The mount, as its section names it. Needed where several mounts have rooms.", text(LONGEST_MOUNT))

_POSITION = {"room": NAME, "epoch": NAME, "offset": NUMBER}
_IDENTITY = {"type": ["object", "null"], "description": "The identity that authentication found; null without authentication."}
_SHOWN = object_of(
    {
        "offset": NUMBER,
        "time": {"type": "number", "description": "Seconds since 1970."},
        "publisher": {"type": ["string", "null"], "description": "The member's id; null for one from outside."},
        "content_type": NAME,
        "data": NAME,
        "encoding": {"const": "base64", "description": "There for binary data."},
    },
    "offset",
    "time",
    "publisher",
    "data",
)
_PUBLISHED = object_of(
    {
        **_POSITION,
        "duplicate": {"type": "boolean", "description": "The key was known, and nothing was sent."},
        "members": {"type": "integer", "description": "To how many it goes, as far as this daemon knows."},
    },
    *_POSITION,
    "duplicate",
    "members",
)
WANTED: Mapping[str, Schema] = {
    "room": _ROOM_NAME,
    "data": {"type": "string"},
    "encoding": {"type": "string", "pattern": "^base64$", "title": "base64"},
    "key": text(LONGEST_KEY, description="As the header Idempotency-Key."),
    "content_type": text(LONGEST_TYPE, pattern="^[!-~]([ -~]*[!-~])?$", title="printable ASCII"),
    "mount": text(LONGEST_MOUNT),
}
"""The fields of a message in PUBLISH_MANY, all of them text."""
_BASE64 = {"type": "string", "contentEncoding": "base64", "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"}
_WANTED_TEXT = object_of({name: schema for name, schema in WANTED.items() if name != "encoding"}, "room", "data", closed=True)
_WANTED_BINARY = object_of({**WANTED, "data": _BASE64}, "room", "data", "encoding", closed=True)

LIST_ROOMS = Route(
    method="GET",
    path="/api/rooms",
    name="list_rooms",
    about="Rooms, by name.",
    parameters=(
        Parameter("after", "query", "Only rooms whose names come after this one.", text(LONGEST_NAME, 0, default="")),
        Parameter("pattern", "query", "Only rooms that match, such as prices.*", _PATTERN),
        LIMIT,
        _MOUNT,
    ),
    answers={
        200: Content(
            "`after` is there when there are more: give it to have the next page.",
            schema=object_of(
                {
                    "rooms": {"type": "array", "items": object_of({**_POSITION, "members": NUMBER, "held": NUMBER}, *_POSITION)},
                    "after": NAME,
                },
                "rooms",
            ),
        )
    },
    problems=(404,),
)
PUBLISH = Route(
    method="POST",
    path="/api/rooms/{room}/messages",
    role=TokenRole.PUBLISH,
    name="publish",
    about="Publish a message.",
    parameters=(
        _ROOM,
        Parameter("Idempotency-Key", "header", "The same key again publishes nothing and answers as the first time.", text(LONGEST_KEY)),
        _MOUNT,
    ),
    body=Content(
        "The message as it is, of any type. Text where its type is text, JSON, XML or that of a form; binary otherwise.",
        others={"text/plain": {"type": "string"}, "application/octet-stream": {"type": "string", "format": "binary"}},
        schema={},
    ),
    answers={200: Content("Where it stands.", schema=_PUBLISHED)},
    problems=(403, 404, 409, 415, 429),
)
HISTORY = Route(
    method="GET",
    path="/api/rooms/{room}/messages",
    name="history",
    about="Messages of the room's history, oldest first.",
    parameters=(
        _ROOM,
        Parameter("since", "query", "Only what came after this position.", text(300, pattern="^[^:]+:[0-9]{1,15}$", title="EPOCH:OFFSET")),
        Parameter("reverse", "query", "Newest first, from just before `since`.", {"type": "boolean", "default": False}),
        LIMIT,
        _MOUNT,
    ),
    answers={
        200: Content(
            "`offset` is the room's last, `first` the oldest that is held. `gap`: some of what was asked for is not to be had any more. "
            "`more`: ask again from the last of these.",
            schema=object_of(
                {
                    **_POSITION,
                    "first": NUMBER,
                    "messages": {"type": "array", "items": _SHOWN},
                    "gap": {"type": "boolean"},
                    "more": {"type": "boolean"},
                },
                *_POSITION,
                "first",
                "messages",
            ),
        )
    },
    problems=(404,),
)
PRESENCE = Route(
    method="GET",
    path="/api/rooms/{room}/members",
    name="presence",
    about="The members of the room.",
    parameters=(_ROOM, LIMIT, _MOUNT),
    answers={
        200: Content(
            "`count` is everyone.",
            schema=object_of(
                {
                    "room": NAME,
                    "count": NUMBER,
                    "members": {"type": "array", "items": object_of({"id": NAME, "identity": _IDENTITY}, "id", "identity")},
                },
                "room",
                "count",
                "members",
            ),
        )
    },
    problems=(404,),
)
REMOVE = Route(
    method="DELETE",
    path="/api/rooms/{room}/members/{member}",
    role=TokenRole.OPERATE,
    name="remove",
    about="Close the connection of a member.",
    parameters=(
        _ROOM,
        _MEMBER,
        CODE,
        REASON,
        _MOUNT,
    ),
    answers={200: Content("It closes.", schema=object_of({"room": NAME, "member": NAME, "code": NUMBER}, "room", "member", "code"))},
    problems=(404, 409),
)
PUBLISH_MANY = Route(
    method="POST",
    path="/api/publish",
    role=TokenRole.PUBLISH,
    name="publish_many",
    about="Publish many messages, one after the other.",
    body=Content(
        f"Up to {MOST_MESSAGES} messages.",
        schema=object_of(
            {"messages": {"type": "array", "maxItems": MOST_MESSAGES, "items": {"anyOf": [_WANTED_TEXT, _WANTED_BINARY]}}},
            "messages",
            closed=True,
        ),
    ),
    answers={
        200: Content(
            "For each message, in their order, where it stands or what was wrong.",
            schema=object_of(
                {"results": {"type": "array", "items": {"anyOf": [_PUBLISHED, {"$ref": "#/components/schemas/Problem"}]}}}, "results"
            ),
        )
    },
)
