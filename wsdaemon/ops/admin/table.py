"""The table of routes: every page there can be, its parameters, what it takes and what it answers."""

from __future__ import annotations

from ...settings.admin import TokenRole
from ..latest_closes import MAX_CLOSES
from .contract import TEXT
from .routes import Content, Parameter, Route
from .schemas import CODE, LIMIT, LONGEST_ID, LONGEST_LISTENER, LONGEST_MOUNT, LONGEST_USER, NAME, NUMBER, REASON, object_of, text, whole

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

# -- connections

_CONNECTION = object_of(
    {
        "id": NAME,
        "mount": NAME,
        "listener": NAME,
        "worker": {**NUMBER, "description": "The number of its worker, if there are workers."},
        "path": {**NAME, "description": "The path that was asked for, without the query."},
        "address": NAME,
        "port": {"type": ["integer", "null"]},
        "secure": {"type": "boolean", "description": "Over TLS, here or to a trusted proxy."},
        **{name: {"type": ["string", "null"]} for name in ("user", "subprotocol", "user_agent")},
        "opened_at": {"type": "number", "description": "Seconds since 1970."},
        "closing": {"type": "boolean", "description": "One side has begun to close."},
        "messages_in": {**NUMBER, "description": "From the client; bytes are those on the network."},
        **dict.fromkeys(("messages_out", "bytes_in", "bytes_out"), NUMBER),
        "dropped": {**NUMBER, "description": "Messages that were dropped because the client is slow."},
        "backlog": {**NUMBER, "description": "Bytes that wait for the client."},
    },
    *("id", "mount", "listener", "path", "address"),
)
LIST_CONNECTIONS = Route(
    method="GET",
    path="/api/connections",
    name="list_connections",
    about="Open connections, in the order of their ids.",
    parameters=(
        Parameter("after", "query", "Only connections whose ids come after this one.", text(LONGEST_ID, 0, default="")),
        LIMIT,
        Parameter("mount", "query", "Only connections of this mount, as its section names it.", text(LONGEST_MOUNT)),
        Parameter("listener", "query", "Only connections that this listener accepted.", text(LONGEST_LISTENER)),
        Parameter("user", "query", "Only connections of this user, as authentication names it.", text(LONGEST_USER)),
        Parameter("address", "query", "Only connections from this IP address; `unix`: from unix sockets.", text(LONGEST_ID)),
    ),
    answers={
        200: Content(
            "`count` is the number of all that match. `after` is there when there are more: give it to have the next page.",
            schema=object_of(
                {
                    "connections": {"type": "array", "items": _CONNECTION},
                    "count": NUMBER,
                    "after": NAME,
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
        Parameter("id", "path", "The connection's id, as the list and the log show it.", text(LONGEST_ID, pattern="^[!-~]+$")),
        CODE,
        REASON,
    ),
    answers={200: Content("It closes.", schema=object_of({"id": NAME, "code": NUMBER}, "id", "code"))},
    problems=(404,),
)

LIST_CLOSES = Route(
    method="GET",
    path="/api/closes",
    name="list_closes",
    about="The latest connections that ended, the newest first.",
    parameters=(Parameter("limit", "query", "The most entries.", whole(1, MAX_CLOSES, 50)),),
    answers={
        200: Content(
            "Each with the fields of its line in the log. `worker` is there if there are workers.",
            schema=object_of(
                {"closes": {"type": "array", "items": object_of({"id": NAME, "closed_at": {"type": "number"}, "code": NUMBER}, "id")}},
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
    parameters=(Parameter("file", "path", "The file's name.", text(64, pattern="^[A-Za-z0-9_.-]+$", title="letters, digits, _ . and -")),),
    answers={200: Content("A style sheet or a script.", "text/javascript", others={"text/css": {"type": "string"}})},
    problems=(404,),
)

# -- tickets

ISSUE_TICKET = Route(
    method="POST",
    path="/api/tickets/{name}",
    role=TokenRole.OPERATE,
    name="issue_ticket",
    about="A ticket that opens one connection.",
    parameters=(
        Parameter("name", "path", "The NAME of a section [auth:NAME] with kind = ticket.", text(64, pattern="^[A-Za-z0-9_.-]+$")),
    ),
    body=Content(
        "The user of the ticket.",
        schema=object_of(
            {
                "identity": text(255, description="The name of the user."),
                "claims": {"type": "object", "description": "What the app is told of it."},
                "path": text(pattern="^/", description="The one path that the ticket opens, decoded. Left out: any."),
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
            schema=object_of(
                {"ticket": NAME, "lifetime": {"type": "number", "description": "Seconds for which it can be used, once."}}, "ticket"
            ),
        )
    },
    problems=(404,),
)
