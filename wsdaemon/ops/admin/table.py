"""The table of routes: every page there can be, its parameters, what it takes and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...brokers.contract import MAX_PAGE
from ...brokers.patterns import MAX_TOKENS
from ...settings.admin import TokenRole
from ..latest_closes import MAX_CLOSES
from .contract import TEXT
from .routes import Content, Parameter, Route, Schema

LONGEST_NAME = 256
"""Characters of a room's name or a member's id. The broker is stricter."""

LONGEST_KEY = 256
"""Characters of an idempotency key."""

LONGEST_TYPE = 255
"""Characters of a content type."""

LONGEST_MOUNT = 512
"""Characters of a mount's path."""

MOST_MESSAGES = 1000
"""Messages in one request."""

LONGEST_ID = 64
"""Characters of a connection's id."""

LONGEST_LISTENER = 64
"""Characters of a listener's name."""

LONGEST_USER = 255
"""Characters of a user's name."""

REMOVED = 4403
"""The close code for a client that is sent away; as 403 Forbidden."""


def _text(most: int | None = None, least: int = 1, **more: Any) -> Schema:
    return {"type": "string", "minLength": least, **({} if most is None else {"maxLength": most}), **more}


def _whole(least: int, most: int, default: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most, "default": default}


def _object(properties: Schema, *required: str, closed: bool = False) -> Schema:
    """`closed`: nothing else may be in it."""
    return {"type": "object", "properties": properties, "required": list(required), **({"additionalProperties": False} if closed else {})}


# -- health and metrics

LIVE = Route(
    method="GET",
    path="/livez",
    name="live",
    about="Whether the process turns its loop.",
    open=True,
    answers={200: Content("It does.", TEXT)},
)
READY = Route(
    method="GET",
    path="/readyz",
    name="ready",
    about="Whether new connections are welcome.",
    open=True,
    answers={200: Content("They are.", TEXT), 503: Content("It is starting or draining: send no new clients.", TEXT)},
)
STATUS = Route(
    method="GET",
    path="/status",
    name="status",
    about="The daemon, its listeners, mounts and certificates.",
    answers={200: Content("How it stands.", schema={"type": "object"})},
)
METRICS = Route(
    method="GET",
    path="/metrics",
    name="metrics",
    about="Everything that is counted, as Prometheus reads it.",
    answers={200: Content("Text format 0.0.4, or OpenMetrics where that is accepted.", "text/plain")},
)
DESCRIPTION = Route(
    method="GET",
    path="/openapi.json",
    name="describe",
    about="This description.",
    open=True,
    answers={200: Content("An OpenAPI 3.1 document.", schema={"type": "object"})},
)

_NAME = {"type": "string"}
_NUMBER = {"type": "integer"}
_CODE = Parameter("code", "query", "The close code.", _whole(3000, 4999, REMOVED))
_REASON = Parameter("reason", "query", "The reason that the client is told.", _text(120, 0, default="removed"))
_LIMIT = Parameter("limit", "query", "The most entries on the page.", _whole(1, MAX_PAGE, 100))

# -- connections

_CONNECTION = _object(
    {
        "id": _NAME,
        "mount": _NAME,
        "listener": _NAME,
        "worker": {**_NUMBER, "description": "The number of its worker, if there are workers."},
        "path": {**_NAME, "description": "The path that was asked for, without the query."},
        "address": _NAME,
        "port": {"type": ["integer", "null"]},
        "secure": {"type": "boolean", "description": "Over TLS, here or to a trusted proxy."},
        **{name: {"type": ["string", "null"]} for name in ("user", "subprotocol", "user_agent")},
        "opened_at": {"type": "number", "description": "Seconds since 1970."},
        "closing": {"type": "boolean", "description": "One side has begun to close."},
        "messages_in": {**_NUMBER, "description": "From the client; bytes are those on the network."},
        **dict.fromkeys(("messages_out", "bytes_in", "bytes_out"), _NUMBER),
        "dropped": {**_NUMBER, "description": "Messages that were dropped because the client is slow."},
        "backlog": {**_NUMBER, "description": "Bytes that wait for the client."},
    },
    *("id", "mount", "listener", "path", "address"),
)
LIST_CONNECTIONS = Route(
    method="GET",
    path="/api/connections",
    name="list_connections",
    about="Open connections, in the order of their ids.",
    parameters=(
        Parameter("after", "query", "Only connections whose ids come after this one.", _text(LONGEST_ID, 0, default="")),
        _LIMIT,
        Parameter("mount", "query", "Only connections of this mount, as its section names it.", _text(LONGEST_MOUNT)),
        Parameter("listener", "query", "Only connections that this listener accepted.", _text(LONGEST_LISTENER)),
        Parameter("user", "query", "Only connections of this user, as authentication names it.", _text(LONGEST_USER)),
        Parameter("address", "query", "Only connections from this IP address; `unix`: from unix sockets.", _text(LONGEST_ID)),
    ),
    answers={
        200: Content(
            "`count` is the number of all that match. `after` is there when there are more: give it to have the next page.",
            schema=_object(
                {
                    "connections": {"type": "array", "items": _CONNECTION},
                    "count": _NUMBER,
                    "after": _NAME,
                },
                "connections",
                "count",
            ),
        )
    },
)
CLOSE_CONNECTION = Route(
    method="DELETE",
    path="/api/connections/{id}",
    role=TokenRole.OPERATE,
    name="close_connection",
    about="Close a connection.",
    parameters=(
        Parameter("id", "path", "The connection's id, as the list and the log show it.", _text(LONGEST_ID, pattern="^[!-~]+$")),
        _CODE,
        _REASON,
    ),
    answers={200: Content("It closes.", schema=_object({"id": _NAME, "code": _NUMBER}, "id", "code"))},
    problems=(404,),
)

LIST_CLOSES = Route(
    method="GET",
    path="/api/closes",
    name="list_closes",
    about="The latest connections that ended, the newest first.",
    parameters=(Parameter("limit", "query", "The most entries.", _whole(1, MAX_CLOSES, 50)),),
    answers={
        200: Content(
            "Each with the fields of its line in the log. `worker` is there if there are workers.",
            schema=_object(
                {"closes": {"type": "array", "items": _object({"id": _NAME, "closed_at": {"type": "number"}, "code": _NUMBER}, "id")}},
                "closes",
            ),
        )
    },
)

# -- the console

CONSOLE = Route(
    method="GET",
    path="/",
    name="console",
    about="The console, for a web browser.",
    open=True,
    answers={200: Content("An HTML page.", "text/html")},
)
CONSOLE_FILE = Route(
    method="GET",
    path="/console/{file}",
    name="console_file",
    about="A part of the console.",
    open=True,
    parameters=(Parameter("file", "path", "The file's name.", _text(64, pattern="^[A-Za-z0-9_.-]+$", title="letters, digits, _ . and -")),),
    answers={200: Content("A style sheet or a script.", "text/javascript", others={"text/css": {"type": "string"}})},
    problems=(404,),
)

# -- rooms

_ROOM_NAME = _text(LONGEST_NAME, pattern=r"^[^\x00-\x20\x7f-\x9f*>]+$", title="a name without blanks, control characters, * and >")
_SEGMENT = r"[^\x00-\x20\x7f-\x9f*>.]*"
_TOKENS = rf"((\*|{_SEGMENT})\.){{0,{MAX_TOKENS - 1}}}(\*|>|{_SEGMENT})"
_PATTERN = _text(LONGEST_NAME, pattern=f"^{_TOKENS}$", title="prices.*, up to ten tokens")
_MEMBER_ID = _text(LONGEST_NAME, pattern="^[!-~]+$", title="printable ASCII")
_ROOM = Parameter("room", "path", "The room's name, percent-encoded.", _ROOM_NAME)
_MEMBER = Parameter("member", "path", "The member's id, as presence shows it.", _MEMBER_ID)
_MOUNT = Parameter("mount", "query", "The mount, as its section names it. Needed where several mounts have rooms.", _text(LONGEST_MOUNT))

_POSITION = {"room": _NAME, "epoch": _NAME, "offset": _NUMBER}
_IDENTITY = {"type": ["object", "null"], "description": "The identity that authentication found; null without authentication."}
_SHOWN = _object(
    {
        "offset": _NUMBER,
        "time": {"type": "number", "description": "Seconds since 1970."},
        "publisher": {"type": ["string", "null"], "description": "The member's id; null for one from outside."},
        "content_type": _NAME,
        "data": _NAME,
        "encoding": {"const": "base64", "description": "There for binary data."},
    },
    "offset",
    "time",
    "publisher",
    "data",
)
_PUBLISHED = _object(
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
    "key": _text(LONGEST_KEY, description="As the header Idempotency-Key."),
    "content_type": _text(LONGEST_TYPE, pattern="^[!-~]([ -~]*[!-~])?$", title="printable ASCII"),
    "mount": _text(LONGEST_MOUNT),
}
"""The fields of a message in PUBLISH_MANY, all of them text."""
_BASE64 = {"type": "string", "contentEncoding": "base64", "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"}
_WANTED_TEXT = _object({name: schema for name, schema in WANTED.items() if name != "encoding"}, "room", "data", closed=True)
_WANTED_BINARY = _object({**WANTED, "data": _BASE64}, "room", "data", "encoding", closed=True)

LIST_ROOMS = Route(
    method="GET",
    path="/api/rooms",
    name="list_rooms",
    about="Rooms, by name.",
    parameters=(
        Parameter("after", "query", "Only rooms whose names come after this one.", _text(LONGEST_NAME, 0, default="")),
        Parameter("pattern", "query", "Only rooms that match, such as prices.*", _PATTERN),
        _LIMIT,
        _MOUNT,
    ),
    answers={
        200: Content(
            "`after` is there when there are more: give it to have the next page.",
            schema=_object(
                {
                    "rooms": {"type": "array", "items": _object({**_POSITION, "members": _NUMBER, "held": _NUMBER}, *_POSITION)},
                    "after": _NAME,
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
        Parameter("Idempotency-Key", "header", "The same key again publishes nothing and answers as the first time.", _text(LONGEST_KEY)),
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
        Parameter("since", "query", "Only what came after this position.", _text(300, pattern="^[^:]+:[0-9]{1,15}$", title="EPOCH:OFFSET")),
        Parameter("reverse", "query", "Newest first, from just before `since`.", {"type": "boolean", "default": False}),
        _LIMIT,
        _MOUNT,
    ),
    answers={
        200: Content(
            "`offset` is the room's last, `first` the oldest that is held. `gap`: some of what was asked for is not to be had any more. "
            "`more`: ask again from the last of these.",
            schema=_object(
                {
                    **_POSITION,
                    "first": _NUMBER,
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
    parameters=(_ROOM, _LIMIT, _MOUNT),
    answers={
        200: Content(
            "`count` is everyone.",
            schema=_object(
                {
                    "room": _NAME,
                    "count": _NUMBER,
                    "members": {"type": "array", "items": _object({"id": _NAME, "identity": _IDENTITY}, "id", "identity")},
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
        _CODE,
        _REASON,
        _MOUNT,
    ),
    answers={200: Content("It closes.", schema=_object({"room": _NAME, "member": _NAME, "code": _NUMBER}, "room", "member", "code"))},
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
        schema=_object(
            {"messages": {"type": "array", "maxItems": MOST_MESSAGES, "items": {"anyOf": [_WANTED_TEXT, _WANTED_BINARY]}}},
            "messages",
            closed=True,
        ),
    ),
    answers={
        200: Content(
            "For each message, in their order, where it stands or what was wrong.",
            schema=_object(
                {"results": {"type": "array", "items": {"anyOf": [_PUBLISHED, {"$ref": "#/components/schemas/Problem"}]}}}, "results"
            ),
        )
    },
)

# -- tickets

ISSUE_TICKET = Route(
    method="POST",
    path="/api/tickets/{name}",
    role=TokenRole.OPERATE,
    name="issue_ticket",
    about="A ticket that opens one connection.",
    parameters=(
        Parameter("name", "path", "The NAME of a section [auth:NAME] with kind = ticket.", _text(64, pattern="^[A-Za-z0-9_.-]+$")),
    ),
    body=Content(
        "The user of the ticket.",
        schema=_object(
            {
                "identity": _text(255, description="The name of the user."),
                "claims": {"type": "object", "description": "What the app is told of it."},
                "path": _text(pattern="^/", description="The one path that the ticket opens, decoded. Left out: any."),
                "expires": {
                    "type": "number",
                    "minimum": 0,
                    "maximum": 1e12,
                    "description": "When its connection ends, in seconds since 1970.",
                },
            },
            "identity",
            closed=True,
        ),
    ),
    answers={
        200: Content(
            "The ticket.",
            schema=_object(
                {"ticket": _NAME, "lifetime": {"type": "number", "description": "Seconds for which it can be used, once."}}, "ticket"
            ),
        )
    },
    problems=(404,),
)
